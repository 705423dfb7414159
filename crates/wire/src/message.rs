//! What every generated message can do.

use crate::api::ApiKey;
use crate::codec::{DecodeError, EncodeError, Reader, Writer};

/// A request, response or record: decoded from a slice that it borrows from, encoded in the version asked for.
pub trait Message<'a>: Sized {
    /// Kafka's name, `FetchRequest`.
    const NAME: &'static str;
    /// The oldest version there is.
    const VERSION_MIN: i16;
    /// The newest version there is (for an API, [`crate::Api::version_max`] may be lower).
    const VERSION_MAX: i16;
    /// The first version with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE_FROM: Option<i16>;
    /// The same message without a borrow.
    type Owned: 'static;

    /// Reads the message at the reader's position. Bytes may remain: [`Reader::finish`] or [`Message::from_bytes`]
    /// refuses them.
    fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message. A field that `version` lacks must have its default, unless Kafka allows to drop it.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// The same without a borrow.
    fn into_owned(self) -> Self::Owned;

    /// Reads a message that fills `bytes` to the last one.
    fn from_bytes(bytes: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }
}

/// The body of a request.
pub trait Request<'a>: Message<'a> {
    /// Which API it asks.
    const API_KEY: ApiKey;
    /// What comes back.
    type Response: OwnedResponse;
}

/// The body of a response.
pub trait Response<'a>: Message<'a> {
    /// Which API it answers.
    const API_KEY: ApiKey;

    /// Hands over every error code other than 0 that this response carries in `version`, with the error message beside
    /// it, if there is one.
    fn errors(&self, version: i16, each: &mut dyn FnMut(i16, Option<&str>));
}

/// A response that borrows nothing: what a client hands on.
pub trait OwnedResponse: Response<'static> + 'static {
    /// Reads a response that fills `bytes`. [`crate::Records::At`] positions are relative to `bytes`.
    fn decode_owned(bytes: &[u8], version: i16) -> Result<Self, DecodeError>;
}

/// What the generated modules import.
pub(crate) mod prelude {
    pub(crate) use std::borrow::Cow;

    pub(crate) use types::TopicId;

    pub(crate) use super::{Message, OwnedResponse, Request, Response};
    pub(crate) use crate::api::ApiKey;
    pub(crate) use crate::codec::{DecodeError, DecodeFault, EncodeError, EncodeFault, Reader, Records, Tags, Writer};
}
