//! Crash tests.
fn main() {}
