use storage::Offsets;
use types::Offset;

use super::Invariant;
use crate::history::{History, Seen};

/// Log start, log end, durable end and high watermark of a node that is up never go back, and keep their order.
#[derive(Default)]
pub struct MarksOnlyRise {
    last: Option<(Offsets, Offset)>,
}

impl Invariant for MarksOnlyRise {
    fn name(&self) -> &'static str {
        "marks_only_rise"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        let (offsets, high_watermark, durable) = match *seen {
            Seen::Marks { offsets, high_watermark, durable } => (offsets, high_watermark, durable),
            Seen::Stopped { .. } => {
                self.last = None;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let visible = if durable { offsets.durable } else { offsets.written };
        if offsets.written < offsets.durable || offsets.visible != visible || offsets.visible < high_watermark {
            return Err(format!("{offsets:?} with high watermark {high_watermark} are out of order"));
        }
        if offsets.written < offsets.log_start || offsets.visible < offsets.last_stable {
            return Err(format!("{offsets:?} are out of order"));
        }
        if let Some((before, watermark_before)) = self.last
            && (offsets.log_start < before.log_start
                || offsets.written < before.written
                || offsets.durable < before.durable
                || offsets.visible < before.visible
                || high_watermark < watermark_before)
        {
            return Err(format!("from {before:?} and {watermark_before} back to {offsets:?} and {high_watermark}"));
        }
        self.last = Some((offsets, high_watermark));
        Ok(())
    }
}
