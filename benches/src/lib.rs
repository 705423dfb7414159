//! Micro benchmarks, and the bare servers that a node is measured against: `floor`, the least that could answer a Kafka
//! client at all, and `echo_append`, the plain way to write the same, which `floor` has to beat.

pub mod bare;
pub mod drive;
pub mod options;
pub mod regress;
