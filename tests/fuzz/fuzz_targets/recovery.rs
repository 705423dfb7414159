//! A damaged folder: any bytes under any of a partition's file names. Recovery answers or refuses.
//!
//! ```text
//! | file (1) | bytes (2) | content | file (1) | ...
//! ```
#![no_main]

mod folder;

use std::collections::BTreeMap;

use folder::Folder;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 12] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000010.log",
    "00000000000000000010.index",
    "00000000000000000010.timeindex",
    "00000000000000000000.log.cleaned",
    "00000000000000000000.log.swap",
    "00000000000000000000.log.deleted",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "ringlog.checkpoint",
];

fuzz_target!(|bytes: &[u8]| {
    let mut files = BTreeMap::new();
    let mut left = bytes;
    while let [name, high, low, rest @ ..] = left {
        let size = (usize::from(*high) << 8 | usize::from(*low)).min(rest.len());
        files.insert(NAMES[usize::from(*name) % NAMES.len()].to_owned(), rest[..size].to_vec());
        left = &rest[size..];
    }
    folder::recover(&Folder(files));
});
