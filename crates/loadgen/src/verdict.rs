//! The sizing tier's rows as targets, and how an outcome stands against them.
//!
//! A run on one machine cannot be a cluster of twelve with a petabyte. Each row therefore says at which scale the run
//! stands for it: with `scale = 100` a row of 100 GB asks for 1 GB, and can be *met at scale 1/100*, never plainly *met*.
//!
//! ```toml
//! [target]
//! tier = "small"
//! brokers = { min = 3, scale = 3 }
//! messages_per_s = { min = 10_000 }
//! topics = { min = 10, max = 50 }
//! partitions_per_topic = { min = 3, max = 6 }
//! stored_bytes = { min = 100_000_000_000, max = 1_000_000_000_000, scale = 1000 }
//! retention_s = { min = 604_800 }
//! produce_p99_ms = 50
//! zero_lag_growth = true
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::outcome::{Backlog, FaultSeen, Latencies, Outcome, Soak, messages_failed};
use crate::workload::Load;

/// Growth of the lag that counts as none: this share of the messages acked.
const LAG_GROWTH_SHARE_MAX: f64 = 0.01;

/// `[target]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTargets {
    /// `small`, `medium`, `large`, or a word of one's own.
    pub tier: Option<String>,
    /// Nodes of the cluster.
    pub brokers: Option<RawRow>,
    /// Messages acked a second.
    pub messages_per_s: Option<RawRow>,
    /// Topics written to, as the brokers describe them.
    pub topics: Option<RawRow>,
    /// Partitions of each: of the one that has fewest.
    pub partitions_per_topic: Option<RawRow>,
    /// Bytes in the log directories.
    pub stored_bytes: Option<RawRow>,
    /// How long records are kept, as the topics' settings say.
    pub retention_s: Option<RawRow>,
    /// The produce latency's bound at p99.
    pub produce_p99_ms: Option<f64>,
    /// The produce latency's bound at p99.9.
    pub produce_p999_ms: Option<f64>,
    /// The end-to-end latency's bound at p99.
    pub end_to_end_p99_ms: Option<f64>,
    /// The end-to-end latency's bound at p99.9.
    pub end_to_end_p999_ms: Option<f64>,
    /// The oldest unread message's bound in seconds.
    pub lag_s: Option<f64>,
    /// How fast a backlog must be drained, in seconds.
    pub drain_s: Option<f64>,
    /// Whether the lag must not grow.
    pub zero_lag_growth: Option<bool>,
}

/// A row as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRow {
    /// What the tier asks for at least.
    pub min: Option<f64>,
    /// Where the tier ends; carried along, not judged.
    pub max: Option<f64>,
    /// The run stands for this many times its size. Default 1.
    pub scale: Option<f64>,
}

/// What a run is held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// The tier's name.
    pub tier: Option<String>,
    /// Its rows, in the order of the table.
    pub rows: Vec<Target>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// What is asked.
    pub row: Row,
    /// At least this; for latencies and lag at most this.
    pub bound: f64,
    /// Where the tier ends.
    pub tier_max: Option<f64>,
    /// The run stands for this many times its size.
    pub scale: f64,
}

/// What a row asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the fields of RawTargets")]
pub enum Row {
    Brokers,
    MessagesPerS,
    Topics,
    PartitionsPerTopic,
    StoredBytes,
    RetentionS,
    ProduceP99Ms,
    ProduceP999Ms,
    EndToEndP99Ms,
    EndToEndP999Ms,
    LagS,
    DrainS,
    LagGrowth,
}

impl Row {
    /// Its name in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Brokers => "brokers",
            Self::MessagesPerS => "messages_per_s",
            Self::Topics => "topics",
            Self::PartitionsPerTopic => "partitions_per_topic",
            Self::StoredBytes => "stored_bytes",
            Self::RetentionS => "retention_s",
            Self::ProduceP99Ms => "produce_p99_ms",
            Self::ProduceP999Ms => "produce_p999_ms",
            Self::EndToEndP99Ms => "end_to_end_p99_ms",
            Self::EndToEndP999Ms => "end_to_end_p999_ms",
            Self::LagS => "lag_s",
            Self::DrainS => "drain_s",
            Self::LagGrowth => "zero_lag_growth",
        }
    }

    /// Whether more is better: the bound is a least, and a scale divides it.
    #[must_use]
    pub fn is_size(self) -> bool {
        self <= Self::RetentionS
    }
}

impl Targets {
    /// Proves every bound; what is wrong is added to `problems`.
    pub fn prove(raw: RawTargets, problems: &mut Vec<String>) -> Self {
        let mut rows = Vec::new();
        let sizes = [
            (Row::Brokers, raw.brokers),
            (Row::MessagesPerS, raw.messages_per_s),
            (Row::Topics, raw.topics),
            (Row::PartitionsPerTopic, raw.partitions_per_topic),
            (Row::StoredBytes, raw.stored_bytes),
            (Row::RetentionS, raw.retention_s),
        ];
        for (row, raw) in sizes.into_iter().filter_map(|(row, raw)| Some((row, raw?))) {
            let (word, scale) = (row.word(), raw.scale.unwrap_or(1.0));
            let Some(min) = raw.min else {
                problems.push(format!("target.{word}.min is missing"));
                continue;
            };
            if !(min.is_finite() && 0.0 < min) {
                problems.push(format!("target.{word}.min = {min}: above 0"));
            }
            if raw.max.is_some_and(|max| max < min) {
                problems.push(format!("target.{word}.max = {}: at least min, {min}", raw.max.unwrap_or_default()));
            }
            if !(1.0..=1e9).contains(&scale) {
                problems.push(format!("target.{word}.scale = {scale}: 1 to 1000000000"));
            }
            rows.push(Target { row, bound: min, tier_max: raw.max, scale });
        }
        let bounds = [
            (Row::ProduceP99Ms, raw.produce_p99_ms),
            (Row::ProduceP999Ms, raw.produce_p999_ms),
            (Row::EndToEndP99Ms, raw.end_to_end_p99_ms),
            (Row::EndToEndP999Ms, raw.end_to_end_p999_ms),
            (Row::LagS, raw.lag_s),
            (Row::DrainS, raw.drain_s),
            (Row::LagGrowth, raw.zero_lag_growth.filter(|wanted| *wanted).map(|_| LAG_GROWTH_SHARE_MAX)),
        ];
        for (row, bound) in bounds.into_iter().filter_map(|(row, bound)| Some((row, bound?))) {
            if !(bound.is_finite() && 0.0 < bound) {
                problems.push(format!("target.{} = {bound}: above 0", row.word()));
            }
            rows.push(Target { row, bound, tier_max: None, scale: 1.0 });
        }
        Self { tier: raw.tier, rows }
    }
}

/// How a row, or all of them, came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Met {
    /// In full.
    Full,
    /// The brokers say that they will; no run lasts as long as a retention. Spoils nothing that is met otherwise.
    Configured,
    /// By a run that stands for this many times its size.
    AtScale(f64),
    /// By a run in which what it is for did not happen: a soak in which nothing was seen to roll or to be deleted, a fault
    /// whose time never came.
    NotProven,
    /// Not.
    Not,
}

impl Met {
    /// Fully, as configured, or at a scale.
    #[must_use]
    pub fn is_met(self) -> bool {
        matches!(self, Self::Full | Self::Configured | Self::AtScale(_))
    }

    /// The worse of both; of a run, not of a row: what is configured is then as good as met.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if self.badness() < other.badness() { other } else { self }
    }

    fn badness(self) -> (u8, f64) {
        match self {
            Self::Full | Self::Configured => (0, 1.0),
            Self::AtScale(scale) => (1, scale),
            Self::NotProven => (2, 1.0),
            Self::Not => (3, 1.0),
        }
    }
}

impl std::str::FromStr for Met {
    type Err = ();

    /// From the words that it is displayed as.
    fn from_str(words: &str) -> Result<Self, ()> {
        Ok(match words {
            "met" => Self::Full,
            "configured" => Self::Configured,
            "not proven" => Self::NotProven,
            "not met" => Self::Not,
            _ => Self::AtScale(words.strip_prefix("met at scale 1/").and_then(|scale| scale.parse().ok()).ok_or(())?),
        })
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("met"),
            Self::Configured => f.write_str("configured"),
            Self::AtScale(scale) => write!(f, "met at scale 1/{scale}"),
            Self::NotProven => f.write_str("not proven"),
            Self::Not => f.write_str("not met"),
        }
    }
}

/// One row's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct RowVerdict {
    /// The row.
    pub target: Target,
    /// What the run had to reach (sizes: the bound over the scale).
    pub required: f64,
    /// What it reached; `None`: it was not measured.
    pub actual: Option<f64>,
    /// How it came out.
    pub met: Met,
}

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The tier's name.
    pub tier: Option<String>,
    /// The worst of all rows: not met, else not proven, else met at the largest scale, else met.
    pub met: Met,
    /// Row by row.
    pub rows: Vec<RowVerdict>,
    /// Why nothing of this run can be met, whatever the rows say: it was cut short, it failed its self-check.
    pub spoiled: Vec<String>,
    /// What to read beside a row: the generator was the limit, say.
    pub notes: Vec<String>,
}

/// Holds an outcome against its workload's targets; `None` when there are none, it is neither a soak nor a backlog, and no
/// faults were asked for.
#[must_use]
pub fn judge(outcome: &Outcome) -> Option<Verdict> {
    let targets = &outcome.workload.targets;
    let backlog_bytes = match outcome.workload.load {
        Load::Backlog { bytes, .. } => Some(bytes),
        _ => None,
    };
    if targets.rows.is_empty() && outcome.soak.is_none() && outcome.faults.is_empty() && backlog_bytes.is_none() {
        return None;
    }
    // A bound on latency that was kept under a hundredth of the load was kept at scale 1/100.
    let load_scale = targets.rows.iter().filter(|target| target.row == Row::MessagesPerS).map(|target| target.scale);
    let load_scale = load_scale.fold(1.0, f64::max);
    let rows: Vec<RowVerdict> = targets.rows.iter().map(|target| judge_row(target, load_scale, outcome)).collect();
    let mut spoiled = Vec::new();
    if let Some(reason) = &outcome.partial {
        spoiled.push(format!("the run is partial: {reason}"));
    }
    if !outcome.check.passed() {
        spoiled.push("the run failed its self-check".to_owned());
    }
    let mut notes: Vec<String> =
        outcome.generator.bound.iter().map(|reason| format!("generator-bound: {reason}")).collect();
    let failed = messages_failed(&outcome.errors);
    if 0 < failed && rows.iter().any(|row| matches!(row.target.row, Row::ProduceP99Ms | Row::ProduceP999Ms)) {
        notes.push(format!("{failed} messages failed: they count as slower than every message acked"));
    }
    if rows.iter().any(|row| row.met == Met::Configured) {
        let lasted_s = (outcome.workload.warmup + outcome.measured).as_secs();
        notes.push(format!(
            "retention is what the topics are configured for: a run of {lasted_s} s does not see it kept"
        ));
    }
    let mut met = rows.iter().fold(Met::Full, |worst, row| worst.worse(row.met));
    if let Some(soak) = &outcome.soak {
        let (unproven, said) = prove(soak);
        notes.push(said);
        met = met.worse(if unproven { Met::NotProven } else { Met::Full });
    }
    if let Some(unproven) = backlog_bytes.and_then(|bytes| prove_drain(bytes, outcome.backlog.as_ref())) {
        notes.push(unproven);
        met = met.worse(Met::NotProven);
    }
    for FaultSeen { fault, .. } in outcome.faults.iter().filter(|seen| seen.began.is_none()) {
        let (node, at_s) = (fault.node, fault.at.as_secs_f64());
        notes.push(format!(
            "not proven: node {node} was not {}, as the load ended before {at_s} s; a longer run shows it",
            fault.kind.done()
        ));
        met = met.worse(Met::NotProven);
    }
    if !spoiled.is_empty() {
        met = Met::Not;
    }
    Some(Verdict { tier: targets.tier.clone(), met, rows, spoiled, notes })
}

/// Whether a soak has not shown what it is for, and what it has shown.
fn prove(soak: &Soak) -> (bool, String) {
    let Soak { partitions, partitions_rolled, partitions_trimmed, deleted_messages } = soak;
    let seen = format!(
        "segments rolled in {partitions_rolled} of {partitions} partitions, retention took {deleted_messages} messages of \
         {partitions_trimmed}"
    );
    match *partitions_rolled == 0 || *partitions_trimmed == 0 {
        true => (true, format!("not proven: {seen}; a longer run, smaller segments or a shorter retention show both")),
        false => (false, seen),
    }
}

/// Why a backlog has not shown how it is drained; `None`: it has.
fn prove_drain(bytes: u64, backlog: Option<&Backlog>) -> Option<String> {
    match backlog {
        None => Some(format!(
            "not proven: {bytes} bytes were never unread, as the load ended before; a longer run, a higher rate or a smaller \
             backlog_bytes shows the drain"
        )),
        Some(Backlog { drain: None, .. }) => {
            Some("not proven: readers had not caught up when the load ended; a longer run shows the drain".to_owned())
        }
        Some(_) => None,
    }
}

fn judge_row(target: &Target, load_scale: f64, outcome: &Outcome) -> RowVerdict {
    let actual = measured(target.row, outcome);
    let scale = if target.row.is_size() { target.scale } else { load_scale };
    let required = if target.row.is_size() { target.bound / target.scale } else { target.bound };
    let reached = actual.is_some_and(|actual| match target.row {
        // A schedule of 10,000 a second ends up a fraction below: the last messages are acked after the end.
        Row::MessagesPerS => required * 0.99 <= actual,
        row if row.is_size() => required <= actual,
        _ => actual <= required,
    });
    let met = match (reached, 1.0 < scale) {
        (false, _) => Met::Not,
        (true, _) if target.row == Row::RetentionS => Met::Configured,
        (true, true) => Met::AtScale(scale),
        (true, false) => Met::Full,
    };
    RowVerdict { target: target.clone(), required, actual, met }
}

fn measured(row: Row, outcome: &Outcome) -> Option<f64> {
    let quantile = |latencies: &Latencies, quantile| {
        (!latencies.is_empty()).then(|| latencies.value_at_quantile(quantile) as f64 / 1000.0)
    };
    // A message that failed was never acked in time: it counts as slower than all that were.
    let of_sent = |wanted: f64| {
        let acked = outcome.produce.len() as f64;
        let among_acked = wanted * (acked + messages_failed(&outcome.errors) as f64) / acked;
        (among_acked <= 1.0).then(|| quantile(&outcome.produce, among_acked)).flatten()
    };
    match row {
        Row::Brokers => Some(outcome.cluster.nodes.len() as f64),
        Row::MessagesPerS => Some(outcome.messages_per_s()),
        Row::Topics => Some(f64::from(outcome.topics.count)),
        Row::PartitionsPerTopic => Some(f64::from(outcome.topics.partitions_min)),
        Row::StoredBytes => outcome.stored_bytes.map(|bytes| bytes as f64),
        Row::RetentionS => outcome.topics.retention.map(|retention| retention.as_secs_f64()),
        Row::ProduceP99Ms => of_sent(0.99),
        Row::ProduceP999Ms => of_sent(0.999),
        Row::EndToEndP99Ms => quantile(&outcome.end_to_end, 0.99),
        Row::EndToEndP999Ms => quantile(&outcome.end_to_end, 0.999),
        Row::LagS => outcome.lag.as_ref().map(|lag| lag.seconds_max),
        Row::DrainS => outcome.backlog.as_ref()?.drain.map(|drain| drain.as_secs_f64()),
        // As a share of what is acked: a lag that grows by one message a second under a million is noise.
        Row::LagGrowth => {
            let lag = outcome.lag.as_ref()?;
            Some(lag.growth_per_s? / outcome.messages_per_s().max(1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::outcome::{ClusterSeen, Count, Lag, Quantiles, TopicsSeen};
    use crate::suite::{Fault, FaultKind};
    use crate::workload::Workload;

    #[test]
    fn a_backlog_that_was_not_drained_has_proven_nothing() {
        let text = "name = \"t\"\n[load]\nmode = \"backlog\"\nrate = 1000\nbacklog_bytes = 5000000";
        let mut outcome = Outcome::new(Workload::parse(text, Path::new(".")).expect("right"));
        outcome.check.complete = true;
        let never = judge(&outcome).expect("a backlog is judged without targets");
        assert_eq!(never.met, Met::NotProven);
        assert!(never.notes[0].contains("5000000 bytes were never unread"), "{:?}", never.notes);
        let backlog = |drain| Backlog {
            bytes: 5_000_000,
            build: Duration::from_secs(5),
            drain,
            produce_before: Quantiles::default(),
            produce_during: Quantiles::default(),
        };
        outcome.backlog = Some(backlog(None));
        let unfinished = judge(&outcome).expect("judged");
        assert!(
            unfinished.met == Met::NotProven && unfinished.notes[0].contains("had not caught up"),
            "{unfinished:?}"
        );
        outcome.backlog = Some(backlog(Some(Duration::from_secs(2))));
        let drained = judge(&outcome).expect("judged");
        assert!(drained.met == Met::Full && drained.notes.is_empty(), "{drained:?}");
    }

    fn outcome(target: &str) -> Outcome {
        let text = format!(
            "name = \"t\"\n[load]\nrate = 1000\n[topics]\ncount = 9\npartitions = 9\nconfigs = {{ \"retention.ms\" = \"-1\" }}\n[target]\n{target}"
        );
        let mut outcome = Outcome::new(Workload::parse(&text, Path::new(".")).expect("right"));
        outcome.measured = Duration::from_secs(10);
        outcome.acked = Count { messages: 10_000, bytes: 10_240_000 };
        outcome.cluster = ClusterSeen { id: None, nodes: vec!["a:1".into()] };
        // What there is counts, and not what the workload asked for.
        let retention = Some(Duration::from_secs(60));
        outcome.topics = TopicsSeen { count: 5, partitions_min: 3, retention };
        outcome.stored_bytes = Some(2_000_000_000);
        outcome.produce.record_n(20_000, 995).expect("recorded");
        outcome.produce.record_n(90_000, 5).expect("recorded");
        outcome.lag = Some(Lag { growth_per_s: Some(5.0), seconds_max: 0.5, ..Lag::default() });
        outcome
    }

    #[test]
    fn each_row_is_met_not_met_or_met_at_a_scale() {
        for (target, want) in [
            ("brokers = { min = 3, scale = 3 }", "met at scale 1/3"),
            ("brokers = { min = 3 }", "not met"),
            ("messages_per_s = { min = 1000 }", "met"),
            ("messages_per_s = { min = 1005 }", "met"),
            ("messages_per_s = { min = 1100 }", "not met"),
            ("messages_per_s = { min = 100_000, scale = 100 }", "met at scale 1/100"),
            ("topics = { min = 5, max = 50 }", "met"),
            ("topics = { min = 6, max = 50 }", "not met"),
            ("partitions_per_topic = { min = 24, max = 100, scale = 8 }", "met at scale 1/8"),
            ("stored_bytes = { min = 100e9, max = 1e12, scale = 50 }", "met at scale 1/50"),
            ("stored_bytes = { min = 100e9, max = 1e12, scale = 40 }", "not met"),
            ("retention_s = { min = 60 }", "met"),
            ("retention_s = { min = 61 }", "not met"),
            ("retention_s = { min = 60 }\ntopics = { min = 50, scale = 10 }", "met at scale 1/10"),
            ("produce_p99_ms = 21", "met"),
            ("produce_p99_ms = 19", "not met"),
            ("produce_p999_ms = 89", "not met"),
            // Nobody read: it was not measured, so it is not met.
            ("end_to_end_p99_ms = 1000", "not met"),
            ("drain_s = 10", "not met"),
            ("zero_lag_growth = true", "met"),
            ("lag_s = 0.4", "not met"),
            ("produce_p99_ms = 21\nmessages_per_s = { min = 10_000, scale = 10 }", "met at scale 1/10"),
            ("topics = { min = 50, scale = 10 }\nmessages_per_s = { min = 1000 }", "met at scale 1/10"),
            ("topics = { min = 50, scale = 10 }\nmessages_per_s = { min = 2000 }", "not met"),
        ] {
            let verdict = judge(&outcome(target)).expect("there are targets");
            assert_eq!(verdict.met.to_string(), want, "{target}: {:?}", verdict.rows);
        }
        assert_eq!(judge(&outcome("tier = \"small\"")), None);
    }

    #[test]
    fn the_worst_of_several_runs_is_the_least_met_of_them_and_never_hides() {
        let rising = [Met::Full, Met::AtScale(3.0), Met::AtScale(12.0), Met::NotProven, Met::Not];
        for (place, met) in rising.into_iter().enumerate() {
            assert_eq!(met.to_string().parse(), Ok(met));
            for better in &rising[..place] {
                assert_eq!((met.worse(*better), better.worse(met)), (met, met));
            }
        }
        assert_eq!(Met::Configured.to_string().parse(), Ok(Met::Configured));
        assert_eq!("met, mostly".parse::<Met>(), Err(()));
    }

    #[test]
    fn a_retention_is_configured_and_not_lived_through() {
        let verdict = judge(&outcome("retention_s = { min = 50 }")).expect("a verdict");
        assert_eq!((verdict.rows[0].met, verdict.rows[0].actual), (Met::Configured, Some(60.0)));
        assert!(verdict.notes[0].contains("a run of 15 s does not see it kept"), "{:?}", verdict.notes);
        let mut untold = outcome("retention_s = { min = 50 }");
        untold.topics.retention = None;
        assert_eq!(judge(&untold).expect("a verdict").met, Met::Not, "nobody said");
    }

    #[test]
    fn messages_that_failed_count_as_slow() {
        let mut outcome = outcome("produce_p99_ms = 100");
        outcome.errors.insert("retried: NOT_LEADER_OR_FOLLOWER".into(), 500);
        outcome.errors.insert("REQUEST_TIMED_OUT".into(), 8);
        let verdict = judge(&outcome).expect("a verdict");
        assert_eq!(
            (verdict.met, verdict.rows[0].actual.map(f64::round)),
            (Met::Full, Some(90.0)),
            "20 without failures"
        );
        outcome.errors.insert("REQUEST_TIMED_OUT".into(), 20);
        let verdict = judge(&outcome).expect("a verdict");
        assert_eq!(
            (verdict.met, verdict.rows[0].actual),
            (Met::Not, None),
            "more than one in a hundred has no latency"
        );
        assert_eq!(verdict.notes, ["20 messages failed: they count as slower than every message acked"]);
    }

    #[test]
    fn a_soak_in_which_nothing_was_rolled_or_deleted_proves_nothing() {
        let soak = |partitions_rolled, partitions_trimmed| {
            let deleted_messages = partitions_trimmed * 100;
            Some(Soak { partitions: 4, partitions_rolled, partitions_trimmed, deleted_messages })
        };
        let verdict = |target: &str, soak| {
            let verdict = judge(&Outcome { soak, ..outcome(target) }).expect("a soak has one");
            (verdict.met.to_string(), verdict.met.is_met(), verdict.notes.join(" "))
        };
        for (rolled, trimmed, want) in [(0, 0, "not proven"), (4, 0, "not proven"), (2, 1, "met")] {
            for target in ["messages_per_s = { min = 1000 }", ""] {
                let (said, is_met, notes) = verdict(target, soak(rolled, trimmed));
                assert_eq!((said.as_str(), is_met), (want, want == "met"), "{notes}");
                assert!(notes.contains(&format!("rolled in {rolled} of 4")), "{notes}");
            }
        }
        assert_eq!(verdict("messages_per_s = { min = 2000 }", soak(0, 0)).0, "not met");
    }

    #[test]
    fn a_fault_that_did_not_happen_leaves_the_run_unproven() {
        let fault = |at_s| Fault {
            at: Duration::from_secs(at_s),
            kind: FaultKind::Restart,
            down: Duration::from_secs(1),
            node: 1,
        };
        let seen = |at_s, began| FaultSeen { fault: fault(at_s), began };
        let done = seen(3, Some(Duration::from_millis(3010)));
        for target in ["messages_per_s = { min = 1000 }", ""] {
            for (faults, want) in [(vec![done], "met"), (vec![done, seen(15, None)], "not proven")] {
                let verdict = judge(&Outcome { faults, ..outcome(target) }).expect("faults have one");
                assert_eq!(verdict.met.to_string(), want, "{verdict:?}");
                assert_eq!(verdict.notes.iter().any(|note| note.contains("before 15 s")), want == "not proven");
            }
        }
    }

    #[test]
    fn a_lag_that_grows_is_not_met() {
        let mut outcome = outcome("zero_lag_growth = true");
        outcome.lag = Some(Lag { growth_per_s: Some(20.0), ..Lag::default() });
        assert_eq!(judge(&outcome).expect("a verdict").met, Met::Not);
        outcome.lag = None;
        assert_eq!(judge(&outcome).expect("a verdict").met, Met::Not);
    }

    #[test]
    fn a_spoiled_run_meets_nothing_and_says_why() {
        let mut partial = outcome("messages_per_s = { min = 1000 }");
        partial.partial = Some("interrupted".into());
        let verdict = judge(&partial).expect("a verdict");
        assert_eq!((verdict.met, verdict.spoiled.len()), (Met::Not, 1));
        assert_eq!(verdict.rows[0].met, Met::Full, "the rows still say what was measured");
        let mut lossy = outcome("messages_per_s = { min = 1000 }");
        lossy.check.lost = 1;
        assert_eq!(judge(&lossy).expect("a verdict").met, Met::Not);
        let mut bound = outcome("messages_per_s = { min = 1000 }");
        bound.generator.bound = Some("busy".into());
        assert_eq!(judge(&bound).expect("a verdict").notes, ["generator-bound: busy"]);
    }

    #[test]
    fn wrong_targets_are_refused() {
        let text = "name = \"t\"\n[load]\nrate = 1\n[target]\nbrokers = { max = 3 }\ntopics = { min = 3, scale = 0.5 }\nproduce_p99_ms = 0";
        let error = Workload::parse(text, Path::new(".")).expect_err("three");
        assert_eq!(error.problems.len(), 3, "{error}");
    }
}
