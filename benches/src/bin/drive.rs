//! Drives one target with one workload and says what it took: see [`benches::drive`].
//!
//! ```text
//! drive --address 127.0.0.1:9092 --pid $(pgrep -n ringlog) --connections 4 --in-flight 4 --batch-bytes 16384 --records 16
//! drive --address 127.0.0.1:9092 --slice-bytes 65536 --batch-bytes 16384 --records 16
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use benches::drive::{self, Kind, Workload};
use clap::Parser;

/// Drives a Kafka-compatible node with pre-encoded requests.
#[derive(Parser, Debug)]
struct Options {
    /// The target.
    #[arg(long, default_value = "127.0.0.1:9092")]
    address: SocketAddr,
    /// Its topic; the bare servers have only this one.
    #[arg(long, default_value = "floor")]
    topic: String,
    /// Partitions of it.
    #[arg(long, default_value_t = 8)]
    partitions: u16,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Size of a batch.
    #[arg(long, default_value_t = 16 << 10)]
    batch_bytes: usize,
    /// Records of a batch.
    #[arg(long, default_value_t = 16)]
    records: usize,
    /// -1 is all.
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    acks: i16,
    /// Fetch slices of this size instead of producing.
    #[arg(long)]
    slice_bytes: Option<usize>,
    /// Bytes that each partition is filled with before a fetch begins.
    #[arg(long, default_value_t = 16 << 20)]
    fill_bytes: usize,
    /// Requests per second (open loop); without it, as many as go.
    #[arg(long)]
    rate: Option<f64>,
    /// SO_RCVBUF.
    #[arg(long)]
    receive_buffer_bytes: Option<usize>,
    /// Seconds before the measured ones.
    #[arg(long, default_value_t = 1.0)]
    warmup_s: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The process whose CPU is counted.
    #[arg(long)]
    pid: Option<i32>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if let Some(cpu) = options.cpu {
        benches::options::pin(cpu)?;
    }
    let workload = Workload {
        address: options.address,
        topic: options.topic,
        partitions: options.partitions,
        kind: options.slice_bytes.map_or(Kind::Produce, |slice_bytes| Kind::Fetch { slice_bytes }),
        connections: options.connections,
        in_flight: options.in_flight,
        batch_bytes: options.batch_bytes,
        records: options.records,
        acks: options.acks,
        rate: options.rate,
        fill_bytes: options.fill_bytes,
        receive_buffer_bytes: options.receive_buffer_bytes,
        warmup: Duration::from_secs_f64(options.warmup_s),
        duration: Duration::from_secs_f64(options.seconds),
        pid: options.pid,
    };
    let outcome = drive::run(&workload)?;
    let elapsed_s = outcome.elapsed.as_secs_f64();
    println!(
        "{} requests in {elapsed_s:.2} s: {:.0}/s, {:.0} MiB/s, {} short",
        outcome.requests,
        outcome.requests_per_s(),
        outcome.mib_per_s(),
        outcome.short
    );
    if let (Some(cpu_us), Some(cpu)) = (outcome.cpu_us(), outcome.cpu) {
        println!("target {cpu_us:.2} us of CPU a request, {:.0} % of a core", cpu.as_secs_f64() / elapsed_s * 100.0);
    }
    println!("driver {:.0} % of a core", outcome.driver_cpu.as_secs_f64() / elapsed_s * 100.0);
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| outcome.latency_us(quantile));
    println!("latency us: p50 {p50:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {:.0}", outcome.latency.max() as f64 / 1e3);
    Ok(())
}
