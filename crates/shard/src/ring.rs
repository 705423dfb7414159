//! The log ring: appends, fsyncs and read-aheads of one shard, submitted together by one `io_uring_enter` a turn.
//!
//! Its own ring beside tokio-uring's, because that one has neither a moment to submit at nor WRITEV from a list of
//! shared buffers. Flags are `COOP_TASKRUN | SINGLE_ISSUER`; `DEFER_TASKRUN` would never complete when its descriptor
//! is polled through epoll.
//!
//! ```text
//! queue (bounded) ──► slots (as many as submission entries) ──► kernel ──► done ──► ShardEvent::Completion
//!                        a slot keeps file and buffers alive            short write: once more, from where it stopped
//! ```
//! There are never more operations in the kernel than slots, and the completion queue has two places for each, so it
//! cannot overflow; the submission queue is emptied by every submit, so it cannot be full either.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::{IoUring, opcode, types as uring};
use types::limits::{
    GATHER_BATCHES_MAX, LOG_RING_ENTRIES, LOG_RING_QUEUED_MAX, LOG_RING_WORKERS_MAX, READ_AHEAD_BYTES_MAX,
};

use crate::file::LogFile;
use crate::stats::{RingStats, ShardStats};
use crate::turn::TurnSignal;

/// Who executes an append. Syncs and read-aheads go through the ring in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AppendBackend {
    /// `WRITEV` on the ring: the shard never blocks, whatever the file system does.
    #[default]
    Ring,
    /// `pwritev(2)` at the end of the turn: less CPU on ext4, but the shard blocks while the file system throttles.
    Inline,
}

/// An operation of the log ring has ended.
#[derive(Debug)]
pub struct Completion {
    /// As given with the operation.
    pub token: u64,
    /// Bytes written or read; 0 for a sync. The errno is kept (`raw_os_error`).
    pub result: io::Result<usize>,
}

/// One shard's log ring. Cloning shares it.
///
/// Operations of one file may run in any order: whoever needs an order waits for the completion in between.
///
/// Lives on: its shard's thread. When the last clone goes, it waits for what the kernel still holds.
#[derive(Clone)]
pub struct LogRing {
    inner: Rc<Inner>,
}

struct Inner {
    backend: AppendBackend,
    signal: Rc<TurnSignal>,
    fd: RawFd,
    stats: Arc<ShardStats>,
    state: RefCell<State>,
}

struct State {
    ring: IoUring,
    slots: Vec<Option<Op>>,
    free: Vec<u32>,
    /// Slots whose write came back short: they go again at the next submit.
    again: Vec<u32>,
    queue: VecDeque<Op>,
    /// The kernel did not take all entries at the last submit.
    put_off: bool,
    done: Vec<Completion>,
    /// Where read-aheads put what they read. Never looked at, so all of them may write it at once.
    scratch: Box<[std::cell::UnsafeCell<u8>]>,
}

struct Op {
    token: u64,
    file: Arc<LogFile>,
    work: Work,
}

enum Work {
    Write(Write),
    Sync,
    ReadAhead { position: u64, bytes: usize },
}

struct Write {
    position: u64,
    buffers: Vec<Bytes>,
    /// Points into `buffers`, less what is written; the kernel reads it while the write is under way.
    iovecs: Vec<libc::iovec>,
    bytes: usize,
    written: usize,
    continued: bool,
}

impl Write {
    fn new(position: u64, buffers: Vec<Bytes>) -> Self {
        let bytes = buffers.iter().map(Bytes::len).sum();
        Self { position, buffers, iovecs: Vec::new(), bytes, written: 0, continued: false }
    }

    /// Points `iovecs` at what is still unwritten: after 5 of `[3, 4]` bytes, at the last 2 of the second buffer.
    fn aim(&mut self) {
        let mut skip = self.written;
        self.iovecs.clear();
        for buffer in &self.buffers {
            let skipped = skip.min(buffer.len());
            skip -= skipped;
            let rest = &buffer[skipped..];
            if !rest.is_empty() {
                self.iovecs.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
        }
    }

    /// Takes the answer of one write call. `None`: short for the first time, write the rest.
    fn on_answer(&mut self, answer: io::Result<usize>) -> Option<io::Result<usize>> {
        let written = match answer {
            Ok(written) => written,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => 0,
            Err(error) => return Some(Err(error)),
        };
        self.written += written;
        assert!(self.written <= self.bytes, "the kernel wrote more than it was given");
        if self.written == self.bytes {
            return Some(Ok(self.bytes));
        }
        if self.continued {
            let message = format!("wrote {} of {} bytes and was cut short twice", self.written, self.bytes);
            return Some(Err(io::Error::new(io::ErrorKind::WriteZero, message)));
        }
        self.continued = true;
        None
    }
}

impl LogRing {
    /// A ring for the calling thread, which must be the only one to use it.
    pub(crate) fn new(
        backend: AppendBackend,
        signal: Rc<TurnSignal>,
        worker_cpus: &[usize],
        stats: Arc<ShardStats>,
    ) -> io::Result<Self> {
        let ring = builder().build(LOG_RING_ENTRIES)?;
        // Best effort: both bound what the kernel may spend on punted operations, neither changes what is right.
        if let Err(error) = ring.submitter().register_iowq_max_workers(&mut [LOG_RING_WORKERS_MAX; 2]) {
            tracing::debug!(%error, "the kernel does not cap the log ring's workers");
        }
        if !worker_cpus.is_empty()
            && let Err(error) = ring.submitter().register_iowq_aff(&cpu_set(worker_cpus))
        {
            tracing::debug!(%error, ?worker_cpus, "the kernel does not place the log ring's workers");
        }
        let slots = LOG_RING_ENTRIES as usize;
        assert!(slots <= ring.params().cq_entries() as usize);
        let scratch = (0..READ_AHEAD_BYTES_MAX).map(|_| std::cell::UnsafeCell::new(0)).collect();
        let fd = ring.as_raw_fd();
        let state = State {
            ring,
            slots: (0..slots).map(|_| None).collect(),
            free: (0..LOG_RING_ENTRIES).rev().collect(),
            again: Vec::new(),
            queue: VecDeque::new(),
            put_off: false,
            done: Vec::new(),
            scratch,
        };
        Ok(Self { inner: Rc::new(Inner { backend, signal, fd, stats, state: RefCell::new(state) }) })
    }

    /// Queues one gathered write of `buffers` (at most [`GATHER_BATCHES_MAX`]) at byte `position` of `file`.
    ///
    /// Completes with all its bytes, or with an error after which an unknown part of them is in the file. A short
    /// write is continued once: the second answer usually names the reason, such as a full disk.
    pub fn write(&self, token: u64, file: Arc<LogFile>, position: u64, buffers: Vec<Bytes>) {
        assert!(buffers.len() <= GATHER_BATCHES_MAX, "a gather is larger than one write call takes");
        self.queue(Op { token, file, work: Work::Write(Write::new(position, buffers)) });
    }

    /// Queues an fdatasync of `file`: covers every write whose completion was delivered before. Completes with 0.
    pub fn sync(&self, token: u64, file: Arc<LogFile>) {
        self.queue(Op { token, file, work: Work::Sync });
    }

    /// Queues a read of at most [`READ_AHEAD_BYTES_MAX`] bytes into the page cache. Completes with the bytes that are
    /// now there, fewer at the end of the file.
    pub fn read_ahead(&self, token: u64, file: Arc<LogFile>, position: u64, bytes: usize) {
        let bytes = bytes.min(READ_AHEAD_BYTES_MAX);
        self.queue(Op { token, file, work: Work::ReadAhead { position, bytes } });
    }

    /// Operations queued or under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let state = self.inner.state.borrow();
        state.queue.len() + (state.slots.len() - state.free.len())
    }

    /// Of these, those that wait for a place in the kernel's queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.inner.state.borrow().queue.len()
    }

    /// Which backend executes appends.
    #[must_use]
    pub fn backend(&self) -> AppendBackend {
        self.inner.backend
    }

    fn queue(&self, op: Op) {
        let mut state = self.inner.state.borrow_mut();
        if state.queue.len() < LOG_RING_QUEUED_MAX {
            state.queue.push_back(op);
        } else {
            let error = io::Error::new(io::ErrorKind::QuotaExceeded, "the log ring's queue is full");
            state.done.push(Completion { token: op.token, result: Err(error) });
        }
        drop(state);
        self.inner.signal.schedule();
    }

    /// Whether a submit could do something now.
    pub(crate) fn has_work(&self) -> bool {
        let state = self.inner.state.borrow();
        state.put_off
            || !state.done.is_empty()
            || !state.again.is_empty()
            || (!state.queue.is_empty() && !state.free.is_empty())
    }

    /// Hands what is queued to the kernel, with one enter.
    pub(crate) fn submit(&self) {
        let mut state = self.inner.state.borrow_mut();
        let state = &mut *state;
        while let Some(slot) = state.again.pop() {
            state.push(slot);
        }
        while let Some(op) = state.queue.pop_front() {
            if let (AppendBackend::Inline, Work::Write(_)) = (self.inner.backend, &op.work) {
                state.write_inline(op, &self.inner.stats.ring);
            } else if let Some(slot) = state.free.pop() {
                state.slots[slot as usize] = Some(op);
                state.push(slot);
            } else {
                state.queue.push_front(op);
                break;
            }
        }
        if !state.ring.submission().is_empty() {
            // What others had ended before is not to be taken for what this call ends in place.
            let ended_before = state.ring.completion().len();
            match state.ring.submit() {
                Ok(submitted) => {
                    let ended = state.ring.completion().len().saturating_sub(ended_before);
                    let stats = &self.inner.stats.ring;
                    stats.submits.add(1);
                    stats.submitted.add(submitted as u64);
                    stats.punted.add(submitted.saturating_sub(ended) as u64);
                }
                // EINTR, or the kernel is short of memory for a moment (EAGAIN, EBUSY). The entries stay queued.
                Err(error) => tracing::debug!(%error, "the log ring's submit is put off"),
            }
        }
        state.put_off = !state.ring.submission().is_empty();
    }

    /// Moves what the kernel has completed to `out`.
    pub(crate) fn reap(&self, out: &mut Vec<Completion>) {
        let mut state = self.inner.state.borrow_mut();
        state.reap(&self.inner.stats.ring);
        out.append(&mut state.done);
    }
}

impl AsRawFd for LogRing {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd
    }
}

impl fmt::Debug for LogRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogRing({:?}, {} in flight)", self.inner.backend, self.in_flight())
    }
}

impl State {
    /// Puts the operation of `slot` on the submission queue.
    fn push(&mut self, slot: u32) {
        let op = self.slots[slot as usize].as_mut().expect("a pushed slot holds an operation");
        let fd = uring::Fd(op.file.as_raw_fd());
        let entry = match &mut op.work {
            Work::Write(write) => {
                write.aim();
                let position = write.position + write.written as u64;
                match write.iovecs[..] {
                    [only] if u32::try_from(only.iov_len).is_ok() => {
                        opcode::Write::new(fd, only.iov_base.cast(), only.iov_len as u32).offset(position).build()
                    }
                    _ => {
                        let count = write.iovecs.len() as u32;
                        opcode::Writev::new(fd, write.iovecs.as_ptr(), count).offset(position).build()
                    }
                }
            }
            Work::Sync => opcode::Fsync::new(fd).flags(uring::FsyncFlags::DATASYNC).build(),
            Work::ReadAhead { position, bytes } => {
                let scratch = self.scratch.as_ptr().cast_mut().cast();
                opcode::Read::new(fd, scratch, *bytes as u32).offset(*position).build()
            }
        };
        let entry = entry.user_data(u64::from(slot));
        loop {
            // SAFETY: everything the entry points to lives until its completion is reaped. The descriptor, the
            // buffers and the iovec array are owned by the slot, which only `reap` empties, after the kernel is done
            // with it; the array is on the heap, so moving the slot does not move it, and it is not touched before
            // the completion. The scratch area is as large as the largest read-ahead, is owned by `self`, and no Rust
            // reference to its contents ever exists. `Drop` waits for all completions before any of this is freed.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Cannot happen while there are no more slots than entries, save after a put-off submit.
            if let Err(error) = self.ring.submit() {
                tracing::debug!(%error, "the log ring's submission queue is full");
                std::thread::yield_now();
            }
        }
    }

    fn reap(&mut self, stats: &RingStats) {
        loop {
            let Some(entry) = self.ring.completion().next() else { return };
            let slot = entry.user_data() as u32;
            let answer = match entry.result() {
                result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
                result => Ok(result as usize),
            };
            let op = self.slots[slot as usize].as_mut().expect("the kernel completes only what was submitted");
            let result = match &mut op.work {
                Work::Write(write) => match write.on_answer(answer) {
                    Some(result) => result,
                    None => {
                        self.again.push(slot);
                        continue;
                    }
                },
                Work::Sync | Work::ReadAhead { .. } => answer,
            };
            stats.ended(&op.work, &result);
            let token = op.token;
            self.slots[slot as usize] = None;
            self.free.push(slot);
            self.done.push(Completion { token, result });
        }
    }

    fn write_inline(&mut self, mut op: Op, stats: &RingStats) {
        let Work::Write(write) = &mut op.work else { unreachable!("only writes are inline") };
        let result = loop {
            write.aim();
            let position = write.position + write.written as u64;
            if let Some(result) = write.on_answer(op.file.pwritev(position, &write.iovecs)) {
                break result;
            }
        };
        stats.ended(&op.work, &result);
        self.done.push(Completion { token: op.token, result });
    }

    fn in_kernel(&self) -> usize {
        self.slots.len() - self.free.len() - self.again.len()
    }
}

impl RingStats {
    fn ended(&self, work: &Work, result: &io::Result<usize>) {
        match work {
            Work::Write(_) => self.writes.add(1),
            Work::Sync => self.syncs.add(1),
            Work::ReadAhead { .. } => self.read_aheads.add(1),
        }
        match (work, result) {
            (Work::Write(_), Ok(bytes)) => self.written_bytes.add(*bytes as u64),
            (_, Ok(_)) => {}
            (_, Err(_)) => self.failed.add(1),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // The kernel still writes from, and reads into, memory that is freed after this.
        while self.in_kernel() > 0 {
            match self.ring.submit_and_wait(1) {
                Ok(_) => self.reap(&RingStats::default()),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the log ring cannot be drained; its buffers are leaked");
                    std::mem::forget(std::mem::take(&mut self.slots));
                    std::mem::forget(std::mem::take(&mut self.scratch));
                    return;
                }
            }
        }
    }
}

/// Flags of every ring of a shard.
pub(crate) fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_coop_taskrun().setup_single_issuer().setup_submit_all().dontfork();
    builder
}

fn cpu_set(cpus: &[usize]) -> libc::cpu_set_t {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: `cpu` is below CPU_SETSIZE, so the bit lies within the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

impl LogFile {
    /// `pwritev(2)` of raw iovecs.
    fn pwritev(&self, position: u64, iovecs: &[libc::iovec]) -> io::Result<usize> {
        // SAFETY: `IoSlice` is documented to have the layout of iovec on Unix; the iovecs point into buffers that the
        // caller owns for the whole call.
        let slices = unsafe { std::slice::from_raw_parts(iovecs.as_ptr().cast::<IoSlice<'_>>(), iovecs.len()) };
        let position = i64::try_from(position).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        Ok(nix::sys::uio::pwritev(self, slices, position)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write() -> Write {
        Write::new(100, vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defg")])
    }

    fn aimed(write: &mut Write) -> Vec<u8> {
        write.aim();
        // SAFETY: the iovecs point into `write.buffers`, which live.
        let parts =
            write.iovecs.iter().map(|part| unsafe { std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len) });
        parts.flatten().copied().collect()
    }

    #[test]
    fn continued_write_aims_at_what_is_left() {
        for written in 0..=7 {
            let mut write = write();
            write.written = written;
            assert_eq!(aimed(&mut write), b"abcdefg"[written..]);
        }
    }

    #[test]
    fn write_cut_short_goes_on_once_and_then_fails() {
        let mut write = write();
        assert!(write.on_answer(Ok(2)).is_none());
        assert_eq!(write.on_answer(Ok(5)).expect("over").expect("whole"), 7);

        let mut write = self::write();
        assert!(write.on_answer(Ok(2)).is_none());
        let error = write.on_answer(Ok(4)).expect("over").expect_err("short again");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);

        let mut write = self::write();
        assert!(write.on_answer(Ok(2)).is_none());
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(write.on_answer(Err(full)).expect("over").expect_err("full").raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn interrupted_write_goes_on_once() {
        let mut write = write();
        assert!(write.on_answer(Err(io::Error::from_raw_os_error(libc::EINTR))).is_none());
        assert_eq!(write.on_answer(Ok(7)).expect("over").expect("whole"), 7);
    }
}
