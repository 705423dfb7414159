//! The node's HTTP face: metrics for Prometheus, health for whoever starts and stops it, its version.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | Prometheus text format 0.0.4 |
//! | `/health/live` | 200 as long as the process can answer at all |
//! | `/health/ready` | 200 once clients can connect, 503 before that and from the moment a stop begins |
//! | `/version` | the version, as JSON |
//!
//! Lives on: the control thread. It reads atomics and asks the kernel for sizes; it never waits for a shard.
//!
//! The metrics page is written here, not by a metrics library: the counters are the node's own, one relaxed atomic each,
//! and latencies fall into fixed buckets where they happen. A library's registry would keep every latency since the last
//! scrape.

use std::fmt::Write;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::{LATENCY_BUCKETS_US, Metrics};
use crate::node::NodeShared;

/// The version of Kafka whose behaviour is served.
pub const KAFKA_VERSION: &str = "4.3.1";

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// What the HTTP face knows of the node: nothing at first, so that it can answer while the node recovers.
#[derive(Default)]
pub(crate) struct Http {
    stage: AtomicU8,
    node: OnceLock<Weak<NodeShared>>,
}

impl Http {
    /// Binds the listener's address, `host:port`.
    ///
    /// # Errors
    /// What the system says, with the setting to change.
    pub(crate) fn bind(address: &str) -> io::Result<TcpListener> {
        let reword = |error: io::Error| {
            let cure = "set ringlog.http.listener to another host:port, or to nothing to go without";
            io::Error::new(error.kind(), format!("the HTTP listener cannot have {address}: {error}; {cure}"))
        };
        let address = address.to_socket_addrs().map_err(reword)?.next();
        let address = address.ok_or_else(|| reword(io::ErrorKind::AddrNotAvailable.into()))?;
        let listener = TcpListener::bind(address).map_err(reword)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Answers requests until its task is dropped.
    ///
    /// # Errors
    /// When the listener cannot be used by this thread's runtime.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/health/live", get(|| async { (StatusCode::OK, "live\n") }))
            .route("/health/ready", get(ready))
            .route("/version", get(|| async { json(StatusCode::OK, version()) }))
            .with_state(self);
        axum::serve(listener, router).await
    }

    /// Clients can connect from now on.
    pub(crate) fn set_ready(&self, node: &Arc<NodeShared>) {
        // A node becomes ready once; a second call would say nothing new.
        let _ = self.node.set(Arc::downgrade(node));
        self.stage.store(READY, Ordering::Release);
    }

    /// The node begins to stop: whoever sends it traffic should stop doing so.
    pub(crate) fn set_stopping(&self) {
        self.stage.store(STOPPING, Ordering::Release);
    }
}

async fn metrics(State(http): State<Arc<Http>>) -> Response {
    let node = http.node.get().and_then(Weak::upgrade);
    let Some(node) = node else { return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response() };
    let log_dirs = node.log_dirs.iter().map(|dir| {
        let space = shard::probe::space(&dir.path).ok();
        LogDirFacts {
            path: dir.path.clone(),
            total_bytes: space.map(|space| space.total_bytes),
            free_bytes: space.map(|space| space.free_bytes),
            refuses_produce: dir.refusal().is_some(),
        }
    });
    let facts = Facts {
        shards: node.shards,
        connections: node.connections.total(),
        partitions_offline: node.offline.count(),
        memory_taken_bytes: node.memory.taken_bytes(),
        memory_max_bytes: node.memory.bytes_max(),
        log_dirs: log_dirs.collect(),
        process: process_facts(),
    };
    let text = render(&node.metrics, &facts);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready(State(http): State<Arc<Http>>) -> Response {
    match http.stage.load(Ordering::Acquire) {
        READY => {
            let node = http.node.get().and_then(Weak::upgrade);
            let refusals: Vec<String> =
                node.iter().flat_map(|node| node.log_dirs.iter()).filter_map(|dir| dir.refusal()).collect();
            // Fetch, deletion and retention go on when produce is refused, so the node stays ready, and says so.
            json(StatusCode::OK, format!("{{\"status\":\"ready\",\"produce_refused\":{}}}\n", json_list(&refusals)))
        }
        STARTING => json(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"starting\"}\n".to_owned()),
        _ => json(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"stopping\"}\n".to_owned()),
    }
}

fn version() -> String {
    format!(
        "{{\"name\":\"ringlog\",\"version\":\"{}\",\"kafka_version\":\"{KAFKA_VERSION}\"}}\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn json_list(texts: &[String]) -> String {
    let quoted = texts.iter().map(|text| {
        let mut out = String::from("\"");
        for char in text.chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                char if char < ' ' => drop(write!(out, "\\u{:04x}", u32::from(char))),
                char => out.push(char),
            }
        }
        out + "\""
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(","))
}

/// What a scrape shows besides the counters.
struct Facts {
    shards: u16,
    connections: usize,
    partitions_offline: usize,
    memory_taken_bytes: u64,
    memory_max_bytes: u64,
    log_dirs: Vec<LogDirFacts>,
    process: ProcessFacts,
}

struct LogDirFacts {
    path: PathBuf,
    total_bytes: Option<u64>,
    free_bytes: Option<u64>,
    refuses_produce: bool,
}

/// From `/proc/self`; what cannot be read is left out.
#[derive(Default)]
struct ProcessFacts {
    resident_bytes: Option<u64>,
    cpu_ticks: Option<u64>,
    open_files: Option<u64>,
}

/// Ticks of CPU time in a second, as `/proc` counts them on every Linux architecture we build for (USER_HZ).
const CPU_TICKS_PER_S: u64 = 100;

fn process_facts() -> ProcessFacts {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // | pid (name) state ... utime stime ... |: the name may hold anything, so count from behind it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let cpu_ticks = match (ticks.next(), ticks.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Some(user + system),
        _ => None,
    };
    ProcessFacts {
        resident_bytes: resident
            .and_then(|text| text.trim().strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024),
        cpu_ticks,
        open_files: std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
    }
}

/// Writes families in Prometheus' text format: help and type once, then samples.
struct Exposition {
    out: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.write(format_args!("{label}=\"{text}\""));
        }
        self.out.push_str(if labels.is_empty() { "" } else { "}" });
        self.write(format_args!(" {value}\n"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.out.write_fmt(text);
    }
}

fn render(metrics: &Metrics, facts: &Facts) -> String {
    let mut page = Exposition { out: String::with_capacity(16 * 1024) };
    page.family("ringlog_build_info", "gauge", "Always 1; the labels say what runs.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("kafka_version", KAFKA_VERSION)];
    page.sample("ringlog_build_info", &labels, 1);
    page.single("ringlog_shards", "gauge", "Threads that do the work.", facts.shards);
    page.single("ringlog_connections", "gauge", "Client connections open now.", facts.connections);
    let help = "Partitions that could not be opened; the log says why.";
    page.single("ringlog_partitions_offline", "gauge", help, facts.partitions_offline);
    let help = "Memory taken by large requests under way.";
    page.single("ringlog_memory_taken_bytes", "gauge", help, facts.memory_taken_bytes);
    page.single("ringlog_memory_max_bytes", "gauge", "What they may take together.", facts.memory_max_bytes);
    let counters = [
        ("ringlog_produced_records_total", "Records taken.", &metrics.produced_records),
        ("ringlog_produced_bytes_total", "Bytes of batches taken, as stored.", &metrics.produced_bytes),
        ("ringlog_fetched_bytes_total", "Bytes of batches sent.", &metrics.fetched_bytes),
        (
            "ringlog_open_files_over_bound_total",
            "How often a shard held more log files open than its share of descriptors.",
            &metrics.files_over_bound,
        ),
    ];
    for (name, help, counter) in counters {
        page.single(name, "counter", help, counter.get());
    }
    page.family(
        "ringlog_refusals_total",
        "counter",
        "Produce and fetch answered with an error, by Kafka's name for it.",
    );
    for (code, count) in metrics.refusals() {
        page.sample("ringlog_refusals_total", &[("cause", code.name())], count);
    }
    render_latencies(&mut page, metrics);
    render_log_dirs(&mut page, &facts.log_dirs);
    render_process(&mut page, &facts.process);
    page.out
}

fn render_latencies(page: &mut Exposition, metrics: &Metrics) {
    let name = "ringlog_request_duration_seconds";
    page.family(
        name,
        "histogram",
        "From a request's last byte to its answer being ready, waiting for data or members included, by API.",
    );
    for (api, latency) in metrics.latencies() {
        let api = api.name();
        let mut count = 0;
        for (bucket, bound_us) in latency.buckets.iter().zip(LATENCY_BUCKETS_US) {
            count += bucket.get();
            page.sample(&format!("{name}_bucket"), &[("api", api), ("le", &seconds(bound_us))], count);
        }
        count += latency.buckets[LATENCY_BUCKETS_US.len()].get();
        page.sample(&format!("{name}_bucket"), &[("api", api), ("le", "+Inf")], count);
        page.sample(&format!("{name}_sum"), &[("api", api)], seconds(latency.sum_us.get()));
        page.sample(&format!("{name}_count"), &[("api", api)], count);
    }
}

fn render_log_dirs(page: &mut Exposition, log_dirs: &[LogDirFacts]) {
    let paths: Vec<String> = log_dirs.iter().map(|dir| dir.path.display().to_string()).collect();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&LogDirFacts) -> Option<u64>| {
        page.family(name, "gauge", help);
        for (dir, path) in log_dirs.iter().zip(&paths) {
            if let Some(value) = value(dir) {
                page.sample(name, &[("log_dir", path)], value);
            }
        }
    };
    gauge("ringlog_log_dir_total_bytes", "Size of the log directory's file system.", &|dir| dir.total_bytes);
    gauge("ringlog_log_dir_free_bytes", "Free bytes of the log directory's file system.", &|dir| dir.free_bytes);
    gauge("ringlog_log_dir_refuses_produce", "1 while produce is refused: disk full or failed.", &|dir| {
        Some(u64::from(dir.refuses_produce))
    });
}

fn render_process(page: &mut Exposition, process: &ProcessFacts) {
    if let Some(bytes) = process.resident_bytes {
        page.single("process_resident_memory_bytes", "gauge", "Resident memory.", bytes);
    }
    if let Some(ticks) = process.cpu_ticks {
        let seconds = seconds(ticks * (1_000_000 / CPU_TICKS_PER_S));
        page.single("process_cpu_seconds_total", "counter", "CPU time, user and system.", seconds);
    }
    if let Some(files) = process.open_files {
        page.single("process_open_fds", "gauge", "Open file descriptors.", files);
    }
}

/// Microseconds as seconds, without the noise of floating point: 2_500 is `0.0025`.
fn seconds(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    let fraction = format!("{rest:06}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::TcpStream;

    use expect_test::expect;
    use types::ErrorCode;
    use wire::ApiKey;

    use super::*;

    #[test]
    fn metrics_are_prometheus_text_with_cumulative_buckets() {
        let metrics = Metrics::default();
        metrics.produced(3, 300);
        metrics.fetched(1000);
        metrics.refused(ErrorCode::KafkaStorageError);
        metrics.answered(ApiKey::Produce, 40_000);
        metrics.answered(ApiKey::Produce, 2_000_000);
        metrics.answered(ApiKey::Produce, 3_000_000_000);
        let facts = Facts {
            shards: 2,
            connections: 7,
            partitions_offline: 1,
            memory_taken_bytes: 10,
            memory_max_bytes: 100,
            log_dirs: vec![LogDirFacts {
                path: "/data/a\"b".into(),
                total_bytes: Some(1000),
                free_bytes: None,
                refuses_produce: true,
            }],
            process: ProcessFacts { resident_bytes: Some(4096), cpu_ticks: Some(151), open_files: None },
        };
        expect![[r##"
            # HELP ringlog_build_info Always 1; the labels say what runs.
            # TYPE ringlog_build_info gauge
            ringlog_build_info{version="0.1.0",kafka_version="4.3.1"} 1
            # HELP ringlog_shards Threads that do the work.
            # TYPE ringlog_shards gauge
            ringlog_shards 2
            # HELP ringlog_connections Client connections open now.
            # TYPE ringlog_connections gauge
            ringlog_connections 7
            # HELP ringlog_partitions_offline Partitions that could not be opened; the log says why.
            # TYPE ringlog_partitions_offline gauge
            ringlog_partitions_offline 1
            # HELP ringlog_memory_taken_bytes Memory taken by large requests under way.
            # TYPE ringlog_memory_taken_bytes gauge
            ringlog_memory_taken_bytes 10
            # HELP ringlog_memory_max_bytes What they may take together.
            # TYPE ringlog_memory_max_bytes gauge
            ringlog_memory_max_bytes 100
            # HELP ringlog_produced_records_total Records taken.
            # TYPE ringlog_produced_records_total counter
            ringlog_produced_records_total 3
            # HELP ringlog_produced_bytes_total Bytes of batches taken, as stored.
            # TYPE ringlog_produced_bytes_total counter
            ringlog_produced_bytes_total 300
            # HELP ringlog_fetched_bytes_total Bytes of batches sent.
            # TYPE ringlog_fetched_bytes_total counter
            ringlog_fetched_bytes_total 1000
            # HELP ringlog_open_files_over_bound_total How often a shard held more log files open than its share of descriptors.
            # TYPE ringlog_open_files_over_bound_total counter
            ringlog_open_files_over_bound_total 0
            # HELP ringlog_refusals_total Produce and fetch answered with an error, by Kafka's name for it.
            # TYPE ringlog_refusals_total counter
            ringlog_refusals_total{cause="KAFKA_STORAGE_ERROR"} 1
            # HELP ringlog_request_duration_seconds From a request's last byte to its answer being ready, waiting for data or members included, by API.
            # TYPE ringlog_request_duration_seconds histogram
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.00005"} 1
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.0001"} 1
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.00025"} 1
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.0005"} 1
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.001"} 1
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.0025"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.005"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.01"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.05"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.1"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="0.5"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="1"} 2
            ringlog_request_duration_seconds_bucket{api="Produce",le="+Inf"} 3
            ringlog_request_duration_seconds_sum{api="Produce"} 3.00204
            ringlog_request_duration_seconds_count{api="Produce"} 3
            # HELP ringlog_log_dir_total_bytes Size of the log directory's file system.
            # TYPE ringlog_log_dir_total_bytes gauge
            ringlog_log_dir_total_bytes{log_dir="/data/a\"b"} 1000
            # HELP ringlog_log_dir_free_bytes Free bytes of the log directory's file system.
            # TYPE ringlog_log_dir_free_bytes gauge
            # HELP ringlog_log_dir_refuses_produce 1 while produce is refused: disk full or failed.
            # TYPE ringlog_log_dir_refuses_produce gauge
            ringlog_log_dir_refuses_produce{log_dir="/data/a\"b"} 1
            # HELP process_resident_memory_bytes Resident memory.
            # TYPE process_resident_memory_bytes gauge
            process_resident_memory_bytes 4096
            # HELP process_cpu_seconds_total CPU time, user and system.
            # TYPE process_cpu_seconds_total counter
            process_cpu_seconds_total 1.51
        "##]]
        .assert_eq(&render(&metrics, &facts));
    }

    #[test]
    fn seconds_are_printed_exactly() {
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(50), "0.00005");
        assert_eq!(seconds(2_500), "0.0025");
        assert_eq!(seconds(12_000_000), "12");
    }

    #[test]
    fn this_process_has_memory_time_and_files() {
        let facts = process_facts();
        assert!(facts.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(facts.cpu_ticks.is_some());
        assert!(facts.open_files.is_some_and(|files| files >= 3));
    }

    fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connected");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    #[test]
    fn health_follows_the_node_and_unknown_paths_are_404() {
        let http = Arc::new(Http::default());
        let listener = Http::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = Arc::clone(&http);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serving.serve(listener))
        });
        assert!(get(address, "/health/live").starts_with("HTTP/1.1 200"));
        assert!(get(address, "/health/ready").starts_with("HTTP/1.1 503"));
        assert!(get(address, "/metrics").starts_with("HTTP/1.1 503"), "nothing to show before the node is there");
        assert!(get(address, "/version").ends_with(&version()));
        assert!(get(address, "/nothing").starts_with("HTTP/1.1 404"));
        http.stage.store(READY, Ordering::Release);
        let answer = get(address, "/health/ready");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\"produce_refused\":[]}\n"), "{answer}");
        http.set_stopping();
        assert!(get(address, "/health/ready").ends_with("{\"status\":\"stopping\"}\n"));
    }

    #[test]
    fn a_taken_port_names_the_setting() {
        let taken = Http::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound").to_string();
        let error = Http::bind(&address).expect_err("taken").to_string();
        assert!(error.contains("ringlog.http.listener") && error.contains(&address), "{error}");
    }
}
