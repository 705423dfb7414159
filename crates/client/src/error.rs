//! What can go wrong for a client: what happened, why, and what to do next.

use std::time::Duration;

use types::ErrorCode;
use wire::{DecodeError, EncodeError};

/// Why a call failed. `Display` says what happened and why; [`ClientError::next_step`] says what to try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// `host:port` as it was given or as the cluster announces it.
        address: String,
        /// In the operating system's words.
        reason: String,
    },
    /// The connection ended while something was under way.
    #[error("the connection to {address} was lost: {reason}")]
    Disconnected {
        /// `host:port`.
        address: String,
        /// In the operating system's words, or what the other side did.
        reason: String,
    },
    /// What answers speaks another protocol.
    #[error("{address} does not speak Kafka's protocol: it answers {found}")]
    NotKafka {
        /// `host:port`.
        address: String,
        /// What it speaks, as far as its first bytes say: `in HTTP`.
        found: &'static str,
    },
    /// No answer in time.
    #[error("no answer to {what} from {address} within {} ms", after.as_millis())]
    Timeout {
        /// The API, or what was waited for.
        what: String,
        /// `host:port`.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The node and this client share no version of an API.
    #[error("{address} offers {api} in versions {node_min} to {node_max}, this client speaks {own_min} to {own_max}")]
    NoCommonVersion {
        /// The API.
        api: &'static str,
        /// `host:port`.
        address: String,
        /// The node's oldest version.
        node_min: i16,
        /// The node's newest version.
        node_max: i16,
        /// Our oldest version.
        own_min: i16,
        /// Our newest version.
        own_max: i16,
    },
    /// The node does not offer an API at all.
    #[error("{address} does not offer {api}")]
    NoSuchApi {
        /// The API.
        api: &'static str,
        /// `host:port`.
        address: String,
    },
    /// The node said no.
    #[error("{what}: {}{}", describe(*code), message.as_deref().map(|message| format!(": {message}")).unwrap_or_default())]
    Refused {
        /// What was asked for, `create topic orders`.
        what: String,
        /// Kafka's error code as it came.
        code: i16,
        /// The node's own words, where the API has room for them.
        message: Option<String>,
    },
    /// An answer that is not the protocol.
    #[error("{address} sent an answer that cannot be read: {error}")]
    Decode {
        /// `host:port`.
        address: String,
        /// What and where.
        error: DecodeError,
    },
    /// A request that the negotiated version cannot carry.
    #[error("the request cannot be sent to {address}: {error}")]
    Encode {
        /// `host:port`.
        address: String,
        /// What and where.
        error: EncodeError,
    },
    /// Records that came back broken.
    #[error("{topic}-{partition} at offset {offset}: {reason}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the fetch began.
        offset: i64,
        /// What is wrong with the batch.
        reason: String,
    },
    /// Used in a way that cannot work; no node was asked.
    #[error("{0}")]
    Usage(String),
}

fn describe(code: i16) -> String {
    ErrorCode::from_wire(code).map_or_else(|| format!("unknown error code {code}"), |code| code.to_string())
}

impl ClientError {
    /// A refusal without words.
    #[must_use]
    pub fn refused(what: impl Into<String>, code: i16) -> Self {
        Self::Refused { what: what.into(), code, message: None }
    }

    /// `Ok` for code 0, else a refusal.
    pub fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<(), Self> {
        if code == ErrorCode::None.code() {
            return Ok(());
        }
        Err(Self::Refused { what: what(), code, message: message.filter(|text| !text.is_empty()).map(str::to_owned) })
    }

    /// Kafka's code, if a node refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => ErrorCode::from_wire(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed a moment later, perhaps at another node.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Disconnected { .. } | Self::Timeout { .. } => true,
            Self::Refused { .. } => self.code().is_some_and(ErrorCode::is_retriable),
            _ => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> Option<&'static str> {
        Some(match self {
            Self::Connect { .. } => {
                "Check the name and the port, that a node runs there (`ringlog serve`), and that the address is the node's advertised.listeners."
            }
            Self::Disconnected { .. } => {
                "The node may have stopped or refused the request; its log says why. A listener that expects TLS or SASL also closes plain connections."
            }
            Self::NotKafka { .. } => "Give the port of a PLAINTEXT listener of a node, such as 9092.",
            Self::Timeout { .. } => "The node is overloaded or unreachable; raise the timeout or look at its health.",
            Self::NoCommonVersion { .. } | Self::NoSuchApi { .. } => "Use a client and a node of closer releases.",
            Self::Refused { .. } => match self.code()? {
                ErrorCode::UnknownTopicOrPartition => "Check the topic's name, or create it (`ringlog topic create`).",
                ErrorCode::TopicAlreadyExists => "Use another name, or `ringlog topic describe` the existing one.",
                ErrorCode::InvalidReplicationFactor => {
                    "Ask for at least one replica, and at most as many as there are nodes."
                }
                ErrorCode::InvalidTopicException => {
                    "A topic's name has letters, digits, `.`, `_` and `-`, at most 249; `ringlog topic list` shows those there are."
                }
                ErrorCode::InvalidConfig => "`ringlog config explain NAME` says what a setting means and takes.",
                ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
                    "Too few replicas are in sync: bring nodes back, or lower min.insync.replicas."
                }
                ErrorCode::KafkaStorageError => "The node's disk is full or failed; its log names the directory.",
                ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
                    "Send smaller batches, or raise max.message.bytes of the topic."
                }
                ErrorCode::NonEmptyGroup => "Stop the group's members first.",
                ErrorCode::OffsetOutOfRange => "Start from the earliest or the latest offset.",
                _ => return None,
            },
            Self::Decode { .. } => "Check that the port belongs to a Kafka listener without TLS.",
            Self::Corrupt { .. } => {
                "The data may be damaged on disk: see `ringlog log verify` on the node that leads it."
            }
            Self::Encode { .. } | Self::Usage(_) => return None,
        })
    }
}
