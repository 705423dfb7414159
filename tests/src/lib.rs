//! What the whole-node tests share: a node in a process of its own, the least of a client, and the tally of what was
//! judged.

pub mod checker;
pub mod clients;
pub mod content;
pub mod document;
pub mod load;
pub mod node;
pub mod plain_client;
pub mod tally;

use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_path_buf()
}

/// Where the foreign clients are installed, kept between runs and ignored by git.
pub fn clients_dir() -> PathBuf {
    std::env::var_os("TEST_CLIENTS").map_or_else(|| root().join("tests/conformance/.clients"), PathBuf::from)
}

/// Where runs leave their data folders and logs.
pub fn scratch_dir(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("judged").join(name)
}
