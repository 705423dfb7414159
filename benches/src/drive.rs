//! The driver: pre-encoded requests over bare epoll, so that it costs less than what it measures.
//!
//! ```text
//! closed loop:  every connection keeps `in_flight` requests under way          latency from the moment it is handed out
//! open loop:    request i is due at start + i / rate, on connection i mod C    latency from the moment it was due
//! ```
//! Every reply is checked: error codes; produced offsets must follow each other without gap or overlap; a fetched slice
//! must begin at the offset asked for. Speaks the versions that the bare servers answer (see [`crate::bare`]), so that
//! all targets get the same bytes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use batch::{BatchBuilder, Codec};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;
use types::{LeaderEpoch, Offset, Timestamp};

use crate::bare::{FETCH_VERSION, METADATA_VERSION, PRODUCE_VERSION};

/// Bytes received by one call.
const INPUT_BYTES: usize = 256 << 10;
/// More than any reply's bytes before its records, and any request's before and after its batch.
const HEAD_BYTES_MAX: usize = 192;
const CLIENT_ID: &[u8] = b"drive";
/// After a produce request's batch: no tags of the partition, the topic, the request.
const PRODUCE_TAIL: [u8; 3] = [0; 3];
const TIMER: u64 = u64::MAX;

/// What every request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Appends one batch.
    Produce,
    /// Reads up to `slice_bytes` of a log that the driver filled before.
    Fetch {
        /// Most bytes of a slice.
        slice_bytes: usize,
    },
}

/// What is driven, and how.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The target.
    pub address: SocketAddr,
    /// Its topic; created by Metadata if the target does that.
    pub topic: String,
    /// Partitions that requests go to in turn.
    pub partitions: u16,
    /// Produce or fetch.
    pub kind: Kind,
    /// Connections.
    pub connections: usize,
    /// Requests under way on each connection.
    pub in_flight: usize,
    /// Size of a batch, header included.
    pub batch_bytes: usize,
    /// Records of a batch.
    pub records: usize,
    /// -1 (all), 1.
    pub acks: i16,
    /// Requests per second of all connections together; `None` is as many as go.
    pub rate: Option<f64>,
    /// Bytes that a fetch fills each partition with before it begins.
    pub fill_bytes: usize,
    /// SO_RCVBUF of the driver; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// Not counted.
    pub warmup: Duration,
    /// Counted.
    pub duration: Duration,
    /// The process whose CPU is counted, all of its threads and kernel workers.
    pub pid: Option<i32>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Replies within the measured time.
    pub requests: u64,
    /// Payload of these, in bytes.
    pub bytes: u64,
    /// Replies with fewer bytes than asked for (the slice met the end of a segment).
    pub short: u64,
    /// The measured time.
    pub elapsed: Duration,
    /// CPU of the target.
    pub cpu: Option<Duration>,
    /// CPU of the driver itself: near 100 % of the time, it was the bottleneck.
    pub driver_cpu: Duration,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// CPU of the target for one request, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / self.requests.max(1) as f64)
    }

    /// Requests per second.
    #[must_use]
    pub fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// Payload per second, in MiB.
    #[must_use]
    pub fn mib_per_s(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64() / f64::from(1 << 20)
    }

    /// A quantile of the latency in microseconds.
    #[must_use]
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// The CPU time of a process so far: its threads, those that ended, and io_uring's workers, to the nanosecond.
///
/// # Errors
/// There is no such process.
pub fn cpu_of(pid: i32) -> io::Result<Duration> {
    let clock = nix::time::clock_getcpuclockid(Pid::from_raw(pid))?;
    Ok(Duration::from(clock.now()?))
}

struct Piece {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    sent: usize,
}

struct Asked {
    correlation: i32,
    partition: usize,
    offset: i64,
    since: Instant,
    /// Payload of its reply, once its head is here.
    bytes: usize,
}

struct Connection {
    socket: TcpStream,
    out: VecDeque<Piece>,
    asked: VecDeque<Asked>,
    /// Open loop: when requests that could not be sent yet were due.
    due: VecDeque<Instant>,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the front reply that are still to come, all of them records.
    skip: usize,
}

/// One partition's offsets.
#[derive(Default)]
struct Progress {
    next: i64,
    acked: u64,
    /// Acked before what precedes them.
    early: BinaryHeap<Reverse<i64>>,
    /// Fetch: the readable batches begin at this offset, this many.
    first: i64,
    batches: i64,
    cursor: i64,
}

struct Driver<'a> {
    workload: &'a Workload,
    kind: Kind,
    batch: Vec<u8>,
    heads: Vec<Vec<u8>>,
    progress: Vec<Progress>,
    connections: Vec<Connection>,
    partition_next: usize,
    correlation: i32,
    counted: Counted,
}

struct Counted {
    requests: u64,
    bytes: u64,
    short: u64,
    latency: Histogram<u64>,
}

fn wrong(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Runs a workload.
///
/// # Errors
/// The target's connection broke, or a reply is not what it must be.
pub fn run(workload: &Workload) -> io::Result<Outcome> {
    let mut driver = Driver::new(workload)?;
    driver.find_ends()?;
    if workload.kind != Kind::Produce {
        driver.fill()?;
    }
    driver.measure()
}

impl<'a> Driver<'a> {
    fn new(workload: &'a Workload) -> io::Result<Self> {
        assert!(workload.topic.len() <= 60 && 0 < workload.in_flight && 0 < workload.connections);
        let mut connections = Vec::new();
        for _ in 0..workload.connections {
            let socket = TcpStream::connect(workload.address)?;
            socket.set_nodelay(true)?;
            if let Some(bytes) = workload.receive_buffer_bytes {
                nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &bytes)?;
            }
            connections.push(Connection {
                socket,
                out: VecDeque::new(),
                asked: VecDeque::new(),
                due: VecDeque::new(),
                input: vec![0; INPUT_BYTES].into(),
                start: 0,
                end: 0,
                skip: 0,
            });
        }
        let mut driver = Self {
            workload,
            kind: Kind::Produce,
            batch: batch_of(workload.batch_bytes, workload.records)?,
            heads: Vec::new(),
            progress: (0..workload.partitions).map(|_| Progress::default()).collect(),
            connections,
            partition_next: 0,
            correlation: 0,
            counted: Counted::new(),
        };
        driver.encode(Kind::Produce);
        Ok(driver)
    }

    /// Makes the requests' heads, one per partition.
    fn encode(&mut self, kind: Kind) {
        self.kind = kind;
        let topic = self.workload.topic.as_bytes();
        self.heads = (0..i32::from(self.workload.partitions))
            .map(|partition| match kind {
                Kind::Produce => {
                    let mut head = header(0, PRODUCE_VERSION);
                    head.push(0);
                    head.extend(self.workload.acks.to_be_bytes());
                    head.extend(30_000_i32.to_be_bytes());
                    put_topic(&mut head, topic);
                    head.extend(partition.to_be_bytes());
                    put_uvarint(&mut head, self.batch.len() + 1);
                    let bytes = head.len() - 4 + self.batch.len() + PRODUCE_TAIL.len();
                    head[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
                    head
                }
                Kind::Fetch { slice_bytes } => {
                    let mut head = header(1, FETCH_VERSION);
                    // Replica, most milliseconds, least bytes, most bytes, isolation, session, session epoch.
                    for number in [-1, 500, 1, slice_bytes as i32] {
                        head.extend(number.to_be_bytes());
                    }
                    head.push(0);
                    head.extend(0_i32.to_be_bytes());
                    head.extend((-1_i32).to_be_bytes());
                    put_topic(&mut head, topic);
                    head.extend(partition.to_be_bytes());
                    head.extend((-1_i32).to_be_bytes());
                    head.extend(0_i64.to_be_bytes());
                    head.extend((-1_i32).to_be_bytes());
                    head.extend((-1_i64).to_be_bytes());
                    head.extend((slice_bytes as i32).to_be_bytes());
                    // Tags, tags, nothing forgotten, no rack, tags.
                    head.extend([0, 0, 1, 1, 0]);
                    let bytes = head.len() - 4;
                    head[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
                    head
                }
            })
            .collect();
        assert!(self.heads.iter().all(|head| head.len() <= HEAD_BYTES_MAX));
    }

    /// Bytes of a fetch request after its offset.
    const FETCH_AFTER_OFFSET: usize = 4 + 8 + 4 + 5;

    /// Learns every partition's next offset by appending one batch, and makes the topic on the way.
    fn find_ends(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        for partition in 0..self.progress.len() {
            loop {
                match self.append_alone(partition)? {
                    Ok(base) => {
                        self.progress[partition].next = base + self.workload.records as i64;
                        break;
                    }
                    Err(code) if Instant::now() < deadline && [3, 5, 6, 56].contains(&code) => {
                        self.ask_metadata()?;
                        std::thread::sleep(Duration::from_millis(200));
                    }
                    Err(code) => return Err(wrong(format!("partition {partition} answers error {code}"))),
                }
            }
        }
        Ok(())
    }

    /// One append on the first connection, blocking.
    fn append_alone(&mut self, partition: usize) -> io::Result<Result<i64, i16>> {
        let socket = &mut self.connections[0].socket;
        socket.write_all(&self.heads[partition])?;
        socket.write_all(&self.batch)?;
        socket.write_all(&PRODUCE_TAIL)?;
        let reply = read_frame(socket)?;
        let (got, code, base) = parse_produced(&reply, self.workload.topic.len())?;
        if got != partition as i32 {
            return Err(wrong(format!("asked for partition {partition}, answered for {got}")));
        }
        Ok(if code == 0 { Ok(base) } else { Err(code) })
    }

    fn ask_metadata(&mut self) -> io::Result<()> {
        let mut request = header(3, METADATA_VERSION);
        request.push(2);
        request.extend([0; 16]);
        put_uvarint(&mut request, self.workload.topic.len() + 1);
        request.extend(self.workload.topic.as_bytes());
        // Tags; create it; no authorized operations; tags.
        request.extend([0, 1, 0, 0]);
        let bytes = request.len() - 4;
        request[..4].copy_from_slice(&(bytes as u32).to_be_bytes());
        let socket = &mut self.connections[0].socket;
        socket.write_all(&request)?;
        read_frame(socket)?;
        Ok(())
    }

    /// Appends what will be read, and finds where it begins.
    fn fill(&mut self) -> io::Result<()> {
        let Kind::Fetch { slice_bytes } = self.workload.kind else { return Ok(()) };
        let count = (self.workload.fill_bytes / self.batch.len()).max(2);
        let records = self.workload.records as i64;
        for partition in 0..self.progress.len() {
            let mut attempts = 0;
            loop {
                let first = self.progress[partition].next;
                for number in 0..count as i64 {
                    match self.append_alone(partition)? {
                        Ok(base) if base == first + number * records => {}
                        Ok(base) => return Err(wrong(format!("appended at {base}, not {}", first + number * records))),
                        Err(code) => return Err(wrong(format!("partition {partition} answers error {code}"))),
                    }
                }
                let end = first + count as i64 * records;
                self.progress[partition].next = end;
                // A log that starts over, or loses old segments, may have lost some of it meanwhile.
                self.encode(Kind::Fetch { slice_bytes });
                let log_start = self.fetch_alone(partition, end - records)?;
                self.encode(Kind::Produce);
                let skipped = (log_start.max(first) - first + records - 1) / records;
                let progress = &mut self.progress[partition];
                progress.first = first + skipped * records;
                progress.batches = count as i64 - skipped;
                if progress.batches * 2 >= count as i64 {
                    break;
                }
                attempts += 1;
                if attempts == 4 {
                    return Err(wrong("the log is too small to be filled".to_owned()));
                }
            }
        }
        self.encode(self.workload.kind);
        Ok(())
    }

    /// The log's start, from one fetch.
    fn fetch_alone(&mut self, partition: usize, offset: i64) -> io::Result<i64> {
        let mut head = self.heads[partition].clone();
        let at = head.len() - Self::FETCH_AFTER_OFFSET - 8;
        head[at..at + 8].copy_from_slice(&offset.to_be_bytes());
        let socket = &mut self.connections[0].socket;
        socket.write_all(&head)?;
        let reply = read_frame(socket)?;
        let fetched = parse_fetched(&reply[..reply.len().min(HEAD_BYTES_MAX)], self.workload.topic.len())?;
        if fetched.code != 0 || fetched.partition != partition as i32 {
            return Err(wrong(format!("fetch of partition {partition} at {offset} answers error {}", fetched.code)));
        }
        Ok(fetched.log_start)
    }

    fn measure(mut self) -> io::Result<Outcome> {
        let workload = self.workload;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (number, connection) in self.connections.iter().enumerate() {
            connection.socket.set_nonblocking(true)?;
            epoll.add(&connection.socket, EpollEvent::new(flags, number as u64))?;
        }
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let interval = workload.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        if let Some(interval) = interval {
            let every = Expiration::Interval(TimeSpec::from_duration(interval));
            timer.set(every, TimerSetTimeFlags::empty())?;
            epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        }
        let begin = Instant::now();
        let (measured_from, until) = (begin + workload.warmup, begin + workload.warmup + workload.duration);
        let mut schedule = (0_u64, begin);
        let mut window: Option<(Instant, Option<Duration>, Duration)> = None;
        let mut events = vec![EpollEvent::empty(); 512];
        for number in 0..self.connections.len() {
            self.serve(number, EpollFlags::empty(), Instant::now())?;
        }
        let read_cpu = || -> io::Result<(Option<Duration>, Duration)> {
            Ok((workload.pid.map(cpu_of).transpose()?, cpu_of(std::process::id() as i32)?))
        };
        let (elapsed, cpu, driver_cpu) = loop {
            let count = match epoll.wait(&mut events, EpollTimeout::from(1000_u16)) {
                Err(nix::Error::EINTR) => continue,
                count => count?,
            };
            let now = Instant::now();
            if window.is_none() && now >= measured_from {
                let (cpu, driver_cpu) = read_cpu()?;
                window = Some((now, cpu, driver_cpu));
                self.counted = Counted::new();
            }
            if let Some((since, cpu, driver_cpu)) = window
                && now >= until
            {
                let (cpu_now, driver_cpu_now) = read_cpu()?;
                let spent = cpu_now.zip(cpu).map(|(now, then)| now.saturating_sub(then));
                break (now - since, spent, driver_cpu_now.saturating_sub(driver_cpu));
            }
            for event in &events[..count] {
                if event.data() == TIMER {
                    // The kernel sets a timer's next expiry when this one is read.
                    match timer.wait() {
                        Ok(()) | Err(nix::Error::EAGAIN) => {}
                        Err(error) => return Err(error.into()),
                    }
                    continue;
                }
                self.serve(event.data() as usize, event.events(), now)?;
            }
            if let Some(interval) = interval {
                while schedule.1 <= now {
                    let number = (schedule.0 % self.connections.len() as u64) as usize;
                    self.connections[number].due.push_back(schedule.1);
                    schedule = (schedule.0 + 1, begin + interval.mul_f64((schedule.0 + 1) as f64));
                    self.serve(number, EpollFlags::empty(), now)?;
                }
            }
        };
        let counted = std::mem::replace(&mut self.counted, Counted::new());
        self.drain(&epoll)?;
        self.check_progress()?;
        Ok(Outcome {
            requests: counted.requests,
            bytes: counted.bytes,
            short: counted.short,
            elapsed,
            cpu,
            driver_cpu,
            latency: counted.latency,
        })
    }

    /// Waits for what is under way, and asks for nothing more.
    fn drain(&mut self, epoll: &Epoll) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut events = vec![EpollEvent::empty(); 512];
        // The edges of the last wait were not looked at any more.
        for number in 0..self.connections.len() {
            self.flush(number)?;
            self.receive(number)?;
        }
        while self.connections.iter().any(|connection| !connection.asked.is_empty()) {
            if Instant::now() > deadline {
                return Err(wrong("replies are missing after 20 s".to_owned()));
            }
            let count = epoll.wait(&mut events, EpollTimeout::from(100_u16))?;
            for event in events[..count].iter().filter(|event| event.data() != TIMER) {
                let number = event.data() as usize;
                self.flush(number)?;
                self.receive(number)?;
            }
        }
        Ok(())
    }

    fn check_progress(&self) -> io::Result<()> {
        for (partition, progress) in self.progress.iter().enumerate() {
            if let Some(Reverse(early)) = progress.early.peek() {
                let next = progress.next;
                return Err(wrong(format!("partition {partition}: offsets from {next} on are missing before {early}")));
            }
        }
        let idle = self.kind == Kind::Produce && self.progress.iter().all(|progress| progress.acked == 0);
        if idle { Err(wrong("nothing was acked".to_owned())) } else { Ok(()) }
    }

    /// One connection's share: takes replies, asks for more, sends.
    fn serve(&mut self, number: usize, events: EpollFlags, now: Instant) -> io::Result<()> {
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            self.receive(number)?;
        }
        let closed_loop = self.workload.rate.is_none();
        while self.connections[number].asked.len() < self.workload.in_flight {
            let since = if closed_loop { Some(now) } else { self.connections[number].due.pop_front() };
            let Some(since) = since else { break };
            self.ask(number, since);
        }
        self.flush(number)
    }

    fn ask(&mut self, number: usize, since: Instant) {
        let partition = self.partition_next;
        self.partition_next = (partition + 1) % self.progress.len();
        self.correlation = self.correlation.wrapping_add(1) & i32::MAX;
        let template = &self.heads[partition];
        let mut piece = Piece { head: [0; HEAD_BYTES_MAX], head_bytes: template.len(), sent: 0 };
        piece.head[..template.len()].copy_from_slice(template);
        piece.head[8..12].copy_from_slice(&self.correlation.to_be_bytes());
        let mut offset = 0;
        if let Kind::Fetch { slice_bytes } = self.kind {
            let progress = &mut self.progress[partition];
            let step = (slice_bytes / self.batch.len()).max(1) as i64;
            if progress.cursor + step > progress.batches {
                progress.cursor = 0;
            }
            offset = progress.first + progress.cursor * self.workload.records as i64;
            progress.cursor += step;
            let at = template.len() - Self::FETCH_AFTER_OFFSET - 8;
            piece.head[at..at + 8].copy_from_slice(&offset.to_be_bytes());
        }
        let connection = &mut self.connections[number];
        connection.asked.push_back(Asked { correlation: self.correlation, partition, offset, since, bytes: 0 });
        connection.out.push_back(piece);
    }

    fn flush(&mut self, number: usize) -> io::Result<()> {
        let (batch, tail): (&[u8], &[u8]) = match self.kind {
            Kind::Produce => (&self.batch, &PRODUCE_TAIL),
            Kind::Fetch { .. } => (&[], &[]),
        };
        let connection = &mut self.connections[number];
        while !connection.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 48];
            let mut filled = 0;
            for piece in connection.out.iter().take(16) {
                let mut skip = piece.sent;
                for part in [&piece.head[..piece.head_bytes], batch, tail] {
                    let skipped = skip.min(part.len());
                    skip -= skipped;
                    if skipped < part.len() {
                        slices[filled] = IoSlice::new(&part[skipped..]);
                        filled += 1;
                    }
                }
            }
            let mut sent = match connection.socket.write_vectored(&slices[..filled]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            while let Some(piece) = connection.out.front_mut() {
                let whole = piece.head_bytes + batch.len() + tail.len();
                let taken = sent.min(whole - piece.sent);
                piece.sent += taken;
                sent -= taken;
                if piece.sent < whole {
                    break;
                }
                connection.out.pop_front();
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[number];
            if connection.start == connection.end {
                (connection.start, connection.end) = (0, 0);
            } else if INPUT_BYTES - connection.end < HEAD_BYTES_MAX {
                connection.input.copy_within(connection.start..connection.end, 0);
                (connection.start, connection.end) = (0, connection.end - connection.start);
            }
            let room = INPUT_BYTES - connection.end;
            let read = match connection.socket.read(&mut connection.input[connection.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            connection.end += read;
            self.take_replies(number)?;
            if read < room {
                return Ok(());
            }
        }
    }

    fn take_replies(&mut self, number: usize) -> io::Result<()> {
        let topic_bytes = self.workload.topic.len();
        loop {
            let connection = &mut self.connections[number];
            if connection.skip > 0 {
                let skipped = connection.skip.min(connection.end - connection.start);
                connection.start += skipped;
                connection.skip -= skipped;
                if connection.skip > 0 {
                    return Ok(());
                }
                self.done(number);
                continue;
            }
            let input = &connection.input[connection.start..connection.end];
            let Some(prefix) = input.first_chunk::<4>() else { return Ok(()) };
            let whole = 4 + u32::from_be_bytes(*prefix) as usize;
            let head = whole.min(HEAD_BYTES_MAX);
            if input.len() < head {
                return Ok(());
            }
            let asked = connection.asked.front().ok_or_else(|| wrong("a reply that nobody asked for".to_owned()))?;
            let body = &input[4..head];
            if i32::from_be_bytes(field(body, 0)?) != asked.correlation {
                return Err(wrong("a reply out of order".to_owned()));
            }
            let bytes = match self.kind {
                Kind::Produce => {
                    let (partition, code, base) = parse_produced(body, topic_bytes)?;
                    if code != 0 || partition != asked.partition as i32 {
                        return Err(wrong(format!("partition {partition} answers error {code}")));
                    }
                    let (asked_partition, records) = (asked.partition, self.workload.records as i64);
                    self.progress[asked_partition].on_ack(asked_partition, base, records)?;
                    self.batch.len()
                }
                Kind::Fetch { slice_bytes } => {
                    let fetched = parse_fetched(body, topic_bytes)?;
                    let (partition, code) = (fetched.partition, fetched.code);
                    if code != 0 || partition != asked.partition as i32 {
                        return Err(wrong(format!("partition {partition} answers error {code}")));
                    }
                    if fetched.bytes == 0 || fetched.bytes > slice_bytes || fetched.first != asked.offset {
                        let (bytes, first, offset) = (fetched.bytes, fetched.first, asked.offset);
                        return Err(wrong(format!("{bytes} bytes from offset {first}, asked from {offset}")));
                    }
                    fetched.bytes
                }
            };
            let connection = &mut self.connections[number];
            if let Some(asked) = connection.asked.front_mut() {
                asked.bytes = bytes;
            }
            let here = whole.min(connection.end - connection.start);
            connection.start += here;
            connection.skip = whole - here;
            if connection.skip == 0 {
                self.done(number);
            }
        }
    }

    /// The front reply is here to its last byte.
    fn done(&mut self, number: usize) {
        let asked = self.connections[number].asked.pop_front().expect("checked with its head");
        self.counted.requests += 1;
        self.counted.bytes += asked.bytes as u64;
        if let Kind::Fetch { slice_bytes } = self.kind {
            self.counted.short += u64::from(asked.bytes < slice_bytes);
        }
        self.counted.latency.saturating_record(asked.since.elapsed().as_nanos() as u64);
    }
}

impl Counted {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds are in order");
        Self { requests: 0, bytes: 0, short: 0, latency }
    }
}

impl Progress {
    fn on_ack(&mut self, partition: usize, base: i64, records: i64) -> io::Result<()> {
        self.acked += 1;
        if base < self.next {
            return Err(wrong(format!("partition {partition}: offset {base} is given twice")));
        }
        if base > self.next {
            self.early.push(Reverse(base));
            return Ok(());
        }
        self.next += records;
        while self.early.peek() == Some(&Reverse(self.next)) {
            self.early.pop();
            self.next += records;
        }
        Ok(())
    }
}

/// A batch of exactly `bytes` bytes with `records` records of equal size, but for the last, which evens it out.
fn batch_of(bytes: usize, records: usize) -> io::Result<Vec<u8>> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let timestamp = Timestamp::from_millis(now.as_millis() as i64);
    let mut payload = vec![0; bytes];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in &mut payload {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let build = |each: usize, last: usize| {
        let mut builder = BatchBuilder::new(Codec::None);
        for record in 0..records {
            let value = &payload[..if record + 1 == records { last } else { each }];
            builder.append(timestamp, None, Some(value), &[]);
        }
        builder.build(Offset::ZERO, LeaderEpoch::ZERO).to_vec()
    };
    // Lengths are varints: near the size, a byte more of value may be two bytes more of batch.
    for each in (0..=bytes / records.max(1)).rev() {
        let Some(room) = bytes.checked_sub(build(each, each).len()) else { continue };
        let fitting = (room.saturating_sub(4)..=room).map(|more| build(each, (each + more).min(bytes)));
        if let Some(batch) = fitting.into_iter().find(|batch| batch.len() == bytes) {
            return Ok(batch);
        }
    }
    Err(wrong(format!("no batch of {records} records has exactly {bytes} bytes")))
}

fn header(api: i16, version: i16) -> Vec<u8> {
    let mut head = vec![0; 4];
    head.extend(api.to_be_bytes());
    head.extend(version.to_be_bytes());
    head.extend([0; 4]);
    head.extend((CLIENT_ID.len() as i16).to_be_bytes());
    head.extend(CLIENT_ID);
    head.push(0);
    head
}

/// One topic with one partition.
fn put_topic(head: &mut Vec<u8>, topic: &[u8]) {
    head.push(2);
    put_uvarint(head, topic.len() + 1);
    head.extend(topic);
    head.push(2);
}

fn put_uvarint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_frame(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    socket.read_exact(&mut prefix)?;
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    socket.read_exact(&mut frame)?;
    Ok(frame)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| wrong("a reply is too short".to_owned()))
}

/// Partition, error and base offset of a reply with one partition.
///
/// ```text
/// | correlation (4B) | tags (1B) | 1 topic (1B) | name (1B + n) | 1 partition (1B) | index (4B) | error (2B) | base (8B) | ...
/// ```
fn parse_produced(body: &[u8], topic_bytes: usize) -> io::Result<(i32, i16, i64)> {
    let at = 4 + 1 + 1 + 1 + topic_bytes + 1;
    Ok((
        i32::from_be_bytes(field(body, at)?),
        i16::from_be_bytes(field(body, at + 4)?),
        i64::from_be_bytes(field(body, at + 6)?),
    ))
}

struct Fetched {
    partition: i32,
    code: i16,
    log_start: i64,
    bytes: usize,
    /// Offset of the first batch.
    first: i64,
}

/// The head of a reply with one partition.
///
/// ```text
/// | correlation (4B) | tags (1B) | throttle (4B) | error (2B) | session (4B) | 1 topic (1B) | name (1B + n) | 1 partition (1B)
/// | index (4B) | error (2B) | high watermark (8B) | last stable (8B) | log start (8B) | aborted (1B) | replica (4B) | records
/// ```
fn parse_fetched(body: &[u8], topic_bytes: usize) -> io::Result<Fetched> {
    let code = i16::from_be_bytes(field(body, 9)?);
    if code != 0 {
        return Ok(Fetched { partition: -1, code, log_start: -1, bytes: 0, first: -1 });
    }
    let at = 15 + 1 + 1 + topic_bytes + 1;
    let mut records = at + 4 + 2 + 24 + 1 + 4;
    let mut bytes = 0_usize;
    for shift in (0..35).step_by(7) {
        let [byte] = field(body, records)?;
        records += 1;
        bytes |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let bytes = bytes.saturating_sub(1);
    Ok(Fetched {
        partition: i32::from_be_bytes(field(body, at)?),
        code: i16::from_be_bytes(field(body, at + 4)?),
        log_start: i64::from_be_bytes(field(body, at + 22)?),
        bytes,
        first: if bytes == 0 { -1 } else { i64::from_be_bytes(field(body, records)?) },
    })
}
