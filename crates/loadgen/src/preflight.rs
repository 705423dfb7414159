//! What is looked at before a run, in a second or two: a run that cannot work is refused with the reason, and what would
//! make its numbers doubtful is said beside them.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::outcome::{Finding, Severity};
use crate::watch::BrokerProcess;
use crate::workload::{Load, Workload};

/// Descriptors that are open anyway: files, pipes, timers.
const DESCRIPTORS_SPARE: u64 = 64;
/// Sources that a clock read costs tens of nanoseconds with and not a system call.
const CLOCKS: [&str; 3] = ["tsc", "kvm-clock", "arch_sys_counter"];

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) nodes: usize,
    /// Free bytes below all log directories that tell: [`free_bytes`].
    pub(crate) free_bytes: Option<u64>,
    /// Descriptors this process may have, once the soft limit is raised to the hard one.
    pub(crate) descriptors: u64,
    pub(crate) clock: Option<String>,
    /// The CPUs' governor, where the machine has one.
    pub(crate) governor: Option<String>,
    /// CPUs that the generator may use.
    pub(crate) own_cpus: Vec<usize>,
    /// CPUs that the brokers may use; empty: not known.
    pub(crate) broker_cpus: Vec<usize>,
}

impl Facts {
    /// Looks at this machine.
    pub(crate) fn of_machine(cpus: &[usize], brokers: &[BrokerProcess]) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let mut broker_cpus: Vec<usize> = brokers.iter().flat_map(|broker| cpus_of(broker.pid())).collect();
        broker_cpus.sort_unstable();
        broker_cpus.dedup();
        Self {
            nodes: 0,
            free_bytes: None,
            descriptors: raise_descriptors(),
            clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            own_cpus: if cpus.is_empty() { cpus_of(0) } else { cpus.to_vec() },
            broker_cpus,
        }
    }
}

/// What log directories, of whatever nodes, have free together: a file system that several lie on counts once. Each is given as
/// the number of its file system, where that is known, and what is free there. `None` without any.
pub(crate) fn free_bytes(dirs: &[(Option<u64>, u64)]) -> Option<u64> {
    let mut shared: BTreeMap<u64, u64> = BTreeMap::new();
    for (file_system, free) in dirs.iter().filter_map(|(file_system, free)| Some(((*file_system)?, *free))) {
        // They were asked one after the other, and somebody may write meanwhile.
        shared.entry(file_system).and_modify(|least| *least = free.min(*least)).or_insert(free);
    }
    let of_their_own = dirs.iter().filter(|(file_system, _)| file_system.is_none()).map(|(_, free)| free);
    (!dirs.is_empty()).then(|| shared.values().chain(of_their_own).sum())
}

/// The CPUs that a process may use; 0 is this one.
pub(crate) fn cpus_of(pid: i32) -> Vec<usize> {
    let Ok(set) = nix::sched::sched_getaffinity(Pid::from_raw(pid)) else { return Vec::new() };
    (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// Raises the soft limit of descriptors to the hard one; returns what holds now.
pub(crate) fn raise_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// Judges a run by what was seen.
pub(crate) fn judge(workload: &Workload, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |severity, check, found: String| findings.push(Finding { severity, check, found });
    let factor = usize::from(workload.topics.replication_factor);
    match facts.nodes {
        nodes if nodes < factor && workload.topics.existing.is_none() => find(
            Severity::Refusal,
            "brokers",
            format!("{nodes} for replication factor {factor}. Lower topics.replication_factor, or start more nodes"),
        ),
        nodes => find(Severity::Ok, "brokers", format!("{nodes}, replication factor {factor}")),
    }
    find_room(workload, facts, &mut find);
    let (producers, consumers) = (&workload.producers, &workload.consumers);
    let connections =
        u64::from(producers.count) + 3 * u64::from(consumers.groups * consumers.per_group + consumers.cold_readers);
    let needed = connections * facts.nodes.max(1) as u64 + DESCRIPTORS_SPARE;
    if facts.descriptors < needed {
        let found = format!("{} for about {needed} connections. Raise the limit (ulimit -n)", facts.descriptors);
        find(Severity::Refusal, "descriptors", found);
    } else {
        find(Severity::Ok, "descriptors", format!("{} for about {needed} connections", facts.descriptors));
    }
    match facts.clock.as_deref() {
        Some(clock) if !CLOCKS.contains(&clock) => {
            let found = format!("{clock}: reading the time is slow and coarse. Choose tsc if the machine has it");
            find(Severity::Warning, "clock", found);
        }
        Some(clock) => find(Severity::Ok, "clock", clock.to_owned()),
        None => find(Severity::Ok, "clock", "the system does not say which".to_owned()),
    }
    match facts.governor.as_deref() {
        Some("performance") => find(Severity::Ok, "governor", "performance".to_owned()),
        Some(governor) => {
            let found = format!("{governor}: the CPU's speed follows the load. Set the governor to performance");
            find(Severity::Warning, "governor", found);
        }
        None => find(Severity::Ok, "governor", "none to choose".to_owned()),
    }
    let common: Vec<String> =
        facts.own_cpus.iter().filter(|cpu| facts.broker_cpus.contains(cpu)).map(usize::to_string).collect();
    if facts.broker_cpus.is_empty() {
        let found = "the brokers' are not known. Name them with --broker-pid if they run on this machine".to_owned();
        find(Severity::Warning, "cores", found);
    } else if common.is_empty() {
        find(Severity::Ok, "cores", "generator and brokers have their own".to_owned());
    } else {
        let found = format!(
            "generator and brokers share CPU {}: each slows the other. Pin them apart (--cpus, taskset)",
            common.join(", ")
        );
        find(Severity::Warning, "cores", found);
    }
    findings
}

fn find_room(workload: &Workload, facts: &Facts, find: &mut impl FnMut(Severity, &'static str, String)) {
    let Some(free_bytes) = facts.free_bytes else {
        return find(Severity::Warning, "room", "the brokers do not tell how much is free".to_owned());
    };
    let Some(needed_bytes) = bytes_needed(workload) else {
        let found = format!(
            "{} MiB free, and nothing bounds what the run writes. Set retention.bytes in topics.configs, or keep it short",
            free_bytes >> 20
        );
        return find(Severity::Warning, "room", found);
    };
    if free_bytes < needed_bytes {
        let found = format!(
            "{} MiB free, the run writes up to {} MiB. Make room, or set retention.bytes in topics.configs",
            free_bytes >> 20,
            needed_bytes >> 20
        );
        return find(Severity::Refusal, "room", found);
    }
    find(
        Severity::Ok,
        "room",
        format!("{} MiB free, the run writes up to {} MiB", free_bytes >> 20, needed_bytes >> 20),
    );
}

/// What the run writes on all nodes together, before compression; `None` when nothing bounds it.
fn bytes_needed(workload: &Workload) -> Option<u64> {
    let seconds = (workload.warmup + workload.duration).as_secs_f64();
    let messages = match workload.load {
        Load::Open(rate) | Load::Soak(rate) | Load::Backlog { rate, .. } => Some(rate.messages_per_s * seconds),
        Load::Sweep(sweep) => Some(sweep.rates().iter().map(|rate| rate * seconds).sum()),
        Load::Closed { .. } | Load::Maximum => None,
    };
    let written = messages.map(|messages| messages * workload.messages.size_bytes_mean());
    let kept = workload.topics.configs.get("retention.bytes").and_then(|bytes| bytes.parse::<f64>().ok());
    let kept = kept.filter(|bytes| 0.0 <= *bytes).map(|bytes| {
        // The active segment is not deleted.
        let segment = workload.topics.configs.get("segment.bytes").and_then(|bytes| bytes.parse().ok());
        (bytes + segment.unwrap_or(1_073_741_824.0)) * f64::from(workload.topics.partitions_total())
    });
    let bytes = match (written, kept) {
        (Some(written), Some(kept)) => written.min(kept),
        (written, kept) => written.or(kept)?,
    };
    Some((bytes * f64::from(workload.topics.replication_factor)) as u64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn workload(text: &str) -> Workload {
        Workload::parse(&format!("name = \"t\"\nduration_s = 10\nwarmup_s = 0\n{text}"), Path::new(".")).expect("right")
    }

    fn facts() -> Facts {
        Facts {
            nodes: 1,
            free_bytes: Some(1 << 30),
            descriptors: 1024,
            clock: Some("tsc".into()),
            governor: Some("performance".into()),
            own_cpus: vec![1],
            broker_cpus: vec![0],
        }
    }

    #[test]
    fn each_check_has_its_reason() {
        let plain = "[load]\nrate = 1000";
        let all_well = judge(&workload(plain), &facts());
        assert!(all_well.iter().all(|finding| finding.severity == Severity::Ok), "{all_well:?}");
        let shrink = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            facts
        };
        for (text, facts, check, severity, words) in [
            (
                "[load]\nrate = 1000\n[topics]\nreplication_factor = 3",
                facts(),
                "brokers",
                Severity::Refusal,
                "1 for replication factor 3",
            ),
            (
                plain,
                shrink(|facts| facts.free_bytes = Some(9 << 20)),
                "room",
                Severity::Refusal,
                "9 MiB free, the run writes up to 9",
            ),
            (plain, shrink(|facts| facts.free_bytes = None), "room", Severity::Warning, "do not tell"),
            ("[load]\nmode = \"maximum\"", facts(), "room", Severity::Warning, "1024 MiB free, and nothing bounds"),
            (plain, shrink(|facts| facts.descriptors = 60), "descriptors", Severity::Refusal, "60 for about"),
            (plain, shrink(|facts| facts.clock = Some("hpet".into())), "clock", Severity::Warning, "hpet"),
            (
                plain,
                shrink(|facts| facts.governor = Some("powersave".into())),
                "governor",
                Severity::Warning,
                "powersave",
            ),
            (plain, shrink(|facts| facts.broker_cpus = vec![0, 1]), "cores", Severity::Warning, "share CPU 1"),
            (plain, shrink(|facts| facts.broker_cpus.clear()), "cores", Severity::Warning, "not known"),
        ] {
            let findings = judge(&workload(text), &facts);
            let finding = findings.iter().find(|finding| finding.check == check).expect("it was looked at");
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_file_system_that_nodes_share_has_its_room_once() {
        for (dirs, free) in [
            (&[][..], None),
            (&[(Some(7), 100), (Some(7), 90), (Some(7), 95)], Some(90)),
            (&[(Some(7), 100), (Some(8), 30)], Some(130)),
            // Brokers elsewhere tell of directories, and not whose disks these are.
            (&[(None, 100), (None, 100)], Some(200)),
        ] {
            assert_eq!(free_bytes(dirs), free, "{dirs:?}");
        }
    }

    #[test]
    fn retention_bounds_what_is_written() {
        let text = "[load]\nrate = 1e6\n[topics]\npartitions = 2\nconfigs = { \"retention.bytes\" = \"1000\", \"segment.bytes\" = \"500\" }";
        assert_eq!(bytes_needed(&workload(text)), Some(3000));
        assert_eq!(bytes_needed(&workload("[load]\nmode = \"maximum\"")), None);
        assert_eq!(bytes_needed(&workload("[load]\nrate = 100")), Some(100 * 10 * 1024));
    }
}
