//! What goes around a message on a connection.
//!
//! ```text
//! request:  | size (4) | api key (2) | api version (2) | correlation id (4) | client id (2 + n) | tags* | body |
//! response: | size (4) | correlation id (4) | tags* | body |
//!                                                                    * only in flexible versions
//! ```
//!
//! The size counts what follows it. The client id keeps its two-byte length even in flexible versions, so that any
//! node can read the header of an ApiVersions request from the future.

use std::borrow::Cow;

use crate::api::{Api, ApiKey};
use crate::codec::{DecodeError, EncodeError, Reader, Tags, Writer};
use crate::message::{Request, Response};

/// Bytes of the size before each frame.
pub const SIZE_BYTES: usize = 4;

/// A size that no frame may have; the connection cannot go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero. Often another protocol: the size of a TLS greeting or of an HTTP request reads as nonsense.
    #[error("a frame of {0} bytes: this is not the Kafka protocol")]
    NegativeSize(i32),
    /// Above the limit (`socket.request.max.bytes` at a node).
    #[error("a frame of {bytes} bytes where {bytes_max} are allowed")]
    TooLarge {
        /// What the size field says.
        bytes: i32,
        /// The limit.
        bytes_max: u32,
    },
}

/// How many bytes follow the size field at the start of `bytes`; `None` while fewer than four are there.
pub fn peek_size(bytes: &[u8], bytes_max: u32) -> Result<Option<usize>, FrameError> {
    let Some(size) = bytes.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
    let size = i32::from_be_bytes(*size);
    match u32::try_from(size) {
        Err(_) => Err(FrameError::NegativeSize(size)),
        Ok(bytes) if bytes > bytes_max => Err(FrameError::TooLarge { bytes: size, bytes_max }),
        Ok(bytes) => Ok(Some(bytes as usize)),
    }
}

/// What stands before the body of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestHeader<'a> {
    /// The API's number, also of an API that does not exist here.
    pub api_key: i16,
    /// The API, if a Kafka 4.3.1 broker serves it.
    pub api: Option<&'static Api>,
    /// The version of the body, not proved to be served.
    pub api_version: i16,
    /// Chosen by the client, returned with the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Cow<'a, str>>,
    /// Tagged fields of the header; Kafka defines none.
    pub tags: Tags,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header of a request; the body follows at the reader's position. An unknown API or version is no
    /// error here: what to answer is the caller's decision. Of an unknown API only the fixed part can be trusted.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.enter("RequestHeader", 1);
        let api_key = r.int16("RequestApiKey")?;
        let api_version = r.int16("RequestApiVersion")?;
        let correlation_id = r.int32("CorrelationId")?;
        let api = ApiKey::from_wire(api_key).map(ApiKey::api);
        let client_id = r.string_nullable(false, true, "ClientId")?;
        let flexible = api.is_some_and(|api| api.is_flexible(api_version));
        let tags = if flexible { r.tags(|_, _| Ok(false))? } else { Tags::NONE };
        Ok(Self { api_key, api, api_version, correlation_id, client_id, tags })
    }

    /// Whether the API exists and this version of it is answered.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.api.is_some_and(|api| api.serves(self.api_version))
    }
}

/// Appends one whole request frame. After an error the writer is as it was.
pub fn encode_request<'a, R: Request<'a>>(
    w: &mut Writer,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<(), EncodeError> {
    let start = w.begin_frame();
    let written = (|| {
        w.enter("RequestHeader", 1);
        w.int16(R::API_KEY.code());
        w.int16(version);
        w.int32(correlation_id);
        w.string_nullable(false, true, client_id, "ClientId")?;
        if R::API_KEY.api().is_flexible(version) {
            w.tag_count(0, &Tags::NONE);
        }
        body.encode(w, version)?;
        w.end_frame(start)
    })();
    if written.is_err() {
        w.undo_frame(start);
    }
    written
}

/// Appends one whole response frame to a request of `version`. Its size counts the holes of the body. After an error
/// the writer is as it was.
pub fn encode_response<'a, R: Response<'a>>(
    w: &mut Writer,
    version: i16,
    correlation_id: i32,
    body: &R,
) -> Result<(), EncodeError> {
    let start = w.begin_frame();
    let written = (|| {
        w.int32(correlation_id);
        if R::API_KEY.api().response_header_version(version) == 1 {
            w.tag_count(0, &Tags::NONE);
        }
        body.encode(w, version)?;
        w.end_frame(start)
    })();
    if written.is_err() {
        w.undo_frame(start);
    }
    written
}

/// Reads the header of a response to a request of `api` and `version`; returns the correlation id. The body follows
/// at the reader's position.
pub fn decode_response_header(r: &mut Reader<'_>, api: &Api, version: i16) -> Result<i32, DecodeError> {
    r.enter("ResponseHeader", api.response_header_version(version));
    let correlation_id = r.int32("CorrelationId")?;
    if api.response_header_version(version) == 1 {
        r.tags(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}
