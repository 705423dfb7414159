//! The two threads of each log directory for what would block a shard: [`Writeback`] pushes dirty pages out and
//! fsyncs, [`Maintenance`] runs whole jobs (compaction copies, deletions, truncation). Neither is pinned to a shard's
//! core. Their queues are bounded; a full one is answered at once.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, getpid};
use types::limits::HELPER_QUEUE_MAX;

use crate::clock;
use crate::file::LogFile;
use crate::runtime::Completer;
use crate::stats::{Durations, Tally};

/// Where a helper thread runs.
#[derive(Clone, Debug, Default)]
pub struct HelperSpec {
    /// Its name, at most 15 characters of it shown by the kernel.
    pub name: String,
    /// CPUs it may use; empty means those of the process. Name cores without a shard, if there are any.
    pub cpus: Vec<usize>,
}

/// A helper's queue is full: nothing was queued. Try again at the next tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the helper thread's queue is full")]
pub struct QueueFull;

/// What a writeback thread counts of itself.
#[derive(Debug, Default)]
pub struct WritebackStats {
    /// Its fsyncs, from their begin to their end; the wait in the queue is not in it.
    pub syncs: Durations,
    /// Bytes whose writeback it asked for.
    pub started_bytes: Tally,
}

enum WritebackJob {
    Range { file: Arc<LogFile>, position: u64, bytes: u64 },
    Sync { file: Arc<LogFile>, token: u64, completer: Completer },
}

/// The writeback thread of one log directory. Cloning shares it; it ends after the last clone, its queue done.
#[derive(Clone)]
pub struct Writeback {
    jobs: SyncSender<WritebackJob>,
    waiting: Arc<AtomicUsize>,
    stats: Arc<WritebackStats>,
    thread: Arc<JoinHandle<()>>,
}

impl fmt::Debug for Writeback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writeback")
    }
}

impl Writeback {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(spec: HelperSpec) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(HELPER_QUEUE_MAX);
        let (waiting, stats) = (Arc::<AtomicUsize>::default(), Arc::<WritebackStats>::default());
        let (left, counts) = (Arc::clone(&waiting), Arc::clone(&stats));
        let thread = spawn_helper(spec, move || run_writeback(&queue, &left, &counts))?;
        Ok(Self { jobs, waiting, stats, thread: Arc::new(thread) })
    }

    /// Jobs queued or under way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What the thread counts.
    #[must_use]
    pub fn stats(&self) -> &WritebackStats {
        &self.stats
    }

    fn post(&self, job: WritebackJob) -> Result<(), QueueFull> {
        post(&self.jobs, &self.waiting, job)
    }

    /// Asks that writeback of a range begins (about every 8 MiB of a file). Best effort: an error shows at the sync.
    ///
    /// # Errors
    /// [`QueueFull`]: the kernel will write the range back in its own time.
    pub fn start_range(&self, file: Arc<LogFile>, position: u64, bytes: u64) -> Result<(), QueueFull> {
        self.post(WritebackJob::Range { file, position, bytes })
    }

    /// Asks for an fdatasync of `file`; `completer` then delivers the completion of `token`: 0, or the errno.
    ///
    /// # Errors
    /// [`QueueFull`]: nothing was synced, no completion will come.
    pub fn sync(&self, file: Arc<LogFile>, token: u64, completer: Completer) -> Result<(), QueueFull> {
        self.post(WritebackJob::Sync { file, token, completer })
    }

    /// Ends the thread once its queue is done and waits for that, if this is the last clone. **Blocks.**
    pub fn finish(self) {
        drop(self.jobs);
        join(self.thread);
    }
}

/// Queues a job and counts it as waiting, until the thread is done with it.
fn post<J>(jobs: &SyncSender<J>, waiting: &AtomicUsize, job: J) -> Result<(), QueueFull> {
    // Before the thread can take it, so that the count never goes below zero.
    waiting.fetch_add(1, Ordering::Relaxed);
    jobs.try_send(job).map_err(|_| {
        waiting.fetch_sub(1, Ordering::Relaxed);
        QueueFull
    })
}

/// Waits for a helper whose last sender is gone; whoever is not the last to say so does not wait.
fn join(thread: Arc<JoinHandle<()>>) {
    if let Some(thread) = Arc::into_inner(thread)
        && thread.join().is_err()
    {
        tracing::error!("a helper thread panicked");
    }
}

fn run_writeback(queue: &Receiver<WritebackJob>, waiting: &AtomicUsize, stats: &WritebackStats) {
    while let Ok(job) = queue.recv() {
        match job {
            WritebackJob::Range { file, position, bytes } => match file.start_writeback(position, bytes) {
                Ok(()) => stats.started_bytes.add(bytes),
                Err(error) => tracing::debug!(?file, position, bytes, %error, "writeback did not start"),
            },
            WritebackJob::Sync { file, token, completer } => {
                let began_ns = clock::monotonic_ns();
                let result = file.sync_blocking();
                stats.syncs.add_ns(clock::monotonic_ns() - began_ns);
                drop(file);
                completer.complete(token, result.map(|()| 0));
            }
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The maintenance thread of one log directory: runs jobs one after another. Cloning shares it; it ends after the last
/// clone, its queue done.
#[derive(Clone)]
pub struct Maintenance {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    thread: Arc<JoinHandle<()>>,
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maintenance")
    }
}

impl Maintenance {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(spec: HelperSpec) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(HELPER_QUEUE_MAX);
        let waiting = Arc::<AtomicUsize>::default();
        let left = Arc::clone(&waiting);
        let thread = spawn_helper(spec, move || {
            while let Ok(job) = queue.recv() {
                job();
                left.fetch_sub(1, Ordering::Relaxed);
            }
        })?;
        Ok(Self { jobs, waiting, thread: Arc::new(thread) })
    }

    /// Jobs queued or under way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Queues a job. It mails its own result back: with [`crate::Mailboxes::send_waiting`] or [`Completer::complete`].
    ///
    /// # Errors
    /// [`QueueFull`]: the job was dropped.
    pub fn post(&self, job: impl FnOnce() + Send + 'static) -> Result<(), QueueFull> {
        post(&self.jobs, &self.waiting, Box::new(job))
    }

    /// Runs a job and waits for what it returns, without blocking the shard.
    ///
    /// # Errors
    /// [`QueueFull`]: the job was not run. A job that panicked says the same.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, QueueFull> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.post(move || drop(reply.send(job())))?;
        answer.await.map_err(|_| QueueFull)
    }

    /// Ends the thread once its queue is done and waits for that, if this is the last clone. **Blocks.**
    pub fn finish(self) {
        drop(self.jobs);
        join(self.thread);
    }
}

fn spawn_helper(spec: HelperSpec, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(spec.name).spawn(move || {
        place(&spec.cpus);
        body();
    })
}

/// A thread starts where its parent may run, and that may be a shard's one core: so it is placed anew.
fn place(cpus: &[usize]) {
    let set = if cpus.is_empty() {
        // The main thread is never pinned.
        sched_getaffinity(getpid())
    } else {
        let mut set = CpuSet::new();
        cpus.iter().try_for_each(|&cpu| set.set(cpu)).map(|()| set)
    };
    if let Err(error) = set.and_then(|set| sched_setaffinity(Pid::from_raw(0), &set)) {
        tracing::debug!(%error, ?cpus, "a helper thread stays where it was started");
    }
}
