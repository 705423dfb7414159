//! Sockets by readiness: a listener that says why it cannot listen, and a connection that reads into a growing buffer,
//! sends gathered slices, runs sendfile, and can be handed to another shard.
//!
//! Every `try_*` answers `Ok(None)` when it would wait; then await [`Socket::readable`] or [`Socket::writable`].

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;
use types::limits::{GATHER_BATCHES_MAX, LISTEN_BACKLOG, SENDFILE_BYTES_MAX};

use crate::file::LogFile;

/// How often a connection with something unread is looked at for its end.
const END_LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

/// How to listen. `None` leaves a buffer to the kernel's own tuning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListenerOptions {
    /// `socket.send.buffer.bytes`.
    pub send_buffer_bytes: Option<u32>,
    /// `socket.receive.buffer.bytes`.
    pub receive_buffer_bytes: Option<u32>,
}

/// Why a listener could not be bound; says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}; {cure}")]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// The kernel's answer.
    #[source]
    pub error: io::Error,
    /// What to do.
    pub cure: &'static str,
}

impl BindError {
    fn new(address: SocketAddr, error: io::Error) -> Self {
        let cure = match error.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                "another process listens there: stop it (`ss -ltnp` names it) or choose another port in `listeners`"
            }
            Some(libc::EACCES) => "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port in `listeners`",
            Some(libc::EADDRNOTAVAIL) => "this machine has no such address: use one of `ip addr`, or 0.0.0.0 for all",
            Some(libc::EAFNOSUPPORT) => "this machine has no IPv6: use an IPv4 address in `listeners`",
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (`ulimit -n`)",
            _ => "check the address in `listeners`",
        };
        Self { address, error, cure }
    }
}

/// A bound and listening socket that no reactor knows yet: a node binds before anything else, so that a taken port is an
/// error before a log is touched.
#[derive(Debug)]
pub struct BoundListener {
    listener: StdListener,
}

impl BoundListener {
    /// Binds and listens, on any thread.
    ///
    /// # Errors
    /// [`BindError`]. A taken port is one: two nodes never share a port.
    pub fn bind(address: SocketAddr, options: ListenerOptions) -> Result<Self, BindError> {
        let listener = listen(address, options).map_err(|error| BindError::new(address, error))?;
        Ok(Self { listener })
    }

    /// The address, with the port that the kernel chose if 0 was asked for.
    ///
    /// # Errors
    /// What getsockname(2) answers.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Attaches it to the calling thread's reactor.
    ///
    /// # Errors
    /// When the reactor cannot take the descriptor.
    pub fn attach(self) -> io::Result<Listener> {
        // SAFETY: std's listener owns its descriptor until it is dropped, and is never replaced in here.
        let inner = unsafe { tokio::io::unix::AsyncFd::register_with_interest(self.listener, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Listener { inner })
    }
}

/// A listening socket. Shard 0 owns it; accepted connections go to any shard.
pub struct Listener {
    inner: tokio::io::unix::AsyncFd<StdListener>,
}

impl Listener {
    /// Binds and listens: on a thread with a tokio reactor, so on a shard or the control thread.
    ///
    /// # Errors
    /// [`BindError`]. A taken port is one: two nodes never share a port.
    pub fn bind(address: SocketAddr, options: ListenerOptions) -> Result<Self, BindError> {
        BoundListener::bind(address, options)?.attach().map_err(|error| BindError::new(address, error))
    }

    /// The address, with the port that the kernel chose if 0 was asked for.
    ///
    /// # Errors
    /// What getsockname(2) answers.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().local_addr()
    }

    /// The next connection, not yet attached to any shard, TCP_NODELAY set.
    ///
    /// # Errors
    /// When there are no descriptors or memory left: wait a moment before the next call, the connection stays queued.
    /// A connection that died while queued is passed over.
    pub async fn accept(&self) -> io::Result<SocketParts> {
        loop {
            let mut ready = self.inner.readable().await?;
            let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) else { continue };
            match accepted {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    if stream.set_nodelay(true).is_err() {
                        continue;
                    }
                    return Ok(SocketParts { stream, peer });
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether accept(2) reported what had happened to the connection it took off the queue, as Linux does.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::EPERM
        )
    )
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:?})", self.local_addr())
    }
}

fn listen(address: SocketAddr, options: ListenerOptions) -> io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
    // For a restart while old connections linger; it does not let two processes listen.
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // Before listen: the receive buffer decides the window that the handshake offers. Connections inherit both.
    if let Some(bytes) = options.send_buffer_bytes {
        socket::setsockopt(&fd, sockopt::SndBuf, &(bytes as usize))?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket::setsockopt(&fd, sockopt::RcvBuf, &(bytes as usize))?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&fd, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(fd.into())
}

/// A connection between shards: a descriptor that no reactor knows. Send it in a message, attach it there.
#[derive(Debug)]
pub struct SocketParts {
    stream: StdStream,
    peer: SocketAddr,
}

impl SocketParts {
    /// The other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Attaches the connection to the calling shard.
    ///
    /// # Errors
    /// When the reactor cannot take the descriptor.
    pub fn attach(self) -> io::Result<Socket> {
        Ok(Socket { stream: TcpStream::from_std(self.stream)?, peer: self.peer })
    }
}

/// A connection of one shard.
///
/// Lives on: the shard that attached it, until [`Socket::detach`].
pub struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Socket {
    /// Takes a connection made by other means (a client, a test). Sets TCP_NODELAY.
    ///
    /// # Errors
    /// When the connection is already gone or the reactor cannot take it.
    pub fn from_std(stream: StdStream) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        SocketParts { stream, peer }.attach()
    }

    /// Leaves the shard's reactor, to be attached elsewhere. Bytes read but unused are the caller's to carry along.
    ///
    /// # Errors
    /// When the reactor does not let go.
    pub fn detach(self) -> io::Result<SocketParts> {
        Ok(SocketParts { stream: self.stream.into_std()?, peer: self.peer })
    }

    /// The other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// This end: says which listener it came through.
    ///
    /// # Errors
    /// What getsockname(2) answers.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Waits until there is something to read, the end included.
    ///
    /// # Errors
    /// When the reactor is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Waits until the other end has closed its side, without reading what it sent before.
    ///
    /// That is noticed at once, or within a second while something lies unread.
    pub async fn ended(&self) {
        loop {
            match self.stream.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(END_LOOKED_FOR_EVERY).await,
                // Broken is as good as closed.
                _ => return,
            }
        }
    }

    /// Waits until something can be sent.
    ///
    /// # Errors
    /// When the reactor is gone.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads once into the room that `buffer` has; `Some(0)` is the end of the stream.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// If `buffer` has no room: reserve first, or an end could not be told from a full buffer.
    pub fn try_read_into(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let room = buffer.spare_capacity_mut();
        assert!(!room.is_empty());
        let (start, bytes) = (room.as_mut_ptr(), room.len());
        let read = self.try_partly(Interest::READABLE, bytes, || {
            // SAFETY: the kernel writes at most `bytes` bytes to `buffer`'s spare capacity, borrowed until here.
            let read = unsafe { libc::recv(self.stream.as_raw_fd(), start.cast(), bytes, libc::MSG_DONTWAIT) };
            if read < 0 { Err(io::Error::last_os_error()) } else { Ok(read as usize) }
        })?;
        if let Some(read) = read {
            // SAFETY: the kernel has just initialised the first `read` bytes of the spare capacity.
            unsafe { buffer.advance_mut(read) };
        }
        Ok(read)
    }

    /// Sends as much of `slices` (at most 1,024 of them are looked at) as the connection takes, in one call.
    ///
    /// `more`: further bytes follow at once (a sendfile), so the kernel holds back a part-filled segment.
    ///
    /// # Errors
    /// The connection's; `BrokenPipe` or `ConnectionReset` when the other end is gone.
    pub fn try_send(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<Option<usize>> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        let slices = &slices[..slices.len().min(GATHER_BATCHES_MAX)];
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.try_partly(Interest::WRITABLE, bytes, || {
            // SAFETY: an all-zero msghdr is an empty message.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = slices.as_ptr().cast_mut().cast();
            message.msg_iovlen = slices.len() as _;
            // SAFETY: `IoSlice` is documented to have the layout of iovec on Unix; the slices outlive the call, and
            // sendmsg only reads through them.
            let sent = unsafe { libc::sendmsg(self.stream.as_raw_fd(), &raw const message, flags) };
            if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
        })
    }

    /// Runs a call that may move up to `bytes` bytes. One that moved fewer has emptied (or filled) the socket: it is
    /// not ready any more until epoll, which is edge-triggered, says so. That saves the call that would only have
    /// answered EAGAIN. An end of the stream is not forgotten by this: tokio keeps it apart.
    fn try_partly(
        &self,
        interest: Interest,
        bytes: usize,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<Option<usize>> {
        let mut moved = None;
        let result = self.stream.try_io(interest, || match call()? {
            part if 0 < part && part < bytes => {
                moved = Some(part);
                Err(io::ErrorKind::WouldBlock.into())
            }
            part => Ok(part),
        });
        if moved.is_some() { Ok(moved) } else { would_wait(result) }
    }

    /// Sends up to `bytes` (and at most [`SENDFILE_BYTES_MAX`]) of `file` from `position`, without copying them here.
    /// Waits for the disk if the range is cold: see [`LogFile::is_cached`].
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends at `position`: it was cut meanwhile, so close the connection, as the length
    /// is already promised. Else the connection's.
    pub fn try_sendfile(&self, file: &LogFile, position: u64, bytes: usize) -> io::Result<Option<usize>> {
        let mut offset = i64::try_from(position).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        let sent = would_wait(self.stream.try_io(Interest::WRITABLE, || {
            let bytes = bytes.min(SENDFILE_BYTES_MAX);
            Ok(nix::sys::sendfile::sendfile64(&self.stream, file, Some(&mut offset), bytes)?)
        }))?;
        if sent == Some(0) && bytes > 0 {
            let message = format!("{} ends before byte {position}", file.path().display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(sent)
    }

    /// Closes at once and throws away what the kernel has not sent yet; the other end sees a reset. For when those bytes
    /// must not leave, as sendfile's are taken from the file only when they do.
    pub fn abort(self) {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = socket::setsockopt(&self.stream, sockopt::Linger, &at_once) {
            tracing::debug!(peer = %self.peer, %error, "a connection is closed, not reset");
        }
    }

    /// Ends the sending half; the other end reads what is under way and then the end.
    ///
    /// # Errors
    /// When the connection is already gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(socket::shutdown(self.stream.as_raw_fd(), socket::Shutdown::Write)?)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.peer)
    }
}

fn would_wait(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
