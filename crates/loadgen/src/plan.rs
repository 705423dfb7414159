//! Sizing: a workload in; brokers, partitions, disk, network and memory out, with the term that binds and what would move it.
//!
//! Pure arithmetic. `B` brokers, `R` the replication factor, `F` the consumer fan-out, `s` the mean stored bytes of a message
//! (after compression), and of one broker `D` the bytes its disks write, `N` the bytes its network carries each way, `C` the
//! messages its CPUs take, all a second:
//!
//! ```text
//! messages/s = min of   disk         B·D / (R·s)            every message is written R times
//!                       network in   B·N / (R·s)            and arrives R times: once from a producer, R-1 times from a leader
//!                       network out  B·N / ((R-1+F)·s)      and leaves R-1 times to followers, F times to consumers
//!                       CPU          B·C / R
//! partitions ≥ max(peak rate / rate of one partition, consumers that are to work at once), and so many that their replicas
//!              share the brokers out: two replicas cannot use ten brokers' disks
//! lag is safe while, per partition, messages < min(retention.bytes / s, retention.ms · rate)
//! ```
//! Example: R = 3, F = 2, s = 1,000, D = 500 MB/s, N = 1 GB/s, C = 600,000/s, and three brokers: 500,000 by the disks,
//! 1,000,000 by the network in, 750,000 by the network out, 600,000 by the CPUs. The disks bind; twice as many of them help
//! by a fifth only, then the CPUs bind.

pub mod known;

use serde::{Deserialize, Serialize};

/// The longest retention and the like that are believed: a thousand years. Beyond, a typing error is likelier.
const SECONDS_MAX: f64 = 1000.0 * 365.0 * 86_400.0;
/// Brokers, partitions and rates beyond these are told as nonsense instead of as a plan.
const BROKERS_MAX: f64 = 100_000.0;
/// See [`BROKERS_MAX`].
const PARTITIONS_MAX: f64 = 1e9;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Demand {
    /// Mean over a day, all topics together.
    pub messages_per_s: f64,
    /// The busiest seconds through the mean; 1 or more.
    pub peak_factor: f64,
    /// `s`: mean stored bytes of a message.
    pub message_bytes: f64,
    /// Topics that share the rate evenly.
    pub topics: u64,
    /// `R`.
    pub replication_factor: u32,
    /// `F`: how often each message is read.
    pub fan_out: f64,
    /// Consumers of one group and topic that are to work at once.
    pub consumers_max: u64,
    /// How long messages are kept.
    pub retention_s: Option<f64>,
    /// How many bytes of each partition are kept.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`: retention takes whole segments, so each replica holds up to one more.
    pub segment_bytes: u64,
    /// Seconds of the peak that consumers should find in memory.
    pub cached_s: f64,
    /// How much of each limit may be used at the peak, 0 to 1.
    pub utilization: f64,
}

/// Where a limit comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Measured here, by what and when.
    Measured {
        /// In words.
        by: String,
    },
    /// Given by whoever asks.
    Given,
    /// Nobody measured it.
    Assumption {
        /// Why this number, and how to measure.
        why: String,
    },
}

/// A number and where it comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// In the unit of its field.
    pub value: f64,
    /// Its origin.
    pub source: Source,
}

/// What one broker can do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Broker {
    /// `D`: bytes a second.
    pub disk_write_bytes_per_s: Limit,
    /// `N`, towards the broker: bytes a second.
    pub net_in_bytes_per_s: Limit,
    /// `N`, away from the broker: bytes a second.
    pub net_out_bytes_per_s: Limit,
    /// `C`: messages a second, of this size.
    pub cpu_messages_per_s: Limit,
    /// Bytes that its disks hold.
    pub disk_bytes: Limit,
    /// Messages a second that one partition takes.
    pub partition_messages_per_s: Limit,
    /// Bytes of memory of a node with no partition.
    pub memory_bytes: Limit,
    /// Bytes of memory of each partition.
    pub partition_memory_bytes: Limit,
}

/// What a broker does at its limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// Bytes written.
    Disk,
    /// Bytes received.
    NetworkIn,
    /// Bytes sent.
    NetworkOut,
    /// Messages handled.
    Cpu,
}

impl Term {
    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::NetworkIn => "network in",
            Self::NetworkOut => "network out",
            Self::Cpu => "CPU",
        }
    }

    /// Its formula in the module's letters.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Disk => "B·D / (R·s)",
            Self::NetworkIn => "B·N / (R·s)",
            Self::NetworkOut => "B·N / ((R-1+F)·s)",
            Self::Cpu => "B·C / R",
        }
    }

    /// What raises it.
    #[must_use]
    pub fn moved_by(self) -> &'static str {
        match self {
            Self::Disk => "more or faster disks a broker, better compression (smaller s), a smaller R, more brokers",
            Self::NetworkIn => "a faster network, better compression (smaller s), a smaller R, more brokers",
            Self::NetworkOut => {
                "fewer readings of each message (F), a faster network, better compression, more brokers"
            }
            Self::Cpu => "more cores a broker, larger batches (longer linger), a smaller R, more brokers",
        }
    }
}

/// One term of the minimum.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TermRate {
    /// Which.
    pub term: Term,
    /// Messages a second that the cluster takes by it, at its full limit.
    pub messages_per_s: f64,
    /// The peak through that.
    pub utilization: f64,
}

/// What raised the number of brokers to what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokersFor {
    /// A rate.
    Rate(Term),
    /// Room for what is kept.
    Storage,
    /// One broker for each replica.
    Replicas,
}

impl BrokersFor {
    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate(term) => term.name(),
            Self::Storage => "storage",
            Self::Replicas => "replicas",
        }
    }

    /// What would need fewer brokers.
    #[must_use]
    pub fn moved_by(self) -> &'static str {
        match self {
            Self::Rate(term) => term.moved_by(),
            Self::Storage => "larger disks a broker, a shorter retention, better compression (smaller s), a smaller R",
            Self::Replicas => "a smaller R; by rate and storage fewer brokers would do",
        }
    }
}

/// What raised the number of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionsFor {
    /// The rate of one partition.
    Rate,
    /// Consumers that work at once.
    Consumers,
    /// A share for every broker.
    Brokers,
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// `B`.
    pub brokers: u64,
    /// Why not fewer.
    pub brokers_for: BrokersFor,
    /// Messages a second in the busiest seconds.
    pub peak_messages_per_s: f64,
    /// Of each topic.
    pub partitions_per_topic: u64,
    /// Why not fewer.
    pub partitions_for: PartitionsFor,
    /// Replicas that a broker holds, at most.
    pub replicas_per_broker: u64,
    /// All terms, the binding one first.
    pub terms: Vec<TermRate>,
    /// How much the rate gains when the binding term alone is moved, until the next one binds: 1.2 is a fifth.
    pub gain_until_next: f64,
    /// Kept in all, replicas included; `None`: everything is kept for ever.
    pub stored_bytes: Option<f64>,
    /// Of each broker.
    pub stored_bytes_per_broker: Option<f64>,
    /// Of each broker at the peak.
    pub disk_write_bytes_per_s: f64,
    /// Of each broker at the peak.
    pub net_in_bytes_per_s: f64,
    /// Of each broker at the peak.
    pub net_out_bytes_per_s: f64,
    /// Of each broker: the node, its partitions, and the page cache that holds the tail.
    pub memory_bytes: f64,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Refusal {
    /// A number that makes no sense.
    #[error("{name} = {value}: {bound}")]
    Number {
        /// Which.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What it must be.
        bound: &'static str,
    },
    /// The answer is beyond anything that was ever built; a number is likely in the wrong unit.
    #[error("this needs {count:.0} {what}, more than {max:.0}: check the units of what was given")]
    Absurd {
        /// Brokers or partitions.
        what: &'static str,
        /// How many.
        count: f64,
        /// The bound.
        max: f64,
    },
    /// However many brokers and partitions there are, each replica lies on one broker.
    #[error(
        "each replica of a partition keeps {bytes:.0} bytes, and a broker has room for {max:.0}: give it larger disks, or \
         lower segment.bytes and retention.bytes"
    )]
    Replica {
        /// What retention lets it grow to, with ever so many partitions.
        bytes: f64,
        /// Of a broker's disks, at the utilization asked for.
        max: f64,
    },
}

fn check(name: &'static str, value: f64, min: f64, max: f64, bound: &'static str) -> Result<(), Refusal> {
    // Written so that NaN fails.
    if min <= value && value <= max { Ok(()) } else { Err(Refusal::Number { name, value, bound }) }
}

impl Demand {
    fn check(&self) -> Result<(), Refusal> {
        let above = f64::MIN_POSITIVE;
        check("messages per second", self.messages_per_s, above, 1e12, "more than 0")?;
        check("peak factor", self.peak_factor, 1.0, 1e6, "1 or more")?;
        check("message bytes", self.message_bytes, above, 1e10, "more than 0")?;
        check("topics", self.topics as f64, 1.0, 1e7, "1 to 10,000,000")?;
        check("replication factor", f64::from(self.replication_factor), 1.0, 100.0, "1 to 100")?;
        check("fan-out", self.fan_out, 0.0, 1e6, "0 or more")?;
        check("consumers", self.consumers_max as f64, 0.0, PARTITIONS_MAX, "0 or more")?;
        check("cached seconds", self.cached_s, 0.0, SECONDS_MAX, "0 or more")?;
        check("utilization", self.utilization, 0.01, 1.0, "0.01 to 1")?;
        self.retention_s.map_or(Ok(()), |s| check("retention seconds", s, above, SECONDS_MAX, "more than 0"))
    }

    fn peak(&self) -> f64 {
        self.messages_per_s * self.peak_factor
    }

    /// Messages a second that `brokers` take by `term`, at the full limit.
    #[must_use]
    pub fn rate_by(&self, term: Term, broker: &Broker, brokers: f64) -> f64 {
        let (r, s) = (f64::from(self.replication_factor), self.message_bytes);
        match term {
            Term::Disk => brokers * broker.disk_write_bytes_per_s.value / (r * s),
            Term::NetworkIn => brokers * broker.net_in_bytes_per_s.value / (r * s),
            Term::NetworkOut => match r - 1.0 + self.fan_out {
                // One copy that nobody reads: nothing leaves.
                0.0 => f64::INFINITY,
                copies => brokers * broker.net_out_bytes_per_s.value / (copies * s),
            },
            Term::Cpu => brokers * broker.cpu_messages_per_s.value / r,
        }
    }

    /// All terms for so many brokers, the binding one first.
    #[must_use]
    pub fn terms(&self, broker: &Broker, brokers: f64) -> Vec<TermRate> {
        let of = |term| {
            let messages_per_s = self.rate_by(term, broker, brokers);
            TermRate { term, messages_per_s, utilization: self.peak() / messages_per_s }
        };
        let mut terms = [Term::Disk, Term::NetworkIn, Term::NetworkOut, Term::Cpu].map(of).to_vec();
        terms.sort_by(|a, b| a.messages_per_s.total_cmp(&b.messages_per_s));
        terms
    }

    /// Bytes kept of one replica of one partition; `None` without a bound.
    fn replica_bytes(&self, partitions_per_topic: u64) -> Option<f64> {
        let partitions = self.topics as f64 * partitions_per_topic as f64;
        let by_time = self.retention_s.map(|s| self.messages_per_s / partitions * self.message_bytes * s);
        let by_bytes = self.retention_bytes.map(|bytes| bytes as f64);
        let kept = match (by_time, by_bytes) {
            (Some(time), Some(bytes)) => time.min(bytes),
            (time, bytes) => time.or(bytes)?,
        };
        // The active segment is never taken, and an expired one goes only whole.
        Some(kept + self.segment_bytes as f64)
    }

    fn replicas(&self, partitions_per_topic: u64) -> f64 {
        self.topics as f64 * partitions_per_topic as f64 * f64::from(self.replication_factor)
    }

    /// Bytes kept in all, replicas included; `None` without a bound.
    fn stored_bytes(&self, partitions_per_topic: u64) -> Option<f64> {
        Some(self.replica_bytes(partitions_per_topic)? * self.replicas(partitions_per_topic))
    }

    /// What a replica keeps shrinks with more partitions, but not below what is kept of each whatever its rate.
    fn check_replica(&self, broker: &Broker) -> Result<(), Refusal> {
        let of_each = match (self.retention_s, self.retention_bytes) {
            (None, None) => return Ok(()),
            (None, Some(bytes)) => bytes as f64,
            (Some(_), _) => 0.0,
        };
        let (bytes, max) = (of_each + self.segment_bytes as f64, broker.disk_bytes.value * self.utilization);
        if bytes <= max { Ok(()) } else { Err(Refusal::Replica { bytes, max }) }
    }

    /// Partitions of a topic, at least so many, whose replicas can be shared out without asking more of a broker than it may
    /// give.
    ///
    /// One topic, one copy, 86.4 brokers' bytes on 87 brokers: 87 partitions, each with a broker of its own. Of 88 one broker
    /// would hold two, and twice what it has room for.
    fn shared_out(&self, partitions_min: u64, needed: &Needed) -> u64 {
        let fits = |partitions: &u64| {
            let replicas = self.replicas(*partitions);
            (replicas / needed.brokers).ceil() <= replicas / needed.full_brokers
        };
        // Of as many partitions as there are brokers, each broker gets the same number.
        (partitions_min..).find(fits).unwrap_or(partitions_min)
    }
}

/// How many brokers there must be.
struct Needed {
    brokers: f64,
    why: BrokersFor,
    /// How many brokers, each used as far as it may be, the rate and the storage fill; at most `brokers`.
    full_brokers: f64,
}

/// Sizes a cluster.
///
/// # Errors
/// A number that makes no sense, or an answer that does not.
pub fn plan(demand: &Demand, broker: &Broker) -> Result<Plan, Refusal> {
    demand.check()?;
    for (name, limit) in broker.all() {
        check(name, limit.value, f64::MIN_POSITIVE, 1e18, "more than 0")?;
    }
    let peak = demand.peak();
    let (mut partitions_per_topic, mut partitions_for) = partitions(demand, broker)?;
    demand.check_replica(broker)?;
    // Partitions that are added for the brokers keep a segment more each, which may take more brokers again.
    let (brokers, brokers_for) = loop {
        let needed = needed(demand, broker, partitions_per_topic)?;
        let shared_out = demand.shared_out(partitions_per_topic, &needed);
        if shared_out == partitions_per_topic {
            break (needed.brokers, needed.why);
        }
        (partitions_per_topic, partitions_for) = (shared_out, PartitionsFor::Brokers);
    };
    let stored = demand.stored_bytes(partitions_per_topic);

    let terms = demand.terms(broker, brokers);
    let (r, s) = (f64::from(demand.replication_factor), demand.message_bytes);
    let replicas_per_broker = (demand.replicas(partitions_per_topic) / brokers).ceil();
    let written = peak * s * r / brokers;
    Ok(Plan {
        brokers: brokers as u64,
        brokers_for,
        peak_messages_per_s: peak,
        partitions_per_topic,
        partitions_for,
        replicas_per_broker: replicas_per_broker as u64,
        gain_until_next: terms[1].messages_per_s / terms[0].messages_per_s,
        terms,
        stored_bytes: stored,
        stored_bytes_per_broker: stored.map(|bytes| bytes / brokers),
        disk_write_bytes_per_s: written,
        net_in_bytes_per_s: written,
        net_out_bytes_per_s: peak * s * (r - 1.0 + demand.fan_out) / brokers,
        memory_bytes: broker.memory_bytes.value
            + replicas_per_broker * broker.partition_memory_bytes.value
            + written * demand.cached_s,
    })
}

/// Each reason's own number of brokers; the largest counts.
fn needed(demand: &Demand, broker: &Broker, partitions_per_topic: u64) -> Result<Needed, Refusal> {
    let one = demand.terms(broker, 1.0)[0];
    let full_by_rate = demand.peak() / (one.messages_per_s * demand.utilization);
    let room = broker.disk_bytes.value * demand.utilization;
    let full_by_storage = demand.stored_bytes(partitions_per_topic).map_or(0.0, |bytes| bytes / room);
    let (by_rate, by_storage) = (full_by_rate.ceil().max(1.0), full_by_storage.ceil());
    let by_replicas = f64::from(demand.replication_factor);
    let (brokers, why) = if by_storage <= by_rate && by_replicas <= by_rate {
        (by_rate, BrokersFor::Rate(one.term))
    } else if by_replicas <= by_storage {
        (by_storage, BrokersFor::Storage)
    } else {
        (by_replicas, BrokersFor::Replicas)
    };
    if BROKERS_MAX < brokers {
        return Err(Refusal::Absurd { what: "brokers", count: brokers, max: BROKERS_MAX });
    }
    Ok(Needed { brokers, why, full_brokers: full_by_rate.max(full_by_storage) })
}

fn partitions(demand: &Demand, broker: &Broker) -> Result<(u64, PartitionsFor), Refusal> {
    let topic_peak = demand.peak() / demand.topics as f64;
    let by_rate = (topic_peak / (broker.partition_messages_per_s.value * demand.utilization)).ceil().max(1.0);
    let by_consumers = demand.consumers_max as f64;
    let needed = by_rate.max(by_consumers);
    if PARTITIONS_MAX < needed * demand.topics as f64 {
        let count = needed * demand.topics as f64;
        return Err(Refusal::Absurd { what: "partitions", count, max: PARTITIONS_MAX });
    }
    let why = if by_consumers <= by_rate { PartitionsFor::Rate } else { PartitionsFor::Consumers };
    Ok((needed as u64, why))
}

impl Broker {
    /// All limits by name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Limit); 8] {
        [
            ("disk write bytes/s", &self.disk_write_bytes_per_s),
            ("network in bytes/s", &self.net_in_bytes_per_s),
            ("network out bytes/s", &self.net_out_bytes_per_s),
            ("CPU messages/s", &self.cpu_messages_per_s),
            ("disk bytes", &self.disk_bytes),
            ("partition messages/s", &self.partition_messages_per_s),
            ("memory bytes", &self.memory_bytes),
            ("partition memory bytes", &self.partition_memory_bytes),
        ]
    }
}

/// A partition's consumer that is behind.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lag {
    /// Messages behind.
    pub messages: f64,
    /// Messages a second that arrive.
    pub produced_per_s: f64,
    /// Messages a second that are read.
    pub consumed_per_s: f64,
    /// Mean stored bytes of a message.
    pub message_bytes: f64,
    /// How long messages are kept.
    pub retention_s: Option<f64>,
    /// How many bytes are kept.
    pub retention_bytes: Option<f64>,
}

/// Whether what a consumer has not read outlives retention.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum LagSafety {
    /// Nothing is ever deleted, or the lag does not grow.
    Safe {
        /// Messages of lag at which retention would overtake; `None`: never.
        messages_max: Option<f64>,
    },
    /// It grows, and this long from now retention deletes what has not been read.
    Outlives {
        /// See [`LagSafety::Safe`].
        messages_max: f64,
        /// From now.
        in_s: f64,
    },
    /// It is behind retention already: messages are lost to this consumer.
    Lost {
        /// See [`LagSafety::Safe`].
        messages_max: f64,
    },
}

impl Lag {
    /// The most messages a consumer may be behind: what retention keeps of a partition at this rate.
    ///
    /// With 1,000 bytes a message, 100 messages/s, a retention of 1 GB and of one hour: 1,000,000 by bytes, 360,000 by time.
    #[must_use]
    pub fn messages_max(&self) -> Option<f64> {
        let by_bytes = self.retention_bytes.map(|bytes| bytes / self.message_bytes);
        let by_time = self.retention_s.map(|s| s * self.produced_per_s);
        match (by_bytes, by_time) {
            (Some(bytes), Some(time)) => Some(bytes.min(time)),
            (bytes, time) => bytes.or(time),
        }
    }

    /// How old the first of so many unread messages is, at this rate. Of [`Self::messages_max`] it is the most seconds that a
    /// lag may have: `retention.ms`, or what `retention.bytes` hold at this rate if that is less.
    #[must_use]
    pub fn seconds(&self, messages: f64) -> f64 {
        messages / self.produced_per_s
    }

    /// The verdict, with the moment at which a growing lag outlives its retention.
    #[must_use]
    pub fn safety(&self) -> LagSafety {
        let Some(messages_max) = self.messages_max() else { return LagSafety::Safe { messages_max: None } };
        if messages_max <= self.messages && 0.0 < self.messages {
            return LagSafety::Lost { messages_max };
        }
        let growth = self.produced_per_s - self.consumed_per_s;
        if growth <= 0.0 {
            return LagSafety::Safe { messages_max: Some(messages_max) };
        }
        LagSafety::Outlives { messages_max, in_s: (messages_max - self.messages) / growth }
    }
}

/// A textbook's form beside ours: what it gives, and what unit it needs to give that.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Textbook {
    /// As it stands in books.
    pub form: &'static str,
    /// What it gives for this demand, in `unit`.
    pub value: f64,
    /// Of the value.
    pub unit: &'static str,
    /// What each quantity must be for the form to make sense, and what it leaves out.
    pub needs: &'static str,
}

/// The simpler forms for a cluster of `brokers`, with `partitions` in all for the one about lag.
#[must_use]
pub fn textbook(demand: &Demand, broker: &Broker, brokers: u64, partitions: u64) -> Vec<Textbook> {
    let (b, r, s) = (brokers as f64, f64::from(demand.replication_factor), demand.message_bytes);
    let (d, n, c) =
        (broker.disk_write_bytes_per_s.value, broker.net_in_bytes_per_s.value, broker.cpu_messages_per_s.value);
    let mut all = vec![
        Textbook {
            form: "min(network bandwidth / message size, write capacity / RF, disk rate / RF)",
            value: (b * n / s).min(b * c / r).min(b * d / s / r),
            unit: "messages/s",
            needs: "bandwidth in bytes/s; write capacity and disk rate both in messages/s (bytes/s divided by the message \
                    size), of all brokers together. It leaves out that the network carries every message R times in and \
                    R-1+F times out",
        },
        Textbook {
            form: "min(B·D / R, B·N / message size)",
            value: (b * d / s / r).min(b * n / s),
            unit: "messages/s",
            needs: "D in messages/s, or the first part is in bytes/s and the second in messages/s and no minimum of them \
                    means anything; N in bytes/s. It leaves out the CPU, the fan-out, and replication on the network",
        },
    ];
    if let Some(bytes) = demand.retention_bytes {
        let rate = demand.messages_per_s / partitions as f64;
        all.push(Textbook {
            form: "lag < retention bytes / message rate",
            value: bytes as f64 / (rate * s),
            unit: "seconds",
            needs: "the rate in bytes/s of one partition, then the lag is in seconds; with a rate in messages/s it is in \
                    bytes·seconds/message, which is no lag. For a lag in messages divide by the message size instead. It \
                    leaves out retention.ms",
        });
    }
    all
}

/// How far a prediction is from what was measured, in percent of the latter; negative is too low.
#[must_use]
pub fn error_percent(predicted: f64, measured: f64) -> f64 {
    (predicted - measured) / measured * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(value: f64) -> Limit {
        Limit { value, source: Source::Given }
    }

    /// The example of the module's text, of one broker.
    fn broker() -> Broker {
        Broker {
            disk_write_bytes_per_s: given(500e6),
            net_in_bytes_per_s: given(1e9),
            net_out_bytes_per_s: given(1e9),
            cpu_messages_per_s: given(600e3),
            disk_bytes: given(10e12),
            partition_messages_per_s: given(50e3),
            memory_bytes: given(100e6),
            partition_memory_bytes: given(10e3),
        }
    }

    fn demand() -> Demand {
        Demand {
            messages_per_s: 100e3,
            peak_factor: 3.0,
            message_bytes: 1000.0,
            topics: 10,
            replication_factor: 3,
            fan_out: 2.0,
            consumers_max: 4,
            retention_s: Some(86_400.0),
            retention_bytes: None,
            segment_bytes: 0,
            cached_s: 10.0,
            utilization: 1.0,
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
    }

    #[test]
    fn the_terms_are_those_of_the_worked_example() {
        let terms = demand().terms(&broker(), 3.0);
        let found: Vec<(Term, f64)> = terms.iter().map(|term| (term.term, term.messages_per_s)).collect();
        let expected = [(Term::Disk, 500e3), (Term::Cpu, 600e3), (Term::NetworkOut, 750e3), (Term::NetworkIn, 1e6)];
        assert!(found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && near(a.1, b.1)), "{found:?}");
        let plan = plan(&demand(), &broker()).expect("a plan");
        assert!(near(plan.gain_until_next, 1.2), "{plan:?}");
    }

    #[test]
    fn a_cluster_is_as_large_as_its_largest_reason() {
        // 300,000/s at the peak; one broker's disk takes 166,667/s: two. Replicas need three.
        let plan_of = |demand: &Demand| plan(demand, &broker()).expect("a plan");
        let small = plan_of(&Demand { retention_s: Some(3600.0), ..demand() });
        assert_eq!((small.brokers, small.brokers_for), (3, BrokersFor::Replicas));
        // 700,000/s at the peak: 4.2 disks.
        let fast = plan_of(&Demand { peak_factor: 7.0, ..demand() });
        assert_eq!((fast.brokers, fast.brokers_for), (5, BrokersFor::Rate(Term::Disk)));
        // 100,000/s · 1,000 B · 3 · 7 days = 181.44 TB: 18.1 brokers of 10 TB.
        let long = plan_of(&Demand { retention_s: Some(7.0 * 86_400.0), ..demand() });
        assert_eq!((long.brokers, long.brokers_for), (19, BrokersFor::Storage));
        assert!(near(long.stored_bytes.expect("bounded"), 181.44e12), "{long:?}");
    }

    #[test]
    fn half_the_utilization_takes_twice_the_brokers() {
        let fast = Demand { peak_factor: 10.0, ..demand() };
        assert_eq!(plan(&fast, &broker()).expect("a plan").brokers, 6);
        assert_eq!(plan(&Demand { utilization: 0.5, ..fast }, &broker()).expect("a plan").brokers, 12);
    }

    #[test]
    fn partitions_follow_the_rate_or_the_consumers() {
        // 30,000/s of each topic at the peak, 50,000/s a partition: one; four consumers are to work.
        let plan_of = |demand: &Demand| plan(demand, &broker()).expect("a plan");
        let found = plan_of(&demand());
        assert_eq!((found.partitions_per_topic, found.partitions_for), (4, PartitionsFor::Consumers));
        let one_topic = plan_of(&Demand { topics: 1, ..demand() });
        assert_eq!((one_topic.partitions_per_topic, one_topic.partitions_for), (6, PartitionsFor::Rate));
    }

    #[test]
    fn every_broker_has_a_share_of_the_partitions() {
        let plan_of = |demand: &Demand| plan(demand, &broker()).expect("a plan");
        // 100,000/s · 1,000 B · 30 days = 259.2 TB of one copy: 26 brokers of 10 TB, which four partitions cannot fill.
        let one_copy = Demand { topics: 1, replication_factor: 1, peak_factor: 1.0, ..demand() };
        let found = plan_of(&Demand { retention_s: Some(30.0 * 86_400.0), ..one_copy });
        assert_eq!((found.brokers, found.brokers_for), (26, BrokersFor::Storage));
        assert_eq!((found.partitions_per_topic, found.partitions_for), (26, PartitionsFor::Brokers));
        assert_eq!(found.replicas_per_broker, 1);
        // A segment more of each partition is stored, too: 26 · 80 GB take another broker, and that another partition.
        let segments = Demand { segment_bytes: 80_000_000_000, retention_s: Some(30.0 * 86_400.0), ..one_copy };
        let found = plan_of(&segments);
        assert_eq!((found.brokers, found.partitions_per_topic), (27, 27));
        assert!(found.stored_bytes_per_broker.expect("bounded") <= 10e12, "{found:?}");
        // Three copies of each partition on three brokers are shared out whatever their number is.
        assert_eq!(plan_of(&Demand { topics: 1, consumers_max: 7, ..demand() }).partitions_per_topic, 7);
    }

    #[test]
    fn a_replica_that_no_broker_can_hold_is_refused() {
        let by_bytes = Demand { retention_s: None, retention_bytes: Some(11_000_000_000_000), ..demand() };
        let error = plan(&by_bytes, &broker()).expect_err("10 TB a broker");
        assert_eq!(error, Refusal::Replica { bytes: 11e12, max: 10e12 });
        // With a time as well, more partitions keep less each.
        assert!(plan(&Demand { retention_s: Some(86_400.0), ..by_bytes }, &broker()).is_ok());
    }

    #[test]
    fn a_broker_carries_its_share_of_bytes_and_memory() {
        let found = plan(&demand(), &broker()).expect("a plan");
        // 300 MB/s at the peak, three copies on three brokers: 300 MB/s each; two followers and two readers: 400 MB/s.
        assert!(near(found.disk_write_bytes_per_s, 300e6) && near(found.net_in_bytes_per_s, 300e6), "{found:?}");
        assert!(near(found.net_out_bytes_per_s, 400e6), "{found:?}");
        // 40 partitions, 3 copies, 3 brokers: 40 replicas; 100 MB + 40 · 10 kB + 10 s · 300 MB/s.
        assert_eq!(found.replicas_per_broker, 40);
        assert!(near(found.memory_bytes, 100e6 + 400e3 + 3e9), "{found:?}");
    }

    #[test]
    fn retention_keeps_a_segment_more_than_it_says() {
        let demand = Demand { segment_bytes: 1_000_000_000, ..demand() };
        let found = plan(&demand, &broker()).expect("a plan");
        // 25.92 TB by time, and 40 partitions · 3 replicas · 1 GB.
        assert!(near(found.stored_bytes.expect("bounded"), 25.92e12 + 120e9), "{found:?}");
        let by_bytes = Demand { retention_bytes: Some(5_000_000_000), ..demand };
        let found = plan(&by_bytes, &broker()).expect("a plan");
        assert!(near(found.stored_bytes.expect("bounded"), 120.0 * 6e9), "{found:?}");
        let for_ever = Demand { retention_s: None, ..demand };
        assert_eq!(plan(&for_ever, &broker()).expect("a plan").stored_bytes, None);
    }

    #[test]
    fn one_copy_that_nobody_reads_leaves_no_broker() {
        let alone = Demand { replication_factor: 1, fan_out: 0.0, ..demand() };
        let found = plan(&alone, &broker()).expect("a plan");
        assert_eq!(found.net_out_bytes_per_s, 0.0);
        assert_eq!(found.terms.last().map(|term| term.term), Some(Term::NetworkOut));
    }

    #[test]
    fn a_lag_outlives_its_retention_at_a_moment() {
        let lag = Lag {
            messages: 60_000.0,
            produced_per_s: 100.0,
            consumed_per_s: 70.0,
            message_bytes: 1000.0,
            retention_s: Some(3600.0),
            retention_bytes: Some(1e9),
        };
        // 360,000 by time; 300,000 more at 30/s.
        assert_eq!(lag.safety(), LagSafety::Outlives { messages_max: 360_000.0, in_s: 10_000.0 });
        let by_bytes = Lag { retention_bytes: Some(90e6), ..lag };
        assert_eq!(by_bytes.safety(), LagSafety::Outlives { messages_max: 90_000.0, in_s: 1_000.0 });
        assert!(near(lag.seconds(lag.messages), 600.0) && near(lag.seconds(360_000.0), 3600.0));
        let draining = Lag { consumed_per_s: 130.0, ..lag };
        assert_eq!(draining.safety(), LagSafety::Safe { messages_max: Some(360_000.0) });
        let lost = Lag { messages: 400_000.0, ..lag };
        assert_eq!(lost.safety(), LagSafety::Lost { messages_max: 360_000.0 });
        let for_ever = Lag { retention_s: None, retention_bytes: None, ..lag };
        assert_eq!(for_ever.safety(), LagSafety::Safe { messages_max: None });
    }

    #[test]
    fn the_textbook_forms_give_their_value_in_the_unit_they_name() {
        let demand = Demand { retention_bytes: Some(36_000_000_000), ..demand() };
        let forms = textbook(&demand, &broker(), 3, 40);
        // 3 GB/s / 1,000 B; 1.8 M/s / 3; 1.5 M/s / 3.
        assert!(near(forms[0].value, 500e3) && near(forms[1].value, 500e3), "{forms:?}");
        // 36 GB of a partition that gets 2,500/s of 1,000 B.
        assert!(near(forms[2].value, 14_400.0) && forms[2].unit == "seconds", "{forms:?}");
        // A tight network shows what the simple form leaves out: 300 MB/s in all carry each message three times.
        let narrow = Broker { net_in_bytes_per_s: given(100e6), ..broker() };
        assert!(near(textbook(&demand, &narrow, 3, 40)[0].value, 300e3));
        assert!(near(demand.rate_by(Term::NetworkIn, &narrow, 3.0), 100e3));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |demand: Demand| plan(&demand, &broker()).expect_err("nonsense").to_string();
        assert!(refused(Demand { messages_per_s: f64::NAN, ..demand() }).starts_with("messages per second"));
        assert!(refused(Demand { peak_factor: 0.5, ..demand() }).starts_with("peak factor = 0.5"));
        assert!(refused(Demand { replication_factor: 0, ..demand() }).starts_with("replication factor"));
        assert!(refused(Demand { message_bytes: 1e9, ..demand() }).contains("check the units"));
        let slow = Broker { partition_messages_per_s: given(0.0), ..broker() };
        assert!(plan(&demand(), &slow).expect_err("no rate").to_string().starts_with("partition messages/s = 0"));
    }

    #[test]
    fn an_error_is_told_against_what_was_measured() {
        assert!(near(error_percent(110.0, 100.0), 10.0) && near(error_percent(85.0, 100.0), -15.0));
    }
}
