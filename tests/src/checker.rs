//! Compares what a log holds with the history of what was sent.
//!
//! Words as Jepsen has them: *lost* is acked and not there; *duplicated* is there twice (nothing here is ever sent
//! twice); *reordered* is there in another order than its writer sent it to that partition; *misplaced* is at another
//! offset than was acked; *phantom* was never sent. What was sent and not acked may be there or not.
//!
//! Not checked: the order between writers, timestamps, and what a consumer group would have seen before the crash.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use batch::{BatchView, Inflated, check};

use crate::load::{History, Id, Plan, RECORDS_PER_BATCH, Sent, id_of, key_of, value_of};
use crate::plain_client::{PlainClient, is_retriable};

const FETCH_BYTES: i32 = 8 << 20;
/// Of each kind.
const FINDINGS_SHOWN: usize = 3;
/// Refusals that do not say whether the records were written: timed out, too few replicas after the append, a sync that
/// failed after the write.
const UNCERTAIN: &[i16] = &[7, 20, 56];

/// A record as found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its id.
    pub id: Id,
    /// Its offset.
    pub offset: i64,
}

/// Reads a whole partition. Every batch's CRC and header, and that offsets only grow, is checked on the way.
pub fn read_partition(address: &str, plan: &Plan, partition: i32, dense: bool) -> Result<Vec<Found>, String> {
    let mut client = PlainClient::connect(address)?;
    let mut found = Vec::new();
    let mut at = 0;
    let mut tries = 0;
    loop {
        let answer = client.fetch(plan.topic, partition, at, FETCH_BYTES)?;
        if is_retriable(answer.error) && tries < 100 {
            tries += 1;
            std::thread::sleep(std::time::Duration::from_millis(50));
            continue;
        }
        if answer.error != 0 {
            return Err(format!("fetching partition {partition} at {at}: error code {}", answer.error));
        }
        if at == 0 && answer.log_start != 0 {
            return Err(format!("partition {partition} starts at {}", answer.log_start));
        }
        let before = at;
        let mut rest = &answer.bytes[..];
        while let Some(size) =
            BatchView::peek_size(rest).map_err(|e| format!("partition {partition} after {at}: {e:?}"))?
        {
            let Some(bytes) = rest.get(..size) else { break };
            rest = &rest[size..];
            let view = check(bytes).map_err(|e| format!("partition {partition} after {at}: {e:?}"))?;
            let base = view.base_offset().value();
            if base < at && at != before {
                return Err(format!("partition {partition}: a batch at {base} after offset {at}"));
            }
            if dense && at != base && base > at {
                return Err(format!("partition {partition}: a gap from {at} to {base}"));
            }
            at = view.last_offset().value() + 1;
            let inflated = Inflated::new(&view, 64 << 20).map_err(|e| format!("{e:?}"))?;
            for record in inflated.records() {
                let record = record.map_err(|e| format!("partition {partition} at {base}: {e:?}"))?;
                let offset = inflated.offset_of(&record).value();
                let value = record.value.unwrap_or_default();
                let id = id_of(value).ok_or(format!("partition {partition} offset {offset}: no id"))?;
                if value != value_of(id, value.len()) {
                    return Err(format!(
                        "partition {partition} offset {offset}: the value of {id:?} is not what was sent"
                    ));
                }
                if let Some(keys) = plan.keys
                    && record.key != Some(key_of(id, partition, keys).as_bytes())
                {
                    return Err(format!(
                        "partition {partition} offset {offset}: the key of {id:?} is not what was sent"
                    ));
                }
                found.push(Found { id, offset });
            }
        }
        if at >= answer.high_watermark {
            return Ok(found);
        }
        if at == before {
            tries += 1;
            if tries > 100 {
                return Err(format!(
                    "partition {partition}: nothing after {at}, high watermark {}",
                    answer.high_watermark
                ));
            }
        }
    }
}

#[derive(Default)]
struct Findings {
    shown: Vec<String>,
    /// By the word before the colon.
    counts: BTreeMap<String, usize>,
}

impl Findings {
    fn add(&mut self, text: String) {
        let word = text.split(':').next().unwrap_or_default().to_owned();
        let count = self.counts.entry(word).or_default();
        *count += 1;
        if *count <= FINDINGS_SHOWN {
            self.shown.push(text);
        }
    }
}

/// Checks every partition of a topic that keeps everything. Returns how many of the records sent are there.
pub fn check_log(address: &str, plan: &Plan, history: &History) -> Result<usize, String> {
    let examined = examine(address, plan, history)?;
    let mut findings = examined.findings;
    for batch in examined.missing {
        let end = examined.ends.get(&batch.partition).unwrap_or(&0);
        let (partition, base) = (batch.partition, batch.acked.unwrap_or(-1));
        findings.add(format!("lost: {:?} acked at {partition}/{base}, the log ends at {end}", batch.first));
    }
    conclude(findings).map(|()| examined.found)
}

/// What a power cut left of a topic.
#[derive(Debug)]
pub struct Survived {
    /// Records sent that are there.
    pub records: usize,
    /// Acked records that are not.
    pub lost: usize,
    /// When the oldest of those was acked.
    pub oldest_lost: Option<Instant>,
}

/// As `check_log`, but the newest of each partition may be gone: what is lost is lost to the end, so that there is no
/// hole and no other record in its place. The history then is what was found: all of it must be there at the next check,
/// and nothing of what is gone may come back.
pub fn check_prefix(address: &str, plan: &Plan, history: &mut History) -> Result<Survived, String> {
    let examined = examine(address, plan, history)?;
    let mut findings = examined.findings;
    let mut oldest_lost: Option<Instant> = None;
    for batch in &examined.missing {
        let (partition, base) = (batch.partition, batch.acked.unwrap_or(-1));
        match (batch.acked_at, examined.ends.get(&partition)) {
            (None, _) => {
                findings.add(format!("lost: {:?} at {partition}/{base} had survived a power cut before", batch.first));
            }
            (Some(_), Some(end)) if base < *end => {
                findings.add(format!("hole: {:?} acked at {partition}/{base}, the log ends at {end}", batch.first));
            }
            (Some(at), _) => oldest_lost = Some(oldest_lost.map_or(at, |oldest| oldest.min(at))),
        }
    }
    let lost = examined.missing.len() * RECORDS_PER_BATCH;
    for of_writer in history.sent.values_mut() {
        of_writer.retain_mut(|batch| {
            batch.acked = examined.place.get(&batch.first).map(|(_, offset)| *offset);
            batch.acked_at = None;
            batch.acked.is_some()
        });
    }
    conclude(findings).map(|()| Survived { records: examined.found, lost, oldest_lost })
}

/// A topic's partitions beside the history.
struct Examined {
    findings: Findings,
    /// Records sent that are there.
    found: usize,
    /// Batches acked and not there.
    missing: Vec<Sent>,
    /// Where each record found lies: partition and offset.
    place: HashMap<Id, (i32, i64)>,
    /// The offset after each partition's last record.
    ends: BTreeMap<i32, i64>,
}

fn examine(address: &str, plan: &Plan, history: &History) -> Result<Examined, String> {
    let mut findings = Findings::default();
    let mut place: HashMap<Id, (i32, i64)> = HashMap::new();
    let mut ends = BTreeMap::new();
    for partition in 0..plan.partitions {
        let mut newest: BTreeMap<u32, u64> = BTreeMap::new();
        for Found { id, offset } in read_partition(address, plan, partition, true)? {
            ends.insert(partition, offset + 1);
            if let Some((p, o)) = place.insert(id, (partition, offset)) {
                findings.add(format!("duplicated: {id:?} at {p}/{o} and {partition}/{offset}"));
            }
            if newest.insert(id.writer, id.number).is_some_and(|before| id.number < before) {
                findings.add(format!("reordered: {id:?} at {partition}/{offset} after a later one"));
            }
        }
    }
    let mut unknown = place.clone();
    let mut found_records = 0;
    let mut missing = Vec::new();
    for batch in history.sent.values().flatten() {
        let mut there = 0;
        for n in 0..RECORDS_PER_BATCH as u64 {
            let id = Id { number: batch.first.number + n, ..batch.first };
            let found = unknown.remove(&id);
            there += usize::from(found.is_some());
            match (batch.acked, found) {
                (Some(base), Some(at)) if at != (batch.partition, base + n as i64) => {
                    findings.add(format!(
                        "misplaced: {id:?} acked at {}/{}, is at {at:?}",
                        batch.partition,
                        base + n as i64
                    ));
                }
                (None, Some((partition, offset))) if batch.refused.is_some_and(|code| !UNCERTAIN.contains(&code)) => {
                    findings
                        .add(format!("refused with {:?} and yet there: {id:?} at {partition}/{offset}", batch.refused));
                }
                _ => {}
            }
        }
        found_records += there;
        match there {
            0 if batch.acked.is_some() => missing.push(batch.clone()),
            0 | RECORDS_PER_BATCH => {}
            _ => findings.add(format!("lost: a part of the batch of {:?}: {there} records are there", batch.first)),
        }
    }
    for (id, (partition, offset)) in unknown {
        findings.add(format!("phantom: {id:?} at {partition}/{offset}"));
    }
    Ok(Examined { findings, found: found_records, missing, place, ends })
}

/// Checks a compacted topic: of every key, a value no older than the last acked one is there, and nothing is moved.
pub fn check_compacted(address: &str, plan: &Plan, history: &History) -> Result<usize, String> {
    let keys = plan.keys.ok_or("a compacted topic has keys")?;
    let mut findings = Findings::default();
    let mut records = 0;
    let mut acked_at: HashMap<Id, (i32, i64)> = HashMap::new();
    let mut last_acked: HashMap<String, Id> = HashMap::new();
    let mut sent: HashMap<Id, i32> = HashMap::new();
    for batch in history.sent.values().flatten() {
        for n in 0..RECORDS_PER_BATCH as u64 {
            let id = Id { number: batch.first.number + n, ..batch.first };
            sent.insert(id, batch.partition);
            if let Some(base) = batch.acked {
                acked_at.insert(id, (batch.partition, base + n as i64));
                let newest = last_acked.entry(key_of(id, batch.partition, keys)).or_insert(id);
                *newest = id.max(*newest);
            }
        }
    }
    let mut newest: HashMap<String, Id> = HashMap::new();
    for partition in 0..plan.partitions {
        let mut before = -1;
        for Found { id, offset } in read_partition(address, plan, partition, false)? {
            records += 1;
            if offset <= before {
                findings.add(format!("reordered: offset {offset} after {before} in partition {partition}"));
            }
            before = offset;
            if sent.get(&id) != Some(&partition) {
                findings.add(format!("phantom: {id:?} at {partition}/{offset}"));
            }
            if acked_at.get(&id).is_some_and(|at| *at != (partition, offset)) {
                findings.add(format!("misplaced: {id:?} acked at {:?}, is at {partition}/{offset}", acked_at[&id]));
            }
            let last = newest.entry(key_of(id, partition, keys)).or_insert(id);
            if id < *last {
                findings.add(format!("reordered: {id:?} at {partition}/{offset} after {last:?} of the same key"));
            }
            *last = id;
        }
    }
    for (key, id) in last_acked {
        match newest.get(&key) {
            None => findings.add(format!("lost: key {key}, last acked {id:?} at {:?}", acked_at[&id])),
            Some(found) if *found < id => {
                findings.add(format!("lost: key {key} is back at {found:?}, last acked {id:?}"))
            }
            Some(_) => {}
        }
    }
    conclude(findings).map(|()| records)
}

fn conclude(findings: Findings) -> Result<(), String> {
    if findings.counts.is_empty() {
        Ok(())
    } else {
        let counts: Vec<String> = findings.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        Err(format!("{}: {}", counts.join(", "), findings.shown.join("; ")))
    }
}
