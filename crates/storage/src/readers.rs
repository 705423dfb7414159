//! Readers behind the tail: what a look-up costs them, and that it finds the right batch whatever became of the log since
//! the one before.

use batch::BatchView;
use types::Offset;

use crate::harness::*;
use crate::random::Random;
use crate::read::{ReadRange, ReadStep};
use crate::*;

/// A read's slice, and the bytes that it had to look at to find it.
fn find(host: &Host, start: Offset) -> (Option<Slice>, Vec<(FileName, usize)>) {
    let end = host.log.offsets().visible;
    let range = ReadRange { start, end, bytes_max: 1, at_least_one: true };
    let mut step = host.log.read(&range).unwrap();
    let mut looked = Vec::new();
    loop {
        step = match step {
            ReadStep::Empty => return (None, looked),
            ReadStep::Slice(slice) => return (Some(slice), looked),
            ReadStep::Scan(scan) => {
                looked.push((scan.file, scan.bytes));
                assert!(looked.len() < 10_000, "a read without end");
                let content = &host.dir.files[&scan.file.to_string()];
                let from = (scan.position as usize).min(content.len());
                let bytes = &content[from..content.len().min(from + scan.bytes)];
                host.log.resume_read(&range, scan, bytes).unwrap()
            }
        };
    }
}

/// Every batch of the log, by walking its files: (file, position, base offset, last offset).
fn batches(host: &Host) -> Vec<(FileName, u64, Offset, Offset)> {
    let mut found = Vec::new();
    for segment in host.log.segments() {
        let file = FileName::log(segment.id);
        let Some(content) = host.dir.files.get(&file.to_string()) else { continue };
        let mut position = 0;
        while position < segment.bytes {
            let info = BatchView::parse_header(&content[position as usize..]).unwrap();
            found.push((file, position, info.base_offset, info.last_offset()));
            position += u64::from(info.size_bytes);
        }
    }
    found
}

fn check(host: &Host, truth: &[(FileName, u64, Offset, Offset)], start: Offset) {
    let expected =
        truth.iter().find(|(.., last)| start <= *last).map(|&(file, position, base, _)| (file, position, base));
    let (slice, _) = find(host, start);
    assert_eq!(slice.map(|slice| (slice.file, slice.position, slice.base_offset)), expected, "from {start}");
}

#[test]
fn a_reader_from_the_beginning_looks_at_one_header_a_fetch_where_batches_are_large() {
    let mut host = Host::new(LogConfig { segment_bytes: 4_000_000, ..LogConfig::default() });
    for _ in 0..1000 {
        host.write(produced(4, 4_000, 5, None));
    }
    host.close();
    let (host, _) = host.reopen(LastStop::PowerLost).unwrap();
    let truth = batches(&host);
    assert!(truth.len() == 1000 && host.log.segments().len() == 5);
    let (mut headers, mut bytes) = (0, 0);
    for &(file, position, base, _) in &truth {
        let (slice, looked) = find(&host, base);
        assert_eq!(slice.map(|slice| (slice.file, slice.position)), Some((file, position)));
        headers += looked.iter().filter(|(file, _)| file.to_string().ends_with(".log")).count();
        bytes += looked.iter().map(|(_, bytes)| bytes).sum::<usize>();
    }
    assert!(headers <= 1020, "{headers} reads of the log for 1000 fetches");
    assert!(bytes < 1000 * 150, "{bytes} bytes looked at for 1000 fetches");
}

#[test]
fn readers_find_their_batch_whatever_happened_since_their_last_look_up() {
    let compacts = CleanupPolicy { delete: true, compact: true };
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut host = Host::new(LogConfig {
            segment_bytes: 150_000,
            index_interval_bytes: 500,
            cleanup_policy: if seed % 2 == 0 { compacts } else { CleanupPolicy { delete: true, compact: false } },
            min_cleanable_dirty_ratio_permille: 0,
            file_delete_delay_ms: 0,
            retention_bytes: Some(900_000),
            ..LogConfig::default()
        });
        let mut readers = vec![Offset::ZERO; 4];
        for round in 0..250 {
            let (now, end) = (host.now(), host.log.offsets().visible);
            match random.below(12) {
                0 => host.pass(70_000),
                1 => drop(host.clean()),
                2 => drop(host.log.apply_retention(now, end)),
                3 if random.one_in(4) => {
                    let start = host.log.offsets().log_start;
                    let to = start.plus(random.below(end.records_since(start) as usize + 1) as i64);
                    host.log.delete_records(now, to).unwrap();
                }
                4 if random.one_in(4) => {
                    host.close();
                    let stop = if random.one_in(2) { LastStop::PowerLost } else { LastStop::ProcessDied };
                    host = host.reopen(stop).unwrap().0;
                }
                5 if random.one_in(3) => {
                    host.fail = Some(("write 0".to_owned(), IoFault::DISK_FULL));
                    host.append(produced(2, 10, 5, None), 1).unwrap();
                    host.settle();
                    host.fail = None;
                    let epoch = host.epoch().next();
                    host.log.set_leader_epoch(now, epoch).unwrap();
                }
                _ => {
                    let large = if random.one_in(3) { 12_000 } else { 60 };
                    let records: Vec<KeyValue> = (0..1 + random.below(5))
                        .map(|_| (Some(vec![random.below(40) as u8]), Some(vec![7; 1 + random.below(large)])))
                        .collect();
                    host.write(keyed(&records, i64::from(round), None));
                }
            }
            host.settle();
            let truth = batches(&host);
            let offsets = host.log.offsets();
            for reader in &mut readers {
                if random.one_in(10) || *reader < offsets.log_start || offsets.visible <= *reader {
                    let records = offsets.visible.records_since(offsets.log_start) as usize;
                    *reader = offsets.log_start.plus(random.below(records + 1) as i64);
                }
                for _ in 0..6 {
                    check(&host, &truth, *reader);
                    let Some(&(.., last)) = truth.iter().find(|(.., last)| *reader <= *last) else { break };
                    *reader = last.plus(1);
                }
            }
        }
    }
}
