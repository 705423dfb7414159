//! Reads a partition's folder while no node has it: what lies there, and whether it is whole. Changes nothing.
//!
//! Checked: the chain of batches of each `.log` (size, magic, CRC-32C, offsets that grow), on demand the records inside;
//! that each entry of `.index` points at a batch that ends at its offset; that `.timeindex` grows and stays inside its
//! segment. Not checked: producers' sequences, and whether records should be there at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use batch::{BatchView, Inflated};
use storage::{FileName, SegmentFileKind, SegmentId, Stage};
use types::limits::INFLATED_BATCH_BYTES_MAX;

/// What was found in a folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionReport {
    /// Its segments, by offset.
    pub segments: Vec<SegmentReport>,
    /// The text of `partition.metadata`'s `topic_id`, if it is there.
    pub topic_id: Option<String>,
    /// Files on their way out or in (`.deleted`, `.cleaned`, `.swap`), by name.
    pub leftovers: Vec<String>,
    /// Names that no version of Kafka or Ringlog would write.
    pub strangers: Vec<String>,
}

impl PartitionReport {
    /// Every fault, with the file that has it.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.segments.iter().flat_map(|segment| &segment.faults)
    }
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentReport {
    /// The offset in its name.
    pub base_offset: i64,
    /// Size of its `.log`.
    pub bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records that their headers count.
    pub records: u64,
    /// Offset after the last batch; the base offset when there is none.
    pub end_offset: i64,
    /// Smallest and largest of the batches' timestamps, in milliseconds since 1970.
    pub timestamps_ms: Option<(i64, i64)>,
    /// Batches by codec.
    pub codecs: BTreeMap<&'static str, u64>,
    /// Entries of `.index`.
    pub index_entries: u64,
    /// Entries of `.timeindex`.
    pub time_index_entries: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Something wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Name of the file.
    pub file: String,
    /// Where in it.
    pub position: u64,
    /// What.
    pub reason: String,
    /// Bytes from there to the end that cannot be used because of it; 0 for a fault of an index.
    pub bytes_unusable: u64,
}

/// One batch, as `log inspect --batches` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchRow {
    /// Where it begins in its `.log`.
    pub position: u64,
    /// Its first offset.
    pub base_offset: i64,
    /// Its last offset.
    pub last_offset: i64,
    /// Records that its header counts.
    pub records: i32,
    /// Its size.
    pub bytes: u32,
    /// Its codec's name.
    pub codec: &'static str,
    /// Its largest timestamp, in milliseconds since 1970.
    pub max_timestamp_ms: i64,
    /// The epoch of the leader that took it.
    pub leader_epoch: Option<i32>,
    /// Its idempotent producer: id, epoch, first sequence.
    pub producer: Option<(i64, i16, Option<i32>)>,
    /// It belongs to a transaction.
    pub transactional: bool,
    /// It holds a marker, not records of users.
    pub control: bool,
}

/// Reads a partition's folder; `on_batch` sees every whole batch with its segment's base offset.
///
/// # Errors
/// A folder or file that cannot be read. What is in a file is never an error, but a fault of the report.
pub fn partition(
    folder: &Path,
    with_records: bool,
    on_batch: &mut dyn FnMut(i64, &BatchRow),
) -> io::Result<PartitionReport> {
    let mut report = PartitionReport::default();
    let mut segments: BTreeMap<SegmentId, Vec<SegmentFileKind>> = BTreeMap::new();
    let mut names: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        match FileName::parse(&name) {
            Some(FileName::Segment(file)) if file.stage == Stage::Live => {
                segments.entry(file.segment).or_default().push(file.kind);
            }
            Some(FileName::Segment(_)) => report.leftovers.push(name),
            Some(FileName::PartitionMetadata) => report.topic_id = topic_id(folder, &name),
            Some(_) => {}
            // Kafka's producer snapshots, and what only the metadata log has.
            None if name.ends_with(".snapshot") || name.ends_with(".checkpoint") || name == "quorum-state" => {}
            None => report.strangers.push(name),
        }
    }
    for (segment, kinds) in segments {
        report.segments.push(inspect_segment(folder, segment, &kinds, with_records, on_batch)?);
    }
    for at in 1..report.segments.len() {
        let (base, end) = (report.segments[at].base_offset, report.segments[at - 1].end_offset);
        if base < end {
            let file = FileName::log(SegmentId::new(offset(base))).to_string();
            let reason = format!("begins at offset {base}, but the segment before it reaches {end}");
            report.segments[at].faults.push(Fault { file, position: 0, reason, bytes_unusable: 0 });
        }
    }
    Ok(report)
}

fn offset(value: i64) -> types::Offset {
    types::Offset::from_wire(value).unwrap_or(types::Offset::ZERO)
}

fn topic_id(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"))?;
    Some(id.trim().to_owned())
}

fn inspect_segment(
    folder: &Path,
    segment: SegmentId,
    kinds: &[SegmentFileKind],
    with_records: bool,
    on_batch: &mut dyn FnMut(i64, &BatchRow),
) -> io::Result<SegmentReport> {
    let base = segment.base_offset().value();
    let mut report = SegmentReport { base_offset: base, end_offset: base, ..SegmentReport::default() };
    let name = |kind| FileName::live(segment, kind).to_string();
    // Where each batch begins, by its last offset: what index entries must agree with.
    let mut begins: BTreeMap<i64, u64> = BTreeMap::new();
    if kinds.contains(&SegmentFileKind::Log) {
        let file = name(SegmentFileKind::Log);
        inspect_log(&folder.join(&file), &file, with_records, &mut report, &mut |row| {
            begins.insert(row.last_offset, row.position);
            on_batch(base, row);
        })?;
    } else {
        let reason = "is missing, though an index of it is there".to_owned();
        report.faults.push(Fault { file: name(SegmentFileKind::Log), position: 0, reason, bytes_unusable: 0 });
    }
    if kinds.contains(&SegmentFileKind::OffsetIndex) {
        let file = name(SegmentFileKind::OffsetIndex);
        let entries = entries::<8>(&fs::read(folder.join(&file))?);
        report.index_entries = entries.len() as u64;
        for (at, entry) in entries.iter().enumerate() {
            let last = base + i64::from(u32_at(entry, 0));
            let position = u64::from(u32_at(entry, 4));
            if begins.get(&last) != Some(&position) {
                let reason =
                    format!("says that the batch ending at offset {last} begins at {position}, where none does");
                report.faults.push(Fault { file: file.clone(), position: at as u64 * 8, reason, bytes_unusable: 0 });
            }
        }
    }
    if kinds.contains(&SegmentFileKind::TimeIndex) {
        let file = name(SegmentFileKind::TimeIndex);
        let entries = entries::<12>(&fs::read(folder.join(&file))?);
        report.time_index_entries = entries.len() as u64;
        let mut before = (i64::MIN, -1);
        for (at, entry) in entries.iter().enumerate() {
            let time = (i64::from(u32_at(entry, 0)) << 32) | i64::from(u32_at(entry, 4));
            let last = base + i64::from(u32_at(entry, 8));
            let mut fault = |reason: String| {
                report.faults.push(Fault { file: file.clone(), position: at as u64 * 12, reason, bytes_unusable: 0 });
            };
            if (time, last) < before {
                fault(format!("goes back to time {time} at offset {last}"));
            }
            if last >= report.end_offset && report.batches > 0 {
                fault(format!("names offset {last}, at or beyond the segment's end {}", report.end_offset));
            }
            before = (time, last);
        }
    }
    Ok(report)
}

/// Index entries up to the zeros that Kafka fills an index in use up with.
fn entries<const BYTES: usize>(file: &[u8]) -> Vec<[u8; BYTES]> {
    let mut entries: Vec<[u8; BYTES]> = file.as_chunks::<BYTES>().0.to_vec();
    while entries.last().is_some_and(|entry| entry.iter().all(|byte| *byte == 0)) {
        entries.pop();
    }
    entries
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

fn inspect_log(
    path: &Path,
    file: &str,
    with_records: bool,
    report: &mut SegmentReport,
    on_batch: &mut dyn FnMut(&BatchRow),
) -> io::Result<()> {
    let log = File::open(path)?;
    report.bytes = log.metadata()?.len();
    let mut log = BufReader::with_capacity(1 << 20, log);
    let mut position = 0;
    let mut bytes = Vec::new();
    while position < report.bytes {
        let remain = report.bytes - position;
        let reason = match read_batch(&mut log, remain, &mut bytes)? {
            Ok(()) => match take_batch(&bytes, position, with_records, report) {
                Ok(row) => {
                    on_batch(&row);
                    position += u64::from(row.bytes);
                    continue;
                }
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        report.faults.push(Fault { file: file.to_owned(), position, reason, bytes_unusable: remain });
        break;
    }
    Ok(())
}

/// Reads the next batch whole into `bytes`, or says why there is none.
fn read_batch(log: &mut impl Read, remain: u64, bytes: &mut Vec<u8>) -> io::Result<Result<(), String>> {
    let overhead = types::limits::BATCH_OVERHEAD_BYTES as u64;
    if remain < overhead {
        return Ok(Err(format!("{remain} bytes are too few for a batch")));
    }
    bytes.clear();
    log.by_ref().take(overhead).read_to_end(bytes)?;
    let size = match BatchView::peek_size(bytes) {
        Ok(Some(size)) => size as u64,
        Ok(None) => return Ok(Err("the file ends inside a batch".to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    if size > remain {
        return Ok(Err(format!("batch of {size} bytes, only {remain} are there")));
    }
    log.by_ref().take(size - overhead).read_to_end(bytes)?;
    Ok(Ok(()))
}

fn take_batch(bytes: &[u8], position: u64, with_records: bool, report: &mut SegmentReport) -> Result<BatchRow, String> {
    let view = batch::check(bytes).map_err(|error| error.to_string())?;
    let info = view.info();
    let (base, last) = (info.base_offset.value(), info.last_offset().value());
    if base < report.end_offset {
        return Err(format!("batch of offsets {base} to {last} follows offset {}", report.end_offset - 1));
    }
    if with_records {
        let inflated = Inflated::new(&view, INFLATED_BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
        for record in inflated.records() {
            record.map_err(|error| format!("batch at offset {base}: {error}"))?;
        }
    }
    let (from, to) = (info.base_timestamp.millis(), info.max_timestamp.millis());
    let (earliest, latest) = report.timestamps_ms.unwrap_or((from, to));
    report.timestamps_ms = Some((earliest.min(from), latest.max(to)));
    report.batches += 1;
    report.records += u64::try_from(info.records).unwrap_or(0);
    report.end_offset = last + 1;
    *report.codecs.entry(info.codec.name()).or_default() += 1;
    Ok(BatchRow {
        position,
        base_offset: base,
        last_offset: last,
        records: info.records,
        bytes: info.size_bytes,
        codec: info.codec.name(),
        max_timestamp_ms: to,
        leader_epoch: info.leader_epoch.map(types::LeaderEpoch::value),
        producer: info.producer.map(|producer| {
            (producer.id.value(), producer.epoch.value(), producer.base_sequence.map(types::Sequence::value))
        }),
        transactional: info.transactional,
        control: info.control,
    })
}

#[cfg(test)]
mod tests {
    use batch::{BatchBuilder, Codec};
    use expect_test::{Expect, expect};
    use types::{LeaderEpoch, Offset, Timestamp};

    use super::*;

    fn batch_of(offset: i64, records: i64, codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        for at in 0..records {
            builder.append(Timestamp::from_millis(1000 + offset + at), Some(b"key"), Some(b"some value"), &[]);
        }
        builder.build(Offset::new(offset), LeaderEpoch::new(3)).to_vec()
    }

    /// Writes `files` into a folder, reads it, prints report and batches, removes the folder.
    fn check(test: &str, files: &[(&str, Vec<u8>)], expected: Expect) {
        let folder = std::env::temp_dir().join(format!("ringlog-inspect-{}-{test}", std::process::id()));
        fs::create_dir_all(&folder).expect("made");
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).expect("written");
        }
        let mut out = String::new();
        let report = partition(&folder, true, &mut |segment, row| {
            out.push_str(&format!(
                "{segment}@{}: {}..={} {} records {} epoch {:?}\n",
                row.position, row.base_offset, row.last_offset, row.records, row.codec, row.leader_epoch
            ));
        });
        fs::remove_dir_all(&folder).expect("removed");
        let report = report.expect("read");
        for segment in &report.segments {
            out.push_str(&format!(
                "segment {} to {}: {} batches, {} records, {}+{} index entries\n",
                segment.base_offset,
                segment.end_offset,
                segment.batches,
                segment.records,
                segment.index_entries,
                segment.time_index_entries
            ));
        }
        for fault in report.faults() {
            let Fault { file, position, reason, bytes_unusable } = fault;
            out.push_str(&format!("fault {file}@{position}: {reason} ({bytes_unusable} bytes)\n"));
        }
        out.push_str(&format!("{:?} {:?} {:?}\n", report.topic_id, report.leftovers, report.strangers));
        expected.assert_eq(&out);
    }

    const LOG: &str = "00000000000000000000.log";
    const INDEX: &str = "00000000000000000000.index";
    const TIME_INDEX: &str = "00000000000000000000.timeindex";

    #[test]
    fn a_whole_partition_has_no_faults() {
        let first = batch_of(0, 3, Codec::None);
        let second_at = (first.len() as u32).to_be_bytes();
        let log = [first, batch_of(3, 2, Codec::Zstd)].concat();
        let index = [[0, 0, 0, 4], second_at, [0; 4], [0; 4]].concat();
        let time_index = [&1004_i64.to_be_bytes()[..], &4_u32.to_be_bytes()].concat();
        check(
            "whole",
            &[
                (LOG, log),
                (INDEX, index),
                (TIME_INDEX, time_index),
                ("00000000000000000005.log", batch_of(7, 1, Codec::Lz4)),
                ("00000000000000000000.log.deleted", Vec::new()),
                ("partition.metadata", b"version: 0\ntopic_id: abc\n".to_vec()),
                ("leader-epoch-checkpoint", b"0\n0\n".to_vec()),
                ("note.txt", Vec::new()),
            ],
            expect![[r#"
                0@0: 0..=2 3 records none epoch Some(3)
                0@121: 3..=4 2 records zstd epoch Some(3)
                5@0: 7..=7 1 records lz4 epoch Some(3)
                segment 0 to 5: 2 batches, 5 records, 1+1 index entries
                segment 5 to 8: 1 batches, 1 records, 0+0 index entries
                Some("abc") ["00000000000000000000.log.deleted"] ["note.txt"]
            "#]],
        );
    }

    #[test]
    fn a_torn_tail_is_found_at_its_position() {
        let mut log = [batch_of(0, 1, Codec::None), batch_of(1, 1, Codec::None)].concat();
        log.truncate(log.len() - 5);
        check(
            "torn",
            &[(LOG, log)],
            expect![[r#"
            0@0: 0..=0 1 records none epoch Some(3)
            segment 0 to 1: 1 batches, 1 records, 0+0 index entries
            fault 00000000000000000000.log@81: batch of 81 bytes, only 76 are there (76 bytes)
            None [] []
        "#]],
        );
    }

    #[test]
    fn a_flipped_bit_is_a_checksum_fault() {
        let mut log = [batch_of(0, 1, Codec::None), batch_of(1, 1, Codec::None)].concat();
        *log.last_mut().expect("bytes") ^= 1;
        check(
            "flipped",
            &[(LOG, log)],
            expect![[r#"
            0@0: 0..=0 1 records none epoch Some(3)
            segment 0 to 1: 1 batches, 1 records, 0+0 index entries
            fault 00000000000000000000.log@81: batch checksum is 0x9808ed1e, its bytes give 0x6a636e1d (81 bytes)
            None [] []
        "#]],
        );
    }

    #[test]
    fn offsets_that_go_back_and_indexes_that_lie_are_faults() {
        let log = [batch_of(5, 1, Codec::None), batch_of(5, 1, Codec::None)].concat();
        let index = [[0, 0, 0, 9], [0, 0, 0, 1]].concat();
        let time_index = [&1004_i64.to_be_bytes()[..], &90_u32.to_be_bytes()].concat();
        check(
            "lies",
            &[(LOG, log), (INDEX, index), (TIME_INDEX, time_index), ("00000000000000000002.index", Vec::new())],
            expect![[r#"
                0@0: 5..=5 1 records none epoch Some(3)
                segment 0 to 6: 1 batches, 1 records, 1+1 index entries
                segment 2 to 2: 0 batches, 0 records, 0+0 index entries
                fault 00000000000000000000.log@81: batch of offsets 5 to 5 follows offset 5 (81 bytes)
                fault 00000000000000000000.index@0: says that the batch ending at offset 9 begins at 1, where none does (0 bytes)
                fault 00000000000000000000.timeindex@0: names offset 90, at or beyond the segment's end 6 (0 bytes)
                fault 00000000000000000002.log@0: is missing, though an index of it is there (0 bytes)
                fault 00000000000000000002.log@0: begins at offset 2, but the segment before it reaches 6 (0 bytes)
                None [] []
            "#]],
        );
    }

    #[test]
    fn garbage_is_a_fault_whatever_it_says() {
        for bytes in [vec![0xff; 100], vec![0; 100], vec![0x7f; 20], vec![1]] {
            let folder = std::env::temp_dir().join(format!("ringlog-inspect-{}-{}", std::process::id(), bytes.len()));
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join(LOG), &bytes).expect("written");
            let report = partition(&folder, true, &mut |_, _| panic!("no batch is there"));
            fs::remove_dir_all(&folder).expect("removed");
            let report = report.expect("read");
            assert_eq!(report.faults().map(|fault| fault.bytes_unusable).sum::<u64>(), bytes.len() as u64);
        }
    }
}
