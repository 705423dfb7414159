//! One pinned thread per core and what it needs of the kernel: the executor, the log ring, mailboxes between shards,
//! timers, files, sockets and sendfile. It executes what the sans-IO crates decide; it knows nothing of Kafka.
//!
//! Read in this order: [`runtime`] (a shard and its turn), [`mailbox`], [`ring`], [`mod@file`], [`dir`], [`helper`],
//! [`net`], [`placement`], [`budget`], [`probe`], [`stats`].
//!
//! # A turn
//! Tasks run; the first append or reply of a turn wakes the shard's one pump, which lets every ready task run, submits
//! all log operations with one `io_uring_enter`, and then tells the host to flush its connections.
//!
//! This is the only crate with `unsafe` code. Each block says why it is sound.

pub mod budget;
pub mod clock;
pub mod dir;
pub mod file;
pub mod helper;
pub mod mailbox;
pub mod net;
pub mod placement;
pub mod probe;
pub mod ring;
pub mod runtime;
pub mod stats;
mod timers;
mod turn;

pub use budget::{BufferPool, MemoryBudget, MemoryGrant};
pub use dir::FileDir;
pub use file::{LogFile, OpenMode};
pub use helper::{HelperSpec, Maintenance, QueueFull, Writeback, WritebackStats};
pub use mailbox::{MailboxReceiver, Mailboxes, mailboxes};
pub use net::{BoundListener, Listener, ListenerOptions, Socket, SocketParts};
pub use ring::{AppendBackend, Completion, LogRing};
pub use runtime::{Completer, ShardEvent, ShardHandle, ShardRuntime, ShardSpec, spawn};
pub use stats::{DURATION_BOUNDS_US, DurationCounts, Durations, ShardStats, Tally};
