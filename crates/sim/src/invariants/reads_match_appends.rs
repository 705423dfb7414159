use super::Invariant;
use crate::history::{Found, History, Seen};

/// What is read is what was appended, to the byte, without a gap, from the batch that contains the offset asked for, and
/// not beyond the end given. Of a compacted log: what is read is of what was appended, and in its order.
#[derive(Default)]
pub struct ReadsMatchAppends;

fn judge_batches(found: &[Found], history: &History, compacted: bool) -> Result<(), String> {
    let mut next = None;
    for batch in found {
        let info = &batch.info;
        if !compacted && next.is_some_and(|next| next != info.base_offset) {
            return Err(format!("a batch at {} where {next:?} is due", info.base_offset));
        }
        if next.is_some_and(|next| info.base_offset < next) {
            return Err(format!("a batch at {} after one that ends at {next:?}", info.base_offset));
        }
        next = Some(info.next_offset());
        if !(history.is_as_placed(batch) || compacted && history.is_compacted_from_placed(batch)) {
            return Err(format!(
                "the batch at {} of epoch {:?} is not what was appended",
                info.base_offset, info.leader_epoch
            ));
        }
    }
    Ok(())
}

impl Invariant for ReadsMatchAppends {
    fn name(&self) -> &'static str {
        "reads_match_appends"
    }

    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String> {
        match *seen {
            Seen::Slice { start, end, found, compacted } => {
                if let Some(first) = found.first()
                    && ((!compacted && start < first.info.base_offset) || first.info.last_offset() < start)
                {
                    return Err(format!(
                        "a read from {start} begins with {}..={}",
                        first.info.base_offset,
                        first.info.last_offset()
                    ));
                }
                if let Some(last) = found.last()
                    && end <= last.info.last_offset()
                {
                    return Err(format!("a read below {end} holds {}", last.info.last_offset()));
                }
                judge_batches(found, history, compacted)
            }
            Seen::Whole { offsets, found, compacted } => {
                judge_batches(found, history, compacted)?;
                let end = found.last().map_or(offsets.log_start, |last| last.info.next_offset());
                if end != offsets.visible && !(found.is_empty() && offsets.log_start == offsets.visible) {
                    return Err(format!("the whole log ends at {end}, its marks say {offsets:?}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
