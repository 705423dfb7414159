//! The log as a whole, on a folder in memory.

use batch::Producer;
use types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};

use crate::harness::*;
use crate::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

fn producer(id: i64, epoch: i16, sequence: i32) -> Option<Producer> {
    Some(Producer {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Some(Sequence::new(sequence)),
    })
}

fn filled(config: LogConfig, batches: usize) -> Host {
    let mut host = Host::new(config);
    for i in 0..batches {
        host.now_ms += 10;
        let ms = host.now_ms as i64;
        host.write(produced(1 + i % 3, 40, ms, None));
    }
    host
}

#[test]
fn first_append_makes_the_file_and_says_where_the_batch_is() {
    let mut host = Host::new(LogConfig { topic_id: Some(TopicId::CLUSTER_METADATA), ..LogConfig::default() });
    assert!(host.log.poll_effect().is_none());
    host.append(produced(3, 10, 5, None), 7).unwrap();
    host.settle();
    assert_eq!(host.trace[0], "create 00000000000000000000.log");
    let metadata = &host.dir.files["partition.metadata"];
    assert_eq!(metadata, b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n");
    let appended =
        LogEvent::Appended { tag: 7, base_offset: Offset::ZERO, last_offset: Offset::new(2), log_append_time: None };
    assert!(host.take_events().contains(&appended));
    assert_eq!(host.log.offsets().visible, Offset::new(3));
    assert_eq!(host.log.offsets().durable, Offset::ZERO);
}

#[test]
fn batches_of_a_turn_share_one_write_and_later_ones_the_next() {
    let mut host = filled(LogConfig::default(), 1);
    host.trace.clear();
    for tag in 0..5 {
        host.append(produced(1, 10, 5, None), tag).unwrap();
    }
    let effect = host.log.poll_effect().unwrap();
    host.append(produced(1, 10, 5, None), 5).unwrap();
    host.append(produced(1, 10, 5, None), 6).unwrap();
    assert!(host.log.poll_effect().is_none(), "one write in flight");
    let (now, result) = (host.now(), host.execute(&effect));
    host.log.on_done(now, effect.op(), result);
    host.settle();
    assert_eq!(host.trace.iter().filter(|text| text.starts_with("write 0")).count(), 2, "{:?}", host.trace);
    assert_eq!(host.read_all().len(), 1 + 7);
}

#[test]
fn everything_written_is_read_back_across_segments() {
    let host = filled(small(), 100);
    assert!(5 < host.log.segments().len());
    let records = host.read_all();
    assert_eq!(records.len(), host.log.offsets().visible.value() as usize);
    for (expected, (offset, _)) in (0..).zip(&records) {
        assert_eq!(expected, *offset);
    }
    // Every start, also inside batches and at segment borders, in old and recent ones.
    let end = host.log.offsets().visible;
    for start in 0..end.value() {
        assert_eq!(host.read_from(Offset::new(start), end)[..], records[start as usize..]);
    }
}

#[test]
fn a_read_ends_at_a_batch_boundary_below_its_end() {
    let host = filled(LogConfig { segment_bytes: 20_000, index_interval_bytes: 200, ..LogConfig::default() }, 300);
    for end in [1, 5, 100, 300, 500] {
        for start in [0, 3, end / 2, end - 1] {
            let range = ReadRange {
                start: Offset::new(start),
                end: Offset::new(end),
                bytes_max: 1_000_000,
                at_least_one: true,
            };
            let bytes = host.fetch(&range).unwrap();
            let mut rest = &bytes[..];
            let mut last = None;
            while !rest.is_empty() {
                let view = batch::check(rest).unwrap();
                last = Some(view.last_offset());
                rest = &rest[view.size_bytes()..];
            }
            assert!(last.is_none_or(|last| last < Offset::new(end)), "{start} {end} {last:?}");
        }
    }
}

#[test]
fn offsets_outside_the_log_are_out_of_range_and_its_end_is_empty() {
    let mut host = filled(small(), 40);
    let end = host.log.offsets().written;
    let now = host.now();
    host.log.delete_records(now, Offset::new(7)).unwrap();
    host.settle();
    let read = |start: Offset| host.log.read(&ReadRange { start, end, bytes_max: 100, at_least_one: true });
    assert!(read(Offset::new(6)).is_err());
    assert!(read(end.plus(1)).is_err());
    assert_eq!(read(end), Ok(ReadStep::Empty));
    assert_ne!(read(Offset::new(7)), Ok(ReadStep::Empty));
}

#[test]
fn failed_append_rolls_back_and_refuses_until_a_higher_epoch() {
    let mut host = filled(LogConfig::default(), 2);
    let end = host.log.offsets().written;
    host.fail = Some(("write 0".to_owned(), IoFault::DISK_FULL));
    host.append(produced(2, 10, 5, producer(1, 0, 0)), 1).unwrap();
    host.append(produced(2, 10, 5, producer(1, 0, 2)), 2).unwrap();
    host.take_events();
    host.settle();
    let failed: Vec<u64> = host
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            LogEvent::AppendFailed { tag, .. } => Some(tag),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [1, 2]);
    host.fail = None;
    assert!(host.trace.iter().any(|text| text.starts_with("truncate")));
    let fault = host.append(produced(2, 10, 5, producer(1, 0, 0)), 3).unwrap_err();
    assert!(matches!(fault, AppendFault::AwaitsNewEpoch { .. }), "{fault}");
    let now = host.now();
    assert!(host.log.set_leader_epoch(now, LeaderEpoch::ZERO).is_err());
    host.log.set_leader_epoch(now, LeaderEpoch::new(1)).unwrap();
    // The window is what it was: sequence 0 again is new.
    assert_eq!(host.write(produced(2, 10, 5, producer(1, 0, 0))), end);
    assert_eq!(host.log.end_offset_for_epoch(LeaderEpoch::ZERO).unwrap().end_offset, end);
}

#[test]
fn device_fault_and_failed_fsync_poison() {
    for (key, fault) in [("write 0", IoFault::DEVICE), ("sync 0", IoFault::DISK_FULL)] {
        let mut host = filled(LogConfig { flush_messages: Some(1), ..LogConfig::default() }, 1);
        host.fail = Some((key.to_owned(), fault));
        host.append(produced(1, 10, 5, None), 1).unwrap();
        host.settle();
        let events = host.take_events();
        assert!(events.iter().any(|event| matches!(event, LogEvent::Poisoned { .. })), "{key}");
        assert!(events.contains(&LogEvent::AppendFailed { tag: 1, fault }), "{key}");
        let now = host.now();
        assert!(host.log.set_leader_epoch(now, LeaderEpoch::new(5)).is_err());
    }
}

#[test]
fn durable_mode_waits_for_fsync_and_one_fsync_serves_many() {
    let mut host = filled(LogConfig { flush_messages: Some(1), ..LogConfig::default() }, 1);
    host.take_events();
    for tag in 0..20 {
        host.append(produced(1, 10, 5, None), tag).unwrap();
    }
    let write = host.log.poll_effect().unwrap();
    let (now, result) = (host.now(), host.execute(&write));
    host.log.on_done(now, write.op(), result);
    assert_eq!(host.log.offsets().visible, Offset::new(1));
    assert!(!host.take_events().iter().any(|event| matches!(event, LogEvent::Appended { .. })));
    host.trace.clear();
    host.settle();
    assert_eq!(host.trace.iter().filter(|text| text.starts_with("sync 0")).count(), 1);
    assert_eq!(host.take_events().iter().filter(|event| matches!(event, LogEvent::Appended { .. })).count(), 20);
    assert_eq!(host.log.offsets().visible, Offset::new(21));
}

#[test]
fn flush_settings_bound_unsynced_records() {
    let mut host = filled(LogConfig { flush_messages: Some(10), ..LogConfig::default() }, 1);
    for _ in 0..30 {
        host.write(produced(1, 10, 5, None));
        let offsets = host.log.offsets();
        assert!(offsets.written.records_since(offsets.durable) < 10);
    }
    let mut host = filled(LogConfig { flush_ms: Some(50), ..LogConfig::default() }, 1);
    assert!(host.log.next_deadline_ns().unwrap() <= (host.now_ms + 50) * 1_000_000);
    host.pass(50);
    assert_eq!(host.log.offsets().durable, host.log.offsets().written);
}

#[test]
fn duplicates_get_the_originals_offsets_also_while_in_flight() {
    let mut host = Host::new(LogConfig::default());
    host.append(produced(2, 10, 5, producer(1, 0, 0)), 1).unwrap();
    assert_eq!(host.append(produced(2, 10, 5, producer(1, 0, 0)), 2), Ok(Admission::AwaitsOriginal));
    host.append(produced(2, 10, 5, producer(1, 0, 2)), 3).unwrap();
    host.settle();
    let appended: Vec<(u64, i64)> = host
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            LogEvent::Appended { tag, base_offset, .. } => Some((tag, base_offset.value())),
            _ => None,
        })
        .collect();
    assert_eq!(appended, [(1, 0), (2, 0), (3, 2)]);
    let again = host.append(produced(2, 10, 5, producer(1, 0, 2)), 4).unwrap();
    let (base_offset, last_offset) = (Offset::new(2), Offset::new(3));
    assert_eq!(again, Admission::Duplicate { base_offset, last_offset, log_append_time: None });
    assert_eq!(host.read_all().len(), 4);
}

#[test]
fn sequences_follow_kafkas_table() {
    let mut host = Host::new(LogConfig::default());
    // Never seen: any first sequence.
    host.write(produced(2, 10, 5, producer(1, 3, i32::MAX - 1)));
    // Wraps to 0.
    host.write(produced(2, 10, 5, producer(1, 3, 0)));
    let gap = host.append(produced(1, 10, 5, producer(1, 3, 3)), 0).unwrap_err();
    assert!(matches!(gap, AppendFault::OutOfOrderSequence { .. }));
    let old = host.append(produced(1, 10, 5, producer(1, 2, 0)), 0).unwrap_err();
    assert!(matches!(old, AppendFault::InvalidProducerEpoch { .. }));
    let not_zero = host.append(produced(1, 10, 5, producer(1, 4, 2)), 0).unwrap_err();
    assert!(matches!(not_zero, AppendFault::OutOfOrderSequence { .. }));
    host.write(produced(1, 10, 5, producer(1, 4, 0)));
    for sequence in 1..=5 {
        host.write(produced(1, 10, 5, producer(1, 4, sequence)));
    }
    // Sequence 0 has left the window of five.
    let left = host.append(produced(1, 10, 5, producer(1, 4, 0)), 0).unwrap_err();
    assert!(matches!(left, AppendFault::OutOfOrderSequence { .. }));
    let inside = host.append(produced(1, 10, 5, producer(1, 4, 1)), 0).unwrap();
    assert!(matches!(inside, Admission::Duplicate { .. }));
    // Silent for longer than a day: forgotten, any sequence is taken.
    host.now_ms += 2 * 24 * 3600 * 1000;
    host.pass(0);
    host.write(produced(1, 10, 5, producer(1, 4, 77)));
}

#[test]
fn time_finds_the_first_record_that_late() {
    let mut host = Host::new(small());
    // Times go up and down.
    let times = |i: i64| 1000 + i * 10 + (i % 7) * 35;
    for i in 0..200 {
        host.write(produced(1, 60, times(i), None));
    }
    for reopened in [false, true] {
        if reopened {
            host.close();
            host = host.reopen(LastStop::ProcessDied).unwrap().0;
        }
        let end = host.log.offsets().visible;
        for at in (900..3400).step_by(13) {
            let expected = (0..200).find(|&i| at <= times(i));
            let found = host.time(host.log.lookup_time(Timestamp::from_millis(at), end));
            assert_eq!(found.map(|found| found.offset.value()), expected, "{at}");
        }
        let largest = (0..200).max_by_key(|&i| (times(i), -i)).unwrap();
        let found = host.time(host.log.lookup_max_timestamp(end)).unwrap();
        assert_eq!((found.offset.value(), found.timestamp.millis()), (largest, times(largest)));
    }
}

#[test]
fn log_append_time_is_stamped_and_told() {
    let mut host = Host::new(LogConfig { log_append_time: true, ..LogConfig::default() });
    host.append(produced(2, 10, 5, None), 1).unwrap();
    host.settle();
    let time = Some(Timestamp::from_millis(1000));
    assert!(
        host.take_events()
            .iter()
            .any(|event| matches!(event, LogEvent::Appended { log_append_time, .. } if *log_append_time == time))
    );
    let bytes = &host.dir.files["00000000000000000000.log"];
    let info = batch::check(bytes).unwrap().info();
    assert_eq!(info.max_timestamp, Timestamp::from_millis(1000));
}

#[test]
fn a_segment_rolls_by_time_of_its_first_batch() {
    let mut host = Host::new(LogConfig { segment_ms: Some(100), ..LogConfig::default() });
    for ms in [1000, 1100, 1101, 1150, 1202] {
        host.write(produced(1, 10, ms, None));
    }
    let bases: Vec<i64> = host.log.segments().iter().map(|segment| segment.id.base_offset().value()).collect();
    assert_eq!(bases, [0, 2, 4]);
}

#[test]
fn clean_stop_is_opened_without_reading_the_log() {
    let mut host = filled(small(), 60);
    host.write(produced(1, 10, 5, producer(9, 1, 4)));
    let (records, offsets) = (host.read_all(), host.log.offsets());
    host.close();
    let (mut again, report) = host.reopen(LastStop::PowerLost).unwrap();
    assert!(report.clean, "{report:?}");
    assert_eq!(report.bytes_read, 0);
    assert_eq!(again.read_all(), records);
    assert_eq!(again.log.offsets().written, offsets.written);
    let duplicate = again.append(produced(1, 10, 5, producer(9, 1, 4)), 0).unwrap();
    assert!(matches!(duplicate, Admission::Duplicate { .. }));
    assert_eq!(again.write(produced(1, 10, 5, producer(9, 1, 5))), offsets.written);
    // An opened and closed log writes nothing.
    let (mut idle, _) = host.reopen(LastStop::PowerLost).unwrap();
    idle.close();
    assert_eq!(idle.trace, Vec::<String>::new());
}

#[test]
fn killed_process_loses_nothing_that_was_written() {
    let mut host = filled(small(), 60);
    host.write(produced(1, 10, 5, producer(9, 1, 4)));
    for last_stop in [LastStop::ProcessDied, LastStop::PowerLost] {
        let (mut again, report) = host.reopen(last_stop).unwrap();
        assert!(!report.clean);
        assert_eq!(report.bytes_cut, 0);
        assert!(report.bytes_read < 3000, "only past the recovery point: {report:?}");
        assert_eq!(again.read_all(), host.read_all());
        assert!(matches!(again.append(produced(1, 10, 5, producer(9, 1, 4)), 0), Ok(Admission::Duplicate { .. })));
    }
}

/// Cuts a file at every byte from `from` on, opens, and looks what is left.
fn cut_everywhere(host: &Host, name: &str, from: usize, check: impl Fn(usize, Host, RecoveryReport)) {
    let whole = host.dir.files[name].clone();
    for cut in from..whole.len() {
        let mut dir = host.dir.clone();
        dir.files.insert(name.to_owned(), whole[..cut].to_vec());
        for last_stop in [LastStop::ProcessDied, LastStop::PowerLost] {
            let (again, report) =
                host.reopen_dir(dir.clone(), last_stop).unwrap_or_else(|fault| panic!("{name} cut at {cut}: {fault}"));
            check(cut, again, report);
        }
    }
}

/// Where batches end in a log.
fn boundaries(log: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    while let Some(&at) = ends.last()
        && at < log.len()
    {
        ends.push(at + batch::check(&log[at..]).unwrap().size_bytes());
    }
    ends
}

#[test]
fn torn_log_is_cut_at_the_last_whole_batch_wherever_it_is_torn() {
    // No checkpoint, a checkpoint with a tail behind it, and one just behind a roll.
    let mut with_tail = filled(small(), 5);
    with_tail.pass(60_000);
    for _ in 0..6 {
        with_tail.write(produced(2, 100, 5, None));
    }
    let rolled = filled(LogConfig { segment_bytes: 900, ..small() }, 26);
    for host in [filled(small(), 6), with_tail, rolled] {
        let name = host.dir.files.keys().filter(|name| name.ends_with(".log")).max().unwrap().clone();
        let whole = host.dir.files[&name].clone();
        let ends = boundaries(&whole);
        let records = host.read_all();
        let recovery_point = host.log.recovery_point();
        let base: i64 = name[..20].parse().unwrap();
        // Below the recovery point nothing may be missing.
        let from = ends
            .iter()
            .copied()
            .find(|&end| {
                end == whole.len()
                    || recovery_point.value() <= batch::check(&whole[end..]).unwrap().base_offset().value().max(base)
            })
            .unwrap();
        cut_everywhere(&host, &name, from, |cut, mut again, report| {
            let kept = ends.iter().rev().find(|&&end| end <= cut).copied().unwrap();
            assert_eq!(report.bytes_cut as usize, cut - kept, "cut at {cut}");
            assert_eq!(again.dir.files[&name].len(), kept);
            let left = again.read_all();
            assert_eq!(left[..], records[..left.len()]);
            let end = again.log.offsets().written;
            assert_eq!(left.len() as i64, end.value());
            assert_eq!(again.write(produced(1, 10, 5, None)), end);
        });
    }
}

#[test]
fn below_a_log_shorter_than_its_recovery_point_is_corrupt() {
    let mut host = filled(small(), 30);
    host.close();
    for name in host.dir.files.keys().filter(|name| name.ends_with(".log")).cloned().collect::<Vec<_>>() {
        for cut in [0, 1, host.dir.files[&name].len() - 1] {
            let mut dir = host.dir.clone();
            dir.files.get_mut(&name).unwrap().truncate(cut);
            let fault = host.reopen_dir(dir, LastStop::PowerLost).err().unwrap();
            assert!(matches!(fault, RecoverFault::Corrupt { .. }), "{fault}");
        }
        let mut dir = host.dir.clone();
        dir.files.remove(&name);
        assert!(host.reopen_dir(dir.clone(), LastStop::PowerLost).is_err());
        let hints = RecoveryHints { last_stop: LastStop::PowerLost, accept_loss: true };
        assert!(host.reopen_with(dir, &hints).is_ok());
    }
}

#[test]
fn index_short_or_missing_is_rebuilt_wherever_it_is_cut() {
    let mut host = filled(small(), 50);
    host.close();
    let records = host.read_all();
    for name in host.dir.files.keys().filter(|name| name.contains("index")).cloned().collect::<Vec<_>>() {
        let whole = host.dir.files[&name].clone();
        cut_everywhere(&host, &name, 0, |_, mut again, report| {
            assert_eq!(report.indexes_rebuilt.len(), 1, "{name}");
            assert_eq!(again.read_all(), records);
            again.close();
            assert_eq!(again.dir.files[&name], whole);
        });
        let mut dir = host.dir.clone();
        dir.files.remove(&name);
        let (again, _) = host.reopen_dir(dir, LastStop::PowerLost).unwrap();
        if !whole.is_empty() {
            assert_eq!(again.dir.files[&name], whole);
        }
    }
}

#[test]
fn index_long_is_cut_and_index_lies_do_not_mislead_readers() {
    let mut host = filled(small(), 50);
    host.close();
    let records = host.read_all();
    for name in host.dir.files.keys().filter(|name| name.ends_with(".index")).cloned().collect::<Vec<_>>() {
        let mut dir = host.dir.clone();
        dir.files.get_mut(&name).unwrap().extend([0xff; 20]);
        let (again, _) = host.reopen_dir(dir, LastStop::PowerLost).unwrap();
        assert_eq!(again.dir.files[&name], host.dir.files[&name]);
        let mut dir = host.dir.clone();
        for byte in dir.files.get_mut(&name).unwrap() {
            *byte ^= 0x15;
        }
        let (again, _) = host.reopen_dir(dir, LastStop::PowerLost).unwrap();
        let end = again.log.offsets().visible;
        for start in 0..end.value() {
            assert_eq!(again.read_from(Offset::new(start), end)[..], records[start as usize..]);
        }
    }
}

#[test]
fn checkpoint_cut_anywhere_or_missing_loses_nothing() {
    let mut host = filled(small(), 30);
    host.write(produced(1, 10, 5, producer(9, 1, 4)));
    host.pass(60_000);
    host.write(produced(1, 10, 5, producer(9, 1, 5)));
    let records = host.read_all();
    cut_everywhere(&host, "ringlog.checkpoint", 0, |_, mut again, report| {
        assert_eq!(report.bytes_cut, 0);
        assert_eq!(again.read_all(), records);
        assert!(matches!(again.append(produced(1, 10, 5, producer(9, 1, 4)), 0), Ok(Admission::Duplicate { .. })));
    });
    cut_everywhere(&host, "leader-epoch-checkpoint", 0, |_, again, _| assert_eq!(again.read_all(), records));
    let mut dir = host.dir.clone();
    dir.files.remove("ringlog.checkpoint");
    assert_eq!(host.reopen_dir(dir, LastStop::ProcessDied).unwrap().0.read_all(), records);
}

#[test]
fn power_hole_is_cut_and_died_bad_is_corrupt() {
    let mut host = filled(LogConfig::default(), 4);
    host.pass(60_000);
    let recovery_point = host.dir.files["00000000000000000000.log"].len();
    for _ in 0..4 {
        host.write(produced(1, 50, 5, None));
    }
    let end = host.log.offsets().written;
    let whole = host.dir.files["00000000000000000000.log"].clone();
    for at in (recovery_point..whole.len() - 1).step_by(3) {
        let mut dir = host.dir.clone();
        let content = dir.files.get_mut("00000000000000000000.log").unwrap();
        // Leader epochs lie outside the checksum.
        let ends = boundaries(&whole);
        let batch_at = ends.iter().rev().find(|&&batch_at| batch_at <= at).unwrap();
        if (12..16).contains(&(at - batch_at)) {
            continue;
        }
        content[at] ^= 0x40;
        let (again, report) = host.reopen_dir(dir.clone(), LastStop::PowerLost).unwrap();
        assert!(report.bytes_cut != 0);
        let lost = end.records_since(again.log.offsets().written) as u64;
        assert!(report.offsets_cut.is_none_or(|told| told == lost), "{report:?}");
        let died = host.reopen_dir(dir, LastStop::ProcessDied);
        let torn_looking = at - batch_at < 12;
        assert!(died.is_err() || (torn_looking && at >= ends[ends.len() - 2]), "flipped at {at}");
    }
    // A flip below the recovery point is not seen by recovery: it is not read.
    let mut dir = host.dir.clone();
    dir.files.get_mut("00000000000000000000.log").unwrap()[70] ^= 1;
    assert!(host.reopen_dir(dir, LastStop::PowerLost).is_ok());
}

#[test]
fn blind_hole_is_corrupt_and_accept_loss_cuts_it() {
    let mut host = filled(LogConfig::default(), 10);
    host.pass(60_000);
    let mut dir = host.dir.clone();
    dir.files.get_mut("ringlog.checkpoint").unwrap().truncate(5);
    dir.files.get_mut("00000000000000000000.log").unwrap()[300] ^= 1;
    assert!(host.reopen_dir(dir.clone(), LastStop::PowerLost).is_err());
    let hints = RecoveryHints { last_stop: LastStop::PowerLost, accept_loss: true };
    let (again, report) = host.reopen_with(dir, &hints).unwrap();
    assert!(0 < report.bytes_cut);
    assert!(!again.read_all().is_empty());
}

#[test]
fn gap_between_segments_after_power_loss_is_cut() {
    let host = {
        let mut host = filled(LogConfig { segment_bytes: 900, ..small() }, 10);
        host.pass(60_000);
        // No checkpoint from here on.
        host.fail = Some(("write-file ringlog".to_owned(), IoFault::DISK_FULL));
        for _ in 0..20 {
            host.write(produced(1, 100, 5, None));
        }
        host
    };
    let bases: Vec<String> = host.dir.files.keys().filter(|name| name.ends_with(".log")).cloned().collect();
    let recovery_point = host.log.recovery_point().value();
    let lost = bases.iter().rev().nth(1).unwrap();
    assert!(recovery_point < lost[..20].parse().unwrap());
    let mut dir = host.dir.clone();
    dir.files.remove(lost);
    assert!(host.reopen_dir(dir.clone(), LastStop::ProcessDied).is_err());
    let (again, report) = host.reopen_dir(dir, LastStop::PowerLost).unwrap();
    assert!(0 < report.bytes_cut);
    let left = again.read_all();
    assert_eq!(left[..], host.read_all()[..left.len()]);
    assert_eq!(again.log.offsets().written.value(), lost[..20].parse::<i64>().unwrap());
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() {
    let mut host = filled(small(), 60);
    let now = host.now();
    host.log.delete_records(now, Offset::new(41)).unwrap();
    host.settle();
    assert!(host.take_events().contains(&LogEvent::StartMoved { log_start: Offset::new(41) }));
    let (again, _) = host.reopen(LastStop::ProcessDied).unwrap();
    assert_eq!(again.log.offsets().log_start, Offset::new(41));
    assert_eq!(again.read_all()[0].0, 41);
    let taken = host.log.apply_retention(now, Offset::new(1000));
    assert!(!taken.is_empty());
    host.settle();
    assert!(host.dir.files.keys().any(|name| name.ends_with(".deleted")));
    let (again, _) = host.reopen(LastStop::ProcessDied).unwrap();
    assert_eq!(again.read_all(), host.read_all());
    assert!(!again.dir.files.keys().any(|name| name.ends_with(".deleted")));
    host.pass(60_000);
    assert!(!host.dir.files.keys().any(|name| name.ends_with(".deleted")));
}

#[test]
fn retention_of_everything_leaves_an_empty_log_that_remembers_its_end() {
    let mut host = filled(LogConfig { retention_ms: Some(100), ..small() }, 30);
    let end = host.log.offsets().written;
    host.now_ms += 1_000_000;
    let now = host.now();
    host.log.apply_retention(now, end);
    host.settle();
    assert_eq!(host.log.offsets().log_start, end);
    assert_eq!(host.log.size_bytes(), 0);
    for last_stop in [LastStop::ProcessDied, LastStop::PowerLost] {
        let (mut again, _) = host.reopen(last_stop).unwrap();
        assert_eq!(again.log.offsets().log_start, end);
        assert_eq!(again.write(produced(1, 10, 5, None)), end);
    }
}

fn compacted() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ratio_permille: 0,
        segment_bytes: 1500,
        ..small()
    }
}

type Keyed = Vec<(i64, Vec<u8>, Option<Vec<u8>>)>;

/// Every record with its key.
fn keyed_records(host: &Host) -> Keyed {
    let mut records = Vec::new();
    let offsets = host.log.offsets();
    let mut next = offsets.log_start;
    while next < offsets.visible {
        let range = ReadRange { start: next, end: offsets.visible, bytes_max: 700, at_least_one: true };
        let bytes = host.fetch(&range).unwrap();
        if bytes.is_empty() {
            break;
        }
        let view = batch::check(&bytes).unwrap();
        for record in view.records().unwrap() {
            let record = record.unwrap();
            let offset = view.base_offset().value() + i64::from(record.offset_delta);
            let key = record.key.unwrap_or_default().to_vec();
            records.push((offset, key, record.value.map(<[u8]>::to_vec)));
        }
        next = view.last_offset().plus(1);
    }
    records
}

/// The state that a reader of the whole log ends with.
fn state(records: &Keyed) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = std::collections::BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
    }
    state
}

fn with_keys(batches: u32) -> Host {
    let mut host = Host::new(compacted());
    for i in 0..batches {
        host.now_ms += 10;
        let record = |n: u32| {
            let key = Some(format!("key-{}", (i * 7 + n * 3) % 11).into_bytes());
            (key, (!(i + n).is_multiple_of(5)).then(|| format!("value-{i}-{n}").into_bytes()))
        };
        let ms = host.now_ms as i64;
        let producer = producer(i64::from(i % 3), 0, (i / 3 * 2) as i32);
        host.write(keyed(&[record(0), record(1)], ms, producer));
    }
    host
}

#[test]
fn compaction_keeps_the_last_value_of_each_key_at_its_offset() {
    let mut host = with_keys(120);
    let before = keyed_records(&host);
    let bytes_before = host.log.size_bytes();
    let end = host.log.offsets().written;
    assert!(host.clean());
    host.settle();
    let after = keyed_records(&host);
    assert!(host.log.size_bytes() * 2 < bytes_before, "{bytes_before} {:?}", host.log.segments());
    assert_eq!(state(&after), state(&before));
    assert!(after.iter().all(|record| before.contains(record)), "nothing is moved or changed");
    assert_eq!(host.log.offsets().written, end);
    // Tombstones are still there, until their horizon has passed.
    assert!(after.iter().any(|(_, _, value)| value.is_none()));
    assert!(host.dir.files.keys().all(|name| !name.ends_with(".cleaned") && !name.ends_with(".swap")));
    assert!(!host.clean(), "nothing is dirty");

    // Half an hour of new data later the old tombstones go.
    host.now_ms += 25 * 3600 * 1000;
    for i in 0..40 {
        let ms = host.now_ms as i64;
        host.write(keyed(&[(Some(b"other".to_vec()), Some(vec![i; 30]))], ms, None));
    }
    let dirty_from = end;
    assert!(host.clean());
    host.settle();
    let last = keyed_records(&host);
    assert!(last.iter().filter(|(offset, ..)| *offset < dirty_from.value() - 20).all(|(_, _, value)| value.is_some()));

    // Sequence windows survive a restart from the log alone.
    let mut dir = host.dir.clone();
    dir.files.remove("ringlog.checkpoint");
    let (mut again, _) = host.reopen_dir(dir, LastStop::ProcessDied).unwrap();
    assert_eq!(keyed_records(&again), last);
    assert!(matches!(
        again.append(keyed(&[(None, None), (None, None)], 5, producer(2, 0, 78)), 0),
        Ok(Admission::Duplicate { .. })
    ));
}

#[test]
fn every_start_in_a_compacted_log_reads_from_the_next_record_there_is() {
    let mut host = with_keys(120);
    assert!(host.clean());
    host.settle();
    let records = host.read_all();
    let end = host.log.offsets().visible;
    for start in 0..end.value() {
        let expected: Vec<_> = records.iter().filter(|(offset, _)| start <= *offset).cloned().collect();
        assert_eq!(host.read_from(Offset::new(start), end), expected, "from {start}");
    }
}

#[test]
fn a_crash_at_every_step_of_a_swap_loses_nothing() {
    let before = with_keys(50);
    let expected = state(&keyed_records(&before));
    let end = before.log.offsets().written;
    let mut steps = 0;
    loop {
        let mut host = with_keys(50);
        assert!(host.clean());
        let mut finished = false;
        for _ in 0..steps {
            finished = !host.step();
        }
        for last_stop in [LastStop::ProcessDied, LastStop::PowerLost] {
            let (mut again, _) = host
                .reopen(last_stop)
                .unwrap_or_else(|fault| panic!("after {steps} steps {:?}: {fault}", host.trace.last()));
            assert_eq!(state(&keyed_records(&again)), expected, "after {steps} steps");
            assert_eq!(again.log.offsets().written, end);
            let left: Vec<&String> = again
                .dir
                .files
                .keys()
                .filter(|name| name.ends_with(".cleaned") || name.ends_with(".swap") || name.ends_with(".deleted"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
            // And it can go on: the rest is cleaned and nothing else changes.
            again.now_ms += 10;
            while again.clean() {
                again.settle();
            }
            assert_eq!(state(&keyed_records(&again)), expected);
            assert_eq!(again.write(produced(1, 10, 5, None)), end);
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(30 < steps, "{steps}");
}

#[test]
fn planner_waits_for_lag_ratio_and_stability() {
    use crate::compaction::{Policy, plan};
    let segment = |base: i64, largest: i64, active: bool| SegmentInfo {
        id: SegmentId::new(Offset::new(base)),
        bytes: 100,
        next_offset: Offset::new(base + 10),
        first_timestamp: Some(Timestamp::from_millis(largest)),
        largest_timestamp: Some(Timestamp::from_millis(largest)),
        active,
    };
    let segments = [segment(0, 100, false), segment(10, 200, false), segment(20, 300, false), segment(30, 400, true)];
    let policy = Policy {
        dirty_ratio_permille_min: 500,
        lag_ms_min: 0,
        lag_ms_max: None,
        clean_offset: Offset::ZERO,
        stable_offset: Offset::new(40),
    };
    let now = Timestamp::from_millis(1000);
    let to = |policy: Policy| plan(&segments, now, &policy).map(|plan| plan.dirty_to.value());
    assert_eq!(to(policy), Some(30));
    assert_eq!(to(Policy { lag_ms_min: 750, ..policy }), Some(20));
    assert_eq!(to(Policy { lag_ms_min: 950, ..policy }), None);
    assert_eq!(to(Policy { stable_offset: Offset::new(29), ..policy }), Some(20));
    assert_eq!(to(Policy { clean_offset: Offset::new(20), ..policy }), None);
    assert_eq!(to(Policy { clean_offset: Offset::new(20), lag_ms_max: Some(700), ..policy }), Some(30));
    assert_eq!(to(Policy { clean_offset: Offset::new(30), ..policy }), None);
}
