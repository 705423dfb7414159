use super::Invariant;
use crate::history::{History, Seen};

/// A client hears of success only after its batch was written, synced where the topic says so, and, with acks=all,
/// passed by the high watermark.
#[derive(Default)]
pub struct AcksWaitForTheirMark;

impl Invariant for AcksWaitForTheirMark {
    fn name(&self) -> &'static str {
        "acks_wait_for_their_mark"
    }

    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String> {
        let Seen::Acked { sent, base_offset, offsets, high_watermark, durable } = *seen else { return Ok(()) };
        let batch = history.sent(sent);
        let last_offset = base_offset.plus(i64::from(batch.info.last_offset_delta));
        let mark = if durable { offsets.durable } else { offsets.written };
        if mark <= last_offset || (batch.acks_all && high_watermark <= last_offset) {
            return Err(format!(
                "{sent:?} at {base_offset}..={last_offset} acked with {offsets:?} and high watermark {high_watermark}"
            ));
        }
        Ok(())
    }
}
