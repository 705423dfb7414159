use std::collections::BTreeMap;

use types::Sequence;

use super::Invariant;
use crate::history::{Fate, History, Seen};

/// An idempotent producer's batch is in the log at most once and in order; a retry is answered with the original's
/// place if and only if it is there; no sequence is refused to a producer that counts right.
#[derive(Default)]
pub struct DuplicatesAreRejected;

impl Invariant for DuplicatesAreRejected {
    fn name(&self) -> &'static str {
        "duplicates_are_rejected"
    }

    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String> {
        match *seen {
            Seen::Placed { sent, base_offset, .. } => {
                let original = history.placed.iter().find(|((base, _), placed)| {
                    placed.sent == sent && *base != base_offset && placed.fate != Fate::Gone
                });
                original.map_or(Ok(()), |((base, epoch), placed)| {
                    Err(format!("{sent:?} taken at {base_offset}, though it is at {base} of epoch {epoch}: {placed:?}"))
                })
            }
            Seen::Deduplicated { sent, base_offset } => {
                let there = history.placed.iter().any(|((base, _), placed)| {
                    placed.sent == sent && *base == base_offset && placed.fate == Fate::InLog
                });
                if there {
                    Ok(())
                } else {
                    Err(format!("{sent:?} called a duplicate of {base_offset}, which it is not"))
                }
            }
            Seen::SequenceRefused { sent, excused: false } => Err(format!("{sent:?} refused, though it follows")),
            Seen::Whole { found, compacted: false, .. } => {
                let mut next: BTreeMap<_, Sequence> = BTreeMap::new();
                for batch in found {
                    let Some(producer) = batch.info.producer else { continue };
                    let Some(first) = producer.base_sequence else { continue };
                    let key = (producer.id, producer.epoch);
                    if let Some(expected) = next.get(&key)
                        && *expected != first
                    {
                        return Err(format!(
                            "producer {key:?} goes on with {first} at {}, where {expected} is due",
                            batch.info.base_offset
                        ));
                    }
                    next.insert(key, first.plus(batch.info.last_offset_delta).plus(1));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
