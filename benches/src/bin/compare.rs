//! Ringlog against `floor`, and against Apache Kafka where asked, with the same bytes, interleaved round by round.
//!
//! ```text
//! cargo build --release -p cli -p benches && target/release/compare            # floor and ringlog, 5 rounds
//! target/release/compare --targets floor,ringlog,kafka --quick --save results  # 2 rounds, and Kafka; a file under results/
//! target/release/compare --targets ringlog,inline --dir /dev/shm/compare       # both append backends, on tmpfs
//! ```
//! Targets run on CPU 0, the driver on CPU 1. All logs are small (segments of 32 MiB, 64 MiB retained, retention checked
//! every second), so that nothing measures a growing page cache. Kafka has 1 GiB of heap with G1, and is driven for at
//! least 90 s before anything counts. What is started here is ended here, by its process id.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::drive::{self, Kind, Outcome, Workload};
use benches::options::pin;
use clap::{Parser, ValueEnum};

/// Compares targets under the same workloads.
#[derive(Parser, Debug)]
struct Options {
    /// Which targets, in the order of the table; ratios are against ringlog.
    #[arg(long, value_delimiter = ',', default_value = "floor,ringlog")]
    targets: Vec<Target>,
    /// Which workloads; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Two rounds.
    #[arg(long)]
    quick: bool,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where data goes; removed at the end.
    #[arg(long, default_value = "target/compare")]
    dir: PathBuf,
    /// Writes the table and its rounds under this folder.
    #[arg(long)]
    save: Option<PathBuf>,
    /// The file name of `tests/reference/kafka.sh`.
    #[arg(long, default_value = "tests/reference/kafka.sh")]
    kafka: PathBuf,
    /// Seconds that Kafka is driven before anything counts.
    #[arg(long, default_value_t = 90)]
    kafka_warmup_s: u64,
    /// CPU of the targets.
    #[arg(long, default_value_t = 0)]
    target_cpu: usize,
    /// CPU of the driver.
    #[arg(long, default_value_t = 1)]
    driver_cpu: usize,
    /// Further settings of ringlog, `key=value`.
    #[arg(long)]
    setting: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
enum Target {
    /// The bare loop.
    Floor,
    /// Plain tokio; produce only.
    Echo,
    /// Ringlog on one shard, as it is by default.
    Ringlog,
    /// The same, appending by pwritev.
    Inline,
    /// Apache Kafka.
    Kafka,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Echo => "echo",
            Self::Ringlog => "ringlog",
            Self::Inline => "inline",
            Self::Kafka => "kafka",
        }
    }
}

/// A target that runs. Ended when dropped.
struct Running {
    target: Target,
    address: SocketAddr,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        // Gone already is as good.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// 8 partitions of 64 MiB retained, an active segment and one about to be deleted.
const SETTLED_BYTES: u64 = (8 * 128) << 20;

const SMALL_LOGS: [&str; 6] = [
    "log.segment.bytes=33554432",
    "log.retention.bytes=67108864",
    "log.retention.check.interval.ms=1000",
    "log.segment.delete.delay.ms=1000",
    "num.partitions=8",
    "auto.create.topics.enable=true",
];

fn start(target: Target, options: &Options, port: u16) -> io::Result<Running> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let dir = options.dir.join(target.name());
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let here = std::env::current_exe()?;
    let program = |name: &str| here.with_file_name(name);
    let bare = |name: &str| {
        let mut command = Command::new(program(name));
        command.args(["--listen", &address.to_string(), "--log-bytes-max", "67108864", "--dir"]).arg(&dir);
        command
    };
    let ringlog = |backend: &str| {
        let mut command = Command::new(program("ringlog"));
        command.arg("serve");
        let own = [
            format!("listeners=PLAINTEXT://{address}"),
            format!("log.dirs={}", dir.display()),
            "ringlog.shards=1".to_owned(),
            format!("ringlog.http.listener=127.0.0.1:{}", port + 1),
            format!("ringlog.log.append.backend={backend}"),
        ];
        for setting in
            own.iter().map(String::as_str).chain(SMALL_LOGS).chain(options.setting.iter().map(String::as_str))
        {
            command.args(["--override", setting]);
        }
        command
    };
    let mut command = match target {
        Target::Floor => bare("floor"),
        Target::Echo => bare("echo_append"),
        Target::Ringlog => ringlog("ring"),
        Target::Inline => ringlog("inline"),
        Target::Kafka => {
            let mut command = Command::new(&options.kafka);
            command.arg(port.to_string()).arg(&dir).args(SMALL_LOGS).env("KAFKA_HEAP", "1g");
            command
        }
    };
    let log = std::fs::File::create(options.dir.join(format!("{}.log", target.name())))?;
    // The child inherits the affinity.
    pin(options.target_cpu)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    pin(options.driver_cpu)?;
    let mut running = Running { target, address, child: child? };
    let deadline = Instant::now() + Duration::from_secs(90);
    while TcpStream::connect(address).is_err() {
        if let Some(status) = running.child.try_wait()? {
            let log = options.dir.join(format!("{}.log", target.name()));
            return Err(io::Error::other(format!("{} ended ({status}): see {}", target.name(), log.display())));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{} does not listen after 90 s", target.name())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(running)
}

struct Row {
    name: &'static str,
    kind: Kind,
    connections: usize,
    in_flight: usize,
    batch_bytes: usize,
    records: usize,
    rate: Option<f64>,
}

const fn produce(name: &'static str, connections: usize, in_flight: usize, batch_bytes: usize, records: usize) -> Row {
    Row { name, kind: Kind::Produce, connections, in_flight, batch_bytes, records, rate: None }
}

const fn fetch(name: &'static str, slice_bytes: usize) -> Row {
    Row { kind: Kind::Fetch { slice_bytes }, ..produce(name, 4, 4, 16 << 10, 16) }
}

const ROWS: [Row; 8] = [
    produce("produce-16k", 4, 4, 16 << 10, 16),
    produce("produce-64k", 4, 4, 64 << 10, 64),
    produce("produce-1m", 4, 2, 1_000_000, 1000),
    produce("produce-100b", 100, 1, 170, 1),
    Row { rate: Some(6500.0), ..produce("open-16k", 4, 4, 16 << 10, 16) },
    fetch("fetch-1m", 1 << 20),
    fetch("fetch-64k", 64 << 10),
    fetch("fetch-16k", 16 << 10),
];

fn run(row: &Row, running: &Running, warmup: Duration, duration: Duration) -> io::Result<Outcome> {
    drive::run(&Workload {
        address: running.address,
        topic: "floor".to_owned(),
        partitions: 8,
        kind: row.kind,
        connections: row.connections,
        in_flight: row.in_flight,
        batch_bytes: row.batch_bytes,
        records: row.records,
        acks: -1,
        rate: row.rate,
        fill_bytes: 16 << 20,
        receive_buffer_bytes: None,
        warmup,
        duration,
        pid: Some(running.child.id() as i32),
    })
    .map_err(|error| io::Error::other(format!("{} on {}: {error}", row.name, running.target.name())))
}

/// Median and half of the range over the median, in percent.
fn median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (values.first().copied(), values.last().copied()) else { return (f64::NAN, 0.0) };
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    (median, (last - first) / 2.0 / median * 100.0)
}

/// Appends until the log is as large as retention lets it become: only then are pages of the cache used again, as in a
/// node that has run for a while, instead of new ones being taken from the machine.
fn settle(running: &Running) -> io::Result<()> {
    let begin = Instant::now();
    let mut bytes = 0;
    while bytes < SETTLED_BYTES && begin.elapsed() < Duration::from_secs(15) {
        bytes += run(&ROWS[1], running, Duration::ZERO, Duration::from_secs(2))?.bytes;
    }
    eprintln!("{}: {} MiB appended in {:.0} s", running.target.name(), bytes >> 20, begin.elapsed().as_secs_f64());
    Ok(())
}

fn warm_kafka(running: &Running, rows: &[&Row], seconds: u64) -> io::Result<()> {
    eprintln!("kafka warms up for {seconds} s");
    let each = Duration::from_secs(seconds) / rows.len() as u32;
    for row in rows {
        run(row, running, Duration::ZERO, each)?;
    }
    Ok(())
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("?");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{model}, {cpus} CPUs, Linux {}, load {}",
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim()
    )
}

fn file_system(dir: &Path) -> String {
    let kind = nix::sys::statfs::statfs(dir).map(|stat| stat.filesystem_type());
    match kind {
        Ok(nix::sys::statfs::EXT4_SUPER_MAGIC) => "ext4".to_owned(),
        Ok(nix::sys::statfs::TMPFS_MAGIC) => "tmpfs".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

fn commit() -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    git.map_or_else(|_| "unknown".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let rounds = if options.quick { 2 } else { options.rounds };
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| options.workloads.is_empty() || options.workloads.iter().any(|name| name == row.name))
        .collect();
    // The driver is this thread; whoever it starts is pinned apart.
    std::fs::create_dir_all(&options.dir)?;
    let commit = commit();
    let header =
        format!("{}\n{} on {}, {rounds} rounds of {} s", machine(), commit, file_system(&options.dir), options.seconds);
    eprintln!("{header}");
    let mut running = Vec::new();
    for (number, target) in options.targets.iter().enumerate() {
        let started = start(*target, &options, 21_000 + 10 * number as u16)?;
        if *target == Target::Kafka {
            warm_kafka(&started, &rows, options.kafka_warmup_s)?;
        }
        settle(&started)?;
        running.push(started);
    }
    let (warmup, duration) = (Duration::from_secs(1), Duration::from_secs_f64(options.seconds));
    let mut outcomes: BTreeMap<(usize, Target), Vec<Outcome>> = BTreeMap::new();
    let mut log = String::new();
    for (place, row) in rows.iter().enumerate() {
        for round in 0..rounds {
            for one in &running {
                if one.target == Target::Echo && row.kind != Kind::Produce {
                    continue;
                }
                let outcome = run(row, one, warmup, duration)?;
                let line = format!(
                    "{} {} round {round}: {:.2} us, {:.0}/s, {:.0} MiB/s, p50 {:.0} p99 {:.0} p99.9 {:.0} max {:.0} us, driver {:.0} %",
                    row.name,
                    one.target.name(),
                    outcome.cpu_us().unwrap_or(f64::NAN),
                    outcome.requests_per_s(),
                    outcome.mib_per_s(),
                    outcome.latency_us(0.5),
                    outcome.latency_us(0.99),
                    outcome.latency_us(0.999),
                    outcome.latency.max() as f64 / 1e3,
                    outcome.driver_cpu.as_secs_f64() / outcome.elapsed.as_secs_f64() * 100.0,
                );
                eprintln!("{line}");
                let _ = writeln!(log, "{line}");
                outcomes.entry((place, one.target)).or_default().push(outcome);
            }
        }
    }
    drop(running);
    let table = table(&rows, &options.targets, &outcomes);
    println!("{header}\n\n{table}");
    if let Some(folder) = &options.save {
        let date = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?.tv_sec() / 86_400;
        let folder = folder.join(format!("{}_{commit}_speed", date_of(date)));
        std::fs::create_dir_all(&folder)?;
        let name = format!("{}.md", file_system(&options.dir));
        std::fs::write(folder.join(&name), format!("{header}\n\n{table}\n```\n{log}```\n"))?;
        eprintln!("written to {}", folder.join(name).display());
    }
    std::fs::remove_dir_all(&options.dir)
}

/// `YYYY-MM-DD` of a day since 1970.
fn date_of(days: i64) -> String {
    let (mut year, mut day) = (1970, days);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, day + 1)
}

fn table(rows: &[&Row], targets: &[Target], outcomes: &BTreeMap<(usize, Target), Vec<Outcome>>) -> String {
    let mut text = String::from(
        "CPU of the target a request in us, requests/s, p99.9 in us: median ± half of the range.\n\n| workload |",
    );
    for target in targets {
        let _ = write!(text, " {} us | /s | p99.9 |", target.name());
    }
    for other in targets.iter().filter(|target| **target != Target::Ringlog) {
        let _ = write!(text, " CPU {}/ringlog |", other.name());
    }
    text.push_str("\n|---|");
    let ratios = targets.iter().filter(|target| **target != Target::Ringlog).count();
    text.push_str(&"---|".repeat(3 * targets.len() + ratios));
    text.push('\n');
    for (place, row) in rows.iter().enumerate() {
        let of = |target: Target, value: fn(&Outcome) -> f64| {
            median(outcomes.get(&(place, target)).into_iter().flatten().map(value).collect())
        };
        let cpu = |outcome: &Outcome| outcome.cpu_us().unwrap_or(f64::NAN);
        let _ = write!(text, "| {} |", row.name);
        for target in targets {
            let (us, us_spread) = of(*target, cpu);
            let (rate, _) = of(*target, Outcome::requests_per_s);
            let (tail, tail_spread) = of(*target, |outcome| outcome.latency_us(0.999));
            let _ = write!(text, " {us:.1} ±{us_spread:.0}% | {rate:.0} | {tail:.0} ±{tail_spread:.0}% |");
        }
        for other in targets.iter().filter(|target| **target != Target::Ringlog) {
            let _ = write!(text, " {:.2} |", of(*other, cpu).0 / of(Target::Ringlog, cpu).0);
        }
        text.push('\n');
    }
    text
}
