//! A letter's way to another shard.

use std::hint::black_box;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use criterion::Criterion;
use crossbeam_queue::ArrayQueue;
use shard::{Mailboxes, ShardEvent, ShardHandle, ShardSpec};
use types::ShardId;
use types::limits::MAILBOX_SLOTS;

enum Letter {
    Number(u64),
    /// Everything sent before it has been read.
    Reached(SyncSender<u64>),
    Stop,
}

/// A shard that adds up what it is sent.
fn adder() -> (ShardHandle, Mailboxes<Letter>) {
    let (mut receivers, mailboxes) = shard::mailboxes::<Letter>(1).expect("descriptors");
    let receiver = receivers.remove(0);
    let handle = shard::spawn(ShardSpec::new(ShardId::new(0)), receiver, |runtime| async move {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (mut sum, mut stop) = (0_u64, Some(stop));
        let events = runtime.on_event(move |event| match event {
            ShardEvent::Mail(Letter::Number(number)) => sum = sum.wrapping_add(number),
            ShardEvent::Mail(Letter::Reached(reply)) => drop(reply.send(sum)),
            ShardEvent::Mail(Letter::Stop) => drop(stop.take().map(|stop| stop.send(()))),
            _ => {}
        });
        events.expect("a ring and a wake");
        drop(stopped.await);
    });
    (handle.expect("io_uring is allowed here"), mailboxes)
}

fn send(mailboxes: &Mailboxes<Letter>, mut letter: Letter) {
    while let Err(back) = mailboxes.send(ShardId::new(0), letter) {
        letter = back;
        std::thread::yield_now();
    }
}

/// The time that `letters` letters take until the last one has been read.
fn stream(mailboxes: &Mailboxes<Letter>, letters: u64) -> Duration {
    let (reply, reached) = sync_channel(1);
    let start = Instant::now();
    for number in 0..letters {
        send(mailboxes, Letter::Number(number));
    }
    send(mailboxes, Letter::Reached(reply));
    reached.recv().expect("the shard runs");
    start.elapsed()
}

pub(crate) fn hop(criterion: &mut Criterion) {
    let (shard, mailboxes) = adder();
    let mut group = criterion.benchmark_group("queue_hop");
    group.bench_function("node", |bencher| bencher.iter_custom(|letters| stream(&mailboxes, letters)));
    let queue = ArrayQueue::new(MAILBOX_SLOTS);
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            assert!(queue.push(black_box(Letter::Number(1))).is_ok());
            queue.pop()
        });
    });
    group.finish();
    send(&mailboxes, Letter::Stop);
    shard.join().expect("no panic");
}
