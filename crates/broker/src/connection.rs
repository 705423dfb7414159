//! A client's connection, on the shard that holds it.
//!
//! ```text
//!  reader task:  readable → read into one buffer → cut whole frames → dispatch, one after the other
//!                  (a slow request is awaited here, so the next waits for it, as Kafka mutes the channel)
//!  end of turn:  every connection with something to say sends once; sendfile for file slices
//! ```
//!
//! Reading pauses while [`CONNECTION_REQUESTS_IN_FLIGHT_MAX`] requests are unanswered, or while unsent replies exceed
//! [`CONNECTION_UNSENT_BYTES_MAX`]: a client that does not read its answers stops being read.

use std::cell::{Cell, RefCell};
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use replica::SessionId;
use shard::{MemoryGrant, Socket, SocketParts};
use tokio::sync::Notify;
use types::ShardId;
use types::limits::{
    CONNECTION_BUFFER_BYTES, CONNECTION_HEAD_BYTES, CONNECTION_REQUESTS_IN_FLIGHT_MAX,
    CONNECTION_REQUESTS_PER_TURN_MAX, CONNECTION_UNSENT_BYTES_MAX, REQUEST_HEADER_BYTES_MIN, REQUEST_STALLED_MS_MAX,
    SENDFILE_BYTES_MAX,
};

use crate::dispatch::{self, Principal};
use crate::fetch::{self, MovedSession};
use crate::mail::{Mail, RequestToken};
use crate::metrics::CloseCause;
use crate::reply::{Reply, ReplyQueue, Segment, SlotId};
use crate::shard_state::{ShardState, TRAFFIC_WINDOW_BYTES};

/// How long a connection waits before it asks for memory again.
const MEMORY_RETRY: Duration = Duration::from_millis(5);

/// Where a connection came in; travels with it when it moves.
pub(crate) struct ConnectionOrigin {
    /// The listener's name, e.g. `PLAINTEXT`; which addresses Metadata advertises depends on it.
    pub(crate) listener: Arc<str>,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// Bytes already read and not yet dispatched.
    pub(crate) unread: BytesMut,
    /// What the client said of itself in ApiVersions (KIP-511).
    pub(crate) software: Option<(Arc<str>, Arc<str>)>,
    /// Its fetch session, which moves with it.
    pub(crate) session: Option<MovedSession>,
}

impl ConnectionOrigin {
    /// A connection just accepted.
    pub(crate) fn new(listener: Arc<str>, peer: SocketAddr) -> Self {
        Self { listener, peer, unread: BytesMut::new(), software: None, session: None }
    }
}

/// A connection.
///
/// Lives on: the shard it was handed to. Moves only when nothing is in flight.
pub(crate) struct Connection {
    socket: Socket,
    pub(crate) listener: Arc<str>,
    pub(crate) peer: SocketAddr,
    pub(crate) software: RefCell<Option<(Arc<str>, Arc<str>)>>,
    replies: RefCell<ReplyQueue>,
    unsent_bytes: Cell<usize>,
    dirty: Cell<bool>,
    awaiting_writable: Cell<bool>,
    closed: Cell<bool>,
    /// Why we closed it, if we did.
    close_cause: Cell<Option<CloseCause>>,
    /// When it last said or was told something, on the monotonic clock.
    active_ns: Cell<u64>,
    /// Told when a reply left or the connection closed: the reader looks again whether it may go on.
    progress: Notify,
    /// Told when the connection closed: whoever waits for its socket lets go of it.
    ended: Notify,
    /// Its fetches under way; they end with it.
    pub(crate) fetches: RefCell<Vec<RequestToken>>,
    traffic: Traffic,
    waits_for_room: Cell<bool>,
    compressed_batches: Cell<u32>,
    /// The client id of the last request: clients rarely change it.
    client_id: RefCell<Arc<str>>,
    /// Size of the last request: the next one is likely as large.
    frame_bytes_last: Cell<usize>,
    /// Memory is taken for a frame of which the rest has yet to come; when something of it last came.
    holds_memory_since_ns: Cell<Option<u64>>,
    /// The fetch session last named to the client.
    pub(crate) session: Cell<Option<SessionId>>,
}

/// Where this connection's payload bytes belonged, to move it to the shard that nearly all of them went to.
#[derive(Default)]
struct Traffic {
    local_bytes: Cell<u64>,
    remote_bytes: RefCell<Vec<u64>>,
}

impl Traffic {
    fn total_bytes(&self) -> u64 {
        self.local_bytes.get() + self.remote_bytes.borrow().iter().sum::<u64>()
    }
}

/// What waiting for a client brought.
enum Filled {
    /// More of a request.
    Bytes,
    /// Replies left meanwhile: nothing may be in flight any more.
    Progress,
    /// The client closed, or was closed.
    End,
}

/// How far a connection's replies went out.
enum Sent {
    All,
    /// The socket takes no more for now.
    UntilFull,
    /// Others want the shard as well: it goes on next turn.
    ItsShare,
}

/// Why the node closes a connection: for the metrics, and in words for the log.
pub(crate) struct Refused {
    pub(crate) cause: CloseCause,
    pub(crate) reason: String,
}

/// How a connection ends.
enum End {
    /// The client closed or broke it, or the node stops.
    Gone,
    /// We close it: the client broke the protocol, or asked for what cannot be answered.
    Refused(Refused),
    /// It moves to a shard.
    Move(ShardId),
}

impl Connection {
    /// Takes a connection over and serves it until it ends.
    pub(crate) fn start(state: &Rc<ShardState>, parts: SocketParts, origin: ConnectionOrigin) {
        let socket = match parts.attach() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(peer = %origin.peer, %error, "connection lost while it was handed over");
                state.metrics.connection_closed(CloseCause::Handover);
                state.node.connections.closed(&origin.peer);
                return;
            }
        };
        let connection = Rc::new(Self {
            socket,
            listener: origin.listener,
            peer: origin.peer,
            software: RefCell::new(origin.software),
            replies: RefCell::default(),
            unsent_bytes: Cell::new(0),
            dirty: Cell::new(false),
            awaiting_writable: Cell::new(false),
            closed: Cell::new(false),
            close_cause: Cell::new(None),
            active_ns: Cell::new(state.now().monotonic_ns),
            progress: Notify::new(),
            ended: Notify::new(),
            fetches: RefCell::default(),
            traffic: Traffic::default(),
            waits_for_room: Cell::new(false),
            compressed_batches: Cell::new(0),
            client_id: RefCell::new(Arc::from("")),
            frame_bytes_last: Cell::new(0),
            holds_memory_since_ns: Cell::new(None),
            session: Cell::new(None),
        });
        if let Some(session) = origin.session {
            connection.session.set(Some(session.id()));
            state.fetch_sessions.borrow_mut().adopt(state.now().monotonic_ns, session);
        }
        state.connection_opened(&connection);
        let state = Rc::clone(state);
        tokio::task::spawn_local(async move {
            let mut buffer = origin.unread;
            let end = connection.serve(&state, &mut buffer).await;
            connection.finish(&state, end, buffer);
        });
    }

    async fn serve(self: &Rc<Self>, state: &Rc<ShardState>, buffer: &mut BytesMut) -> End {
        let mut grant: Option<MemoryGrant> = None;
        let mut turn_requests = 0;
        loop {
            while let Some(frame_bytes) = match frame_size(buffer, state.node.config.request_bytes_max) {
                Ok(size) => size,
                Err(reason) => return End::Refused(Refused { cause: CloseCause::Malformed, reason }),
            } {
                if grant.is_none() && frame_bytes > CONNECTION_BUFFER_BYTES {
                    // Memory is taken before it is used; while there is none, the client waits in its own socket.
                    grant = match self.take_memory(state, frame_bytes).await {
                        Ok(grant) => grant,
                        Err(reason) => return End::Refused(Refused { cause: CloseCause::Memory, reason }),
                    };
                }
                self.frame_bytes_last.set(frame_bytes);
                if buffer.len() < frame_bytes {
                    self.holds_memory_since_ns.set(grant.is_some().then(|| state.now().monotonic_ns));
                    // The rest of the frame in one read, into one piece of memory of its own.
                    if buffer.capacity() < frame_bytes {
                        let mut whole = BytesMut::with_capacity(frame_bytes);
                        whole.extend_from_slice(buffer);
                        *buffer = whole;
                    }
                    break;
                }
                let mut frame = buffer.split_to(frame_bytes);
                frame.advance(4);
                self.holds_memory_since_ns.set(None);
                self.active_ns.set(state.now().monotonic_ns);
                if let Err(refused) = dispatch::dispatch(state, self, frame, grant.take()).await {
                    return End::Refused(refused);
                }
                if self.closed.get() {
                    return End::Gone;
                }
                self.room_for_another().await;
                turn_requests += 1;
                if CONNECTION_REQUESTS_PER_TURN_MAX <= turn_requests {
                    // What is answered at once never waits for room, and others want the shard as well.
                    turn_requests = 0;
                    tokio::task::yield_now().await;
                }
            }
            if self.closed.get() || state.stopping() {
                self.until_answered().await;
                return End::Gone;
            }
            if buffer.is_empty()
                && let Some(home) = self.better_home(state)
            {
                return End::Move(home);
            }
            match self.fill(state, buffer).await {
                Ok(Filled::Bytes | Filled::Progress) => {}
                Ok(Filled::End) => return End::Gone,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, client_id = self.client(), %error, "connection broke");
                    return End::Gone;
                }
            }
        }
    }

    /// Memory for a frame larger than the connection's own buffer. `None` when the connection was closed meanwhile.
    async fn take_memory(&self, state: &Rc<ShardState>, bytes: usize) -> Result<Option<MemoryGrant>, String> {
        let budget = &state.node.memory;
        if budget.bytes_max() < bytes as u64 {
            return Err(format!(
                "the client announced a request of {bytes} bytes, and requests may hold {} bytes of memory in all \
                 (ringlog.memory.max.bytes)",
                budget.bytes_max()
            ));
        }
        loop {
            if let Some(grant) = budget.try_take(bytes as u64) {
                return Ok(Some(grant));
            }
            if self.closed.get() || state.stopping() {
                return Ok(None);
            }
            tokio::time::sleep(MEMORY_RETRY).await;
        }
    }

    /// Waits until every request taken is answered and its reply sent, so that a planned stop drops no ack.
    async fn until_answered(&self) {
        self.waits_for_room.set(true);
        while !self.closed.get() && !self.replies.borrow().is_idle() {
            self.progress.notified().await;
        }
    }

    /// Waits until fewer requests than the bound are unanswered and the client reads what it was sent.
    async fn room_for_another(&self) {
        self.waits_for_room.set(true);
        while !self.closed.get()
            && (self.replies.borrow().unanswered() >= CONNECTION_REQUESTS_IN_FLIGHT_MAX
                || self.unsent_bytes.get() >= CONNECTION_UNSENT_BYTES_MAX)
        {
            self.progress.notified().await;
        }
        self.waits_for_room.set(false);
    }

    async fn fill(&self, state: &ShardState, buffer: &mut BytesMut) -> io::Result<Filled> {
        if buffer.capacity() - buffer.len() < REQUEST_HEADER_BYTES_MIN {
            // After a large request comes another one. Of it only the head is read here, so that the rest, once its
            // size is known, goes from the socket to where it stays.
            let large = self.frame_bytes_last.get() > CONNECTION_BUFFER_BYTES / 2;
            let room = if large { CONNECTION_HEAD_BYTES } else { CONNECTION_BUFFER_BYTES };
            let mut fresh = BytesMut::with_capacity(buffer.len() + room);
            fresh.extend_from_slice(buffer);
            *buffer = fresh;
        }
        loop {
            if let Some(bytes) = self.socket.try_read_into(buffer)? {
                state.metrics.received_bytes.add(bytes as u64);
                return Ok(if bytes == 0 { Filled::End } else { Filled::Bytes });
            }
            tokio::select! {
                ready = self.socket.readable() => ready?,
                () = self.progress.notified() => {
                    return Ok(if self.closed.get() { Filled::End } else { Filled::Progress });
                }
            }
        }
    }

    /// Takes the next place in the reply order.
    pub(crate) fn reserve(&self) -> SlotId {
        self.replies.borrow_mut().reserve()
    }

    /// Answers a request; it leaves at the end of this turn, or when those before it have.
    pub(crate) fn answer(self: &Rc<Self>, state: &Rc<ShardState>, slot: SlotId, reply: Option<Reply>) {
        if self.closed.get() {
            return;
        }
        if reply.as_ref().is_some_and(Reply::is_unsayable) {
            return self.close_for(CloseCause::Unsayable);
        }
        if let Some(reply) = &reply {
            if let Some(refusals) = reply.refusals() {
                state.refused(self, refusals);
            }
            self.unsent_bytes.set(self.unsent_bytes.get() + reply.bytes());
        }
        self.replies.borrow_mut().answer(slot, reply);
        self.mark_dirty(state);
    }

    fn mark_dirty(self: &Rc<Self>, state: &Rc<ShardState>) {
        if !self.dirty.replace(true) {
            state.flush_connection(Rc::clone(self));
        }
    }

    /// Ends the connection. Replies not yet sent are dropped.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.progress.notify_one();
        self.ended.notify_waiters();
    }

    /// Waits until the client has closed its side.
    pub(crate) async fn ended_by_client(&self) {
        self.socket.ended().await;
    }

    /// The same, and why.
    pub(crate) fn close_for(&self, cause: CloseCause) {
        self.close_cause.set(Some(cause));
        self.close();
    }

    /// Ends the connection if nothing is under way and it was silent for longer than `idle_ns_max`.
    pub(crate) fn close_if_idle(&self, now_ns: u64, idle_ns_max: u64) {
        let silent_ns = now_ns.saturating_sub(self.active_ns.get());
        if idle_ns_max < silent_ns && self.replies.borrow().is_idle() {
            let client_id = self.client();
            tracing::debug!(peer = %self.peer, client_id, silent_ns, "idle connection closed (connections.max.idle.ms)");
            self.close_for(CloseCause::Idle);
        }
    }

    /// Ends the connection if it stopped in the middle of a large request: others wait for the memory that it holds.
    pub(crate) fn close_if_stalled(&self, now_ns: u64) {
        let Some(since_ns) = self.holds_memory_since_ns.get() else { return };
        if REQUEST_STALLED_MS_MAX * 1_000_000 < now_ns.saturating_sub(since_ns) {
            let frame_bytes = self.frame_bytes_last.get();
            tracing::warn!(
                peer = %self.peer, client_id = self.client(), principal = %Principal, frame_bytes,
                "connection closed: the rest of its request does not come"
            );
            self.close_for(CloseCause::Stalled);
        }
    }

    /// Sends what is ready, until done or the socket is full. Once a turn.
    pub(crate) fn flush(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.dirty.set(false);
        if self.awaiting_writable.get() || self.closed.get() {
            return;
        }
        let unsent_before = self.unsent_bytes.get();
        let sent = self.send_ready();
        state.metrics.sent_bytes.add((unsent_before - self.unsent_bytes.get()) as u64);
        match sent {
            Ok(Sent::All) => {}
            Ok(Sent::UntilFull) => self.resume_when_writable(state),
            Ok(Sent::ItsShare) => self.mark_dirty(state),
            Err(error) => {
                tracing::debug!(peer = %self.peer, client_id = self.client(), %error, "reply could not be sent");
                self.close();
                return;
            }
        }
        if self.waits_for_room.get() || self.traffic.total_bytes() >= TRAFFIC_WINDOW_BYTES {
            self.progress.notify_one();
        }
    }

    fn send_ready(&self) -> io::Result<Sent> {
        let mut replies = self.replies.borrow_mut();
        let sending = replies.sending();
        let mut sendfile_bytes = 0;
        while let Some(first) = sending.front_mut() {
            if let Segment::File { file, position, bytes } = first {
                if sendfile_bytes >= SENDFILE_BYTES_MAX {
                    return Ok(Sent::ItsShare);
                }
                // A file shorter than the plan was cut meanwhile: an error, as the frame's length is promised already.
                let Some(sent) = self.socket.try_sendfile(file, *position, *bytes)? else { return Ok(Sent::UntilFull) };
                sendfile_bytes += sent;
                self.unsent_bytes.set(self.unsent_bytes.get() - sent);
                *position += sent as u64;
                *bytes -= sent;
                if *bytes == 0 {
                    sending.pop_front();
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); 64];
            let mut filled = 0;
            for segment in sending.iter() {
                let Segment::Memory(memory) = segment else { break };
                if filled == slices.len() {
                    break;
                }
                slices[filled] = IoSlice::new(memory);
                filled += 1;
            }
            let file_follows = matches!(sending.get(filled), Some(Segment::File { .. }));
            let Some(mut sent) = self.socket.try_send(&slices[..filled], file_follows)? else {
                return Ok(Sent::UntilFull);
            };
            self.unsent_bytes.set(self.unsent_bytes.get() - sent);
            while let Some(Segment::Memory(memory)) = sending.front_mut() {
                let taken = sent.min(memory.len());
                memory.advance(taken);
                sent -= taken;
                if !memory.is_empty() {
                    break;
                }
                sending.pop_front();
            }
        }
        Ok(Sent::All)
    }

    fn resume_when_writable(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.awaiting_writable.set(true);
        let (connection, state) = (Rc::clone(self), Rc::clone(state));
        tokio::task::spawn_local(async move {
            let ended = connection.ended.notified();
            if connection.closed.get() {
                return;
            }
            let writable = tokio::select! {
                writable = connection.socket.writable() => writable,
                // A client that reads nothing must not keep the descriptor.
                () = ended => return,
            };
            connection.awaiting_writable.set(false);
            match writable {
                Ok(()) => connection.mark_dirty(&state),
                Err(_) => connection.close(),
            }
        });
    }

    /// What the client called itself last.
    pub(crate) fn client(&self) -> String {
        self.client_id.borrow().as_ref().to_owned()
    }

    /// `id` as a shared string, the same one as long as the client keeps its name.
    pub(crate) fn client_id(&self, id: &str) -> Arc<str> {
        let mut known = self.client_id.borrow_mut();
        if **known != *id {
            *known = Arc::from(id);
        }
        Arc::clone(&known)
    }

    /// Whether this compressed batch is one that is looked into: the first of a connection, and one in `one_in`.
    pub(crate) fn samples_compressed(&self, one_in: u32) -> bool {
        let seen = self.compressed_batches.get();
        self.compressed_batches.set(seen.wrapping_add(1));
        seen.is_multiple_of(one_in)
    }

    /// Notes where the payload of a request belonged.
    pub(crate) fn count_traffic(&self, state: &ShardState, home: ShardId, bytes: usize) {
        if home == state.id {
            self.traffic.local_bytes.set(self.traffic.local_bytes.get() + bytes as u64);
            return;
        }
        let mut remote = self.traffic.remote_bytes.borrow_mut();
        if remote.len() <= home.index() {
            remote.resize(home.index() + 1, 0);
        }
        remote[home.index()] += bytes as u64;
    }

    /// The shard that nearly all recent bytes belonged to, if it is another one and nothing is in flight here.
    fn better_home(&self, state: &ShardState) -> Option<ShardId> {
        let total = self.traffic.total_bytes();
        if total < TRAFFIC_WINDOW_BYTES {
            return None;
        }
        let mut remote = self.traffic.remote_bytes.borrow_mut();
        let most = remote.iter().enumerate().max_by_key(|(_, bytes)| **bytes).map(|(home, bytes)| (home, *bytes));
        let better = most.filter(|(home, bytes)| bytes * 10 > total * 9 && *home != state.id.index());
        // Dirty: the flush at the end of this turn still holds it.
        if better.is_some() && (self.dirty.get() || !self.replies.borrow().is_idle()) {
            return None;
        }
        remote.clear();
        self.traffic.local_bytes.set(0);
        better.map(|(home, _)| ShardId::new(home as u16))
    }

    fn finish(self: Rc<Self>, state: &Rc<ShardState>, end: End, unread: BytesMut) {
        self.close();
        fetch::abandon(state, self.fetches.take());
        state.connection_closed();
        if let End::Move(home) = end {
            let origin = ConnectionOrigin {
                listener: Arc::clone(&self.listener),
                peer: self.peer,
                unread,
                software: self.software.borrow().clone(),
                session: self.session.get().and_then(|id| state.fetch_sessions.borrow_mut().take(id)),
            };
            if let Ok(connection) = Rc::try_unwrap(self) {
                match connection.socket.detach() {
                    Ok(parts) => {
                        state.metrics.connections_moved.add(1);
                        return state.send(home, Mail::Connection(parts, origin));
                    }
                    Err(error) => tracing::warn!(peer = %origin.peer, %error, "connection lost while moving"),
                }
            }
            state.metrics.connection_closed(CloseCause::Handover);
            state.node.connections.closed(&origin.peer);
            return;
        }
        let cause = match end {
            End::Refused(Refused { cause, reason }) => {
                tracing::warn!(
                    cause = cause.label(), peer = %self.peer, listener = %self.listener, client_id = self.client(),
                    principal = %Principal, reason, "connection closed by the node"
                );
                cause
            }
            _ => self.close_cause.get().unwrap_or(if state.stopping() { CloseCause::Stop } else { CloseCause::Client }),
        };
        state.metrics.connection_closed(cause);
        state.node.connections.closed(&self.peer);
    }
}

/// The size of the frame at the front of `buffer`, its length prefix included; `None` until the prefix is there.
fn frame_size(buffer: &[u8], request_bytes_max: u32) -> Result<Option<usize>, String> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let size = i32::from_be_bytes(*prefix);
    if size < REQUEST_HEADER_BYTES_MIN as i32 || size as u32 > request_bytes_max {
        return Err(format!(
            "the client announced a request of {size} bytes; requests have {REQUEST_HEADER_BYTES_MIN} to \
             {request_bytes_max} bytes (socket.request.max.bytes). Is it a Kafka client, without TLS?"
        ));
    }
    Ok(Some(4 + size as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_size_is_bounded_before_anything_is_reserved() {
        assert_eq!(frame_size(&[0, 0, 0], 100), Ok(None));
        assert_eq!(frame_size(&[0, 0, 0, 20, 1], 100), Ok(Some(24)));
        assert!(frame_size(&[0, 0, 0, 101], 100).is_err());
        assert!(frame_size(&[0xff, 0xff, 0xff, 0xff], 100).is_err());
        assert!(frame_size(b"GET / HTTP/1.1", 1 << 30).is_err());
    }
}
