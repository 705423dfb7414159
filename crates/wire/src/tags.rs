//! Ringlog's own tagged fields. A tagged field that the other side does not know is skipped by it (KIP-482), so a
//! message can carry more than Kafka's schema says without a version of its own. Ours begin at [`TAG_MIN`], far above
//! what Kafka hands out; every one is listed here with the message that carries it, and never used for anything else.
//!
//! | tag | message | content |
//! |-|-|-|
//! | (none yet) | | |

/// The first tag that is ours.
pub const TAG_MIN: u32 = 10_000;
