//! `ringlog plan`: what a workload needs, and what binds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use loadgen::limits::{FILE, Limits};
use loadgen::plan::known::{BUSY_ENOUGH, Found, Given, Measured, broker, predict_knee};
use loadgen::plan::{
    Broker, Demand, Lag, LagSafety, Limit, PartitionsFor, Plan, Source, Textbook, error_percent, plan, textbook,
};
use loadgen::report::Results;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::units::{bytes, count, duration, now_ms, parse_bytes, parse_duration, rfc3339};

const AFTER_HELP: &str = "\
Examples:
  ringlog plan --rate 100000 --message-bytes 1KB --replication-factor 3 --fan-out 2 --retention 7d
  ringlog plan --rate 10000 --message-bytes 1KB --results results/2026-11-28_4b00e75_tier-small
  ringlog plan --rate 500 --message-bytes 1KB --retention 1h --lag 60000 --consume-rate 400
  ringlog plan --rate 6000 --message-bytes 1KB --partitions 12 --retention 1h --lag-time 10m --consume-rate 400
  ringlog plan --rate 10000 --message-bytes 1KB --peer loopback --results BUSY --knee SWEEP
                                       the knee that the model predicts from BUSY beside the one that SWEEP measured

Limits come from --limits and --results where those were measured on this machine, and are called an assumption where not.";

/// How far the model's knee may be from the measured one.
const KNEE_ERROR_PERCENT_MAX: f64 = 15.0;

/// The arguments of `plan`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanCommand {
    /// Messages a second, the mean over a day, all topics together
    #[arg(long, help_heading = "Workload")]
    rate: f64,
    /// Mean stored bytes of a message, after compression
    #[arg(long, value_parser = parse_bytes, help_heading = "Workload")]
    message_bytes: u64,
    /// The busiest seconds through the mean
    #[arg(long, default_value_t = 2.0, help_heading = "Workload")]
    peak_factor: f64,
    /// Topics that share the rate evenly
    #[arg(long, default_value_t = 1, help_heading = "Workload")]
    topics: u64,
    /// Copies of each partition
    #[arg(long, default_value_t = 3, help_heading = "Workload")]
    replication_factor: u32,
    /// How often each message is read
    #[arg(long, default_value_t = 1.0, help_heading = "Workload")]
    fan_out: f64,
    /// Consumers of one group and topic that are to work at once
    #[arg(long, default_value_t = 1, help_heading = "Workload")]
    consumers: u64,
    /// How long messages are kept [default: 7d, Kafka's; none with --retention-bytes alone]
    #[arg(long, value_parser = parse_duration, help_heading = "Workload")]
    retention: Option<Duration>,
    /// Bytes of each partition that are kept
    #[arg(long, value_parser = parse_bytes, help_heading = "Workload")]
    retention_bytes: Option<u64>,
    /// segment.bytes: retention takes whole segments
    #[arg(long, value_parser = parse_bytes, default_value = "1GiB", help_heading = "Workload")]
    segment_bytes: u64,
    /// How much of the peak consumers should find in memory
    #[arg(long, value_parser = parse_duration, default_value = "30s", help_heading = "Workload")]
    cached: Duration,
    /// How much of each limit the peak may use, 0 to 1
    #[arg(long, default_value_t = 0.7, help_heading = "Workload")]
    utilization: f64,
    /// Messages that the slowest partition's consumer is behind
    #[arg(long, requires = "consume_rate", help_heading = "Lag")]
    lag: Option<f64>,
    /// The same as a time: the age of the first message that it has not read
    #[arg(long, value_parser = parse_duration, requires = "consume_rate", conflicts_with = "lag", help_heading = "Lag")]
    lag_time: Option<Duration>,
    /// Messages a second that the consumer of one partition reads
    #[arg(long, help_heading = "Lag")]
    consume_rate: Option<f64>,
    /// Partitions that each topic has already [default: as many as the plan gives it]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Lag")]
    partitions: Option<u64>,
    /// Bytes a second that a broker's disks write
    #[arg(long, value_parser = parse_bytes, help_heading = "Limits of a broker")]
    disk_write: Option<u64>,
    /// Bytes that a broker's disks hold
    #[arg(long, value_parser = parse_bytes, help_heading = "Limits of a broker")]
    disk_size: Option<u64>,
    /// Bytes a second of a broker's network, each way
    #[arg(long, value_parser = parse_bytes, help_heading = "Limits of a broker")]
    network: Option<u64>,
    /// Messages a second that a broker's CPUs take
    #[arg(long, help_heading = "Limits of a broker")]
    cpu_rate: Option<f64>,
    /// Messages a second that one partition takes
    #[arg(long, help_heading = "Limits of a broker")]
    partition_rate: Option<f64>,
    /// CPUs of a broker, for what is assumed of them [default: this machine's]
    #[arg(long, help_heading = "Limits of a broker")]
    cpus: Option<u32>,
    /// What `bench disk` and `bench net` measured
    #[arg(long, value_name = "FILE", default_value = FILE, help_heading = "Limits of a broker")]
    limits: PathBuf,
    /// The folder whose disk a broker would have
    #[arg(long, default_value = ".", help_heading = "Limits of a broker")]
    folder: PathBuf,
    /// The peer of `bench net` that stands for the network [default: the first that is not loopback]
    #[arg(long, help_heading = "Limits of a broker")]
    peer: Option<String>,
    /// A results folder of `ringlog bench`, for what a message costs in CPU
    #[arg(long, value_name = "FOLDER", help_heading = "Limits of a broker")]
    results: Option<PathBuf>,
    /// A results folder of a sweep: compare the knee that it found with the one that the model predicts from --results
    #[arg(long, value_name = "FOLDER", requires = "results", help_heading = "Limits of a broker")]
    knee: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

fn failed(error: impl ToString) -> Failure {
    Failure::new(Code::Failed, error.to_string())
}

fn read_results(folder: &Path) -> Result<(String, Measured), Failure> {
    if !folder.exists() {
        return Err(Failure::new(Code::NotFound, format!("there is no folder {}", folder.display()))
            .with_next("ringlog bench run makes one in results/"));
    }
    let results = Results::read(folder).map_err(failed)?;
    let measured = Measured::of(&results.summary)
        .ok_or_else(|| failed(format!("{}: no run in it acked anything", folder.display())))?;
    Ok((results.name, measured))
}

impl PlanCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let limits = Limits::read_or_new(&self.limits).map_err(failed)?;
        let results = self.results.as_deref().map(read_results).transpose()?;
        let found = Found {
            results: results.as_ref().map(|(name, measured)| (name.as_str(), *measured)),
            ..Found::of(&limits, &self.folder, self.peer.as_deref())
        };
        if let Some(peer) = self.peer.as_ref().filter(|_| found.network.is_none()) {
            let why = format!("--peer {peer}: {} knows no such peer; run ringlog bench net", self.limits.display());
            return Err(Failure::new(Code::NotFound, why));
        }
        let as_rate = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        let given = Given {
            disk_write_bytes_per_s: as_rate(self.disk_write),
            network_bytes_per_s: as_rate(self.network),
            cpu_messages_per_s: self.cpu_rate,
            disk_bytes: as_rate(self.disk_size),
            partition_messages_per_s: self.partition_rate,
        };
        let broker = broker(&given, &found, self.cpus.unwrap_or(limits.machine.cpus));
        let demand = self.demand();
        let sized = plan(&demand, &broker).map_err(|refusal| Failure::new(Code::Usage, refusal.to_string()))?;
        let knee = self.knee.as_deref().map(|folder| self.compare_knee(folder, found.results, &broker)).transpose()?;
        let answer = self.answer(&demand, &broker, &sized, knee);
        print(&answer, self.format.output)?;
        let is_missed = answer.knee.as_ref().is_some_and(|knee| !knee.is_within);
        if is_missed { Err(Failure::verdict()) } else { Ok(()) }
    }

    fn demand(&self) -> Demand {
        const WEEK: Duration = Duration::from_secs(7 * 86_400);
        let retention = self.retention.or(self.retention_bytes.is_none().then_some(WEEK));
        Demand {
            messages_per_s: self.rate,
            peak_factor: self.peak_factor,
            message_bytes: self.message_bytes as f64,
            topics: self.topics,
            replication_factor: self.replication_factor,
            fan_out: self.fan_out,
            consumers_max: self.consumers,
            retention_s: retention.map(|time| time.as_secs_f64()),
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            cached_s: self.cached.as_secs_f64(),
            utilization: self.utilization,
        }
    }

    fn answer(&self, demand: &Demand, broker: &Broker, plan: &Plan, knee: Option<KneeAnswer>) -> PlanAnswer {
        let partitions = demand.topics * self.partitions.unwrap_or(plan.partitions_per_topic);
        let forms = textbook(demand, broker, plan.brokers, partitions);
        PlanAnswer::of(broker, plan, forms, self.lag_answer(demand, partitions), knee)
    }

    /// Of one of so many partitions, that share the rate evenly.
    fn lag_answer(&self, demand: &Demand, partitions: u64) -> Option<LagAnswer> {
        let produced_per_s = demand.messages_per_s / partitions as f64;
        let by_time = self.lag_time.map(|time| time.as_secs_f64() * produced_per_s);
        let lag = Lag {
            messages: self.lag.or(by_time).unwrap_or(0.0),
            produced_per_s,
            consumed_per_s: self.consume_rate?,
            message_bytes: demand.message_bytes,
            retention_s: demand.retention_s,
            retention_bytes: demand.retention_bytes.map(|bytes| bytes as f64),
        };
        let (verdict, messages_max, lost_in_s) = match lag.safety() {
            LagSafety::Safe { messages_max } => ("safe", messages_max, None),
            LagSafety::Outlives { messages_max, in_s } => ("outlives_retention", Some(messages_max), Some(in_s)),
            LagSafety::Lost { messages_max } => ("lost", Some(messages_max), Some(0.0)),
        };
        // Centuries from now are no date that anyone writes.
        let lost_at = lost_in_s.filter(|s| *s < 1e10).map(|s| rfc3339(now_ms() + (s * 1000.0) as i64));
        Some(LagAnswer {
            verdict,
            messages: lag.messages as u64,
            messages_max: messages_max.map(|messages| messages as u64),
            age_s: lag.seconds(lag.messages) as u64,
            age_s_max: messages_max.map(|messages| lag.seconds(messages) as u64),
            produced_messages_per_s: lag.produced_per_s as u64,
            consumed_messages_per_s: lag.consumed_per_s as u64,
            lost_in_s: lost_in_s.map(|s| s as u64),
            lost_at,
        })
    }

    fn compare_knee(
        &self,
        folder: &Path,
        load: Option<(&str, Measured)>,
        broker: &Broker,
    ) -> Result<KneeAnswer, Failure> {
        let (name, sweep) = read_results(folder)?;
        let measured = sweep
            .knee_messages_per_s
            .ok_or_else(|| {
                failed(format!(
                    "{name}: it holds no knee of the broker's; run a workload with mode = \"sweep\" whose rate_max is more than the broker carries, and have the generator keep up with it (more CPUs, no readers)"
                ))
            })?;
        let (_, load) = load.ok_or_else(|| failed("--knee needs --results, a run of the same messages"))?;
        let (term, predicted) = predict_knee(&load, broker)
            .ok_or_else(|| failed("--results: the broker's CPU was not measured; let the bench start the node"))?;
        let error = error_percent(predicted, measured);
        let mut notes = Vec::new();
        if !load.is_pinned {
            notes.push(
                "the broker was not pinned: the generator took a part of the CPUs that the model gives it".to_owned(),
            );
        }
        if let Some(cpu) = load.cpu.filter(|cpu| cpu.busy < BUSY_ENOUGH) {
            notes.push(format!(
                "--results kept the broker's cores {:.0} % busy: a message costs less on busy ones, so the knee lies higher than predicted",
                cpu.busy * 100.0
            ));
        }
        if load.batch_messages < sweep.batch_messages * 0.8 {
            notes.push(format!(
                "--results had {:.1} messages a batch and the knee {:.1}: a longer linger makes them alike, and CPU a message with them",
                load.batch_messages, sweep.batch_messages
            ));
        }
        Ok(KneeAnswer {
            predicted_messages_per_s: predicted as u64,
            predicted_by: term.name(),
            measured_messages_per_s: measured as u64,
            error_percent: (error * 10.0).round() / 10.0,
            is_within: error.abs() <= KNEE_ERROR_PERCENT_MAX,
            notes,
        })
    }
}

/// What a workload needs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PlanAnswer {
    /// Brokers.
    brokers: u64,
    /// Why not fewer: `disk`, `network in`, `network out`, `CPU`, `storage` or `replicas`.
    brokers_for: &'static str,
    /// What would need fewer.
    moved_by: &'static str,
    /// Partitions of each topic.
    partitions_per_topic: u64,
    /// Why not fewer: `rate`, `consumers`, or `brokers`, which each have a share.
    partitions_for: &'static str,
    /// Copies of partitions that a broker holds.
    replicas_per_broker: u64,
    /// Messages a second in the busiest seconds.
    peak_messages_per_s: u64,
    /// Of each broker at the peak.
    disk_write_bytes_per_s: u64,
    /// Of each broker at the peak.
    net_in_bytes_per_s: u64,
    /// Of each broker at the peak.
    net_out_bytes_per_s: u64,
    /// Kept on each broker; null: everything, for ever.
    stored_bytes_per_broker: Option<u64>,
    /// Kept in all, copies included; null: everything, for ever.
    stored_bytes: Option<u64>,
    /// Of each broker: the node, its partitions, and the page cache that holds the tail.
    memory_bytes: u64,
    /// The terms, the binding one first.
    terms: Vec<TermRow>,
    /// How much the rate gains, in percent, when the binding term alone is raised, until the next one binds.
    gain_until_next_percent: u64,
    /// What one broker can do, and how that is known.
    limits: Vec<LimitRow>,
    /// Whether a lag outlives its retention; null when none was asked about.
    lag: Option<LagAnswer>,
    /// The model against a measured sweep; null when none was named.
    knee: Option<KneeAnswer>,
    /// The forms that textbooks give.
    textbook: Vec<TextbookRow>,
}

#[derive(Serialize, JsonSchema)]
struct TermRow {
    /// `disk`, `network in`, `network out`, `CPU`.
    term: &'static str,
    /// B brokers, R copies, F fan-out, s bytes a message, and D, N, C what a broker writes, carries and handles a second.
    formula: &'static str,
    /// Messages a second by this term, of the whole cluster at its full limit; null: without a bound.
    messages_per_s: Option<u64>,
    /// The peak through that, in percent.
    peak_percent: u64,
    /// What raises it.
    moved_by: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct LimitRow {
    /// Which.
    limit: &'static str,
    /// In the limit's own unit, bytes or messages.
    value: u64,
    /// `measured`, `given` or `assumption`.
    source: &'static str,
    /// By what it was measured, or why it is assumed.
    why: String,
}

#[derive(Serialize, JsonSchema)]
struct LagAnswer {
    /// `safe`, `outlives_retention` or `lost`.
    verdict: &'static str,
    /// Messages that one partition's consumer is behind.
    messages: u64,
    /// The most it may be behind: what retention keeps; null: everything.
    messages_max: Option<u64>,
    /// The age of the first message that it has not read, at this rate.
    age_s: u64,
    /// The age at which retention takes it: retention.ms, or sooner where retention.bytes is reached by then; null: never.
    age_s_max: Option<u64>,
    /// That arrive in the partition.
    produced_messages_per_s: u64,
    /// That are read from it.
    consumed_messages_per_s: u64,
    /// When retention takes what has not been read, from now; null: never.
    lost_in_s: Option<u64>,
    /// The same as a time.
    lost_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct KneeAnswer {
    /// By the model.
    predicted_messages_per_s: u64,
    /// The term that binds there.
    predicted_by: &'static str,
    /// By the sweep.
    measured_messages_per_s: u64,
    /// Prediction against measurement; negative is too low.
    error_percent: f64,
    /// Whether that is at most 15.
    is_within: bool,
    /// What to know of the comparison.
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct TextbookRow {
    /// As it stands in books.
    form: &'static str,
    /// What it gives here.
    value: u64,
    /// The value's unit.
    unit: &'static str,
    /// Which unit each quantity needs for the form to make sense, and what it leaves out.
    needs: &'static str,
}

impl PlanAnswer {
    fn of(
        broker: &Broker,
        plan: &Plan,
        forms: Vec<Textbook>,
        lag: Option<LagAnswer>,
        knee: Option<KneeAnswer>,
    ) -> Self {
        Self {
            brokers: plan.brokers,
            brokers_for: plan.brokers_for.name(),
            moved_by: plan.brokers_for.moved_by(),
            partitions_per_topic: plan.partitions_per_topic,
            partitions_for: match plan.partitions_for {
                PartitionsFor::Rate => "rate",
                PartitionsFor::Consumers => "consumers",
                PartitionsFor::Brokers => "brokers",
            },
            replicas_per_broker: plan.replicas_per_broker,
            peak_messages_per_s: plan.peak_messages_per_s as u64,
            disk_write_bytes_per_s: plan.disk_write_bytes_per_s as u64,
            net_in_bytes_per_s: plan.net_in_bytes_per_s as u64,
            net_out_bytes_per_s: plan.net_out_bytes_per_s as u64,
            stored_bytes_per_broker: plan.stored_bytes_per_broker.map(|bytes| bytes as u64),
            stored_bytes: plan.stored_bytes.map(|bytes| bytes as u64),
            memory_bytes: plan.memory_bytes as u64,
            terms: plan
                .terms
                .iter()
                .map(|term| TermRow {
                    term: term.term.name(),
                    formula: term.term.formula(),
                    messages_per_s: term.messages_per_s.is_finite().then_some(term.messages_per_s as u64),
                    peak_percent: (term.utilization * 100.0).round() as u64,
                    moved_by: term.term.moved_by(),
                })
                .collect(),
            gain_until_next_percent: ((plan.gain_until_next - 1.0) * 100.0).round() as u64,
            limits: broker.all().iter().map(|(name, limit)| LimitRow::of(name, limit)).collect(),
            lag,
            knee,
            textbook: forms
                .into_iter()
                .map(|form| TextbookRow {
                    form: form.form,
                    value: form.value as u64,
                    unit: form.unit,
                    needs: form.needs,
                })
                .collect(),
        }
    }
}

impl LimitRow {
    fn of(limit: &'static str, found: &Limit) -> Self {
        let (source, why) = match &found.source {
            Source::Measured { by } => ("measured", by.clone()),
            Source::Given => ("given", String::new()),
            Source::Assumption { why } => ("assumption", why.clone()),
        };
        Self { limit, value: found.value as u64, source, why }
    }

    fn text(&self) -> String {
        if self.limit.contains("bytes") { bytes(self.value) } else { count(self.value) }
    }
}

impl LagAnswer {
    fn cell(&self) -> Cell {
        let time = |seconds: u64| duration(Duration::from_secs(seconds));
        let behind = format!("{} messages or {}", count(self.messages), time(self.age_s));
        let max = match (self.messages_max, self.age_s_max) {
            (Some(messages), Some(age_s)) => format!("{} messages or {}", count(messages), time(age_s)),
            _ => "everything".to_owned(),
        };
        let at = self.lost_at.as_deref().unwrap_or("never");
        let within = time(self.lost_in_s.unwrap_or(0));
        match self.verdict {
            "safe" => Cell::toned(format!("{behind}: safe, retention keeps {max} of a partition"), Tone::Good),
            "lost" => Cell::toned(format!("{behind}: LOST, retention keeps {max} of a partition"), Tone::Bad),
            _ => Cell::toned(format!("{behind}: OUTLIVES its retention of {max} in {within}, at {at}"), Tone::Bad),
        }
    }
}

impl KneeAnswer {
    fn cell(&self) -> Cell {
        let text = format!(
            "{} messages/s predicted ({}), {} measured: {:+.1} %",
            count(self.predicted_messages_per_s),
            self.predicted_by,
            count(self.measured_messages_per_s),
            self.error_percent
        );
        let text = self.notes.iter().fold(text, |text, note| format!("{text}; {note}"));
        Cell::toned(text, if self.is_within { Tone::Good } else { Tone::Bad })
    }
}

impl Answer for PlanAnswer {
    const SCHEMA: &'static str = "plan";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let per_s = |value: u64| format!("{}/s", bytes(value));
        let kept = |value: Option<u64>| value.map_or_else(|| "everything, for ever".to_owned(), bytes);
        let mut facts: Vec<(&'static str, Cell)> = vec![
            ("brokers", format!("{} (for {})", count(self.brokers), self.brokers_for).into()),
            (
                "partitions",
                format!("{} a topic (for {})", count(self.partitions_per_topic), self.partitions_for).into(),
            ),
            ("peak", format!("{} messages/s", count(self.peak_messages_per_s)).into()),
            ("each broker writes", per_s(self.disk_write_bytes_per_s).into()),
            ("each broker receives", per_s(self.net_in_bytes_per_s).into()),
            ("each broker sends", per_s(self.net_out_bytes_per_s).into()),
            ("each broker keeps", kept(self.stored_bytes_per_broker).into()),
            ("all brokers keep", kept(self.stored_bytes).into()),
            ("each broker's memory", bytes(self.memory_bytes).into()),
            ("copies a broker", count(self.replicas_per_broker).into()),
        ];
        facts.push(("binds", format!("{}; fewer brokers by {}", self.brokers_for, self.moved_by).into()));
        if let [first, second, ..] = &self.terms[..] {
            let gain = format!(
                "{}; more of it gains {} %, then {} binds",
                first.term, self.gain_until_next_percent, second.term
            );
            facts.push(("binds the rate", gain.into()));
        }
        facts.extend(self.lag.as_ref().map(|lag| ("lag", lag.cell())));
        facts.extend(self.knee.as_ref().map(|knee| ("knee", knee.cell())));
        let terms = self.terms.iter().map(|term| {
            let rate = term.messages_per_s.map_or_else(|| "no bound".to_owned(), count);
            let mut cells =
                vec![term.term.to_owned(), term.formula.to_owned(), rate, format!("{} %", term.peak_percent)];
            cells.extend(wide.then(|| term.moved_by.to_owned()));
            cells
        });
        let mut heads = vec!["term", "messages/s of all brokers", "at its limit", "used at the peak"];
        heads.extend(wide.then_some("moved by"));
        let limits = self.limits.iter().map(|limit| {
            let tone = if limit.source == "assumption" { Tone::Warning } else { Tone::Plain };
            vec![limit.limit.into(), limit.text().into(), Cell::toned(limit.source, tone), limit.why.as_str().into()]
        });
        let mut sections = vec![
            Section::Facts(facts.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect()),
            Section::rows(&heads, terms),
            Section::rows(&["limit of a broker", "", "source", "why"], limits),
        ];
        let forms = self.textbook.iter().map(|form| {
            let mut cells = vec![form.form.to_owned(), format!("{} {}", count(form.value), form.unit)];
            cells.push(form.needs.to_owned());
            cells
        });
        sections.push(Section::rows(&["textbook", "gives here", "makes sense with"], forms));
        sections
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanCommand,
    }

    fn answer(arguments: &[&str]) -> PlanAnswer {
        let given =
            ["plan", "--disk-write", "500MB", "--network", "1GB", "--cpu-rate", "600000", "--disk-size", "10TB"];
        let line = Line::parse_from(given.iter().chain(["--partition-rate", "50000"].iter()).chain(arguments));
        let given = Given {
            disk_write_bytes_per_s: line.plan.disk_write.map(|bytes| bytes as f64),
            network_bytes_per_s: line.plan.network.map(|bytes| bytes as f64),
            cpu_messages_per_s: line.plan.cpu_rate,
            disk_bytes: line.plan.disk_size.map(|bytes| bytes as f64),
            partition_messages_per_s: line.plan.partition_rate,
        };
        let broker = broker(&given, &Found::default(), 2);
        let demand = line.plan.demand();
        let sized = plan(&demand, &broker).expect("a plan");
        line.plan.answer(&demand, &broker, &sized, None)
    }

    #[test]
    fn the_command_line_gives_the_worked_example() {
        let found = answer(&[
            "--rate",
            "150000",
            "--message-bytes",
            "1KB",
            "--peak-factor",
            "2",
            "--fan-out",
            "2",
            "--retention",
            "1h",
            "--utilization",
            "1",
            "--consumers",
            "12",
        ]);
        assert_eq!((found.brokers, found.brokers_for), (3, "replicas"));
        assert_eq!((found.partitions_per_topic, found.partitions_for), (12, "consumers"));
        let terms: Vec<_> = found.terms.iter().map(|term| (term.term, term.messages_per_s)).collect();
        let expected = [
            ("disk", Some(500_000)),
            ("CPU", Some(600_000)),
            ("network out", Some(750_000)),
            ("network in", Some(1_000_000)),
        ];
        assert_eq!(terms, expected);
        assert_eq!((found.gain_until_next_percent, found.terms[0].peak_percent), (20, 60));
        assert!(found.limits.iter().any(|limit| limit.source == "assumption"));
    }

    #[test]
    fn a_lag_that_outlives_retention_has_a_moment() {
        let arguments =
            ["--rate", "100", "--message-bytes", "1KB", "--retention", "1h", "--lag", "60000", "--consume-rate"];
        let found = answer(&[&arguments[..], &["70"]].concat()).lag.expect("asked");
        assert_eq!(
            (found.verdict, found.messages_max, found.lost_in_s),
            ("outlives_retention", Some(360_000), Some(10_000))
        );
        assert!(found.lost_at.is_some());
        assert_eq!(answer(&[&arguments[..], &["100"]].concat()).lag.expect("asked").verdict, "safe");
    }

    #[test]
    fn a_lag_is_of_the_partitions_that_there_are_and_in_seconds_too() {
        let six = [
            "--rate",
            "600",
            "--message-bytes",
            "1KB",
            "--retention",
            "1h",
            "--partitions",
            "6",
            "--consume-rate",
            "70",
        ];
        let by_time = answer(&[&six[..], &["--lag-time", "10m"]].concat()).lag.expect("asked");
        let by_messages = answer(&[&six[..], &["--lag", "60000"]].concat()).lag.expect("asked");
        for lag in [by_time, by_messages] {
            assert_eq!((lag.produced_messages_per_s, lag.messages, lag.messages_max), (100, 60_000, Some(360_000)));
            assert_eq!((lag.age_s, lag.age_s_max, lag.lost_in_s), (600, Some(3600), Some(10_000)));
        }
        // 18 MB of a partition that gets 100 KB/s are three minutes of it.
        let by_bytes = [&six[..], &["--retention-bytes", "18MB", "--lag-time", "10m"]].concat();
        let lag = answer(&by_bytes).lag.expect("asked");
        assert_eq!((lag.verdict, lag.age_s_max), ("lost", Some(180)));
        let form = answer(&by_bytes).textbook.into_iter().find(|form| form.unit == "seconds").expect("about lag");
        assert_eq!(form.value, 180);
    }

    #[test]
    fn retention_is_a_week_unless_bytes_bound_it() {
        let week = answer(&["--rate", "100", "--message-bytes", "1KB", "--segment-bytes", "0"]);
        assert_eq!(week.stored_bytes, Some(100 * 1000 * 3 * 604_800));
        let by_bytes =
            answer(&["--rate", "100", "--message-bytes", "1KB", "--segment-bytes", "0", "--retention-bytes", "1GB"]);
        assert_eq!(by_bytes.stored_bytes, Some(3_000_000_000));
    }
}
