//! Turns, timers, pinning.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use shard::{AppendBackend, ShardEvent, ShardSpec, mailboxes, spawn};
use tokio::sync::Notify;
use types::ShardId;

use crate::on_shard;

#[test]
fn flush_comes_once_after_every_ready_task_has_run() {
    let seen = on_shard(AppendBackend::Ring, |runtime| async move {
        let ran = Rc::new(Cell::new(0));
        let flushes = Rc::new(RefCell::new(Vec::new()));
        let flushed = Rc::new(Notify::new());
        let (count, log, end) = (Rc::clone(&ran), Rc::clone(&flushes), Rc::clone(&flushed));
        runtime
            .on_event(move |event| {
                if let ShardEvent::Flush = event {
                    log.borrow_mut().push(count.get());
                    end.notify_one();
                }
            })
            .expect("first handler");
        // Each task asks for a flush, and makes another task ready.
        for _ in 0..10 {
            let (ran, asker) = (Rc::clone(&ran), runtime.clone());
            runtime.spawn_local(async move {
                ran.set(ran.get() + 1);
                asker.request_flush();
                let asking = asker.clone();
                asker.spawn_local(async move {
                    ran.set(ran.get() + 1);
                    asking.request_flush();
                });
            });
        }
        flushed.notified().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        flushes.take()
    });
    assert_eq!(seen, [20]);
}

#[test]
fn gather_comes_before_the_submit_and_flush_after_it() {
    let seen = on_shard(AppendBackend::Inline, |runtime| async move {
        let dir = crate::TestDir::new();
        let file = shard::LogFile::open(dir.path("log"), shard::OpenMode::Create).await.expect("a new file");
        let file = std::sync::Arc::new(file);
        let events = Rc::new(RefCell::new(Vec::new()));
        let flushed = Rc::new(Notify::new());
        let (log, end, shard) = (Rc::clone(&events), Rc::clone(&flushed), runtime.clone());
        runtime
            .on_event(move |event| match event {
                ShardEvent::Gather => {
                    log.borrow_mut().push("gather");
                    shard.log_ring().write(1, file.clone(), 0, vec![bytes::Bytes::from_static(b"batch")]);
                }
                ShardEvent::Completion(completion) => {
                    assert_eq!((completion.token, completion.result.expect("written")), (1, 5));
                    log.borrow_mut().push("completion");
                    shard.request_flush();
                }
                ShardEvent::Flush => {
                    log.borrow_mut().push("flush");
                    end.notify_one();
                }
                event => panic!("{event:?}"),
            })
            .expect("first handler");
        runtime.request_gather();
        runtime.request_gather();
        flushed.notified().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        events.take()
    });
    assert_eq!(seen, ["gather", "completion", "flush"]);
}

#[test]
fn timers_fire_in_order_and_a_cancelled_one_does_not() {
    let (fired, late_by_ms) = on_shard(AppendBackend::Ring, |runtime| async move {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let last = Rc::new(Notify::new());
        let (log, end, shard) = (Rc::clone(&fired), Rc::clone(&last), runtime.clone());
        runtime
            .on_event(move |event| {
                let ShardEvent::Timer(token) = event else { return };
                log.borrow_mut().push(token);
                match token {
                    // Set from within the handler, already due: fires in the next turns, not never.
                    2 => shard.timer(5, 0),
                    3 => end.notify_one(),
                    _ => {}
                }
            })
            .expect("first handler");
        let start = runtime.now();
        let after = |millis| start.deadline_ns(Duration::from_millis(millis));
        runtime.timer(3, after(60));
        runtime.timer(1, after(500));
        runtime.timer(1, after(20));
        runtime.timer(4, after(30));
        runtime.timer(2, after(40));
        runtime.timer(6, u64::MAX);
        runtime.cancel(4);
        last.notified().await;
        let late = shard::clock::read().monotonic_ns - after(60);
        (fired.take(), late / 1_000_000)
    });
    assert_eq!(fired, [1, 2, 5, 3]);
    assert!(late_by_ms < 2_000, "{late_by_ms} ms late");
}

#[test]
fn now_stands_still_within_a_turn_and_moves_on_after_it() {
    on_shard(AppendBackend::Ring, |runtime| async move {
        runtime.on_event(|_| {}).expect("first handler");
        let first = runtime.now();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(runtime.now(), first);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(runtime.now().monotonic_ns - first.monotonic_ns >= 10_000_000);
    });
}

#[test]
fn pinned_shard_runs_on_its_core_only() {
    let allowed = nix_mask();
    let core = *allowed.last().expect("some CPU");
    let (mut receivers, _mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let (done, result) = std::sync::mpsc::channel();
    let spec = ShardSpec { core: Some(core), worker_cpus: allowed, ..ShardSpec::new(ShardId::new(0)) };
    let shard = spawn(spec, receivers.remove(0), move |_| async move {
        drop(done.send(nix_mask()));
    })
    .expect("io_uring is allowed here");
    assert_eq!(result.recv_timeout(crate::PATIENCE).expect("a mask"), [core]);
    shard.join().expect("ends cleanly");
}

#[test]
fn core_outside_the_mask_is_an_error_that_says_so() {
    let (mut receivers, _mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let spec = ShardSpec { core: Some(1000), ..ShardSpec::new(ShardId::new(0)) };
    let error = spawn(spec, receivers.remove(0), |_| async {}).expect_err("there is no CPU 1000");
    assert!(error.to_string().contains("CPU 1000"), "{error}");
}

#[test]
fn panicking_shard_is_an_error_at_join() {
    let (mut receivers, _mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let shard = spawn(ShardSpec::new(ShardId::new(0)), receivers.remove(0), |_| async { panic!("on purpose") });
    assert!(shard.expect("starts").join().is_err());
}

#[test]
fn panicking_handler_ends_the_shard() {
    let (mut receivers, mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let shard = spawn(ShardSpec::new(ShardId::new(0)), receivers.remove(0), |runtime| async move {
        runtime.on_event(|_| panic!("on purpose")).expect("first handler");
        std::future::pending::<()>().await;
    })
    .expect("starts");
    mailboxes.send(ShardId::new(0), 1).expect("room");
    assert!(shard.join().is_err());
}

/// The CPUs that the calling thread may use.
fn nix_mask() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("a mask");
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}
