use types::{LeaderEpoch, Offset};

use super::Invariant;
use crate::history::{History, Seen};

/// An offset given to a batch in a leader epoch is not given to another in that epoch, whatever became of the first;
/// epochs themselves only rise.
#[derive(Default)]
pub struct OffsetsAreNotReused {
    epoch: Option<LeaderEpoch>,
    /// In that epoch.
    next_offset: Offset,
}

impl Invariant for OffsetsAreNotReused {
    fn name(&self) -> &'static str {
        "offsets_are_not_reused_within_an_epoch"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::EpochBegan { epoch } => {
                if self.epoch.is_some_and(|old| epoch <= old) {
                    return Err(format!("epoch {epoch} after {:?}", self.epoch));
                }
                self.epoch = Some(epoch);
                self.next_offset = Offset::ZERO;
                Ok(())
            }
            Seen::Placed { sent, base_offset, last_offset, epoch } => {
                if self.epoch != Some(epoch) {
                    return Err(format!("{sent:?} placed in epoch {epoch}, the current one is {:?}", self.epoch));
                }
                if base_offset < self.next_offset || last_offset < base_offset {
                    return Err(format!(
                        "{sent:?} placed at {base_offset}..={last_offset} in epoch {epoch}, in which offsets below {} are taken",
                        self.next_offset
                    ));
                }
                self.next_offset = last_offset.plus(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
