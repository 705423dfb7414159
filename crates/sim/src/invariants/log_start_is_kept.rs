use types::Offset;

use super::Invariant;
use crate::history::{History, Seen};

/// A log start said to be on disk is not forgotten: deleted records do not come back.
#[derive(Default)]
pub struct LogStartIsKept {
    kept: Offset,
}

impl Invariant for LogStartIsKept {
    fn name(&self) -> &'static str {
        "log_start_is_kept"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::StartMoved { log_start } => self.kept = self.kept.max(log_start),
            Seen::Opened { offsets, .. } if offsets.log_start < self.kept => {
                return Err(format!("the log starts at {}, {} was on disk", offsets.log_start, self.kept));
            }
            _ => {}
        }
        Ok(())
    }
}
