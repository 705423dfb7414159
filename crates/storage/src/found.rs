//! What the simulator has found, each as the shortest story that shows it.

use types::{LeaderEpoch, Offset};

use crate::harness::*;
use crate::*;

fn compacted() -> LogConfig {
    LogConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ratio_permille: 0,
        segment_bytes: 1500,
        index_interval_bytes: 100,
        ..LogConfig::default()
    }
}

fn batch_of(key: u8) -> bytes::BytesMut {
    keyed(&[(Some(vec![key]), Some(vec![key; 100]))], 5, None)
}

/// Writes batches of `keys` until a segment is sealed and a checkpoint covers it.
fn with_sealed_segment(config: LogConfig, keys: impl Fn(u8) -> u8) -> Host {
    let mut host = Host::new(config);
    let mut written = 0;
    while host.log.segments().len() < 3 {
        host.write(batch_of(keys(written)));
        written += 1;
    }
    host.pass(61_000);
    host
}

/// Opens the folder again and runs nothing of what recovery orders.
fn opened(host: &Host) -> Host {
    let hints = RecoveryHints { last_stop: LastStop::ProcessDied, accept_loss: false };
    let config = host.log.config().clone();
    let recovered = recover(&host.dir, partition(), config, &hints, host.now(), &mut |_| {});
    let recovered = recovered.unwrap_or_else(|fault| panic!("after {:?}: {fault}", host.trace.last()));
    Host { log: recovered.log, trace: Vec::new(), events: Vec::new(), fail: None, ..host_like(host) }
}

fn host_like(host: &Host) -> Host {
    let mut like = Host::new(host.log.config().clone());
    (like.dir, like.now_ms) = (host.dir.clone(), host.now_ms);
    like
}

#[test]
fn compaction_leaves_the_empty_active_segment_alone() {
    let mut host = with_sealed_segment(compacted(), |n| n % 2);
    // A roll of which only the new file succeeds.
    let bytes = batch_of(0).len() as u64;
    while host.log.segments().last().is_some_and(|active| active.bytes + bytes <= 1500) {
        host.write(batch_of(0));
    }
    host.fail = Some(("write 0".to_owned(), IoFault::DISK_FULL));
    assert!(host.append(batch_of(0), 7).is_ok());
    host.settle();
    host.fail = None;
    let (now, end) = (host.now(), host.log.offsets().written);
    host.log.set_leader_epoch(now, LeaderEpoch::new(1)).unwrap();
    host.pass(61_000);
    let empty = *host.log.segments().last().unwrap();
    assert_eq!((empty.id.base_offset(), empty.bytes), (end, 0));

    assert!(host.clean());
    host.settle();
    assert_eq!(host.log.segments().last().map(|active| active.id), Some(empty.id));
    assert_eq!(host.write(batch_of(1)), end);
    assert_eq!(host.read_all().last().map(|(offset, _)| *offset), Some(end.value()));
}

#[test]
fn two_crashes_around_a_swap_are_not_taken_for_damage() {
    let mut first_steps = 0;
    loop {
        let mut host = with_sealed_segment(compacted(), |n| n % 2);
        let end = host.log.offsets().written;
        assert!(host.clean());
        let finished = (0..first_steps).any(|_| !host.step());
        for second_steps in 0..40 {
            let mut again = opened(&host);
            if (0..second_steps).any(|_| !again.step()) {
                break;
            }
            let mut third = opened(&again);
            third.settle();
            assert_eq!(third.log.offsets().written, end, "after {first_steps} and {second_steps} steps");
            assert!(third.read_all().len() > 1);
        }
        if finished {
            return;
        }
        first_steps += 1;
    }
}

#[test]
fn a_close_with_nothing_left_to_flush_still_marks_the_stop_as_clean() {
    let mut host = Host::new(LogConfig::default());
    host.write(batch_of(0));
    host.pass(61_000);
    host.close();
    let (_, report) = host.reopen(LastStop::PowerLost).unwrap();
    assert!(report.clean);
}

#[test]
fn files_still_to_be_deleted_do_not_make_a_stop_unclean() {
    let config = LogConfig { segment_bytes: 1500, retention_bytes: Some(100), ..LogConfig::default() };
    let mut host = with_sealed_segment(config, |n| n);
    let (now, end) = (host.now(), host.log.offsets().visible);
    assert!(!host.log.apply_retention(now, end).is_empty());
    host.settle();
    assert!(host.dir.files.keys().any(|name| name.ends_with(".deleted")));
    host.close();
    let (_, report) = host.reopen(LastStop::PowerLost).unwrap();
    assert!(report.clean);
}

#[test]
fn the_first_commit_after_opening_syncs_the_folder() {
    let durable = LogConfig { flush_messages: Some(1), ..LogConfig::default() };
    let mut host = Host::new(durable);
    host.write(batch_of(0));
    host.close();
    // The process that made a file may have died before it synced the name; nothing on disk tells.
    let (mut again, report) = host.reopen(LastStop::ProcessDied).unwrap();
    assert!(report.clean);
    again.trace.clear();
    again.write(batch_of(1));
    assert!(again.trace.iter().any(|effect| effect == "sync-dir"), "{:?}", again.trace);
}

#[test]
fn a_compaction_waits_until_the_files_of_the_one_before_are_gone() {
    // Every key once: the first compaction changes nothing and throws its files away.
    let mut host = with_sealed_segment(compacted(), |n| n);
    assert!(host.clean());
    let mut deletes = Vec::new();
    let mut run = |host: &mut Host| {
        while let Some(effect) = host.log.poll_effect() {
            if matches!(effect, Effect::Delete { .. }) {
                deletes.push(effect);
                continue;
            }
            let result = host.execute(&effect);
            let now = host.now();
            host.log.on_done(now, effect.op(), result);
        }
    };
    run(&mut host);
    for _ in 0..40 {
        assert!(host.append(batch_of(1), 0).is_ok());
        run(&mut host);
    }
    host.now_ms += 61_000;
    let now = host.now();
    host.log.on_tick(now);
    run(&mut host);
    assert!(!deletes.is_empty());
    let end = host.log.offsets().visible;
    assert!(host.log.begin_compaction(now, end).is_none(), "its files would be deleted under it");
    for effect in deletes {
        let result = host.execute(&effect);
        host.log.on_done(now, effect.op(), result);
    }
    assert!(host.log.begin_compaction(now, Offset::new(end.value())).is_some());
}
