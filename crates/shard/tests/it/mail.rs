//! Mailboxes: nothing is lost, nobody sleeps through a message.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use shard::{ShardEvent, ShardSpec, mailboxes, spawn};
use types::ShardId;
use types::limits::MAILBOX_SLOTS;

use crate::PATIENCE;

const FIRST: ShardId = ShardId::new(0);
const SECOND: ShardId = ShardId::new(1);

/// Each message: the sender in the high half, its running number in the low one.
#[test]
fn mail_of_many_threads_arrives_complete_and_in_order_of_each_sender() {
    const SENDERS: u64 = 3;
    const MESSAGES: u64 = 20_000;
    let (mut receivers, mailboxes) = mailboxes::<u64>(1).expect("eventfds");
    let (done, result) = mpsc::channel();
    let shard = spawn(ShardSpec::new(FIRST), receivers.remove(0), move |runtime| async move {
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut end = Some(end);
        let mut next = vec![0; SENDERS as usize];
        runtime
            .on_event(move |event| {
                let ShardEvent::Mail(message) = event else { panic!("only mail was sent") };
                let sender = (message >> 32) as usize;
                assert_eq!(message & 0xffff_ffff, next[sender], "sender {sender}");
                next[sender] += 1;
                if next.iter().all(|&count| count == MESSAGES)
                    && let Some(end) = end.take()
                {
                    let _ = end.send(());
                }
            })
            .expect("first handler");
        ended.await.expect("the handler lives as long as the shard");
        done.send(()).expect("the test waits");
    })
    .expect("io_uring is allowed here");
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let mailboxes = mailboxes.clone();
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    mailboxes.send_waiting(FIRST, sender << 32 | number).expect("the shard lives");
                    // Pauses of changing length, so that the shard falls asleep at every point of a send.
                    if number % 97 == sender {
                        std::thread::sleep(Duration::from_micros(number % 61));
                    }
                }
            })
        })
        .collect();
    result.recv_timeout(PATIENCE).expect("all mail arrives");
    for sender in senders {
        sender.join().expect("sends without panic");
    }
    shard.join().expect("ends cleanly");
}

#[test]
fn two_shards_bounce_a_message_and_no_wake_is_lost() {
    const BOUNCES: u64 = 20_000;
    let (receivers, mailboxes) = mailboxes::<u64>(2).expect("eventfds");
    let (done, result) = mpsc::channel();
    let mut shards = Vec::new();
    for receiver in receivers {
        let done = done.clone();
        let spec = ShardSpec::new(receiver.shard());
        let other = if receiver.shard() == FIRST { SECOND } else { FIRST };
        let main = move |runtime: shard::ShardRuntime<u64>| async move {
            let (end, ended) = tokio::sync::oneshot::channel();
            let mut end = Some(end);
            let sender = runtime.clone();
            runtime
                .on_event(move |event| {
                    let ShardEvent::Mail(bounce) = event else { panic!("only mail was sent") };
                    if bounce < BOUNCES {
                        sender.send(other, bounce + 1).expect("one message at a time");
                    }
                    // Both see one of the last two.
                    if bounce + 1 >= BOUNCES
                        && let Some(end) = end.take()
                    {
                        let _ = end.send(());
                    }
                })
                .expect("first handler");
            ended.await.expect("the handler lives as long as the shard");
            let _ = done.send(());
        };
        shards.push(spawn(spec, receiver, main).expect("io_uring is allowed here"));
    }
    mailboxes.send(FIRST, 0).expect("an empty mailbox");
    for _ in 0..2 {
        result.recv_timeout(PATIENCE).expect("the message keeps bouncing");
    }
    for shard in shards {
        shard.join().expect("ends cleanly");
    }
}

#[test]
fn full_mailbox_and_ended_shard_give_the_message_back() {
    let (mut receivers, mailboxes) = mailboxes::<Box<u64>>(1).expect("eventfds");
    for number in 0..MAILBOX_SLOTS as u64 {
        mailboxes.send(FIRST, Box::new(number)).expect("there is room");
    }
    assert_eq!(mailboxes.send(FIRST, Box::new(7)), Err(Box::new(7)));
    assert!(!mailboxes.is_closed(FIRST));
    drop(receivers.remove(0));
    assert!(mailboxes.is_closed(FIRST));
    assert_eq!(mailboxes.send(FIRST, Box::new(8)), Err(Box::new(8)));
    assert_eq!(mailboxes.send_waiting(FIRST, Box::new(9)), Err(Box::new(9)));
}

#[test]
fn mail_sent_before_the_handler_is_there_and_to_oneself_arrives() {
    let got = crate::on_shard(shard::AppendBackend::Ring, |runtime| async move {
        let got = Rc::new(RefCell::new(Vec::new()));
        let ended = Rc::new(tokio::sync::Notify::new());
        runtime.send(FIRST, 1).expect("room");
        let (handler_got, end, sender) = (Rc::clone(&got), Rc::clone(&ended), runtime.clone());
        let sent = Cell::new(false);
        runtime
            .on_event(move |event| {
                let ShardEvent::Mail(message) = event else { return };
                handler_got.borrow_mut().push(message);
                if !sent.replace(true) {
                    sender.send(FIRST, 2).expect("room");
                }
                if message == 2 {
                    end.notify_one();
                }
            })
            .expect("first handler");
        ended.notified().await;
        got.take()
    });
    assert_eq!(got, [1, 2]);
}
