use storage::{FileName, SegmentFileKind};
use types::Offset;

use super::Invariant;
use crate::history::{History, Seen, Stop};

/// Recovery reads only the log past the recovery point, and nothing of it after a clean stop.
#[derive(Default)]
pub struct RecoveryIsBounded;

impl Invariant for RecoveryIsBounded {
    fn name(&self) -> &'static str {
        "recovery_reads_only_past_the_recovery_point"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        let Seen::Opened { stop, clean, reads, settled, recovery_point, offsets } = *seen else { return Ok(()) };
        if stop == Stop::Clean && !clean && offsets.written != Offset::ZERO {
            return Err("a clean stop was not taken for one".to_owned());
        }
        for read in reads {
            let Some(FileName::Segment(file)) = FileName::parse(&read.name) else { continue };
            if file.kind != SegmentFileKind::Log {
                continue;
            }
            if clean {
                return Err(format!("{read:?} after a clean stop at {offsets:?}"));
            }
            let base = file.segment.base_offset();
            if settled.get(&base).is_some_and(|&settled_bytes| read.position < settled_bytes) {
                return Err(format!("{read:?} lies below the recovery point {recovery_point}: {settled:?}"));
            }
        }
        Ok(())
    }
}
