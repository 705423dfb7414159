//! Reading, and holding what was found against what was sent.

use std::collections::BTreeMap;

use storage::{FileName, Offsets, ReadRange, TimeStep};
use types::{Offset, Timestamp};

use super::World;
use crate::effects::{READ_STEPS_MAX, read_file, read_range};
use crate::history::{Fate, Found, Seen};
use crate::violation::{Checked, violation};

impl World {
    /// Reads once; `None` when there is nothing.
    fn read(&mut self, range: &ReadRange) -> Checked<Option<Vec<u8>>> {
        let up = self.up.as_ref().expect("the node is up");
        read_range(&up.log, &self.disk, range).map_err(|reason| violation("reads_match_appends", reason))
    }

    fn read_file(&self, file: &FileName, position: u64, bytes: usize) -> Checked<Vec<u8>> {
        read_file(&self.disk, file, position, bytes).map_err(|reason| violation("reads_match_appends", reason))
    }

    pub(super) fn read_somewhere(&mut self) -> Checked {
        let up = self.up.as_ref().expect("the node is up");
        if !up.ready {
            return Ok(());
        }
        let Offsets { log_start, visible, .. } = up.log.offsets();
        let start = log_start.plus(self.rng.below(visible.records_since(log_start) as u64 + 1) as i64);
        let end = start.plus(self.rng.below(visible.records_since(start) as u64 + 1) as i64);
        let range =
            ReadRange { start, end, bytes_max: self.rng.between(1, 2_000) as u32, at_least_one: self.rng.chance(700) };
        let Some(bytes) = self.read(&range)? else {
            let first_ends =
                self.history.in_log().find(|(base, _, placed)| *base <= start && start <= placed.last_offset);
            let must_come = range.at_least_one && !self.scenario.compacts;
            return match first_ends {
                Some((base, _, placed)) if placed.last_offset < end && must_come => Err(violation(
                    "reads_match_appends",
                    format!("{range:?} found nothing, though a batch is at {base}"),
                )),
                _ => Ok(()),
            };
        };
        self.trace.numbers(&[2, bytes.len() as u64]);
        let found = Found::split(&bytes).map_err(|reason| violation("reads_match_appends", reason))?;
        if found.is_empty() && range.at_least_one {
            return Err(violation("reads_match_appends", format!("{range:?} gave no whole batch")));
        }
        let compacted = self.scenario.compacts;
        self.see(&Seen::Slice { start, end, found: &found, compacted })
    }

    /// Asks for the first record of a time, and knows the answer.
    pub(super) fn look_up_a_time(&mut self) -> Checked {
        let up = self.up.as_ref().expect("the node is up");
        if !up.open || self.scenario.compacts {
            return Ok(());
        }
        let Offsets { log_start, visible, .. } = up.log.offsets();
        let end = log_start.plus(self.rng.below(visible.records_since(log_start) as u64 + 1) as i64);
        let mut records = Vec::new();
        for (base, _, placed) in self.history.in_log() {
            for (offset, &timestamp) in (base.value()..).zip(&self.history.sent(placed.sent).timestamps) {
                let offset = Offset::new(offset);
                if log_start <= offset && offset < end {
                    records.push((offset, placed.log_append_time.unwrap_or(timestamp)));
                }
            }
        }
        let near = records.get(self.rng.index(records.len())).map_or(self.now.wall, |&(_, timestamp)| timestamp);
        let at = Timestamp::from_millis(near.millis() + self.rng.between(0, 20) as i64 - 10);
        let want = records.into_iter().find(|&(_, timestamp)| at <= timestamp);
        let found = self.find_time(at, end)?;
        self.trace.numbers(&[14, found.map_or(u64::MAX, |(offset, _)| offset.value() as u64)]);
        if found == want {
            return Ok(());
        }
        let detail = format!("the first record of {at:?} or later below {end} is {want:?}, found {found:?}");
        Err(violation("times_lead_to_the_first_record_that_late", detail))
    }

    fn find_time(&self, at: Timestamp, end: Offset) -> Checked<Option<(Offset, Timestamp)>> {
        let up = self.up.as_ref().expect("the node is up");
        let fault =
            |fault: &dyn std::fmt::Display| violation("times_lead_to_the_first_record_that_late", fault.to_string());
        let mut step = up.log.lookup_time(at, end);
        for _ in 0..READ_STEPS_MAX {
            match step {
                TimeStep::NotFound => return Ok(None),
                TimeStep::Found(found) => return Ok(Some((found.offset, found.timestamp))),
                TimeStep::Scan(scan) => {
                    let bytes = self.read_file(&scan.file, scan.position, scan.bytes)?;
                    step = up.log.resume_lookup(scan, &bytes).map_err(|error| fault(&error))?;
                }
            }
        }
        Err(fault(&"no end of scans"))
    }

    /// Reads everything, and from then on knows what is in the log and what is not.
    pub(super) fn read_whole(&mut self) -> Checked {
        let offsets = self.up().log.offsets();
        let mut found = Vec::new();
        let mut start = offsets.log_start;
        while start < offsets.visible {
            let range = ReadRange { start, end: offsets.visible, bytes_max: 3_000, at_least_one: true };
            let Some(bytes) = self.read(&range)? else { break };
            let mut batches = Found::split(&bytes).map_err(|reason| violation("reads_match_appends", reason))?;
            let Some(last) = batches.last() else {
                return Err(violation("reads_match_appends", format!("{range:?} gave no whole batch")));
            };
            start = last.info.next_offset();
            found.append(&mut batches);
        }
        let there: BTreeMap<_, _> =
            found.iter().map(|batch| ((batch.info.base_offset, batch.info.leader_epoch), ())).collect();
        let compacts = self.scenario.compacts;
        for (&(base, epoch), placed) in &mut self.history.placed {
            if there.contains_key(&(base, Some(epoch))) {
                placed.fate = Fate::InLog;
                // The log tells the time it stamped only with its event, which a crash may swallow.
                let batch = found.iter().find(|batch| batch.info.base_offset == base);
                placed.log_append_time = batch
                    .filter(|batch| batch.info.timestamp_type == batch::TimestampType::LogAppendTime)
                    .map(|batch| batch.info.max_timestamp);
            } else if offsets.visible <= base
                || (offsets.log_start <= base && !(compacts && placed.fate == Fate::InLog))
            {
                placed.fate = Fate::Gone;
            }
        }
        let compacted = self.scenario.compacts;
        self.see(&Seen::Whole { offsets, found: &found, compacted })
    }
}
