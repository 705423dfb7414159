//! What the load generator itself can do: the same messages and batches against `floor --sink`, a server that neither
//! checks nor writes. A row near its ceiling measures the generator.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::process::{cpus_beside, on_cpus};
use crate::options::RunOptions;
use crate::outcome::Ceiling;
use crate::run::run;
use crate::verdict::Targets;
use crate::workload::{Durability, Load, Workload};

/// The topic that `floor` has.
const TOPIC: &str = "floor";
/// Partitions that it is given at most.
const PARTITIONS_MAX: u32 = 1000;
const WARMUP: Duration = Duration::from_millis(300);
const DURATION: Duration = Duration::from_secs(2);

struct Floor {
    child: Child,
    address: String,
    dir: std::path::PathBuf,
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Gone already is as good; its folder holds nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Floor {
    /// On all CPUs but the generator's: on those it would be a part of the ceiling, and on fewer it could be all of it.
    fn start(binary: &Path, partitions: u32, generator_cpus: &[usize]) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{} cannot be started: {error}", binary.display());
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(fail)?;
        let dir = std::env::temp_dir().join(format!("ringlog-floor-{}-{}", std::process::id(), address.port()));
        let mut command = Command::new(binary);
        command
            .args(["--sink", "--listen", &address.to_string(), "--partitions", &partitions.to_string(), "--dir"])
            .arg(&dir)
            .args(["--request-bytes-max", &(4 << 20).to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child =
            cpus_beside(generator_cpus).and_then(|cpus| on_cpus(&cpus, || command.spawn())).map_err(fail)?;
        let stdout = child.stdout.take().expect("it is piped");
        let floor = Self { child, address: address.to_string(), dir };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(fail)?;
        if !line.contains("listens") {
            return Err(format!("{} did not come up", binary.display()));
        }
        Ok(floor)
    }
}

/// Measures the ceiling, or says why there is none.
pub(crate) fn measure(workload: &Workload, options: &RunOptions) -> Result<Ceiling, String> {
    let Some(binary) = &options.floor else {
        return Err("floor was not found beside the binary; name it with --floor".to_owned());
    };
    let partitions = workload.topics.partitions_total().min(PARTITIONS_MAX);
    let floor = Floor::start(binary, partitions, &options.cpus)?;
    let options = RunOptions {
        bootstrap: floor.address.clone(),
        brokers: Vec::new(),
        floor: None,
        force: true,
        load: Arc::default(),
        ..options.clone()
    };
    let mut bare = workload.clone();
    bare.load = Load::Maximum;
    bare.warmup = WARMUP;
    bare.duration = DURATION;
    bare.topics.existing = Some(TOPIC.to_owned());
    bare.topics.count = 1;
    bare.topics.partitions = partitions;
    bare.topics.durability = Durability::Replicated;
    bare.consumers.groups = 0;
    bare.consumers.cold_readers = 0;
    bare.targets = Targets::default();
    // It hands out no producer ids.
    bare.producers.idempotence = false;
    let fastest = run(&bare, &options, &mut |_| {}).map_err(|error| format!("against floor: {error}"))?;
    if fastest.acked.messages == 0 {
        return Err(format!("floor acked nothing within {} s; this machine is too busy", DURATION.as_secs()));
    }
    Ok(Ceiling { messages_per_s: fastest.messages_per_s(), bytes_per_s: fastest.bytes_per_s() })
}
