use std::collections::BTreeMap;

use types::Offset;

use super::Invariant;
use crate::history::{History, Record, Seen};

/// Of every key the last value stays, at its offset, however often the log is compacted. (A tombstone may go.)
#[derive(Default)]
pub struct LastValuesStay;

impl Invariant for LastValuesStay {
    fn name(&self) -> &'static str {
        "last_values_stay"
    }

    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String> {
        let Seen::Whole { offsets, found, compacted: true } = *seen else { return Ok(()) };
        let mut last: BTreeMap<Vec<u8>, (Offset, Record)> = BTreeMap::new();
        for (base, _, placed) in history.in_log() {
            for record in Record::all(&history.sent(placed.sent).bytes) {
                let offset = base.plus(i64::from(record.offset_delta));
                if let Some(key) = record.key.clone()
                    && offsets.log_start <= base
                {
                    last.insert(key, (offset, record));
                }
            }
        }
        let mut there: BTreeMap<Offset, Record> = BTreeMap::new();
        for batch in found {
            for record in Record::all(&batch.bytes) {
                there.insert(batch.info.base_offset.plus(i64::from(record.offset_delta)), record);
            }
        }
        for (key, (offset, record)) in last {
            let kept = there.get(&offset).is_some_and(|kept| kept.key == record.key && kept.value == record.value);
            if record.value.is_some() && !kept {
                return Err(format!("the last value of key {key:?} at {offset} is gone, the log holds {offsets:?}"));
            }
        }
        Ok(())
    }
}
