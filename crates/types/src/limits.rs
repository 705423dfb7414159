//! Every bound has its name here, with its unit and its reason, and bounds that depend on each other are related at
//! compile time. `tidy` checks that each is documented.

/// Bytes of a record batch's fixed header (protocol guide, record batch v2).
pub const BATCH_HEADER_BYTES: usize = 61;

/// Bytes before a batch's CRC field counts: base offset (8) and length (4). A batch occupies this plus its length field.
pub const BATCH_OVERHEAD_BYTES: usize = 12;

/// The largest request frame we take when nothing else is configured (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX_DEFAULT: u32 = 100 * 1024 * 1024;

/// The largest response to a fetch that is asked for more (`fetch.max.bytes`).
pub const FETCH_RESPONSE_BYTES_MAX_DEFAULT: u32 = 55 * 1024 * 1024;

/// `message.max.bytes`: the largest batch taken, compressed, header included.
pub const BATCH_BYTES_MAX_DEFAULT: u32 = 1_048_588;

/// iovecs in one gathered append: the kernel's UIO_MAXIOV.
pub const GATHER_BATCHES_MAX: usize = 1024;

/// Bytes in one gathered append; what is left waits for the next turn.
pub const GATHER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Batches of a producer remembered per partition for telling duplicates (Kafka's five).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Requests of one connection that may be under way at once. Reading from the socket pauses at it.
pub const CONNECTION_REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Bytes that a sendfile call moves at most before the shard does something else.
pub const SENDFILE_BYTES_MAX: usize = 1024 * 1024;

/// Slices below this are copied into the reply's own send (measured crossover with sendfile).
pub const SENDFILE_BYTES_MIN: usize = 16 * 1024;

/// Slots of a shard's mailbox.
pub const MAILBOX_SLOTS: usize = 4096;

/// Entries of a log ring's submission queue.
pub const LOG_RING_ENTRIES: u32 = 1024;

/// Dirty bytes of one partition after which the recovery point moves.
pub const RECOVERY_POINT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Milliseconds that a partition stays dirty before its recovery point moves.
pub const RECOVERY_POINT_AGE_MS_MAX: u64 = 60_000;

/// Bytes between two requests for writeback of one file.
pub const WRITEBACK_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// Fetch sessions kept by a node (`max.incremental.fetch.session.cache.slots`, per node).
pub const FETCH_SESSIONS_MAX: usize = 1000;

/// Partitions in one fetch session; a client that names more is served without a session.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 100_000;

/// Characters of a topic name.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

const _: () = assert!(BATCH_OVERHEAD_BYTES < BATCH_HEADER_BYTES);
const _: () = assert!(BATCH_BYTES_MAX_DEFAULT <= FETCH_RESPONSE_BYTES_MAX_DEFAULT);
const _: () = assert!(FETCH_RESPONSE_BYTES_MAX_DEFAULT <= REQUEST_BYTES_MAX_DEFAULT);
const _: () = assert!(SENDFILE_BYTES_MIN < SENDFILE_BYTES_MAX);
const _: () = assert!(WRITEBACK_STEP_BYTES < RECOVERY_POINT_BYTES_MAX);

/// Bytes of unsent replies after which a connection is no longer read.
pub const CONNECTION_UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a connection's read buffer; a larger frame gets a buffer of its own size.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of the shortest request: api key (2), version (2), correlation id (4).
pub const REQUEST_HEADER_BYTES_MIN: usize = 8;
