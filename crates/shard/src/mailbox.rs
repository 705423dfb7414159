//! Messages between shards, and to shards from other threads: one bounded lock-free queue per shard and one wake.
//!
//! A sender wakes the receiver only if the receiver has said that it sleeps:
//!
//! ```text
//! receiver: parked = true; fence; queue empty? ── yes ──► sleep      sender: push; fence; parked? ── yes ──► parked = false, wake
//!                                     └─ no ──► parked = false, go on                       └─ no ──► nothing to do
//! ```
//! The two fences order each side's write before its read, so at least one of them sees the other: no wake is lost.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};
use types::ShardId;
use types::limits::MAILBOX_SLOTS;

use crate::ring::Completion;
use crate::turn::Parked;

/// What travels through a mailbox: a host's message, or the completion of work that a helper thread did.
pub(crate) enum Envelope<M> {
    Mail(M),
    Completion(Completion),
}

struct Mailbox<M> {
    queue: ArrayQueue<Envelope<M>>,
    parked: Arc<Parked>,
    closed: AtomicBool,
    wake: EventFd,
}

impl<M> Mailbox<M> {
    fn push(&self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(envelope);
        }
        self.queue.push(envelope)?;
        fence(Ordering::SeqCst);
        if self.parked.0.load(Ordering::Relaxed) && self.parked.0.swap(false, Ordering::AcqRel) {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        // The only failure of a non-blocking eventfd write is a counter at its end (2^64 - 2), which stays readable.
        let _ = self.wake.write(1);
    }
}

/// The sending ends of all mailboxes of a node. Any thread may hold and use it.
pub struct Mailboxes<M> {
    boxes: Arc<[Mailbox<M>]>,
}

impl<M> Clone for Mailboxes<M> {
    fn clone(&self) -> Self {
        Self { boxes: Arc::clone(&self.boxes) }
    }
}

impl<M> fmt::Debug for Mailboxes<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailboxes({})", self.boxes.len())
    }
}

/// The receiving end of one shard's mailbox; [`crate::spawn`] takes it.
///
/// Lives on: that shard's thread. Dropped when the shard ends; sends then fail.
pub struct MailboxReceiver<M> {
    shard: ShardId,
    boxes: Arc<[Mailbox<M>]>,
}

/// One mailbox of [`MAILBOX_SLOTS`] messages for each of `shards` shards; receiver `i` belongs to shard `i`.
///
/// # Errors
/// The kernel's, when there are no file descriptors left for the wakes.
pub fn mailboxes<M>(shards: u16) -> io::Result<(Vec<MailboxReceiver<M>>, Mailboxes<M>)> {
    mailboxes_of(shards, MAILBOX_SLOTS)
}

fn mailboxes_of<M>(shards: u16, slots: usize) -> io::Result<(Vec<MailboxReceiver<M>>, Mailboxes<M>)> {
    let mut boxes = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        boxes.push(Mailbox {
            queue: ArrayQueue::new(slots),
            parked: Arc::new(Parked::default()),
            closed: AtomicBool::new(false),
            wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        });
    }
    let boxes: Arc<[Mailbox<M>]> = boxes.into();
    let receivers =
        (0..shards).map(|shard| MailboxReceiver { shard: ShardId::new(shard), boxes: Arc::clone(&boxes) }).collect();
    Ok((receivers, Mailboxes { boxes }))
}

impl<M> Mailboxes<M> {
    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.boxes.len() as u16
    }

    /// Hands `message` to `shard`. Never blocks.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full (push back on whoever caused it, or try again next turn) or the
    /// shard has ended.
    pub fn send(&self, shard: ShardId, message: M) -> Result<(), M> {
        self.boxes[shard.index()].push(Envelope::Mail(message)).map_err(|envelope| match envelope {
            Envelope::Mail(message) => message,
            Envelope::Completion(_) => unreachable!("push gives back what it was given"),
        })
    }

    /// Hands `message` to `shard` and waits while its mailbox is full. **Not for shards**: it sleeps.
    ///
    /// # Errors
    /// Gives the message back when the shard has ended.
    pub fn send_waiting(&self, shard: ShardId, message: M) -> Result<(), M> {
        self.push_waiting(shard, Envelope::Mail(message)).map_err(|envelope| match envelope {
            Envelope::Mail(message) => message,
            Envelope::Completion(_) => unreachable!("push gives back what it was given"),
        })
    }

    /// How many messages wait for `shard`, at this moment.
    #[must_use]
    pub fn waiting(&self, shard: ShardId) -> usize {
        self.boxes[shard.index()].queue.len()
    }

    /// Whether `shard` has ended, so that nothing sent to it will ever be read.
    #[must_use]
    pub fn is_closed(&self, shard: ShardId) -> bool {
        self.boxes[shard.index()].closed.load(Ordering::Acquire)
    }

    pub(crate) fn push_waiting(&self, shard: ShardId, mut envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        loop {
            match self.boxes[shard.index()].push(envelope) {
                Ok(()) => return Ok(()),
                Err(back) if self.is_closed(shard) => return Err(back),
                Err(back) => envelope = back,
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

impl<M> MailboxReceiver<M> {
    /// The shard this belongs to.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The sending ends, this shard's own among them.
    #[must_use]
    pub fn mailboxes(&self) -> Mailboxes<M> {
        Mailboxes { boxes: Arc::clone(&self.boxes) }
    }

    fn own(&self) -> &Mailbox<M> {
        &self.boxes[self.shard.index()]
    }

    pub(crate) fn parked(&self) -> Arc<Parked> {
        Arc::clone(&self.own().parked)
    }

    pub(crate) fn pop(&self) -> Option<Envelope<M>> {
        self.own().queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own().queue.is_empty()
    }

    /// Publishes that the shard is about to sleep. False if mail arrived meanwhile: then it must not.
    pub(crate) fn park(&self) -> bool {
        let own = self.own();
        own.parked.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if own.queue.is_empty() {
            return true;
        }
        own.parked.0.store(false, Ordering::Relaxed);
        false
    }

    pub(crate) fn unpark(&self) {
        self.own().parked.0.store(false, Ordering::Relaxed);
    }
}

impl<M> AsRawFd for MailboxReceiver<M> {
    fn as_raw_fd(&self) -> RawFd {
        self.own().wake.as_fd().as_raw_fd()
    }
}

impl<M> Drop for MailboxReceiver<M> {
    fn drop(&mut self) {
        self.own().closed.store(true, Ordering::Release);
        // What was sent is dropped now: it may hold buffers, descriptors, or replies that somebody waits for.
        while self.pop().is_some() {}
    }
}
