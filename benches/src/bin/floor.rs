//! The bare loop that a node cannot beat: one thread, epoll, and nothing but what the bytes themselves demand. It
//! receives, checks CRC-32C, writes with pwrite, answers shortly, and sends fetched bytes back by sendfile. No
//! replication, no durability, no limits, one topic; it allocates nothing per request.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use benches::bare::{self, Fetched, Header, Reader};
use benches::options::Options;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{MsgFlags, send};

/// Entries that an index holds before the log starts over.
const INDEX_ENTRIES_MAX: usize = 1 << 20;
const UNKNOWN: Fetched =
    Fetched { error: bare::UNKNOWN_PARTITION, start_offset: -1, end_offset: -1, position: 0, bytes: 0 };
const SENDFILE_BYTES_MAX: usize = 1 << 20;

struct Partition {
    file: File,
    start_offset: i64,
    end_offset: i64,
    end: u64,
    /// First offset and position of every append.
    index: Vec<(i64, u64)>,
}

impl Partition {
    fn new(file: File) -> Self {
        Self { file, start_offset: 0, end_offset: 0, end: 0, index: Vec::with_capacity(INDEX_ENTRIES_MAX) }
    }

    fn append(&mut self, records: &mut [u8], options: &Options) -> Result<i64, i16> {
        let base = self.end_offset;
        let next = bare::stamp(records, base, !options.sink)?;
        if !options.sink {
            if self.end + records.len() as u64 > options.log_bytes_max || self.index.len() == INDEX_ENTRIES_MAX {
                self.start_offset = base;
                self.end = 0;
                self.index.clear();
            }
            // 56 is KAFKA_STORAGE_ERROR.
            self.file.write_all_at(records, self.end).map_err(|_| 56_i16)?;
            self.index.push((base, self.end));
            self.end += records.len() as u64;
        }
        self.end_offset = next;
        Ok(base)
    }

    fn read(&self, offset: i64, bytes_max: usize) -> Fetched {
        let (start_offset, end_offset) = (self.start_offset, self.end_offset);
        let mut fetched = Fetched { error: 0, start_offset, end_offset, position: 0, bytes: 0 };
        if !(start_offset..=end_offset).contains(&offset) {
            fetched.error = bare::OFFSET_OUT_OF_RANGE;
        } else if let Some(entry) = self.index.partition_point(|&(first, _)| first <= offset).checked_sub(1)
            && offset < end_offset
        {
            fetched.position = self.index[entry].1;
            fetched.bytes = bytes_max.min((self.end - fetched.position) as usize);
        }
        fetched
    }
}

/// What goes out next: bytes of `out` up to a point, or a slice of a file.
enum Piece {
    Bytes { until: usize },
    Slice { partition: usize, position: u64, bytes: usize },
}

struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    out: Vec<u8>,
    sent: usize,
    pieces: VecDeque<Piece>,
    waits_to_write: bool,
    /// A fetch at the front of the input that found nothing, and when it must be answered all the same.
    parked_until: Option<Instant>,
}

/// The connection is over, by its end, an error, or bytes that are none of ours.
struct Over;

impl Connection {
    fn new(socket: TcpStream, request_bytes_max: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let input = vec![0; request_bytes_max * 2];
        let (out, pieces) = (Vec::with_capacity(64 << 10), VecDeque::with_capacity(64));
        Ok(Self { socket, input, start: 0, end: 0, out, sent: 0, pieces, waits_to_write: false, parked_until: None })
    }

    /// Receives once, answers what is whole, sends what can be sent; true if something was appended.
    fn turn(&mut self, log: &mut [Partition], options: &Options, events: EpollFlags) -> Result<bool, Over> {
        if !(events - EpollFlags::EPOLLOUT).is_empty() {
            self.receive()?;
        }
        // What is already promised goes first, so that the output stays bounded by what the client reads.
        self.flush(log)?;
        let appended = !self.waits_to_write && self.answer(log, options)?;
        self.flush(log)?;
        Ok(appended)
    }

    fn receive(&mut self) -> Result<(), Over> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.input.len() - self.end < self.input.len() / 2 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.socket.read(&mut self.input[self.end..]) {
            Ok(0) if self.end < self.input.len() => Err(Over),
            Ok(bytes) => {
                self.end += bytes;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Over),
        }
    }

    /// Answers every whole request of the input; true if something was appended.
    fn answer(&mut self, partitions: &mut [Partition], options: &Options) -> Result<bool, Over> {
        let mut appended = false;
        let late = self.parked_until.is_some_and(|deadline| deadline <= Instant::now());
        while self.end - self.start >= 4 {
            let length = &self.input[self.start..self.start + 4];
            let bytes = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            if bytes + 4 > options.request_bytes_max {
                return Err(Over);
            }
            if self.end - self.start - 4 < bytes {
                break;
            }
            let frame = &mut self.input[self.start + 4..self.start + 4 + bytes];
            let mut reader = Reader(frame);
            let header = Header::read(&mut reader).ok_or(Over)?;
            let (out, pieces) = (&mut self.out, &mut self.pieces);
            match header.api {
                0 => {
                    appended = true;
                    let append = |partition, records: &mut [u8]| match partitions.get_mut(partition as usize) {
                        Some(partition) => partition.append(records, options),
                        None => Err(bare::UNKNOWN_PARTITION),
                    };
                    header.produce(&mut reader, out, append).ok_or(Over)?;
                }
                1 => {
                    let read = |partition, offset, bytes_max| match partitions.get(partition as usize) {
                        Some(partition) => partition.read(offset, bytes_max),
                        None => UNKNOWN,
                    };
                    let slice = |until, partition, fetched: &Fetched| {
                        pieces.push_back(Piece::Bytes { until });
                        let (position, bytes) = (fetched.position, fetched.bytes);
                        pieces.push_back(Piece::Slice { partition, position, bytes });
                    };
                    let end = header.fetch(&mut reader, out, read, slice).ok_or(Over)?;
                    if !end.answered && end.wait_ms > 0 && !late {
                        out.truncate(end.reply_at);
                        let wait = Duration::from_millis(u64::from(end.wait_ms));
                        self.parked_until.get_or_insert_with(|| Instant::now() + wait);
                        break;
                    }
                    self.parked_until = None;
                }
                3 => header.metadata(out, options.listen, options.partitions),
                _ => header.api_versions(out),
            }
            self.start += 4 + bytes;
        }
        Ok(appended)
    }

    /// Sends until nothing is left or the socket is full.
    fn flush(&mut self, partitions: &[Partition]) -> Result<(), Over> {
        self.waits_to_write = false;
        loop {
            let sent = match self.pieces.front_mut() {
                Some(Piece::Slice { bytes: 0, .. }) => {
                    self.pieces.pop_front();
                    continue;
                }
                Some(Piece::Slice { partition, position, bytes }) => {
                    let mut offset = *position as i64;
                    let file = &partitions[*partition].file;
                    sendfile64(&self.socket, file, Some(&mut offset), (*bytes).min(SENDFILE_BYTES_MAX)).inspect(
                        |sent| {
                            *position += *sent as u64;
                            *bytes -= *sent;
                        },
                    )
                }
                Some(Piece::Bytes { until }) if *until == self.sent => {
                    self.pieces.pop_front();
                    continue;
                }
                front => {
                    let (until, more) = match front {
                        Some(Piece::Bytes { until }) => (*until, MsgFlags::from_bits_retain(libc::MSG_MORE)),
                        _ => (self.out.len(), MsgFlags::empty()),
                    };
                    if until == self.sent {
                        self.out.clear();
                        self.sent = 0;
                        return Ok(());
                    }
                    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT | more;
                    send(self.socket.as_raw_fd(), &self.out[self.sent..until], flags).inspect(|sent| self.sent += sent)
                }
            };
            match sent {
                Ok(0) => return Err(Over),
                Ok(_) => {}
                Err(nix::Error::EAGAIN) => {
                    self.waits_to_write = true;
                    return Ok(());
                }
                Err(_) => return Err(Over),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let (options, files) = Options::prepare()?;
    let mut partitions: Vec<Partition> = files.into_iter().map(Partition::new).collect();
    let listener = TcpListener::bind(options.listen)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX))?;
    println!("floor listens on {} with {} partitions", options.listen, options.partitions);

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = vec![EpollEvent::empty(); 1024];
    loop {
        let deadline = connections.iter().flatten().filter_map(|connection| connection.parked_until).min();
        let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = wait.and_then(|wait| EpollTimeout::try_from(wait).ok()).unwrap_or(EpollTimeout::NONE);
        let count = match epoll.wait(&mut events, timeout) {
            Err(nix::Error::EINTR) => continue,
            count => count?,
        };
        let mut appended = false;
        for event in &events[..count] {
            if event.data() != u64::MAX {
                let slot = &mut connections[event.data() as usize];
                appended |= serve(slot, &mut partitions, &options, event.events(), &epoll, event.data());
            } else if let Ok((socket, _)) = listener.accept() {
                let slot = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
                connections.resize_with(connections.len().max(slot + 1), || None);
                connections[slot] = Some(Connection::new(socket, options.request_bytes_max)?);
            }
        }
        let now = Instant::now();
        for (number, slot) in connections.iter_mut().enumerate() {
            if slot.as_ref().and_then(|one| one.parked_until).is_some_and(|until| appended || until <= now) {
                serve(slot, &mut partitions, &options, EpollFlags::empty(), &epoll, number as u64);
            }
        }
    }
}

/// One connection's share of a turn; true if it appended something.
fn serve(
    slot: &mut Option<Connection>,
    partitions: &mut [Partition],
    options: &Options,
    events: EpollFlags,
    epoll: &Epoll,
    number: u64,
) -> bool {
    let Some(connection) = slot else { return false };
    let waited = connection.waits_to_write;
    let turn = connection.turn(partitions, options, events);
    let interest = if connection.waits_to_write { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
    if turn.is_err()
        || (connection.waits_to_write != waited
            && epoll.modify(&connection.socket, &mut EpollEvent::new(interest, number)).is_err())
    {
        *slot = None;
    }
    turn.unwrap_or(false)
}
