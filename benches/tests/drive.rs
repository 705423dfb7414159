//! The driver against the least server: what it checks holds there, and what it counts is counted.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use benches::drive::{self, Kind, Workload};

struct Floor {
    child: Child,
    address: SocketAddr,
    dir: std::path::PathBuf,
}

impl Floor {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let dir = std::env::temp_dir().join(format!("drive-test-{}-{}", std::process::id(), address.port()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .args(["--listen", &address.to_string(), "--log-bytes-max", "4000000", "--dir"])
            .arg(&dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("built by this package");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("says that it listens");
        Self { child, address, dir }
    }

    fn workload(&self, kind: Kind, rate: Option<f64>) -> Workload {
        Workload {
            address: self.address,
            topic: "floor".to_owned(),
            partitions: 8,
            kind,
            connections: 2,
            in_flight: 3,
            batch_bytes: 4096,
            records: 4,
            acks: -1,
            rate,
            fill_bytes: 1 << 20,
            receive_buffer_bytes: None,
            warmup: Duration::from_millis(50),
            duration: Duration::from_millis(300),
            pid: Some(self.child.id() as i32),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn closed_loop_appends_without_gap_and_counts_the_targets_cpu() {
    let floor = Floor::start();
    let outcome = drive::run(&floor.workload(Kind::Produce, None)).expect("driven");
    assert!(outcome.requests > 0);
    assert_eq!(outcome.bytes, outcome.requests * 4096);
    assert!(outcome.cpu_us().is_some_and(|cpu_us| cpu_us > 0.0));
    assert_eq!(outcome.latency.len(), outcome.requests);
}

#[test]
fn fetched_slices_have_the_bytes_asked_for() {
    let floor = Floor::start();
    let outcome = drive::run(&floor.workload(Kind::Fetch { slice_bytes: 16_384 }, None)).expect("driven");
    assert!(outcome.requests > 0);
    assert_eq!((outcome.short, outcome.bytes), (0, outcome.requests * 16_384));
}

#[test]
fn open_loop_keeps_to_its_rate() {
    let floor = Floor::start();
    let outcome = drive::run(&floor.workload(Kind::Produce, Some(500.0))).expect("driven");
    // 150 are due in the measured time; a busy machine may move some over its edges.
    assert!((50..=250).contains(&outcome.requests), "{} requests", outcome.requests);
}
