//! `ringlog bench run`: a workload against one or more targets, and what came out.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use loadgen::driver::place::discard;
use loadgen::driver::{System, TargetSpec};
use loadgen::outcome::{FaultSeen, Knee, Latencies, Severity};
use loadgen::summary::{BrokerSummary, worst_partitions};
use loadgen::workload::Load;
use loadgen::{BrokerProcess, Outcome, RunOptions, judge};
use tokio::signal::unix::{SignalKind, signal};

use super::measure::{Measure, Plan, TARGETS_HELP};
use crate::failure::{Code, Failure};
use crate::units::{bytes, count};

const EXAMPLES: &str = "\
Examples:
  ringlog bench run orders.toml                                the node on 127.0.0.1:9092, unless the file names targets
  ringlog bench run orders.toml -b 10.0.0.7:9092 -o json       for scripts
  ringlog bench run orders.toml --broker-pid 4711 --cpus 2,3   what the broker costs; the generator on CPUs 2 and 3
  ringlog bench run orders.toml --target ringlog:fs=xfs --target ringlog:fs=ext4 --target kafka --repeat 3

Ctrl-C ends the load and reports what there was, marked as partial. Exit codes: 0 done and every target of the workload met, \
6 one was not met or the self-check failed, 5 ended early, 4 a broker did not answer, 1 refused by the preflight, or no message \
was acked.";

/// The arguments of `bench run`.
#[derive(Args)]
#[command(after_help = format!("{TARGETS_HELP}\n\n{EXAMPLES}"))]
pub(crate) struct Run {
    /// The workload, a TOML file
    #[arg(value_name = "WORKLOAD.toml")]
    workload: PathBuf,
    /// Who is measured. May be given many times; in place of what the workload names
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<TargetSpec>,
    /// A broker that runs already: one or more nodes of its cluster, comma-separated
    #[arg(short, long, visible_alias = "bootstrap-server", value_name = "HOST:PORT", conflicts_with = "targets")]
    brokers: Option<String>,
    /// Runs of each target, taken in turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
    /// Process id of a broker on this machine that runs already, to count what it uses. May be given many times
    #[arg(long, value_name = "PID")]
    broker_pid: Vec<i32>,
    /// HOST:PORT of that broker's /metrics, in the order of --broker-pid
    #[arg(long, value_name = "HOST:PORT", requires = "broker_pid")]
    broker_http: Vec<String>,
    /// Leave the topics that were made for the run
    #[arg(long)]
    keep_topics: bool,
    #[command(flatten)]
    measure: Measure,
}

impl Run {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut targets = self.targets.clone();
        targets.extend(self.brokers.as_ref().map(|brokers| {
            let addresses = brokers.split(',').map(|address| address.trim().to_owned()).collect();
            TargetSpec::new(System::Broker(addresses))
        }));
        self.measure.run(Plan {
            workload: self.workload.clone(),
            targets,
            repeats: self.repeat,
            options: RunOptions {
                brokers: self.brokers_watched()?,
                keep_topics: self.keep_topics,
                ..RunOptions::default()
            },
        })
    }

    fn brokers_watched(&self) -> Result<Vec<BrokerProcess>, Failure> {
        let (pids, pages) = (self.broker_pid.len(), self.broker_http.len());
        if pids < pages {
            let said = format!("{pages} --broker-http for {pids} --broker-pid: each page is of one process");
            return Err(Failure::new(Code::Usage, said));
        }
        let http = self.broker_http.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let watched = self.broker_pid.iter().zip(http).map(|(pid, http)| {
            let broker = BrokerProcess::new(*pid, http);
            let missing =
                || Failure::new(Code::NotFound, format!("--broker-pid {pid}: no such process on this machine"));
            if broker.is_there() { Ok(broker) } else { Err(missing()) }
        });
        watched.collect()
    }
}

/// The first Ctrl-C, SIGTERM or closed terminal sets `stop` and says what that does, the second ends this process and takes
/// `folders` with it.
pub(crate) fn stop_on_interrupt(
    stop: &Arc<AtomicBool>,
    says: &'static str,
    folders: Vec<PathBuf>,
) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    let fail = |error: std::io::Error| Failure::new(Code::Failed, format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let terminate = signal(SignalKind::terminate());
            let (Ok(mut terminate), Ok(mut hangup)) = (terminate, signal(SignalKind::hangup())) else {
                return;
            };
            for last in [false, true] {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if last {
                    folders.iter().for_each(|folder| discard(folder));
                    std::process::exit(130);
                }
                stop.store(true, Ordering::Relaxed);
                // Nobody reads it where the terminal was closed, and nothing is to fail for that.
                let _ = writeln!(std::io::stderr(), "ringlog: {says}. Once more ends at once");
            }
        });
    });
    Ok(())
}

/// `floor` is built into the same folder.
pub(crate) fn floor_beside_us() -> Option<PathBuf> {
    let floor = std::env::current_exe().ok()?.with_file_name("floor");
    floor.is_file().then_some(floor)
}

fn quantiles(latencies: &Latencies) -> String {
    if latencies.is_empty() {
        return "none measured".to_owned();
    }
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50, p99, p999, p9999) = (ms(0.5), ms(0.99), ms(0.999), ms(0.9999));
    let max = latencies.max() as f64 / 1000.0;
    format!("p50 {p50:.2}  p99 {p99:.2}  p99.9 {p999:.2}  p99.99 {p9999:.2}  max {max:.2} ms of {}", latencies.len())
}

/// Partitions whose lag is told one by one.
const WORST_PARTITIONS_MAX: usize = 3;

/// The outcome for people.
pub(crate) fn table(outcome: &Outcome) -> String {
    let workload = &outcome.workload;
    let seconds = outcome.measured.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut lines = vec![match &outcome.partial {
        None => format!("{}: {} for {seconds:.1} s", workload.name, workload.load.word()),
        Some(reason) => format!("{}: PARTIAL ({reason}): {} for {seconds:.1} s", workload.name, workload.load.word()),
    }];
    let mut fact = |name: &str, text: String| lines.push(format!("  {name:<13}{text}"));
    if let Some(question) = &workload.question {
        fact("question", question.clone());
    }
    fact(
        "topics",
        format!(
            "{} x {} partitions, replication factor {}, {}",
            workload.topics.count,
            workload.topics.partitions,
            workload.topics.replication_factor,
            workload.topics.durability
        ),
    );
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    fact("offered", format!("{:.0} messages/s", outcome.offered.messages as f64 / seconds));
    fact("acked", format!("{:.0} messages/s, {:.1} MiB/s", outcome.messages_per_s(), mib(outcome.bytes_per_s())));
    fact("produce", quantiles(&outcome.produce));
    fact("service", quantiles(&outcome.service));
    if let Some(lag) = &outcome.lag {
        fact("consumed", format!("{:.0} messages/s", outcome.consumed.messages as f64 / seconds));
        fact("end to end", quantiles(&outcome.end_to_end));
        let growth = lag.growth_per_s.map_or_else(String::new, |growth| format!(", growing by {growth:.1} messages/s"));
        fact(
            "lag",
            format!(
                "at most {} messages and {:.1} s, {} at the end{growth}",
                lag.messages_max, lag.seconds_max, lag.messages_end
            ),
        );
        let worst = worst_partitions(&lag.partitions, WORST_PARTITIONS_MAX);
        for worst in worst.iter().filter(|_| lag.partitions.len() > 1) {
            let (most, seconds, end) = (worst.messages_max, worst.seconds_max, worst.messages_end);
            fact("", format!("{}: at most {most} messages and {seconds:.1} s, {end} at the end", worst.at));
        }
    }
    let batches = outcome.batches;
    fact(
        "batches",
        format!(
            "{:.0} bytes and {:.1} messages each, {:.2} to a request",
            batches.bytes_mean(),
            batches.messages_mean(),
            batches.batches as f64 / batches.requests.max(1) as f64
        ),
    );
    for broker in &outcome.brokers {
        let us = broker.cpu.as_secs_f64() * 1e6;
        fact(
            "broker",
            format!(
                "pid {}: {:.1} us of CPU a request, {:.0} us a MiB, {:.0} MiB resident",
                broker.pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", then "),
                us / batches.requests.max(1) as f64,
                us / mib(outcome.acked.bytes as f64).max(f64::MIN_POSITIVE),
                mib(broker.rss_bytes as f64)
            ),
        );
    }
    if let Some(used) = BrokerSummary::of(outcome) {
        let counted =
            |value: Option<u64>, text: fn(u64) -> String| value.map_or_else(|| "not counted".to_owned(), text);
        let per_s = |value: u64| format!("{}/s", bytes(value));
        fact(
            "calls",
            format!(
                "{} system calls a second, {} a request; {} context switches a second",
                counted(used.system_calls_per_s, count),
                counted(used.system_calls_per_thousand_requests, |calls| format!("{:.2}", calls as f64 / 1000.0)),
                count(used.switches_voluntary_per_s + used.switches_forced_per_s)
            ),
        );
        let of_acked = counted(used.disk_write_percent_of_acked, |percent| format!("{:.2}", percent as f64 / 100.0));
        fact(
            "disk",
            format!(
                "{} written, {of_acked} of each byte acked; {} read",
                counted(used.disk_write_bytes_per_s, per_s),
                counted(used.disk_read_bytes_per_s, per_s)
            ),
        );
        fact(
            "network",
            format!(
                "{} in, {} out",
                counted(used.net_received_bytes_per_s, per_s),
                counted(used.net_sent_bytes_per_s, per_s)
            ),
        );
    }
    for (number, step) in outcome.steps.iter().enumerate() {
        let held = match (step.held, step.is_inconclusive) {
            (true, _) => "held",
            (false, true) => "not held, which may be the generator's fault",
            (false, false) => "not held",
        };
        let cpu =
            step.broker_cores.map_or_else(String::new, |cores| format!(", broker {:.0} % of a core", cores * 100.0));
        fact(
            &format!("step {}", number + 1),
            format!(
                "{:.0} messages/s: {:.0} acked, {:.2} ms{cpu}, {held}",
                step.rate,
                step.achieved,
                step.latency_us as f64 / 1000.0
            ),
        );
    }
    if !outcome.steps.is_empty() {
        let knee = match outcome.knee() {
            None if outcome.steps.iter().all(|step| step.is_inconclusive) => {
                "not known: no rate held, which may be the generator's fault".to_owned()
            }
            None => "below the first rate".to_owned(),
            Some(Knee::Broker(rate)) => format!("{rate:.0} messages/s"),
            Some(Knee::Generator(rate)) => {
                format!("{rate:.0} messages/s is the generator's, the broker's lies there or above; give it more CPUs")
            }
            Some(Knee::Open(rate)) => {
                format!("above {rate:.0} messages/s: the highest rate of the sweep held; a larger rate_max finds it")
            }
        };
        fact("knee", knee);
    }
    if let Load::Backlog { bytes: wanted_bytes, .. } = workload.load {
        fact(
            "backlog",
            match &outcome.backlog {
                None => format!("{:.1} MiB were never unread", mib(wanted_bytes as f64)),
                Some(backlog) => {
                    let drained = |drain: std::time::Duration| format!("drained in {:.1} s", drain.as_secs_f64());
                    let drain = backlog.drain.map_or_else(|| "not drained".to_owned(), drained);
                    format!("{:.1} MiB, {drain}", mib(backlog.bytes as f64))
                }
            },
        );
    }
    if let Some(cold) = &outcome.cold {
        let caught_up = cold
            .caught_up
            .map_or("not caught up".to_owned(), |time| format!("caught up in {:.1} s", time.as_secs_f64()));
        let p99 = |quantiles: loadgen::outcome::Quantiles| quantiles.p99_us as f64 / 1000.0;
        fact(
            "cold readers",
            format!(
                "{:.1} MiB, {caught_up}; p99 of produce {:.2} ms before, {:.2} meanwhile; end to end {:.2}, {:.2}",
                mib(cold.read.bytes as f64),
                p99(cold.produce_before),
                p99(cold.produce_during),
                p99(cold.end_to_end_before),
                p99(cold.end_to_end_during)
            ),
        );
    }
    for FaultSeen { fault, began } in &outcome.faults {
        let (kind, node, at_s) = (fault.kind.word(), fault.node, fault.at.as_secs_f64());
        let when = match began {
            Some(began) => format!("{:.1} s into the load, for {} s", began.as_secs_f64(), fault.down.as_secs_f64()),
            None => format!("did not happen: the load ended before {at_s} s"),
        };
        fact("fault", format!("{kind} of node {node} {when}"));
    }
    let generator = &outcome.generator;
    let bound = generator.bound.as_ref().map_or(String::new(), |reason| format!("  GENERATOR-BOUND: {reason}"));
    fact(
        "generator",
        format!(
            "busiest thread {:.0} %, late by {} us at p99.9{bound}",
            generator.busiest_thread * 100.0,
            generator.slip_p999_us
        ),
    );
    fact(
        "ceiling",
        match &generator.ceiling {
            None => "not measured".to_owned(),
            Some(Err(reason)) => format!("not measured: {reason}"),
            Some(Ok(ceiling)) => format!(
                "{:.0} messages/s, {:.1} MiB/s against floor --sink",
                ceiling.messages_per_s,
                mib(ceiling.bytes_per_s)
            ),
        },
    );
    for (what, count) in &outcome.errors {
        fact("error", format!("{count} x {what}"));
    }
    for (what, count) in &outcome.errors_warmup {
        fact("warm-up", format!("{count} x {what}; counts for no target"));
    }
    let check = &outcome.check;
    let complete = match (check.complete, check.unread) {
        (true, _) => String::new(),
        (false, 0) => "; nobody read to the end, so losses at the tail are not seen".to_owned(),
        (false, unread) => format!("; {unread} offsets out of the readers' reach"),
    };
    fact(
        "self-check",
        format!(
            "{} lost, {} duplicated, {} reordered, {} corrupt, {} expired, {} read again{complete}",
            check.lost, check.duplicated, check.reordered, check.corrupt, check.expired, check.reread
        ),
    );
    for example in &check.examples {
        fact("", example.clone());
    }
    for finding in outcome.findings.iter().filter(|finding| finding.severity != Severity::Ok) {
        fact(finding.severity.word(), format!("{}: {}", finding.check, finding.found));
    }
    if let Some(verdict) = judge(outcome) {
        for row in &verdict.rows {
            let actual = row.actual.map_or("not measured".to_owned(), |actual| format!("{actual:.2}"));
            fact("target", format!("{} {:.2}: {actual}: {}", row.target.row.word(), row.required, row.met));
        }
        for reason in verdict.spoiled.iter().chain(&verdict.notes) {
            fact("", reason.clone());
        }
        fact("verdict", verdict.met.to_string());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn watched(arguments: &[&str]) -> Result<usize, Failure> {
        let line = ["run", "orders.toml"].iter().chain(arguments);
        Line::parse_from(line).run.brokers_watched().map(|brokers| brokers.len())
    }

    #[test]
    fn a_broker_that_is_named_is_there_and_has_one_page_at_most() {
        let own = std::process::id().to_string();
        assert!(matches!(watched(&["--broker-pid", &own, "--broker-http", "127.0.0.1:1"]), Ok(1)));
        // Above the kernel's largest.
        let missing = watched(&["--broker-pid", "2000000000"]).expect_err("no such process");
        assert!(missing.code == Code::NotFound && missing.message.contains("--broker-pid 2000000000"));
        let pages = ["--broker-pid", &own, "--broker-http", "127.0.0.1:1", "--broker-http", "127.0.0.1:2"];
        assert!(watched(&pages).expect_err("two pages").code == Code::Usage);
        assert!(Line::try_parse_from(["run", "orders.toml", "--broker-http", "127.0.0.1:1"]).is_err());
    }
}
