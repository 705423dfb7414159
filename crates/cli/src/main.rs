//! The binary `ringlog`.
fn main() {}
