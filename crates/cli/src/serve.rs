//! `ringlog serve`: a node from start to stop, and what a person is told meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use broker::config::{AppendBackend, Config, Durability};
use broker::preflight::{self, Facts, Severity, human};
use broker::{KAFKA_VERSION, Node, StartReport};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::notice_lines;
use crate::failure::{Code, Failure};
use crate::load::Source;
use crate::logging;

/// How often the node is asked whether it is still well.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The arguments of `serve`.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Form of the log, which goes to stderr
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, or a filter as in the variable RUST_LOG
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let done = self.serve();
        logging::flush();
        done
    }

    fn serve(&self) -> Result<(), Failure> {
        let config = self.source.load()?;
        self.start_log()?;
        for line in notice_lines(&config.notices) {
            tracing::warn!("{line}");
        }
        let facts = preflight::facts(&config, false);
        check_machine(&config, &facts)?;
        let fault = |error: std::io::Error| Failure::new(Code::Failed, format!("cannot wait for signals: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
        runtime.block_on(async {
            // Before the start, so that no signal finds its default action.
            let mut signals = Signals::new().map_err(fault)?;
            let node = start(&config, &mut signals).await?;
            // What was logged comes before the greeting.
            logging::flush();
            match self.log_format {
                LogFormat::Text => tell!("{}", greeting(&config, &facts, node.report()).trim_end()),
                LogFormat::Json => log_greeting(&config, node.report()),
            }
            run_until_signal(node, &mut signals).await
        })
    }

    fn start_log(&self) -> Result<(), Failure> {
        let filter = match &self.log_level {
            Some(filter) => EnvFilter::try_new(filter)
                .map_err(|error| Failure::new(Code::Usage, format!("--log-level {filter}: {error}")))?,
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        };
        logging::start(filter, self.log_format == LogFormat::Json, use_colour())
            .map_err(|error| Failure::new(Code::Failed, format!("no way to log: {error}")))
    }
}

fn use_colour() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Warns about what is slow or risky here, and refuses what cannot work, each with its cure.
fn check_machine(config: &Config, facts: &Facts) -> Result<(), Failure> {
    let mut refusals = String::new();
    for finding in preflight::judge(config, facts) {
        let cure = finding.cure.as_deref().unwrap_or("nothing to do");
        match finding.severity {
            Severity::Refusal => {
                refusals.push_str(&format!("\n  {}: {}. Cure: {cure}", finding.check, finding.found));
            }
            Severity::Warning => tracing::warn!(check = finding.check, cure, "{}", finding.found),
            Severity::Note => tracing::info!(check = finding.check, "{}", finding.found),
            Severity::Ok => {}
        }
    }
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, format!("a node cannot run on this machine:{refusals}\nNext: ringlog doctor")))
}

/// The address that somebody on this machine would type.
fn typed(address: &SocketAddr) -> String {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    if address.is_ipv6() && !address.ip().is_unspecified() {
        format!("[{host}]:{}", address.port())
    } else {
        format!("{host}:{}", address.port())
    }
}

fn durability_text(durability: Durability) -> &'static str {
    match durability {
        Durability::Replicated => {
            "acked from the page cache: survives kill -9, not a power cut (flush.messages=1 on a topic does)"
        }
        Durability::Interval => {
            "acked from the page cache, synced now and then: a power cut takes what was not yet synced"
        }
        Durability::Durable => "acked after fsync: survives a power cut",
    }
}

/// What the node uses and what to try next.
fn greeting(config: &Config, facts: &Facts, report: &StartReport) -> String {
    let mut out = format!(
        "ringlog {} speaks Kafka {KAFKA_VERSION}: node {} of cluster {}, started in {} ms\n",
        env!("CARGO_PKG_VERSION"),
        config.node_id,
        report.cluster_id,
        report.took_ms
    );
    let mut line = |label: &str, text: &str| out.push_str(&format!("  {label:<11} {text}\n"));
    for (endpoint, address) in report.endpoints.iter().zip(&report.listening) {
        line(
            "clients",
            &format!("{} on {address}, told to connect to {}:{}", endpoint.listener, endpoint.host, endpoint.port),
        );
    }
    match &report.http {
        Some(address) => {
            line("http", &format!("http://{}/metrics, /health/ready, /version, /debug/bundle", typed(address)))
        }
        None => line("http", "off (ringlog.http.listener is empty)"),
    }
    let appends = match config.append_backend {
        AppendBackend::Ring => "appends by io_uring",
        AppendBackend::Inline => "appends by pwritev",
    };
    line("shards", &format!("{} on {} CPUs, {appends}", report.shards, facts.cpus));
    for dir in &facts.log_dirs {
        let file_system = dir.file_system.as_ref().map_or("unknown file system", |found| &found.kind);
        let space = dir.space.as_ref().map_or(String::new(), |space| {
            format!(", {} free of {}", human(space.free_bytes), human(space.total_bytes))
        });
        line("data", &format!("{} on {file_system}{space}", dir.path.display()));
    }
    line("partitions", &partitions_text(report));
    line("durability", durability_text(config.topic_default.durability()));
    line(
        "memory",
        &format!(
            "{} of {} for requests under way",
            human(config.memory_budget_bytes(preflight::memory_bytes(facts))),
            human(preflight::memory_bytes(facts))
        ),
    );
    if let Some(address) = report.listening.first() {
        line("try", &format!("kcat -b {} -L    or any Kafka client", typed(address)));
    }
    line("stop", "Ctrl-C or SIGTERM");
    out
}

fn partitions_text(report: &StartReport) -> String {
    let mut text = format!("{} opened", report.partitions);
    if report.partitions_recovered > 0 {
        text.push_str(&format!(
            ", {} of them recovered after an unclean stop ({} read)",
            report.partitions_recovered,
            human(report.recovered_bytes)
        ));
    }
    if !report.offline.is_empty() {
        text.push_str(&format!(", {} OFFLINE (see the log)", report.offline.len()));
    }
    text
}

/// The same for programs: one log line.
fn log_greeting(config: &Config, report: &StartReport) {
    let addresses = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join(",");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kafka_version = KAFKA_VERSION,
        node_id = config.node_id.value(),
        cluster_id = report.cluster_id,
        listening = addresses(&mut report.listening.iter().map(ToString::to_string)),
        advertised = addresses(&mut report.endpoints.iter().map(|e| format!("{}:{}", e.host, e.port))),
        http = report.http.map(|address| address.to_string()),
        shards = report.shards,
        log_dirs = addresses(&mut config.log_dirs.iter().map(|dir| dir.display().to_string())),
        partitions = report.partitions,
        partitions_recovered = report.partitions_recovered,
        partitions_offline = report.offline.len(),
        recovered_bytes = report.recovered_bytes,
        took_ms = report.took_ms,
        "started"
    );
}

/// SIGTERM and SIGINT, which mean the same here.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts the node. A signal meanwhile ends the process: nothing was promised to anybody yet.
async fn start(config: &Config, signals: &mut Signals) -> Result<Node, Failure> {
    let config = config.clone();
    let mut starting = tokio::task::spawn_blocking(move || broker::start(config));
    tokio::select! {
        started = &mut starting => match started {
            Ok(started) => started.map_err(|error| Failure::new(Code::Failed, format!("cannot start: {error}"))),
            Err(_) => Err(Failure::new(Code::Failed, "the start failed: please report the log above")),
        },
        () = signals.next() => end_now("a signal during the start: the next start goes on with the recovery"),
    }
}

/// Waits for a signal, then stops the node; a second signal does not wait for that.
async fn run_until_signal(node: Node, signals: &mut Signals) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = tokio::time::sleep(WATCH_EVERY) => {
                logging::tell_left_out();
                if node.has_failed() {
                    let why = "a shard has ended by itself, so the node stops: please report the log above";
                    return Err(Failure::new(Code::Failed, why));
                }
            }
        }
    }
    logging::tell_all_left_out();
    tracing::info!(connections = node.connections(), "stopping");
    let mut stopping = tokio::task::spawn_blocking(move || node.stop());
    tokio::select! {
        stopped = &mut stopping => match stopped {
            Ok(()) => {
                tracing::info!("stopped");
                Ok(())
            }
            Err(_) => Err(Failure::new(Code::Failed, "the stop failed: the next start will recover the logs")),
        },
        () = signals.next() => end_now("a second signal: not waiting for the stop; the next start will recover the logs"),
    }
}

/// Ends at once: the end of the runtime would wait for what is under way.
fn end_now(why: &str) -> ! {
    logging::flush();
    tell!("ringlog: {why}");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_somebody_here_would_type_them() {
        for (address, text) in [
            ("0.0.0.0:9092", "127.0.0.1:9092"),
            ("10.0.0.1:9092", "10.0.0.1:9092"),
            ("[::1]:9092", "[::1]:9092"),
            ("[::]:9092", "127.0.0.1:9092"),
        ] {
            assert_eq!(typed(&address.parse().expect("an address")), text);
        }
    }

    #[test]
    fn the_greeting_names_what_is_used_and_what_to_try() {
        let config = Config::embedded();
        let facts = preflight::facts(&config, false);
        let report = StartReport {
            shards: 2,
            endpoints: config.advertised.clone(),
            listening: vec!["127.0.0.1:9092".parse().expect("an address")],
            http: Some("127.0.0.1:9644".parse().expect("an address")),
            cluster_id: "abc".to_owned(),
            partitions: 3,
            partitions_recovered: 1,
            recovered_bytes: 2048,
            offline: vec!["t-0: gone".to_owned()],
            took_ms: 7,
        };
        let text = greeting(&config, &facts, &report);
        for part in [
            "node 1 of cluster abc, started in 7 ms",
            "PLAINTEXT on 127.0.0.1:9092, told to connect to 127.0.0.1:9092",
            "http://127.0.0.1:9644/metrics",
            "2 on ",
            "ringlog-data on ",
            "3 opened, 1 of them recovered after an unclean stop (2.0 KiB read), 1 OFFLINE (see the log)",
            "survives kill -9, not a power cut",
            "kcat -b 127.0.0.1:9092 -L",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }
}
