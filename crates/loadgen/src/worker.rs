//! A thread that produces: epoll over the connections of its producers, and a timer for the next message that is due.
//! (Tokio's timers have a millisecond; a schedule needs better.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock::{SECOND_NS, now_ns};
use crate::intervals::Intervals;
use crate::producer::{Bench, Producer};
use crate::shared::{Connected, Shared, Wanted};
use crate::tally::{Tick, Totals, second_of};

const TIMER: u64 = u64::MAX;
/// How often it looks for new connections and for the end, whatever happens.
const LOOK_NS: u64 = 20_000_000;
const EVENTS: usize = 256;

/// What a thread is given.
pub(crate) struct Worker {
    pub(crate) thread: usize,
    pub(crate) cpu: Option<usize>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) connected: Receiver<Connected>,
    pub(crate) wanted: Sender<Wanted>,
    pub(crate) ticks: Sender<Tick>,
}

/// What it has to say at the end.
pub(crate) struct Produced {
    pub(crate) totals: Totals,
    /// Sequences acked, by partition and producer.
    pub(crate) acked: HashMap<(usize, u32), Intervals>,
}

/// Pins the calling thread to a CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?)
}

impl Worker {
    /// Runs until every producer is done, or is told to give up.
    pub(crate) fn run(mut self) -> io::Result<Produced> {
        if let Some(cpu) = self.cpu {
            pin(cpu)?;
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        for (place, producer) in self.producers.iter().enumerate() {
            for node in producer.nodes() {
                if let Some(socket) = producer.socket(node) {
                    register(&epoll, socket, place, node)?;
                }
            }
        }
        let shared = Arc::clone(&self.shared);
        let marks = &shared.marks;
        let mut bench = Bench::new(&shared);
        // When each producer wants its turn, earliest first; an entry that is not its producer's latest is void.
        let mut wakes: BinaryHeap<Reverse<(u64, usize)>> =
            (0..self.producers.len()).map(|place| Reverse((0, place))).collect();
        let mut wake_of = vec![0; self.producers.len()];
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut look_ns = 0;
        let mut armed_ns = 0;
        loop {
            let now = now_ns();
            let second = second_of(marks.start_ns(), now);
            if bench.tick.second < second {
                // The coordinator may be gone after a failure; then nobody counts.
                let _ = self.ticks.send(std::mem::replace(&mut bench.tick, Tick::new(second)));
            }
            if look_ns <= now {
                look_ns = now + LOOK_NS;
                self.take_connections(&epoll)?;
                if self.producers.iter().all(Producer::is_done) || shared.give_up.load(Ordering::Relaxed) {
                    break;
                }
                // The end may have come nearer, and leaders may have changed.
                let turn = |place: usize| Reverse((now, place));
                wakes.extend((0..self.producers.len()).map(turn));
                wake_of.fill(now);
            }
            while let Some(&Reverse((wake_ns, place))) = wakes.peek().filter(|wake| wake.0.0 <= now) {
                wakes.pop();
                if wake_of[place] == wake_ns {
                    self.turn(place, &mut bench, &mut wakes, &mut wake_of);
                }
            }
            let next = wakes.peek().map_or(u64::MAX, |wake| wake.0.0);
            let next = next.min(look_ns).min(marks.start_ns().saturating_add((second + 1) * SECOND_NS));
            if armed_ns != next {
                armed_ns = next;
                let at = Duration::from_nanos(next.max(1));
                let at = Expiration::OneShot(TimeSpec::from_duration(at));
                timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                count => count?,
            };
            for event in &events[..count] {
                if event.data() == TIMER {
                    continue;
                }
                let place = (event.data() >> 16) as usize;
                self.producers[place].on_event(event.data() as u16, &mut bench);
                self.turn(place, &mut bench, &mut wakes, &mut wake_of);
            }
        }
        for producer in self.producers.iter_mut().filter(|producer| !producer.is_done()) {
            producer.give_up(&mut bench);
        }
        let _ = self.ticks.send(bench.tick);
        let mut acked = HashMap::new();
        for producer in self.producers {
            acked.extend(producer.into_acked());
        }
        Ok(Produced { totals: bench.totals, acked })
    }

    fn turn(
        &mut self,
        place: usize,
        bench: &mut Bench,
        wakes: &mut BinaryHeap<Reverse<(u64, usize)>>,
        wake_of: &mut [u64],
    ) {
        let now = now_ns();
        let start_ns = self.shared.marks.start_ns();
        let producer = &mut self.producers[place];
        let wake_ns = if start_ns <= now { producer.turn(now, bench) } else { start_ns };
        for node in producer.take_wanted() {
            let _ = self.wanted.send(Wanted { thread: self.thread, producer: place, node });
        }
        if wake_ns < u64::MAX && wake_of[place] != wake_ns {
            wake_of[place] = wake_ns;
            wakes.push(Reverse((wake_ns, place)));
        }
    }

    fn take_connections(&mut self, epoll: &Epoll) -> io::Result<()> {
        while let Ok(connected) = self.connected.try_recv() {
            if let Some(socket) = &connected.socket {
                register(epoll, socket, connected.producer, connected.node)?;
            }
            self.producers[connected.producer].on_connected(connected.node, connected.socket);
        }
        Ok(())
    }
}

fn register(epoll: &Epoll, socket: &TcpStream, producer: usize, node: u16) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    Ok(epoll.add(socket, EpollEvent::new(interest, (producer as u64) << 16 | u64::from(node)))?)
}
