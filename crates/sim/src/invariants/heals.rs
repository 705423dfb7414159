use super::Invariant;
use crate::history::{History, Seen};

/// When faults are over, every batch that the log took is answered.
#[derive(Default)]
pub struct Heals;

impl Invariant for Heals {
    fn name(&self) -> &'static str {
        "everything_taken_is_answered_once_faults_are_over"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::Healed { waiting } if 0 < waiting => Err(format!("{waiting} batches wait for ever")),
            _ => Ok(()),
        }
    }
}
