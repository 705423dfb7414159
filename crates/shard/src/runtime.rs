//! A shard: one thread, one executor, one turn after another.
//!
//! ```text
//!  sleep ──► clocks ──► completions ──► mail ──► timers ──► yield once ──► submit, completions ──► Flush ──► sleep
//!            (wake: a task asked for a turn, the ring, the mailbox, a deadline)   every ready task runs meanwhile
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use types::limits::MAIL_PER_TURN_MAX;
use types::{Now, ShardId};

use crate::mailbox::{Envelope, MailboxReceiver, Mailboxes};
use crate::ring::{AppendBackend, Completion, LogRing};
use crate::stats::ShardStats;
use crate::timers::Timers;
use crate::turn::TurnSignal;
use crate::{clock, probe};

/// How often one turn submits what its own completions caused, before it lets other tasks run.
const SUBMITS_PER_TURN_MAX: usize = 4;

/// Timers fired in one turn. A handler may set a timer that is due at once; it must not keep the turn to itself.
const TIMERS_PER_TURN_MAX: usize = 1024;

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardSpec {
    /// Its number, the index of its mailbox.
    pub id: ShardId,
    /// The CPU to pin its thread to; `None` leaves it to the scheduler.
    pub core: Option<usize>,
    /// Who executes appends.
    pub backend: AppendBackend,
    /// CPUs for the log ring's kernel workers; empty leaves it to the kernel. Name cores without a shard, if any.
    pub worker_cpus: Vec<usize>,
    /// Where it counts what it does, for whoever wants to know.
    pub stats: Arc<ShardStats>,
}

impl ShardSpec {
    /// An unpinned shard that appends through the ring.
    #[must_use]
    pub fn new(id: ShardId) -> Self {
        Self { id, core: None, backend: AppendBackend::default(), worker_cpus: Vec::new(), stats: Arc::default() }
    }
}

/// Every cause of work that does not come from a task of the shard itself.
#[derive(Debug)]
pub enum ShardEvent<M> {
    /// An operation of the log ring or of a [`Completer`] ended.
    Completion(Completion),
    /// A message from another thread, or from this shard to itself.
    Mail(M),
    /// A timer's deadline passed; the timer is gone.
    Timer(u64),
    /// The end of a turn in which [`ShardRuntime::request_gather`] was called: every ready task has run. Queue the
    /// turn's writes on the log ring now; they are submitted next, together.
    Gather,
    /// The end of a turn in which [`ShardRuntime::request_flush`] was called: send what is ready, once a connection.
    Flush,
}

/// What runs on a shard reaches the shard through this. Cloning shares it.
///
/// Lives on: its shard's thread.
pub struct ShardRuntime<M> {
    inner: Rc<Inner<M>>,
}

impl<M> Clone for ShardRuntime<M> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

struct Inner<M> {
    id: ShardId,
    now: Cell<Option<Now>>,
    signal: Rc<TurnSignal>,
    gather_requested: Cell<bool>,
    flush_requested: Cell<bool>,
    timers: RefCell<Timers>,
    ring: LogRing,
    mailboxes: Mailboxes<M>,
    receiver: RefCell<Option<MailboxReceiver<M>>>,
    pump: RefCell<Option<JoinHandle<()>>>,
    stats: Arc<ShardStats>,
}

/// A running shard.
#[derive(Debug)]
pub struct ShardHandle {
    id: ShardId,
    thread: std::thread::JoinHandle<()>,
}

impl ShardHandle {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Whether its main future has returned (or panicked), so that [`Self::join`] will not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until its main future returns. Blocks the calling thread.
    ///
    /// # Errors
    /// When the shard's thread panicked; the panic itself has been printed by then.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().map_err(|_| io::Error::other(format!("shard {} panicked", self.id)))
    }
}

/// Starts a shard: a thread (pinned if `spec.core` says so) that runs `main` on a tokio-uring runtime until it returns.
///
/// `main` calls [`ShardRuntime::on_event`] once; mail waits until then. Tasks still running when `main`'s future
/// returns are dropped.
///
/// # Errors
/// When the thread cannot be started or pinned, or when the kernel denies io_uring: the message then names the cure.
pub fn spawn<M, F, Main>(spec: ShardSpec, mailbox: MailboxReceiver<M>, main: F) -> io::Result<ShardHandle>
where
    M: Send + 'static,
    F: FnOnce(ShardRuntime<M>) -> Main + Send + 'static,
    Main: Future<Output = ()> + 'static,
{
    assert_eq!(spec.id, mailbox.shard(), "a shard gets its own mailbox");
    static ALLOCATOR: std::sync::Once = std::sync::Once::new();
    ALLOCATOR.call_once(crate::budget::keep_freed_memory);
    let id = spec.id;
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("shard-{id}")).spawn(move || {
        let runtime = match build(&spec) {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        runtime.block_on(async move {
            match ShardRuntime::new(&spec, mailbox) {
                Ok(shard) => {
                    drop(started.send(Ok(())));
                    let inner = Rc::clone(&shard.inner);
                    run_main(&inner.pump, main(shard)).await;
                }
                Err(error) => drop(started.send(Err(probe::uring_denied(error)))),
            }
        });
    })?;
    match start.recv() {
        Ok(Ok(())) => Ok(ShardHandle { id, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other(format!("shard {id} panicked while starting"))),
    }
}

/// Runs `main`; a panic of the event handler is its panic, or the shard would go on deaf.
async fn run_main(pump: &RefCell<Option<JoinHandle<()>>>, main: impl Future<Output = ()>) {
    let mut main = std::pin::pin!(main);
    poll_fn(|cx| {
        if main.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(pump) = &mut *pump.borrow_mut()
            && let Poll::Ready(Err(error)) = Pin::new(pump).poll(cx)
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        Poll::Pending
    })
    .await;
}

/// Pins the thread and makes its executor.
fn build(spec: &ShardSpec) -> io::Result<tokio_uring::Runtime> {
    if let Some(core) = spec.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        let message = format!("shard {} cannot be pinned to CPU {core}: it is not in the affinity mask", spec.id);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut flags = tokio_uring::uring_builder();
    flags.setup_coop_taskrun().setup_single_issuer();
    // `Runtime::new`, because `tokio_uring::start` panics where io_uring is denied.
    tokio_uring::Runtime::new(tokio_uring::builder().uring_builder(&flags)).map_err(probe::uring_denied)
}

impl<M: 'static> ShardRuntime<M> {
    fn new(spec: &ShardSpec, receiver: MailboxReceiver<M>) -> io::Result<Self> {
        let signal = Rc::new(TurnSignal::new(receiver.parked()));
        let ring = LogRing::new(spec.backend, Rc::clone(&signal), &spec.worker_cpus, Arc::clone(&spec.stats))?;
        Ok(Self {
            inner: Rc::new(Inner {
                id: spec.id,
                now: Cell::new(None),
                signal,
                gather_requested: Cell::new(false),
                flush_requested: Cell::new(false),
                timers: RefCell::default(),
                ring,
                mailboxes: receiver.mailboxes(),
                receiver: RefCell::new(Some(receiver)),
                pump: RefCell::new(None),
                stats: Arc::clone(&spec.stats),
            }),
        })
    }

    /// This shard's number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.inner.id
    }

    /// Both clocks, read at most once a turn.
    #[must_use]
    pub fn now(&self) -> Now {
        if let Some(now) = self.inner.now.get() {
            return now;
        }
        let now = clock::read();
        self.inner.now.set(Some(now));
        // Forgotten at the end of the turn, so there must be one.
        self.inner.signal.schedule();
        now
    }

    /// Sends `message` to `shard`, which may be this one.
    ///
    /// # Errors
    /// Gives the message back when that mailbox is full or its shard has ended.
    pub fn send(&self, shard: ShardId, message: M) -> Result<(), M> {
        self.inner.mailboxes.send(shard, message)
    }

    /// The sending ends of all mailboxes, for other threads.
    #[must_use]
    pub fn mailboxes(&self) -> Mailboxes<M> {
        self.inner.mailboxes.clone()
    }

    /// Asks for one [`ShardEvent::Gather`] at the end of this turn.
    pub fn request_gather(&self) {
        self.inner.gather_requested.set(true);
        self.inner.signal.schedule();
    }

    /// Asks for one [`ShardEvent::Flush`] at the end of this turn.
    pub fn request_flush(&self) {
        self.inner.flush_requested.set(true);
        self.inner.signal.schedule();
    }

    /// Sets the deadline of timer `token` (see [`Now::deadline_ns`]), replacing an earlier one. It fires up to a
    /// millisecond late. Timers are bounded by their tokens: one deadline each.
    pub fn timer(&self, token: u64, deadline_ns: u64) {
        let mut timers = self.inner.timers.borrow_mut();
        let before = timers.next_deadline_ns();
        timers.set(token, deadline_ns);
        if before.is_none_or(|before| deadline_ns < before) {
            self.inner.signal.schedule();
        }
    }

    /// Forgets timer `token`; it will not fire.
    pub fn cancel(&self, token: u64) {
        self.inner.timers.borrow_mut().cancel(token);
    }

    /// This shard's log ring.
    #[must_use]
    pub fn log_ring(&self) -> LogRing {
        self.inner.ring.clone()
    }

    /// Runs `task` on this shard.
    pub fn spawn_local<T>(&self, task: impl Future<Output = T> + 'static) -> JoinHandle<T>
    where
        T: 'static,
    {
        tokio::task::spawn_local(task)
    }

    /// Gives the handler of every event, and starts the turns.
    ///
    /// The handler may call anything of this runtime. It must not block. Call this from the main future itself, so
    /// that a panic of the handler ends the shard.
    ///
    /// # Errors
    /// The kernel's, when the ring or the wake cannot be polled.
    ///
    /// # Panics
    /// On a second call.
    pub fn on_event(&self, handler: impl FnMut(ShardEvent<M>) + 'static) -> io::Result<()> {
        let receiver = self.inner.receiver.borrow_mut().take().expect("a shard has one event handler");
        // SAFETY: the descriptor is the ring's, which the registered clone owns a share of and never replaces.
        let ring = unsafe { AsyncFd::register_with_interest(self.inner.ring.clone(), Interest::READABLE) };
        // SAFETY: the descriptor is the mailbox's eventfd, which the receiver owns a share of and never replaces.
        let mail = unsafe { AsyncFd::register_with_interest(receiver, Interest::READABLE) };
        let pump = Pump {
            ring: ring.map_err(|error| error.into_parts().1)?,
            mail: mail.map_err(|error| error.into_parts().1)?,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            sleep_until_ns: None,
            completions: Vec::new(),
            shard: self.clone(),
        };
        *self.inner.pump.borrow_mut() = Some(tokio::task::spawn_local(pump.run(handler)));
        Ok(())
    }
}

impl<M: Send + 'static> ShardRuntime<M> {
    /// A sender of completions to this shard, for helper threads.
    #[must_use]
    pub fn completer(&self) -> Completer {
        let mailboxes = self.inner.mailboxes.clone();
        let shard = self.inner.id;
        Completer {
            complete: Arc::new(move |completion| {
                // The shard has ended: nobody waits for the completion.
                drop(mailboxes.push_waiting(shard, Envelope::Completion(completion)));
            }),
        }
    }
}

impl<M> fmt::Debug for ShardRuntime<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardRuntime({})", self.inner.id)
    }
}

/// Delivers [`ShardEvent::Completion`]s to one shard from another thread. Cloning shares it.
#[derive(Clone)]
pub struct Completer {
    complete: Arc<dyn Fn(Completion) + Send + Sync>,
}

impl Completer {
    /// Delivers the completion of `token`; waits while the shard's mailbox is full, so **not for shards**.
    pub fn complete(&self, token: u64, result: io::Result<usize>) {
        (self.complete)(Completion { token, result });
    }
}

impl fmt::Debug for Completer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completer")
    }
}

/// The one task that turns wakes into events.
struct Pump<M: 'static> {
    ring: AsyncFd<LogRing>,
    mail: AsyncFd<MailboxReceiver<M>>,
    sleep: Pin<Box<Sleep>>,
    sleep_until_ns: Option<u64>,
    completions: Vec<Completion>,
    shard: ShardRuntime<M>,
}

impl<M: 'static> Pump<M> {
    async fn run(mut self, mut handler: impl FnMut(ShardEvent<M>)) {
        let inner = Rc::clone(&self.shard.inner);
        loop {
            poll_fn(|cx| self.poll_wake(cx)).await;
            if inner.now.get().is_none() {
                inner.now.set(Some(clock::read()));
            }

            self.deliver_completions(&mut handler);
            self.deliver_mail(&mut handler);
            self.fire_timers(&mut handler);

            if inner.ring.has_work() || inner.gather_requested.get() || inner.flush_requested.get() {
                yield_once().await;
                for _ in 0..SUBMITS_PER_TURN_MAX {
                    if inner.gather_requested.replace(false) {
                        handler(ShardEvent::Gather);
                    }
                    if !inner.ring.has_work() {
                        break;
                    }
                    inner.ring.submit();
                    self.deliver_completions(&mut handler);
                }
                if inner.flush_requested.replace(false) {
                    handler(ShardEvent::Flush);
                }
                // What was asked for up to here is done, save what is still seen to be there.
                inner.signal.take();
                if inner.ring.has_work()
                    || inner.gather_requested.get()
                    || inner.flush_requested.get()
                    || !self.mail.get_ref().is_empty()
                {
                    inner.signal.schedule();
                }
            }
            if let Some(began) = inner.now.take() {
                inner.stats.turns.add_ns(clock::monotonic_ns().saturating_sub(began.monotonic_ns));
            }
        }
    }

    /// Ready when there is a cause for a turn. Publishes that the shard sleeps before it says otherwise.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &self.shard.inner;
        inner.signal.register(cx.waker());
        let mut ready = inner.signal.take();
        while let Poll::Ready(guard) = self.ring.poll_read_ready(cx) {
            // Polling failed: the runtime is being torn down, and this task with it.
            let Ok(mut guard) = guard else { return Poll::Pending };
            guard.clear_ready();
            ready = true;
        }
        while let Poll::Ready(guard) = self.mail.poll_read_ready(cx) {
            let Ok(mut guard) = guard else { return Poll::Pending };
            // The counter is never read back: epoll is edge-triggered, every write to it is an edge.
            guard.clear_ready();
            ready = true;
        }
        ready |= self.poll_deadline(cx);
        if ready || !self.mail.get_ref().park() {
            self.mail.get_ref().unpark();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Whether the earliest timer is due.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let next = self.shard.inner.timers.borrow().next_deadline_ns();
        if next != self.sleep_until_ns {
            self.sleep_until_ns = next;
            if let Some(deadline_ns) = next {
                let delay = Duration::from_nanos(deadline_ns.saturating_sub(clock::read().monotonic_ns));
                if delay.is_zero() {
                    self.sleep_until_ns = None;
                    return true;
                }
                // A deadline beyond what the clock can say is as good as a day: it is then set again.
                let at =
                    Instant::now().checked_add(delay.min(Duration::from_secs(86_400))).unwrap_or_else(Instant::now);
                self.sleep.as_mut().reset(at.into());
            }
        }
        if next.is_some() && self.sleep.as_mut().poll(cx).is_ready() {
            self.sleep_until_ns = None;
            return true;
        }
        false
    }

    fn deliver_completions(&mut self, handler: &mut impl FnMut(ShardEvent<M>)) {
        self.shard.inner.ring.reap(&mut self.completions);
        for completion in self.completions.drain(..) {
            handler(ShardEvent::Completion(completion));
        }
    }

    fn deliver_mail(&mut self, handler: &mut impl FnMut(ShardEvent<M>)) {
        let mut taken = 0;
        while taken < MAIL_PER_TURN_MAX {
            let Some(envelope) = self.mail.get_ref().pop() else { break };
            taken += 1;
            match envelope {
                Envelope::Mail(message) => handler(ShardEvent::Mail(message)),
                Envelope::Completion(completion) => handler(ShardEvent::Completion(completion)),
            }
        }
        if taken > 0 {
            self.shard.inner.stats.mail.add(taken as u64);
        }
        if taken == MAIL_PER_TURN_MAX {
            self.shard.inner.signal.schedule();
        }
    }

    fn fire_timers(&mut self, handler: &mut impl FnMut(ShardEvent<M>)) {
        let now_ns = self.shard.now().monotonic_ns;
        for _ in 0..TIMERS_PER_TURN_MAX {
            // Taken one at a time, and the borrow ended: the handler may set and cancel timers.
            let due = self.shard.inner.timers.borrow_mut().take_due(now_ns);
            let Some(token) = due else { return };
            handler(ShardEvent::Timer(token));
        }
        self.shard.inner.signal.schedule();
    }
}

/// Lets every task that is ready now run once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
