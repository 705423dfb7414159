//! A checkpoint that passes its checksum and holds anything at all, beside a log of three sound batches.
//!
//! ```text
//! | magic "RLCP" (4) | version (4) | bytes (4) | CRC-32C (4) | archive: the fuzzer's |
//! ```
#![no_main]

mod folder;

use std::collections::BTreeMap;

use batch::{BatchBuilder, Codec};
use folder::Folder;
use libfuzzer_sys::fuzz_target;
use types::{LeaderEpoch, Offset, Timestamp};

fn log() -> Vec<u8> {
    let mut log = Vec::new();
    for base in 0..3 {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(Timestamp::from_millis(base), Some(b"key"), Some(b"value"), &[]);
        log.extend_from_slice(&builder.build(Offset::new(base), LeaderEpoch::ZERO));
    }
    log
}

fuzz_target!(|bytes: &[u8]| {
    let mut checkpoint = Vec::from(*b"RLCP");
    checkpoint.extend_from_slice(&1_u32.to_le_bytes());
    checkpoint.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    checkpoint.extend_from_slice(&batch::crc32c(bytes).to_le_bytes());
    checkpoint.extend_from_slice(bytes);
    let files =
        BTreeMap::from([("00000000000000000000.log".to_owned(), log()), ("ringlog.checkpoint".to_owned(), checkpoint)]);
    folder::recover(&Folder(files));
});
