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

/// Bytes that the records of one batch may inflate to. Producers close a batch by its compressed size, so this leaves
/// room for 128 to 1 at the default batch limit.
pub const INFLATED_BATCH_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Records named one by one when a batch is refused; the rest is a number in the message.
pub const PRODUCE_RECORD_ERRORS_MAX: usize = 1000;

/// iovecs in one gathered append: the kernel's UIO_MAXIOV.
pub const GATHER_BATCHES_MAX: usize = 1024;

/// Bytes in one gathered append; what is left waits for the next turn.
pub const GATHER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Batches of a producer remembered per partition for telling duplicates (Kafka's five).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// Requests of one connection that may be under way at once. Reading from the socket pauses at it.
pub const CONNECTION_REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Requests that a shard takes from one connection before it does something else.
pub const CONNECTION_REQUESTS_PER_TURN_MAX: usize = 64;

/// Bytes that a sendfile call moves at most before the shard does something else.
pub const SENDFILE_BYTES_MAX: usize = 1024 * 1024;

/// Slices below this are copied into the reply's own send (measured crossover with sendfile).
pub const SENDFILE_BYTES_MIN: usize = 16 * 1024;

/// Milliseconds that a connection may hold memory for a large request of which nothing more comes. A client gives its
/// own request up after as long (`request.timeout.ms`).
pub const REQUEST_STALLED_MS_MAX: u64 = 30_000;

/// Descriptors that are neither a connection's nor a log file's: rings, wakes, file work, HTTP.
pub const OTHER_DESCRIPTORS_MAX: usize = 192;

/// Slots of a shard's mailbox.
pub const MAILBOX_SLOTS: usize = 4096;

/// Entries of a log ring's submission queue.
pub const LOG_RING_ENTRIES: u32 = 1024;

/// Log operations waiting for a place in the ring; one more is answered with an error. A partition has at most one
/// write, one sync and a few read-aheads under way, so a node of 10,000 partitions stays below it.
pub const LOG_RING_QUEUED_MAX: usize = 65_536;

/// Kernel workers a log ring may have at once for its punted operations. An fsync holds one while the disk works, and
/// appends to other files must not wait for that.
pub const LOG_RING_WORKERS_MAX: u32 = 16;

/// Bytes of one read-ahead.
pub const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Messages a shard takes from its mailbox before it does something else.
pub const MAIL_PER_TURN_MAX: usize = 512;

/// Jobs waiting for a log directory's writeback thread, and for its maintenance thread; each.
pub const HELPER_QUEUE_MAX: usize = 16_384;

/// Partitions that a shard tells a scrape of at one go: some ten microseconds, between which it does its own work.
pub const SCRAPE_PARTITIONS_MAX: usize = 128;

/// Partitions, and topics, that a debug bundle tells of one by one: some 4 MB of JSON. The rest is a number in it.
pub const BUNDLE_PARTITIONS_MAX: usize = 10_000;

/// Lines of the log that a debug bundle holds.
pub const LOG_LINES_KEPT_MAX: usize = 1000;

/// Bytes of each of them; what is longer is cut.
pub const LOG_LINE_KEPT_BYTES_MAX: usize = 4096;

/// Lines that one cause may put into the log in [`LOG_WINDOW_MS`]; the rest is counted, and the count told.
pub const LOG_LINES_PER_WINDOW_MAX: u32 = 30;

/// Milliseconds over which lines of one cause are counted.
pub const LOG_WINDOW_MS: u64 = 10_000;

/// Causes whose lines are counted apart; further ones are counted together by their place in the code.
pub const LOG_CAUSES_MAX: usize = 1024;

/// Lines that wait for the log's reader; one more is lost. Some megabyte.
pub const LOG_LINES_WAITING_MAX: usize = 4096;

/// Connections of the HTTP listener at once; more wait in its backlog.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Milliseconds that an HTTP client has for the next request, from its connection or its last reply on.
pub const HTTP_REQUEST_WAIT_MS_MAX: u64 = 10_000;

/// Milliseconds that an HTTP client may take nothing of its reply.
pub const HTTP_REPLY_STALL_MS_MAX: u64 = 10_000;

/// Connections that the kernel completes ahead of us.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Read buffers that a shard keeps for the next request.
pub const POOLED_BUFFERS_MAX: usize = 256;

/// The largest read buffer worth keeping.
pub const POOLED_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

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

/// Bytes of a string in a message. A compact length could say more; Kafka refuses that, and neither a record nor an older
/// version of a reply could hold it.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Members of one group that were given an id and have not yet come back with it.
pub const GROUP_PENDING_MEMBERS_MAX: usize = 10_000;

/// Characters of a topic name.
pub const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Metadata records that one admin request may come to; Kafka refuses more with POLICY_VIOLATION.
pub const METADATA_RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// Metadata records in one batch of the metadata log; more are split over several. A request's records always fit one,
/// so they take effect together.
pub const METADATA_BATCH_RECORDS_MAX: usize = METADATA_RECORDS_PER_REQUEST_MAX;

/// UTF-16 units of a config's value, as Kafka counts them.
pub const CONFIG_VALUE_CHARS_MAX: usize = 32_767;

/// Decoded structs may take this many times the bytes they were decoded from, plus [`DECODE_MEMORY_BYTES_FREE`]. An
/// array element of a few bytes on the wire is a struct of up to a hundred in memory; honest requests stay below 8.
pub const DECODE_MEMORY_FACTOR: usize = 16;

/// Memory that decoding a message may take whatever its size: small messages are never refused for it.
pub const DECODE_MEMORY_BYTES_FREE: usize = 64 * 1024;

/// Requests that may wait to be written to one connection of a client; a caller beyond them waits.
pub const CLIENT_REQUESTS_QUEUED_MAX: usize = 1024;

/// The largest answer that a client takes: above any `fetch.max.bytes` that makes sense.
pub const CLIENT_RESPONSE_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// The largest record that `ringlog produce` cuts from its input: well above what a topic takes, so that the node says no.
pub const PRODUCE_INPUT_RECORD_BYTES_MAX: usize = 128 * 1024 * 1024;

const _: () = assert!(BATCH_OVERHEAD_BYTES < BATCH_HEADER_BYTES);
const _: () = assert!(BATCH_BYTES_MAX_DEFAULT <= FETCH_RESPONSE_BYTES_MAX_DEFAULT);
const _: () = assert!(FETCH_RESPONSE_BYTES_MAX_DEFAULT <= REQUEST_BYTES_MAX_DEFAULT);
const _: () = assert!(SENDFILE_BYTES_MIN < SENDFILE_BYTES_MAX);
const _: () = assert!(WRITEBACK_STEP_BYTES < RECOVERY_POINT_BYTES_MAX);
const _: () = assert!(CONNECTION_HEAD_BYTES < CONNECTION_BUFFER_BYTES);

/// Bytes of unsent replies after which a connection is no longer read.
pub const CONNECTION_UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a connection's read buffer; a larger frame gets a buffer of its own size.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes from which an allocation is a mapping of its own, given back to the kernel when freed.
pub const ALLOCATION_MAPPED_BYTES_MIN: i32 = 8 * 1024 * 1024;

/// Freed bytes at the end of a thread's heap that the allocator keeps.
pub const ALLOCATOR_KEPT_BYTES_MAX: i32 = 32 * 1024 * 1024;

/// Bytes that a connection reads of a request that is likely large, before its size is known.
pub const CONNECTION_HEAD_BYTES: usize = 2 * 1024;

/// Bytes of the shortest request: api key (2), version (2), correlation id (4).
pub const REQUEST_HEADER_BYTES_MIN: usize = 8;

/// Files that one partition holds open at most; idle ones are closed sooner when the node's descriptors run short.
pub const PARTITION_FILES_OPEN_MAX: usize = 8;

/// Bytes that wait to be written to one partition; beyond it produce is refused as overload, not queued.
pub const PARTITION_QUEUE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Batches of one partition whose positions are kept in memory, so that readers at the tail need no look-up.
pub const TAIL_BATCHES_MAX: usize = 128;

/// Index entries of one partition kept in memory for a reader behind the tail: 1 KiB, at least 512 KiB of log.
pub const INDEX_WINDOW_ENTRIES_MAX: usize = 128;

/// Idempotent producers remembered per partition; the longest silent ones are forgotten beyond it.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 100_000;

/// Bytes of keys that one round of compaction holds in memory; it cleans as far as they reach.
pub const COMPACTION_KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of cleaned segments handed out at once.
pub const COMPACTION_CHUNK_BYTES: usize = 1024 * 1024;

const _: () = assert!(GATHER_BYTES_MAX as u64 <= PARTITION_QUEUE_BYTES_MAX);

/// Of a connection's compressed batches, one in this many is looked into, beginning with the first.
pub const INFLATE_SAMPLE_ONE_IN: u32 = 64;

/// Inflated bytes of a compressed batch that are looked into.
pub const INFLATE_SAMPLE_BYTES: usize = 64 * 1024;

/// Producers of one workload: each has a connection to every node that leads partitions of its topics.
pub const LOAD_PRODUCERS_MAX: u32 = 10_000;

/// Consumers of one workload, cold readers counted.
pub const LOAD_CONSUMERS_MAX: u32 = 10_000;

/// Partitions of one workload, over all its topics.
pub const LOAD_PARTITIONS_MAX: u32 = 200_000;

/// Partitions that one request of the load generator makes: Kafka's controller refuses what would take more than 10,000
/// records at once.
pub const LOAD_PARTITIONS_PER_REQUEST_MAX: u32 = 5_000;

/// Requests or batches that a producer of the load generator has under way.
pub const LOAD_IN_FLIGHT_MAX: u32 = 1_000;

/// Different keys of one workload: a table of shares is kept for Zipf's.
pub const LOAD_KEYS_MAX: u32 = 10_000_000;

/// The largest value that the load generator sends.
pub const LOAD_MESSAGE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The largest batch, and the largest request, that the load generator sends.
pub const LOAD_BATCH_BYTES_MAX: u32 = 100 * 1024 * 1024;

/// The largest payload file.
pub const LOAD_PAYLOAD_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Rates of one sweep.
pub const LOAD_STEPS_MAX: usize = 100;

/// Partitions whose lag is kept of each second: those furthest behind in it.
pub const LOAD_LAG_SERIES_MAX: usize = 100;

/// Batches acked and not read yet whose offsets the load generator remembers, over all partitions of a workload: with them
/// it tells what retention took from what a broker lost. Some 160 MiB.
pub const LOAD_UNREAD_BATCHES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of batches that one producer holds unsent: beyond them it falls behind its schedule, which latency counts from.
pub const LOAD_UNSENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Positions of readers that one DescribeLogDirs request may ask about, all topics together. Each is looked up in an
/// index and a batch; a client asks for more in several requests.
pub const LOG_DIR_POSITIONS_MAX: usize = 10_000;

/// Pairs of a group and a partition whose lag a scrape tells, each with five series; the rest is a number of its own.
pub const LAG_SERIES_MAX: usize = 20_000;

/// Milliseconds for which a scrape tells the lag found by an earlier one.
pub const LAG_AGE_MS_MAX: u64 = 10_000;
