//! As little of Kafka's protocol as a load generator needs, in one version each, parsed and answered in one pass
//! without an allocation. For the servers in `src/bin` only: nothing here is checked beyond what keeps it from panicking.

use std::net::SocketAddr;

/// The one version of each API that is answered.
pub const PRODUCE_VERSION: i16 = 9;
/// See [`PRODUCE_VERSION`].
pub const FETCH_VERSION: i16 = 12;
/// See [`PRODUCE_VERSION`].
pub const METADATA_VERSION: i16 = 12;
/// See [`PRODUCE_VERSION`]. Other versions are answered as Kafka does: error 35 in version 0, with the table.
pub const API_VERSIONS_VERSION: i16 = 3;
/// The one topic.
pub const TOPIC: &str = "floor";
/// For `--help`.
pub const VERSIONS: &str = "Speaks exactly: ApiVersions 3, Metadata 12, Produce 9 (topic `floor`, uncompressed or \
                            compressed batches of format 2, not transactional), Fetch 12 (no sessions).";

/// Error codes that a reply may carry.
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
/// See [`OFFSET_OUT_OF_RANGE`].
pub const CORRUPT_MESSAGE: i16 = 2;
/// See [`OFFSET_OUT_OF_RANGE`].
pub const UNKNOWN_PARTITION: i16 = 3;

const TABLE: [(i16, i16); 4] =
    [(0, PRODUCE_VERSION), (1, FETCH_VERSION), (3, METADATA_VERSION), (18, API_VERSIONS_VERSION)];

/// Takes a request apart from its front. `None` anywhere: the connection speaks something else.
pub struct Reader<'a>(pub &'a mut [u8]);

impl<'a> Reader<'a> {
    /// The next `bytes` bytes, writable, so that batches can be stamped where they lie.
    pub fn take(&mut self, bytes: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn uvarint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A compact length or count, which is sent plus one; null counts as 0.
    fn compact(&mut self) -> Option<usize> {
        Some(self.uvarint()?.saturating_sub(1))
    }

    fn compact_bytes(&mut self) -> Option<&'a mut [u8]> {
        let bytes = self.compact()?;
        self.take(bytes)
    }

    fn skip_tags(&mut self) -> Option<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let bytes = self.uvarint()?;
            self.take(bytes)?;
        }
        Some(())
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn put_uvarint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_compact_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() + 1);
    put(out, bytes);
}

/// A request's header: what it is and how to answer. The reader is left at the body.
pub struct Header {
    /// The API's number.
    pub api: i16,
    version: i16,
    correlation: i32,
}

impl Header {
    /// Reads header version 2 (ApiVersions: also the older one, as far as it is needed).
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let header = Self { api: reader.i16()?, version: reader.i16()?, correlation: reader.i32()? };
        if header.api != 18 {
            if TABLE.iter().all(|&(api, version)| (api, version) != (header.api, header.version)) {
                return None;
            }
            let client_id = reader.i16()?;
            reader.take(usize::try_from(client_id).unwrap_or(0))?;
            reader.skip_tags()?;
        }
        Some(header)
    }

    /// Begins a reply; returns where its length goes. ApiVersions has header version 0, the others 1.
    fn begin(&self, out: &mut Vec<u8>) -> usize {
        let at = out.len();
        put(out, &[0; 4]);
        put(out, &self.correlation.to_be_bytes());
        if self.api != 18 {
            out.push(0);
        }
        at
    }

    fn end(out: &mut [u8], at: usize, file_bytes: usize) {
        let bytes = (out.len() - at - 4 + file_bytes) as u32;
        out[at..at + 4].copy_from_slice(&bytes.to_be_bytes());
    }

    /// Answers ApiVersions.
    pub fn api_versions(&self, out: &mut Vec<u8>) {
        let at = self.begin(out);
        let known = self.version == API_VERSIONS_VERSION;
        put(out, &(if known { 0_i16 } else { 35 }).to_be_bytes());
        if known {
            put_uvarint(out, TABLE.len() + 1);
        } else {
            put(out, &(TABLE.len() as i32).to_be_bytes());
        }
        for (api, version) in TABLE {
            for number in [api, version, version] {
                put(out, &number.to_be_bytes());
            }
            if known {
                out.push(0);
            }
        }
        if known {
            put(out, &[0; 5]);
        }
        Self::end(out, at, 0);
    }

    /// Answers Metadata, whatever was asked: one broker, the topic, node 0 leading all of it.
    pub fn metadata(&self, out: &mut Vec<u8>, listen: SocketAddr, partitions: u16) {
        let at = self.begin(out);
        put(out, &[0; 4]);
        put_uvarint(out, 2);
        put(out, &0_i32.to_be_bytes());
        put_compact_bytes(out, listen.ip().to_string().as_bytes());
        put(out, &i32::from(listen.port()).to_be_bytes());
        put(out, &[0, 0]);
        put_compact_bytes(out, b"floor-cluster");
        put(out, &0_i32.to_be_bytes());
        put_uvarint(out, 2);
        put(out, &0_i16.to_be_bytes());
        put_compact_bytes(out, TOPIC.as_bytes());
        put(out, b"floor-topic-id-0");
        out.push(0);
        put_uvarint(out, usize::from(partitions) + 1);
        for partition in 0..i32::from(partitions) {
            put(out, &0_i16.to_be_bytes());
            put(out, &partition.to_be_bytes());
            put(out, &[0; 8]);
            // Replicas and in-sync replicas: node 0. Offline ones: none.
            put(out, &[2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0]);
        }
        put(out, &i32::MIN.to_be_bytes());
        put(out, &[0, 0]);
        Self::end(out, at, 0);
    }

    /// Answers Produce: calls `append` with each partition's batches, which gives their first offset or an error.
    pub fn produce(
        &self,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
        mut append: impl FnMut(i32, &mut [u8]) -> Result<i64, i16>,
    ) -> Option<()> {
        reader.compact_bytes()?;
        let acks = reader.i16()?;
        reader.i32()?;
        let at = self.begin(out);
        let topics = reader.compact()?;
        put_uvarint(out, topics + 1);
        for _ in 0..topics {
            put_compact_bytes(out, reader.compact_bytes()?);
            let partitions = reader.compact()?;
            put_uvarint(out, partitions + 1);
            for _ in 0..partitions {
                let partition = reader.i32()?;
                let appended = append(partition, reader.compact_bytes()?);
                reader.skip_tags()?;
                put(out, &partition.to_be_bytes());
                put(out, &appended.err().unwrap_or(0).to_be_bytes());
                put(out, &appended.unwrap_or(-1).to_be_bytes());
                put(out, &(-1_i64).to_be_bytes());
                put(out, &0_i64.to_be_bytes());
                // No record errors, no message, no tags.
                put(out, &[1, 0, 0]);
            }
            reader.skip_tags()?;
            out.push(0);
        }
        put(out, &[0; 5]);
        Self::end(out, at, 0);
        if acks == 0 {
            out.truncate(at);
        }
        Some(())
    }

    /// Answers Fetch: calls `read` with partition, offset and most bytes, and `slice` with the length of `out` at which
    /// a slice of the log belongs, the partition and what was found there.
    pub fn fetch(
        &self,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
        mut read: impl FnMut(i32, i64, usize) -> Fetched,
        mut slice: impl FnMut(usize, usize, &Fetched),
    ) -> Option<FetchEnd> {
        reader.i32()?;
        let wait_ms = reader.i32()?;
        reader.i32()?;
        let mut room = usize::try_from(reader.i32()?).ok()?;
        reader.take(9)?;
        let at = self.begin(out);
        let mut file_bytes = 0;
        let mut answered = false;
        put(out, &[0; 10]);
        let topics = reader.compact()?;
        put_uvarint(out, topics + 1);
        for _ in 0..topics {
            put_compact_bytes(out, reader.compact_bytes()?);
            let partitions = reader.compact()?;
            put_uvarint(out, partitions + 1);
            for _ in 0..partitions {
                let partition = reader.i32()?;
                reader.i32()?;
                let offset = reader.i64()?;
                reader.take(12)?;
                let bytes_max = usize::try_from(reader.i32()?).ok()?;
                reader.skip_tags()?;
                let fetched = read(partition, offset, bytes_max.min(room));
                answered |= fetched.error != 0 || fetched.bytes > 0;
                put(out, &partition.to_be_bytes());
                put(out, &fetched.error.to_be_bytes());
                put(out, &fetched.end_offset.to_be_bytes());
                put(out, &fetched.end_offset.to_be_bytes());
                put(out, &fetched.start_offset.to_be_bytes());
                // No aborted transactions, no preferred replica.
                put(out, &[0, 0xff, 0xff, 0xff, 0xff]);
                put_uvarint(out, fetched.bytes + 1);
                if fetched.bytes > 0 {
                    slice(out.len(), partition as usize, &fetched);
                    file_bytes += fetched.bytes;
                    room -= fetched.bytes;
                }
                out.push(0);
            }
            reader.skip_tags()?;
            out.push(0);
        }
        out.push(0);
        Self::end(out, at, file_bytes);
        Some(FetchEnd { reply_at: at, answered, wait_ms: u32::try_from(wait_ms).unwrap_or(0) })
    }
}

/// What a partition answers to a fetch.
pub struct Fetched {
    /// 0, or what is wrong.
    pub error: i16,
    /// The partition's first offset.
    pub start_offset: i64,
    /// The partition's next offset.
    pub end_offset: i64,
    /// Where the slice begins in the file.
    pub position: u64,
    /// Bytes of the slice; 0 is none.
    pub bytes: usize,
}

/// How a fetch went.
pub struct FetchEnd {
    /// Where its reply begins in the output.
    pub reply_at: usize,
    /// Whether there is something to say; if not, the client would rather wait.
    pub answered: bool,
    /// How long it would wait, in milliseconds.
    pub wait_ms: u32,
}

/// One pass over the batches of a produce request: checks CRCs, stamps offsets, returns the offset after the last.
///
/// ```text
/// | base offset (8B) | length (4B) | epoch (4B) | magic (1B) | CRC (4B) | attributes (2B) | last offset delta (4B) | ...
/// ```
///
/// # Errors
/// [`CORRUPT_MESSAGE`].
pub fn stamp(mut records: &mut [u8], mut offset: i64, check: bool) -> Result<i64, i16> {
    while !records.is_empty() {
        let length = records.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let bytes = length.ok_or(CORRUPT_MESSAGE)? as usize + 12;
        let (batch, rest) = std::mem::take(&mut records).split_at_mut_checked(bytes).ok_or(CORRUPT_MESSAGE)?;
        records = rest;
        if batch.len() < 61 || batch[16] != 2 {
            return Err(CORRUPT_MESSAGE);
        }
        if check && batch::crc32c(&batch[21..]).to_be_bytes() != batch[17..21] {
            return Err(CORRUPT_MESSAGE);
        }
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch[12..16].copy_from_slice(&0_i32.to_be_bytes());
        let last = i32::from_be_bytes([batch[23], batch[24], batch[25], batch[26]]);
        offset += i64::from(last.max(0)) + 1;
    }
    Ok(offset)
}
