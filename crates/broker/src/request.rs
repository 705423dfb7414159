//! A request as a handler sees it, and how its reply is put into bytes.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use shard::MemoryGrant;
use wire::frame::{self, RequestHeader};
use wire::{ApiKey, DecodeError, Message, Reader, Response, Writer};

use crate::connection::Connection;
use crate::reply::{Refusals, Reply};

/// A whole request: header read, body still bytes.
pub(crate) struct Request {
    frame: BytesMut,
    body_at: usize,
    api: ApiKey,
    version: i16,
    correlation: i32,
    client_id: Option<Arc<str>>,
    /// The memory that the frame holds, given back with the request.
    memory: Option<MemoryGrant>,
    /// Where it came from.
    pub(crate) connection: Rc<Connection>,
}

/// A header that says more than [`Request`] can hold: which API and version were asked for in vain.
pub(crate) struct Unserved {
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) correlation: i32,
}

impl Request {
    /// Reads the header of `frame` (without its size).
    ///
    /// # Errors
    /// `Err(Ok(..))`: an API or version that this node does not serve. `Err(Err(..))`: bytes that are no header.
    pub(crate) fn parse(
        connection: &Rc<Connection>,
        frame: BytesMut,
        memory: Option<MemoryGrant>,
    ) -> Result<Self, Result<Unserved, DecodeError>> {
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).map_err(Err)?;
        let unserved =
            Unserved { api_key: header.api_key, api_version: header.api_version, correlation: header.correlation_id };
        let Some(api) = header.api.filter(|api| api.serves(header.api_version)) else { return Err(Ok(unserved)) };
        let client_id = header.client_id.as_deref().map(|id| connection.client_id(id));
        let (version, correlation, body_at) = (header.api_version, header.correlation_id, reader.position());
        Ok(Self {
            body_at,
            api: api.key,
            version,
            correlation,
            client_id,
            memory,
            connection: Rc::clone(connection),
            frame,
        })
    }

    /// Which API.
    pub(crate) fn api(&self) -> ApiKey {
        self.api
    }

    /// Which version of it; one that is served.
    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// The number that its reply carries.
    pub(crate) fn correlation(&self) -> i32 {
        self.correlation
    }

    /// What the client calls itself; empty when it says nothing.
    pub(crate) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }

    /// The body. [`wire::Records::At`] positions are relative to [`Self::into_body`].
    ///
    /// # Errors
    /// Bytes that are no such message: the connection is to be closed, as Kafka does.
    pub(crate) fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, DecodeError> {
        // Bytes after the message are let pass, as Kafka does: librdkafka 2.x sends some after Metadata version 13.
        M::decode(&mut Reader::new(&self.frame[self.body_at..]), self.version)
    }

    /// The body's bytes, owned by nobody else, and the memory they hold.
    pub(crate) fn into_body(mut self) -> (BytesMut, Option<MemoryGrant>) {
        self.frame.advance(self.body_at);
        (self.frame, self.memory)
    }

    /// The reply of this request with `response` as its body.
    pub(crate) fn reply<'a, R: Response<'a>>(&self, response: &R) -> Reply {
        encode_response(self.correlation, self.version, response)
    }
}

/// Why a handler has no reply: the connection is closed, with this in the log.
#[derive(Debug)]
pub(crate) struct HandlerFault(pub(crate) String);

impl From<DecodeError> for HandlerFault {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// What an asynchronous handler returns.
pub(crate) type Handled = Result<Reply, HandlerFault>;

/// Room that most responses fit, records left out: a larger one grows.
const RESPONSE_BYTES_USUAL: usize = 256;

/// A response as one whole frame in memory.
pub(crate) fn encode_response<'a, R: Response<'a>>(correlation: i32, version: i16, response: &R) -> Reply {
    let Some(writer) = frame_response(correlation, version, response) else { return Reply::unsayable() };
    let (bytes, holes) = writer.into_parts();
    assert!(holes.is_empty(), "a reply with file slices is put together by the fetch path");
    Reply::from_memory(bytes.freeze()).refusing(Refusals::of(version, response))
}

/// A response frame, its holes still open. `None`, and an error in the log, when a handler of ours set a field that this
/// version cannot carry, or more than fits a frame: a client that finds that out costs its connection, not the node.
pub(crate) fn frame_response<'a, R: Response<'a>>(correlation: i32, version: i16, response: &R) -> Option<Writer> {
    let mut writer = Writer::onto(BytesMut::with_capacity(RESPONSE_BYTES_USUAL));
    match frame::encode_response(&mut writer, version, correlation, response) {
        Ok(()) => Some(writer),
        Err(error) => {
            tracing::error!(api = %R::API_KEY, version, %error, "a response cannot be encoded; the connection is closed");
            None
        }
    }
}
