//! The page that `/metrics` answers with.
//!
//! ```text
//! control thread:  counters (read where they are) ─► shards: facts, then partitions in slices ─► families, one by one
//! ```
//! A shard only hands over numbers, [`SCRAPE_PARTITIONS_MAX`] partitions at a time, and does its own work in between; the
//! text is made on the control thread, which yields between slices.
//!
//! Measured on 2026-11-28 (7f2d7e2) with 10,000 partitions on two shards of a machine that was busy otherwise (load 10 on
//! two CPUs), from request to last byte: 2.6 MB, over 20 scrapes 19 ms in the median, 12 to 743 ms; with 1,000 groups beside
//! them that have committed in 10 topics each 6.8 MB, 79 ms, 40 to 761 ms. The longest of the 760 turns that the shards did
//! while those 20 scrapes ran took 2.5 to 5 ms, in ten seconds without a scrape 5 to 10 ms: it is who else wants the CPUs that
//! shows there. To be seen by anybody in `ringlog_shard_turn_duration_seconds` before and after a scrape. Were a slice to take
//! long, [`SCRAPE_PARTITIONS_MAX`] is to be made smaller; were the page to be too large for Prometheus, families of
//! partitions would have to be chosen.
//!
//! A module with numbers of its own adds its families in [`page`].

use std::rc::Rc;
use std::sync::Arc;

use shard::DurationCounts;
use types::limits::SCRAPE_PARTITIONS_MAX;
use types::{Offset, TopicPartition};

use crate::exposition::{Kind, Page, seconds};
use crate::http::KAFKA_VERSION;
use crate::lag;
use crate::metrics::ShardMetrics;
use crate::node::NodeShared;
use crate::partition::Partition;
use crate::recent_log;
use crate::shard_state::{ShardFacts, ShardState};

/// Ticks of CPU time in a second, as `/proc` counts them on every Linux architecture we build for (USER_HZ).
const CPU_TICKS_PER_S: u64 = 100;

/// Partitions rendered before the control thread looks after others.
const RENDERED_AT_ONCE: usize = 1024;

/// A family: its name, its help, and the number of each thing that has one.
type Told<T, N> = (&'static str, &'static str, fn(&T) -> N);

/// What is told of one partition.
pub(crate) struct PartitionFacts {
    pub(crate) name: TopicPartition,
    pub(crate) shard: u16,
    /// The place of its log directory among the node's.
    pub(crate) log_dir: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) log_start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) log_end: Offset,
    pub(crate) recovery_point: Offset,
    pub(crate) size_bytes: u64,
    pub(crate) unsynced_bytes: u64,
    pub(crate) queued_bytes: u64,
    pub(crate) segments: usize,
    /// Replies that wait for a write or for the high watermark.
    pub(crate) waiting: usize,
    /// Why it takes no records, if it does not.
    pub(crate) refuses: Option<&'static str>,
}

impl PartitionFacts {
    fn of(partition: &Partition, state: &ShardState) -> Self {
        let visible = partition.visible();
        let log_dir = state.node.log_dirs.iter().position(|dir| Arc::ptr_eq(dir, &partition.log_dir));
        partition.with_log(|log| Self {
            name: partition.name.clone(),
            shard: state.id.index() as u16,
            log_dir: log_dir.unwrap_or(0),
            leader_epoch: partition.epoch().value(),
            log_start: visible.log_start,
            last_stable: visible.last_stable,
            high_watermark: visible.high_watermark,
            log_end: log.offsets().written,
            recovery_point: log.recovery_point(),
            size_bytes: log.size_bytes(),
            unsynced_bytes: log.unsynced_bytes(),
            queued_bytes: log.queued_bytes(),
            segments: log.segment_count(),
            waiting: partition.waiting(),
            refuses: if log.poisoned().is_some() {
                Some("its log directory failed")
            } else if log.awaits_new_epoch() {
                Some("an append failed, and it waits for a new leader epoch")
            } else {
                None
            },
        })
    }
}

/// Every partition of the node, by name. Each shard is asked for a slice at a time.
pub(crate) async fn partitions(node: &Arc<NodeShared>) -> Vec<PartitionFacts> {
    let mut all = Vec::new();
    for shard in node.shard_ids() {
        let mut from = Some(0);
        while let Some(number) = from {
            let slice = node.ask(shard, move |state| {
                let (partitions, next) = state.partitions_from(number, SCRAPE_PARTITIONS_MAX);
                let facts = |partition: &Rc<Partition>| PartitionFacts::of(partition, state);
                (partitions.iter().map(facts).collect::<Vec<_>>(), next)
            });
            // A shard that has ended has no partitions.
            let Some((facts, next)) = slice.await else { break };
            all.extend(facts);
            from = next;
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The whole page.
pub(crate) async fn page(node: &Arc<NodeShared>, stage: &str) -> String {
    page_of(node, &partitions(node).await, stage).await
}

/// The page over what the shards told of their partitions.
pub(crate) async fn page_of(node: &Arc<NodeShared>, partitions: &[PartitionFacts], stage: &str) -> String {
    let mut page = Page::default();
    let help = "1 while clients can connect and the node does not stop; /health/ready.";
    page.single("ringlog_ready", Kind::Gauge, help, u8::from(stage == "ready"));
    node_families(&mut page, node);
    requests(&mut page, node);
    connections(&mut page, node);
    shards(&mut page, node).await;
    log_dirs(&mut page, node, partitions);
    each_partition(&mut page, partitions).await;
    lag::families(&mut page, node).await;
    process(&mut page);
    page.into_text()
}

fn node_families(page: &mut Page, node: &NodeShared) {
    page.family("ringlog_build_info", Kind::Gauge, "Always 1; the labels say what runs.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("kafka_version", KAFKA_VERSION)];
    page.sample("ringlog_build_info", &labels, 1);
    page.single("ringlog_shards", Kind::Gauge, "Threads that do the work.", node.shards);
    let help = "Lines of the log that were lost: whoever reads stderr was too slow, or gone.";
    page.single("ringlog_log_lines_lost_total", Kind::Counter, help, recent_log::lines_lost());
    let help = "Partitions that could not be opened; the log and /debug/bundle say why.";
    page.single("ringlog_partitions_offline", Kind::Gauge, help, node.offline.count());
    let help = "Memory taken by large requests under way.";
    page.single("ringlog_memory_taken_bytes", Kind::Gauge, help, node.memory.taken_bytes());
    page.single("ringlog_memory_max_bytes", Kind::Gauge, "What they may take together.", node.memory.bytes_max());
    let counters: [Told<ShardMetrics, u64>; 6] = [
        ("ringlog_produced_records_total", "Records taken from producers.", |shard| shard.produced_records.get()),
        ("ringlog_produced_bytes_total", "Bytes of their batches, as stored.", |shard| shard.produced_bytes.get()),
        ("ringlog_fetched_bytes_total", "Bytes of batches in answers to fetches.", |shard| shard.fetched_bytes.get()),
        ("ringlog_received_bytes_total", "Bytes read from clients' connections.", |shard| shard.received_bytes.get()),
        ("ringlog_sent_bytes_total", "Bytes written to clients' connections.", |shard| shard.sent_bytes.get()),
        (
            "ringlog_open_files_over_bound_total",
            "How often a shard held more log files open than its share of descriptors.",
            |shard| shard.files_over_bound.get(),
        ),
    ];
    for (name, help, counter) in counters {
        page.single(name, Kind::Counter, help, node.metrics.sum(counter));
    }
}

fn requests(page: &mut Page, node: &NodeShared) {
    let name = "ringlog_request_duration_seconds";
    let help = "From a request's last byte to its answer being ready, waiting for data or members included.";
    page.family(name, Kind::Histogram, help);
    for (api, counts) in node.metrics.latencies() {
        page.durations(name, &[("api", api.name())], &counts);
    }
    let name = "ringlog_refusals_total";
    page.family(name, Kind::Counter, "Error codes in answers, by API and by Kafka's name for the cause.");
    for ((api, code), count) in node.metrics.refusals() {
        page.sample(name, &[("api", api.name()), ("cause", code.name())], count);
    }
}

fn connections(page: &mut Page, node: &NodeShared) {
    page.single("ringlog_connections", Kind::Gauge, "Client connections open now.", node.connections.total());
    let accepted = node.metrics.sum(|shard| shard.connections_accepted.get());
    page.single("ringlog_connections_accepted_total", Kind::Counter, "Client connections taken.", accepted);
    let moved = node.metrics.sum(|shard| shard.connections_moved.get());
    let help = "Client connections handed to the shard that most of their bytes belonged to.";
    page.single("ringlog_connections_moved_total", Kind::Counter, help, moved);
    let name = "ringlog_connections_refused_total";
    page.family(name, Kind::Counter, "Client connections turned away before a byte was read, by the setting.");
    for (cause, count) in node.metrics.connections_refused() {
        page.sample(name, &[("cause", cause.label())], count);
    }
    let name = "ringlog_connections_closed_total";
    page.family(name, Kind::Counter, "Client connections ended, by cause; client is the ordinary one.");
    for (cause, count) in node.metrics.closed() {
        page.sample(name, &[("cause", cause.label())], count);
    }
}

async fn shards(page: &mut Page, node: &Arc<NodeShared>) {
    let mut facts: Vec<(String, &ShardMetrics, Option<ShardFacts>, usize)> = Vec::new();
    for (shard, metrics) in node.shard_ids().zip(node.metrics.shards()) {
        let waiting = node.mailboxes.waiting(shard);
        facts.push((shard.to_string(), metrics, node.ask(shard, |state| state.facts()).await, waiting));
    }
    let name = "ringlog_shard_turn_duration_seconds";
    page.family(name, Kind::Histogram, "One round of a shard's event loop; nothing on the shard answers sooner.");
    for (shard, metrics, ..) in &facts {
        page.durations(name, &[("shard", shard)], &metrics.runtime.turns.counts());
    }
    let counters: [Told<ShardMetrics, u64>; 9] = [
        ("ringlog_shard_mail_total", "Letters and completions taken from the mailbox.", |shard| {
            shard.runtime.mail.get()
        }),
        ("ringlog_log_ring_submits_total", "Calls that handed operations to the kernel.", |shard| {
            shard.runtime.ring.submits.get()
        }),
        ("ringlog_log_ring_submitted_total", "Operations handed to the kernel.", |shard| {
            shard.runtime.ring.submitted.get()
        }),
        (
            "ringlog_log_ring_punted_total",
            "Operations not ended by the call that submitted them: a kernel worker does them.",
            |shard| shard.runtime.ring.punted.get(),
        ),
        ("ringlog_log_ring_writes_total", "Gathered writes ended, inline ones too.", |shard| {
            shard.runtime.ring.writes.get()
        }),
        ("ringlog_log_ring_syncs_total", "Fsyncs ended that replies waited for.", |shard| {
            shard.runtime.ring.syncs.get()
        }),
        ("ringlog_log_ring_read_aheads_total", "Reads of cold pages ended.", |shard| {
            shard.runtime.ring.read_aheads.get()
        }),
        ("ringlog_log_ring_failed_total", "Operations that ended with an error.", |shard| {
            shard.runtime.ring.failed.get()
        }),
        ("ringlog_log_ring_written_bytes_total", "Bytes written to logs.", |shard| {
            shard.runtime.ring.written_bytes.get()
        }),
    ];
    for (name, help, counter) in counters {
        page.family(name, Kind::Counter, help);
        for (shard, metrics, ..) in &facts {
            page.sample(name, &[("shard", shard)], counter(metrics));
        }
    }
    page.family("ringlog_shard_mailbox_letters", Kind::Gauge, "Letters that wait for the shard.");
    for (shard, _, _, waiting) in &facts {
        page.sample("ringlog_shard_mailbox_letters", &[("shard", shard)], waiting);
    }
    let gauges: [Told<ShardFacts, usize>; 8] = [
        ("ringlog_shard_partitions", "Partitions whose home the shard is.", |facts| facts.partitions),
        ("ringlog_shard_produces_in_flight", "Produce requests under way.", |facts| facts.produces),
        ("ringlog_shard_fetches_in_flight", "Fetches under way, those that wait for data too.", |facts| facts.fetches),
        ("ringlog_shard_fetch_sessions", "Fetch sessions kept (KIP-227).", |facts| facts.fetch_sessions),
        ("ringlog_shard_letters_unsent", "Letters kept back, as a mailbox was full.", |facts| facts.letters_unsent),
        ("ringlog_log_ring_queued", "Operations that wait for a place in the ring.", |facts| facts.ring_queued),
        ("ringlog_log_ring_in_flight", "Operations queued or in the kernel.", |facts| facts.ring_in_flight),
        ("ringlog_shard_log_files_open", "Log files held open.", |facts| facts.files_open),
    ];
    for (name, help, gauge) in gauges {
        page.family(name, Kind::Gauge, help);
        for (shard, _, facts, _) in &facts {
            if let Some(facts) = facts {
                page.sample(name, &[("shard", shard)], gauge(facts));
            }
        }
    }
}

/// What is told of one log directory.
struct LogDirFacts {
    path: String,
    space: Option<shard::probe::Space>,
    reserve_bytes: Option<u64>,
    refuses_produce: bool,
    poisoned: bool,
    partitions: usize,
    unsynced_bytes: u64,
    size_bytes: u64,
    writeback_waiting: usize,
    file_work_waiting: usize,
    maintenance_waiting: usize,
    writeback_started_bytes: u64,
    fsyncs: DurationCounts,
}

fn log_dirs(page: &mut Page, node: &NodeShared, partitions: &[PartitionFacts]) {
    let facts = node.log_dirs.iter().enumerate().map(|(at, dir)| {
        let here = || partitions.iter().filter(|partition| partition.log_dir == at);
        let mut fsyncs = dir.writeback.stats().syncs.counts();
        for shard in node.metrics.shards() {
            fsyncs.merge(&shard.fsyncs[at].counts());
        }
        let space = shard::probe::space(&dir.path).ok();
        LogDirFacts {
            path: dir.path.display().to_string(),
            space,
            reserve_bytes: space.map(|space| dir.reserve_bytes(node.config.disk_reserve_bytes, space)),
            refuses_produce: dir.refusal().is_some(),
            poisoned: dir.is_poisoned(),
            partitions: dir.partitions(),
            unsynced_bytes: here().map(|partition| partition.unsynced_bytes).sum(),
            size_bytes: here().map(|partition| partition.size_bytes).sum(),
            writeback_waiting: dir.writeback.waiting(),
            file_work_waiting: dir.file_work_waiting(),
            maintenance_waiting: dir.maintenance.waiting(),
            writeback_started_bytes: dir.writeback.stats().started_bytes.get(),
            fsyncs,
        }
    });
    let dirs: Vec<LogDirFacts> = facts.collect();
    let name = "ringlog_fsync_duration_seconds";
    page.family(name, Kind::Histogram, "Fsyncs of log files, by the ring and by the writeback thread.");
    for dir in &dirs {
        page.durations(name, &[("log_dir", &dir.path)], &dir.fsyncs);
    }
    let mut numbers = |name: &str, kind: Kind, help: &str, value: fn(&LogDirFacts) -> Option<u64>| {
        page.family(name, kind, help);
        for dir in &dirs {
            if let Some(value) = value(dir) {
                page.sample(name, &[("log_dir", &dir.path)], value);
            }
        }
    };
    let (gauge, counter) = (Kind::Gauge, Kind::Counter);
    numbers("ringlog_log_dir_total_bytes", gauge, "Size of the log directory's file system.", |dir| {
        dir.space.map(|space| space.total_bytes)
    });
    numbers("ringlog_log_dir_free_bytes", gauge, "Free bytes of the log directory's file system.", |dir| {
        dir.space.map(|space| space.free_bytes)
    });
    numbers("ringlog_log_dir_reserve_bytes", gauge, "Free bytes below which produce is refused.", |dir| {
        dir.reserve_bytes
    });
    numbers("ringlog_log_dir_size_bytes", gauge, "Bytes of all segments in the log directory.", |dir| {
        Some(dir.size_bytes)
    });
    numbers(
        "ringlog_log_dir_unsynced_bytes",
        gauge,
        "Writeback debt: bytes written and not known to be fsynced; a power cut may take them.",
        |dir| Some(dir.unsynced_bytes),
    );
    numbers("ringlog_log_dir_partitions", gauge, "Partitions in the log directory.", |dir| Some(dir.partitions as u64));
    numbers("ringlog_log_dir_refuses_produce", gauge, "1 while produce is refused: disk full or failed.", |dir| {
        Some(u64::from(dir.refuses_produce))
    });
    numbers("ringlog_log_dir_poisoned", gauge, "1 once a write or fsync failed, until a restart.", |dir| {
        Some(u64::from(dir.poisoned))
    });
    numbers("ringlog_writeback_jobs", gauge, "Jobs that the writeback thread has or is to do.", |dir| {
        Some(dir.writeback_waiting as u64)
    });
    numbers("ringlog_file_work_jobs", gauge, "Creates, renames and checkpoints under way or waiting.", |dir| {
        Some(dir.file_work_waiting as u64)
    });
    numbers("ringlog_maintenance_jobs", gauge, "Compactions and removals under way or waiting.", |dir| {
        Some(dir.maintenance_waiting as u64)
    });
    numbers(
        "ringlog_writeback_started_bytes_total",
        counter,
        "Bytes that the kernel was asked to begin writing back.",
        |dir| Some(dir.writeback_started_bytes),
    );
}

async fn each_partition(page: &mut Page, partitions: &[PartitionFacts]) {
    let families: [Told<PartitionFacts, i64>; 4] = [
        ("ringlog_partition_log_start_offset", "The first offset that can be read.", |facts| facts.log_start.value()),
        ("ringlog_partition_high_watermark", "The offset behind the last record that consumers see.", |facts| {
            facts.high_watermark.value()
        }),
        ("ringlog_partition_log_end_offset", "The offset behind the last record written.", |facts| {
            facts.log_end.value()
        }),
        ("ringlog_partition_size_bytes", "Bytes of the partition's segments.", |facts| {
            i64::try_from(facts.size_bytes).unwrap_or(i64::MAX)
        }),
    ];
    for (name, help, value) in families {
        page.family(name, Kind::Gauge, help);
        for some in partitions.chunks(RENDERED_AT_ONCE) {
            for facts in some {
                let partition = facts.name.partition.value().to_string();
                page.sample(name, &[("topic", &facts.name.topic), ("partition", &partition)], value(facts));
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The process's own, under the names that every Prometheus client library gives them. What cannot be read is left out.
fn process(page: &mut Page) {
    let facts = process_facts();
    let mut gauge = |name: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            page.single(name, kind, help, value);
        }
    };
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    gauge(
        "process_cpu_seconds_total",
        "CPU time, user and system.",
        facts.cpu_ticks.map(|ticks| seconds(ticks * (1_000_000_000 / CPU_TICKS_PER_S))),
    );
    gauge("process_resident_memory_bytes", "Resident memory.", text(facts.resident_bytes));
    gauge("process_virtual_memory_bytes", "Virtual memory.", text(facts.virtual_bytes));
    gauge("process_threads", "Threads, the kernel's workers for the rings too.", text(facts.threads));
    gauge("process_open_fds", "Open file descriptors.", text(facts.open_files));
    gauge("process_max_fds", "How many there may be.", text(facts.open_files_max));
    gauge(
        "process_start_time_seconds",
        "Start of the process, in seconds since 1970.",
        facts.started_ticks.and_then(|ticks| {
            let boot = facts.booted_s?;
            Some(seconds(boot * 1_000_000_000 + ticks * (1_000_000_000 / CPU_TICKS_PER_S)))
        }),
    );
}

/// From `/proc`.
#[derive(Default)]
struct ProcessFacts {
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    threads: Option<u64>,
    cpu_ticks: Option<u64>,
    started_ticks: Option<u64>,
    booted_s: Option<u64>,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
}

fn process_facts() -> ProcessFacts {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kib = |name: &str| line(name)?.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // | pid (name) state ... utime(14) stime(15) ... starttime(22) |: the name may hold anything, so count from behind it.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |number: usize| after_name.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
    let booted = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    ProcessFacts {
        resident_bytes: kib("VmRSS:"),
        virtual_bytes: kib("VmSize:"),
        threads: line("Threads:").and_then(|text| text.parse().ok()),
        cpu_ticks: field(14).zip(field(15)).map(|(user, system)| user + system),
        started_ticks: field(22),
        booted_s: booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()),
        open_files: std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        open_files_max: shard::probe::open_files().ok().and_then(|limit| limit.soft),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_time_files_and_a_start() {
        let facts = process_facts();
        assert!(facts.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(facts.virtual_bytes >= facts.resident_bytes);
        assert!(facts.threads.is_some_and(|threads| threads >= 1));
        assert!(facts.cpu_ticks.is_some());
        assert!(facts.open_files.is_some_and(|files| files >= 3));
        assert!(facts.open_files_max.is_some_and(|files| files >= 3));
        let started_s = facts.booted_s.expect("a boot time") + facts.started_ticks.expect("a start") / CPU_TICKS_PER_S;
        let now_s = shard::clock::read().wall.millis() as u64 / 1000;
        assert!(started_s <= now_s + 1 && now_s < started_s + 3600 * 24, "started at {started_s}, now {now_s}");
    }
}
