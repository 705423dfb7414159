//! One connection to one node. Any number of tasks may call through it at once: requests are pipelined, answers come
//! back in order, and what waits in the queue is sent together.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use types::ErrorCode;
use types::limits::{CLIENT_REQUESTS_QUEUED_MAX, CLIENT_RESPONSE_BYTES_MAX};
use wire::api_versions_request::ApiVersionsRequest;
use wire::api_versions_response::ApiVersionsResponse;
use wire::{Api, ApiKey, OwnedResponse, Reader, Request, Writer, frame};

use crate::error::ClientError;

/// Buffers in one gathered write.
const GATHER_PARTS_MAX: usize = 256;

/// Bytes that a read asks for at once.
const READ_BYTES: usize = 64 * 1024;

/// How to talk to a node.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// What the node's logs and quotas know us as.
    pub client_id: String,
    /// For the TCP handshake and the first exchange.
    pub connect_timeout: Duration,
    /// For each answer, unless a call says otherwise.
    pub request_timeout: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: "ringlog".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A connection, shared by its clones; closed when the last one is gone.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Arc<str>,
    config: ConnectionConfig,
    /// What the node offers: lowest and highest version by API number.
    versions: BTreeMap<i16, (i16, i16)>,
    pipe: Pipe,
}

/// The two tasks and what leads to them.
#[derive(Debug)]
struct Pipe {
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Waiting>,
    correlation_id_next: AtomicI32,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A request on its way: its frame in pieces, and who waits for the answer.
#[derive(Debug)]
struct Outgoing {
    parts: Vec<Bytes>,
    waiter: Option<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    correlation_id: i32,
    api: &'static Api,
    version: i16,
    reply: oneshot::Sender<Result<Bytes, ClientError>>,
}

/// Who waits, in the order of their requests, and why nobody can wait any more.
#[derive(Debug, Default)]
struct Waiting {
    state: Mutex<WaitingState>,
}

#[derive(Debug, Default)]
struct WaitingState {
    waiters: VecDeque<Waiter>,
    closed: Option<ClientError>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, WaitingState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends the connection: everyone who waits, and everyone who comes later, is told why.
    fn close(&self, reason: ClientError) {
        let waiters = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut state.waiters)
        };
        for waiter in waiters {
            let _ = waiter.reply.send(Err(reason.clone()));
        }
    }
}

/// An answer that has been asked for.
#[derive(Debug)]
#[must_use = "the request is sent; its answer should be awaited"]
pub struct Pending<T> {
    reply: oneshot::Receiver<Result<Bytes, ClientError>>,
    connection: Connection,
    api: &'static Api,
    version: i16,
    timeout: Duration,
    response: PhantomData<fn() -> T>,
}

impl<T: OwnedResponse> Pending<T> {
    /// Waits this long instead of the connection's `request_timeout`: for APIs whose answer is meant to take its time.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The version the request was sent in, and the answer has.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The answer.
    ///
    /// # Errors
    /// A lost connection, no answer in time (the connection is given up then), or an answer that cannot be read.
    pub async fn response(self) -> Result<T, ClientError> {
        self.response_and_body().await.map(|(response, _)| response)
    }

    /// The answer, and its bytes, which [`wire::Records::At`] positions in it speak of.
    ///
    /// # Errors
    /// As [`Pending::response`].
    pub async fn response_and_body(self) -> Result<(T, Bytes), ClientError> {
        let address = || self.connection.address().to_owned();
        let body = match timeout(self.timeout, self.reply).await {
            Ok(Ok(body)) => body?,
            Ok(Err(_)) => {
                let reason = "the connection was closed on this side".to_owned();
                return Err(ClientError::Disconnected { address: address(), reason });
            }
            Err(_) => {
                let what = format!("{} version {}", self.api.name, self.version);
                let error = ClientError::Timeout { what, address: address(), after: self.timeout };
                self.connection.shared.pipe.waiting.close(error.clone());
                return Err(error);
            }
        };
        match T::decode_owned(&body, self.version) {
            Ok(response) => Ok((response, body)),
            Err(error) => Err(ClientError::Decode { address: address(), error }),
        }
    }
}

impl Connection {
    /// Connects to `host:port` and learns what the node speaks.
    ///
    /// # Errors
    /// The node cannot be reached, does not answer in time, or does not speak this protocol.
    pub async fn open(address: &str, config: &ConnectionConfig) -> Result<Self, ClientError> {
        let refused = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
        let stream = match timeout(config.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused(format!("no answer within {} ms", config.connect_timeout.as_millis()))),
        };
        stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
        let (read, write) = stream.into_split();
        let address: Arc<str> = address.into();
        let waiting = Arc::new(Waiting::default());
        let (outgoing, queue) = mpsc::channel(CLIENT_REQUESTS_QUEUED_MAX);
        let tasks = [
            tokio::spawn(write_all(write, queue, Arc::clone(&waiting), Arc::clone(&address))),
            tokio::spawn(read_all(read, Arc::clone(&waiting), Arc::clone(&address))),
        ];
        let pipe = Pipe { outgoing, waiting, correlation_id_next: AtomicI32::new(0), tasks };
        let mut shared = Shared { address, config: config.clone(), versions: BTreeMap::new(), pipe };
        shared.versions = shared.negotiate().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// How long an answer is waited for.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.shared.config.request_timeout
    }

    /// Whether it can still be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.pipe.waiting.lock().closed.is_none()
    }

    /// The versions that the node offers, by API number.
    #[must_use]
    pub fn versions(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.shared.versions
    }

    /// The newest version of `api` that both sides speak.
    ///
    /// # Errors
    /// There is none.
    pub fn version(&self, api: ApiKey) -> Result<i16, ClientError> {
        let own = api.api();
        let address = || self.address().to_owned();
        let Some(&(node_min, node_max)) = self.shared.versions.get(&api.code()) else {
            return Err(ClientError::NoSuchApi { api: own.name, address: address() });
        };
        let version = own.version_max.min(node_max);
        if version < own.version_min.max(node_min) {
            return Err(ClientError::NoCommonVersion {
                api: own.name,
                address: address(),
                node_min,
                node_max,
                own_min: own.version_min,
                own_max: own.version_max,
            });
        }
        Ok(version)
    }

    /// Asks in the newest common version and waits for the answer.
    ///
    /// # Errors
    /// No common version, a request that it cannot carry, and everything that [`Pending::response`] names.
    pub fn call<'c, 'a, R: Request<'a>>(&'c self, request: &R) -> Calling<'c, R::Response> {
        let sending = self.version(R::API_KEY).map(|version| self.send(request, version));
        Box::pin(async move { sending?.await?.response().await })
    }

    /// Sends in the version given; the answer can be awaited later. Later requests may be sent meanwhile.
    ///
    /// # Errors
    /// The connection is closed, or the version cannot carry the request.
    pub fn send<'c, 'a, R: Request<'a>>(&'c self, request: &R, version: i16) -> Calling<'c, Pending<R::Response>> {
        self.send_with_records(request, version, &[])
    }

    /// Sends a request whose [`wire::Records::Hole`]s are filled with `records`, one each, in order and without a copy.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_with_records<'c, 'a, R: Request<'a>>(
        &'c self,
        request: &R,
        version: i16,
        records: &[Bytes],
    ) -> Calling<'c, Pending<R::Response>> {
        let prepared = self.shared.prepare(request, version, records, true);
        Box::pin(async move {
            let reply = self.shared.dispatch(prepared?).await?;
            Ok(Pending {
                reply: reply.expect("an answer was asked for"),
                connection: self.clone(),
                api: R::API_KEY.api(),
                version,
                timeout: self.shared.config.request_timeout,
                response: PhantomData,
            })
        })
    }

    /// Sends a request that is never answered: Produce with acks=0.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_without_answer<'c, 'a, R: Request<'a>>(
        &'c self,
        request: &R,
        version: i16,
        records: &[Bytes],
    ) -> Calling<'c, ()> {
        let prepared = self.shared.prepare(request, version, records, false);
        Box::pin(async move { self.shared.dispatch(prepared?).await.map(drop) })
    }
}

/// A call under way. Boxed, and encoded before the first wait, so that it does not depend on the borrowed request: the
/// futures of callers can then move between threads.
pub type Calling<'c, T> = Pin<Box<dyn Future<Output = Result<T, ClientError>> + Send + 'c>>;

/// A request encoded, and where its answer will arrive.
type Prepared = (Outgoing, Option<oneshot::Receiver<Result<Bytes, ClientError>>>);

impl Shared {
    /// Asks with the newest ApiVersions we know; a node that does not know it answers in version 0 and says which it
    /// knows (KIP-511).
    async fn negotiate(&self) -> Result<BTreeMap<i16, (i16, i16)>, ClientError> {
        let own = ApiKey::ApiVersions.api();
        let mut version = own.version_max;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: if version < 3 { "".into() } else { "ringlog".into() },
                client_software_version: if version < 3 { "".into() } else { env!("CARGO_PKG_VERSION").into() },
                ..Default::default()
            };
            let prepared = self.prepare(&request, version, &[], true)?;
            let reply = self.dispatch(prepared).await?.expect("an answer was asked for");
            let body = match timeout(self.config.connect_timeout, reply).await {
                Ok(Ok(body)) => body?,
                _ => {
                    let (what, address) = (format!("ApiVersions version {version}"), self.address.to_string());
                    return Err(ClientError::Timeout { what, address, after: self.config.connect_timeout });
                }
            };
            let unknown = body.starts_with(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
            let response = ApiVersionsResponse::decode_owned(&body, if unknown { 0 } else { version })
                .map_err(|error| ClientError::Decode { address: self.address.to_string(), error })?;
            let offered: BTreeMap<i16, (i16, i16)> =
                response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
            if unknown && 0 < version {
                let node_max = offered.get(&own.key.code()).map_or(0, |range| range.1);
                version = node_max.clamp(0, version - 1);
                continue;
            }
            ClientError::check(response.error_code, None, || format!("ask {} what it speaks", self.address))?;
            return Ok(offered);
        }
    }

    fn prepare<'a, R: Request<'a>>(
        &self,
        request: &R,
        version: i16,
        records: &[Bytes],
        answered: bool,
    ) -> Result<Prepared, ClientError> {
        let correlation_id = self.pipe.correlation_id_next.fetch_add(1, Ordering::Relaxed);
        let mut writer = Writer::new();
        frame::encode_request(&mut writer, version, correlation_id, Some(&self.config.client_id), request)
            .map_err(|error| ClientError::Encode { address: self.address.to_string(), error })?;
        let (bytes, holes) = writer.into_parts();
        let mut bytes = bytes.freeze();
        let mut parts = Vec::with_capacity(1 + 2 * holes.len());
        let mut filled = records.iter().filter(|records| !records.is_empty());
        let mut sent = 0;
        for hole in &holes {
            let records = filled.next().expect("the caller fills each hole");
            assert_eq!(records.len(), hole.bytes, "a hole is filled exactly");
            parts.push(bytes.split_to(hole.at - sent));
            parts.push(records.clone());
            sent = hole.at;
        }
        parts.push(bytes);
        let (waiter, reply) = if answered {
            let (reply, receiver) = oneshot::channel();
            (Some(Waiter { correlation_id, api: R::API_KEY.api(), version, reply }), Some(receiver))
        } else {
            (None, None)
        };
        Ok((Outgoing { parts, waiter }, reply))
    }

    async fn dispatch(
        &self,
        (outgoing, reply): Prepared,
    ) -> Result<Option<oneshot::Receiver<Result<Bytes, ClientError>>>, ClientError> {
        let sent = self.pipe.outgoing.send(outgoing).await;
        let closed = self.pipe.waiting.lock().closed.clone();
        match (sent, closed) {
            (Ok(()), None) => Ok(reply),
            (_, Some(reason)) => Err(reason),
            (Err(_), None) => Err(disconnected(&self.address, "the connection was closed")),
        }
    }
}

/// What another protocol than Kafka's says first, if the bytes give it away. As a frame of ours each would be one of
/// hundreds of megabytes, which the first answer on a connection, to ApiVersions, never is.
fn other_protocol(first: &[u8]) -> Option<&'static str> {
    // A TLS record: | type (1B): 21 alert, 22 handshake | version (2B): 3, 0..=4 | ...
    let is_tls = matches!(first, [21 | 22, 3, 0..=4, ..]);
    match first {
        _ if first.starts_with(b"HTTP/") => Some("in HTTP"),
        _ if first.starts_with(b"SSH-") => Some("in SSH"),
        _ if is_tls => Some("in TLS"),
        _ => None,
    }
}

fn disconnected(address: &str, reason: impl Into<String>) -> ClientError {
    ClientError::Disconnected { address: address.to_owned(), reason: reason.into() }
}

/// The writing task: takes what is queued and writes it together.
async fn write_all(
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Outgoing>,
    waiting: Arc<Waiting>,
    address: Arc<str>,
) {
    let mut parts: VecDeque<Bytes> = VecDeque::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            if let Some(waiter) = outgoing.waiter {
                let mut state = waiting.lock();
                match &state.closed {
                    None => state.waiters.push_back(waiter),
                    Some(reason) => drop(waiter.reply.send(Err(reason.clone()))),
                }
            }
            parts.extend(outgoing.parts.into_iter().filter(|part| !part.is_empty()));
            next = if parts.len() < GATHER_PARTS_MAX { queue.try_recv().ok() } else { None };
        }
        if let Err(error) = write_parts(&mut socket, &mut parts).await {
            waiting.close(disconnected(&address, error.to_string()));
            return;
        }
    }
}

async fn write_parts(socket: &mut OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> std::io::Result<()> {
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts.iter().take(GATHER_PARTS_MAX).map(|part| IoSlice::new(part)).collect();
        let mut written = socket.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while 0 < written {
            let first = parts.front_mut().expect("no more was written than there was");
            let step = written.min(first.len());
            first.advance(step);
            written -= step;
            if first.is_empty() {
                parts.pop_front();
            }
        }
    }
    Ok(())
}

/// The reading task: cuts the stream into frames and gives each to the one who waits for it.
async fn read_all(mut socket: OwnedReadHalf, waiting: Arc<Waiting>, address: Arc<str>) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut heard = false;
    let error = loop {
        if !heard && let Some(found) = other_protocol(&buffer) {
            break ClientError::NotKafka { address: address.to_string(), found };
        }
        match take_frame(&mut buffer, &waiting, &address) {
            Ok(true) => {
                heard = true;
                continue;
            }
            Ok(false) => {}
            Err(error) => break error,
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => break disconnected(&address, "the node closed it"),
            Ok(0) => break disconnected(&address, "the node closed it within an answer"),
            Ok(_) => {}
            Err(error) => break disconnected(&address, error.to_string()),
        }
    };
    waiting.close(error);
}

/// Handles one frame if a whole one is there.
fn take_frame(buffer: &mut BytesMut, waiting: &Waiting, address: &str) -> Result<bool, ClientError> {
    let size = frame::peek_size(buffer, CLIENT_RESPONSE_BYTES_MAX)
        .map_err(|error| disconnected(address, error.to_string()))?;
    let needed = size.map_or(frame::SIZE_BYTES, |size| frame::SIZE_BYTES + size);
    if size.is_none() || buffer.len() < needed {
        buffer.reserve((needed - buffer.len().min(needed)).max(READ_BYTES));
        return Ok(false);
    }
    let mut body = buffer.split_to(needed).freeze();
    body.advance(frame::SIZE_BYTES);
    let Some(waiter) = waiting.lock().waiters.pop_front() else {
        return Err(disconnected(address, "the node sent an answer to no question"));
    };
    let mut reader = Reader::new(&body);
    let outcome = match frame::decode_response_header(&mut reader, waiter.api, waiter.version) {
        Ok(correlation_id) if correlation_id == waiter.correlation_id => {
            let head = reader.position();
            body.advance(head);
            Ok(body)
        }
        Ok(correlation_id) => Err(disconnected(
            address,
            format!("the node answered request {correlation_id} where {} was due", waiter.correlation_id),
        )),
        Err(error) => Err(ClientError::Decode { address: address.to_owned(), error }),
    };
    let broken = outcome.as_ref().err().cloned();
    let _ = waiter.reply.send(outcome);
    broken.map_or(Ok(true), Err)
}
