//! Turns the message tables under `schemas/` into Rust: `messages.rs` (requests and responses), `api_table.rs` and
//! `records.rs`, included by the modules of those names. No dependencies: it builds before everything else.

mod rust;
mod schema;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let schemas = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("schemas");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    println!("cargo::rerun-if-changed=schemas");
    println!("cargo::rerun-if-changed=build");

    let mut files: Vec<PathBuf> =
        fs::read_dir(schemas.join("api")).expect("schemas/api").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let apis: Vec<_> = files.iter().map(|file| schema::parse_api(&read(file))).collect();
    let mut records = Vec::new();
    for file in ["metadata-records.txt", "group-records.txt", "control-records.txt", "consumer-protocol.txt"] {
        records.extend(schema::parse_messages(&read(&schemas.join(file))));
    }

    write(&out.join("messages.rs"), &rust::emit_apis(&apis));
    write(&out.join("api_table.rs"), &rust::emit_api_table(&apis));
    write(&out.join("records.rs"), &rust::emit_records(&records));
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn write(file: &Path, code: &str) {
    fs::write(file, code).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
