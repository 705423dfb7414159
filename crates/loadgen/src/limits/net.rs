//! `bench net`: what the way to a peer can carry, without a broker in the way: bytes to it, bytes from it, and the time of a
//! small message and its echo. The peer is this machine (loopback) or another one on which `ringlog bench net --serve` runs.
//!
//! A connection begins with what the client wants; both ends give up when nothing moves for `STALLED`.
//!
//! ```text
//! | "RLBNET01" (8B) | job (1B) | duration in ms (4B) |
//! job S: the client sends and shuts down its side; the server answers with the count of bytes it received (8B)
//! job R: the server sends for the duration, at most a minute, and closes
//! job E: every message of 128 bytes comes back, until the client closes
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{LOOPBACK, Latency, Network, Transfer};

const MAGIC: &[u8; 8] = b"RLBNET01";
const GREETING_BYTES: usize = 13;
const CHUNK_BYTES: usize = 256 << 10;
const MESSAGE_BYTES: usize = 128;
/// How long either end waits for the other.
const STALLED: Duration = Duration::from_secs(10);
/// The longest that a server sends for one client.
const SEND_MAX: Duration = Duration::from_secs(60);
/// Connections that a server serves at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How often a server looks whether it is to stop.
const ACCEPT_POLL: Duration = Duration::from_millis(5);
const ROUND_TRIP_US_MAX: u64 = 60_000_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who answers; `None`: a server that is started here, on loopback.
    pub peer: Option<SocketAddr>,
    /// Connections that share a transfer, 1 to 64.
    pub connections: u32,
    /// Time for everything.
    pub budget: Duration,
}

/// Measures the way to a peer.
///
/// # Errors
/// When the peer does not answer as `ringlog bench net --serve` does, with its address.
pub fn measure(plan: &Plan, measured_at: String, progress: &mut dyn FnMut(&str)) -> io::Result<Network> {
    let Some(peer) = plan.peer else {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let peer = listener.local_addr()?;
        let stop = AtomicBool::new(false);
        return std::thread::scope(|scope| {
            let server = scope.spawn(|| serve(&listener, &stop));
            let measured = run(plan, peer, LOOPBACK.to_owned(), measured_at, progress);
            stop.store(true, Ordering::Relaxed);
            let served = server.join().unwrap_or_else(|_| Err(io::Error::other("the server panicked")));
            served.and(measured)
        });
    };
    run(plan, peer, peer.to_string(), measured_at, progress)
}

fn run(
    plan: &Plan,
    peer: SocketAddr,
    name: String,
    measured_at: String,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Network> {
    let told = |error: io::Error| {
        let why = format!("{peer}: {error}; does `ringlog bench net --serve` of this version run there?");
        io::Error::new(error.kind(), why)
    };
    let part = plan.budget / 3;
    progress("sending");
    let sent = all(plan.connections, || send(peer, part)).map_err(told)?;
    progress("receiving");
    let received = all(plan.connections, || receive(peer, part)).map_err(told)?;
    progress("sending to and fro");
    let round_trip = round_trips(peer, part).map_err(told)?;
    Ok(Network { measured_at, peer: name, connections: plan.connections, sent, received, round_trip })
}

/// Runs `job` on as many threads as there are connections; the transfer is everything they moved until the last one ended.
fn all(connections: u32, job: impl Fn() -> io::Result<u64> + Sync) -> io::Result<Transfer> {
    let start = Instant::now();
    let moved = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(&job)).collect();
        let panicked = |_| Err(io::Error::other("a thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).sum::<io::Result<u64>>()
    })?;
    Ok(Transfer::new(moved, start.elapsed()))
}

fn open(peer: SocketAddr, job: u8, duration: Duration) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&peer, STALLED)?;
    prepare(&socket)?;
    let mut greeting = MAGIC.to_vec();
    greeting.push(job);
    greeting.extend_from_slice(&(duration.as_millis() as u32).to_be_bytes());
    socket.write_all(&greeting)?;
    Ok(socket)
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(STALLED))?;
    socket.set_write_timeout(Some(STALLED))
}

/// Sends for `duration`; what the server says it received is what counts.
fn send(peer: SocketAddr, duration: Duration) -> io::Result<u64> {
    let mut socket = open(peer, b'S', duration)?;
    push(&mut socket, duration)?;
    socket.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    socket.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}

fn receive(peer: SocketAddr, duration: Duration) -> io::Result<u64> {
    let mut socket = open(peer, b'R', duration)?;
    drain(&mut socket)
}

fn push(socket: &mut TcpStream, duration: Duration) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK_BYTES];
    let start = Instant::now();
    while start.elapsed() < duration {
        socket.write_all(&chunk)?;
    }
    Ok(())
}

fn drain(socket: &mut TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}

fn round_trips(peer: SocketAddr, duration: Duration) -> io::Result<Latency> {
    let mut socket = open(peer, b'E', duration)?;
    let mut histogram = Histogram::<u64>::new_with_max(ROUND_TRIP_US_MAX, 3).map_err(io::Error::other)?;
    let mut message = [0x5a; MESSAGE_BYTES];
    let start = Instant::now();
    while histogram.is_empty() || start.elapsed() < duration {
        let began = Instant::now();
        socket.write_all(&message)?;
        socket.read_exact(&mut message)?;
        histogram.saturating_record((began.elapsed().as_micros() as u64).max(1));
    }
    Ok(Latency::from(&histogram))
}

/// Serves clients until `stop`; returns when the last of them is done.
///
/// # Errors
/// When the listener fails. A client that misbehaves loses its connection and nothing else.
pub fn serve(listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let serving = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(ACCEPT_POLL);
                    continue;
                }
                // The peer went away between its greeting and ours.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            if serving.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                serving.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let serving = &serving;
            scope.spawn(move || {
                // The client sees its connection end and says why it matters.
                let _ = serve_one(socket);
                serving.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Ok(())
    })
}

fn serve_one(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    prepare(&socket)?;
    let mut greeting = [0; GREETING_BYTES];
    socket.read_exact(&mut greeting)?;
    let [b'R', b'L', b'B', b'N', b'E', b'T', b'0', b'1', job, duration @ ..] = greeting else {
        return Err(io::Error::other("not a client of bench net"));
    };
    let duration = Duration::from_millis(u64::from(u32::from_be_bytes(duration))).min(SEND_MAX);
    match job {
        b'S' => {
            let bytes = drain(&mut socket)?;
            socket.write_all(&bytes.to_be_bytes())
        }
        b'R' => push(&mut socket, duration),
        b'E' => {
            let mut message = [0; MESSAGE_BYTES];
            loop {
                socket.read_exact(&mut message)?;
                socket.write_all(&message)?;
            }
        }
        _ => Err(io::Error::other("no such job")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_bytes_both_ways_and_echoes() {
        let plan = Plan { peer: None, connections: 2, budget: Duration::from_millis(150) };
        let network = measure(&plan, "now".to_owned(), &mut |_| {}).expect("loopback");
        assert_eq!(network.peer, "loopback");
        assert!(0 < network.sent.bytes && 0 < network.received.bytes && 0 < network.round_trip.samples, "{network:?}");
    }

    #[test]
    fn what_counts_as_sent_is_what_the_peer_received() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let peer = listener.local_addr().expect("bound");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &stop));
            let mut socket = open(peer, b'S', Duration::ZERO).expect("greeted");
            socket.write_all(&[1; 1000]).expect("sent");
            socket.shutdown(Shutdown::Write).expect("shut");
            let mut count = [0; 8];
            socket.read_exact(&mut count).expect("counted");
            stop.store(true, Ordering::Relaxed);
            assert_eq!(u64::from_be_bytes(count), 1000);
        });
    }

    #[test]
    fn a_peer_that_is_no_server_of_ours_is_an_error_that_names_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let peer = listener.local_addr().expect("bound");
        let other = std::thread::spawn(move || drop(listener.accept()));
        let plan = Plan { peer: Some(peer), connections: 1, budget: Duration::from_millis(30) };
        let error = measure(&plan, "now".to_owned(), &mut |_| {}).expect_err("no server").to_string();
        other.join().expect("accepted");
        assert!(error.starts_with(&peer.to_string()) && error.contains("bench net --serve"), "{error}");
    }

    #[test]
    fn a_server_drops_whoever_does_not_greet() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let peer = listener.local_addr().expect("bound");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener, &stop));
            let mut socket = TcpStream::connect(peer).expect("listens");
            socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
            let ended = socket.read(&mut [0; 16]).map_or(true, |bytes| bytes == 0);
            stop.store(true, Ordering::Relaxed);
            assert!(ended);
        });
    }
}
