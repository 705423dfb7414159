//! What a run is made of: settings drawn from its seed within a scenario's bounds.

use storage::{CleanupPolicy, LogConfig};

use crate::faults::Fault;
use crate::rng::Rng;

/// What stands on the log, and so what is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// Nothing: clients append to it ([`crate::world`]).
    Log,
    /// A group coordinator ([`crate::group_world`]).
    Groups,
    /// The metadata quorum and its controller ([`crate::controller_world`]).
    Controller,
}

/// A family of runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// The faults a run may draw.
    pub faults: &'static [Fault],
    /// Whether acks wait for fsync; `None`: as the seed says.
    pub durable: Option<bool>,
    /// Whether retention and delete-records run.
    pub deletes: bool,
    /// Whether the topic is compacted.
    pub compacts: bool,
    /// What stands on the log.
    pub hosts: Hosts,
    /// Steps of the phase with faults.
    pub steps: u64,
    /// Whether every ack is taken to outlive the loss of power, also where acks do not wait for fsync. Not so.
    pub every_ack_is_durable: bool,
}

/// Every scenario that must pass.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "calm",
        faults: &[],
        durable: None,
        deletes: true,
        compacts: false,
        hosts: Hosts::Log,
        steps: 120,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "process_kill",
        faults: &[Fault::ProcessKill, Fault::CrashInRecovery],
        durable: None,
        deletes: true,
        compacts: false,
        hosts: Hosts::Log,
        steps: 160,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "power_loss",
        faults: &[Fault::PowerLoss, Fault::CrashInRecovery],
        durable: None,
        deletes: true,
        compacts: false,
        hosts: Hosts::Log,
        steps: 160,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "failing_writes",
        faults: &[Fault::DiskFull, Fault::ShortWrite, Fault::ProcessKill],
        durable: None,
        deletes: false,
        compacts: false,
        hosts: Hosts::Log,
        steps: 160,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "failing_device",
        faults: &[Fault::WriteError, Fault::SyncError, Fault::FileError, Fault::PowerLoss],
        durable: None,
        deletes: true,
        compacts: false,
        hosts: Hosts::Log,
        steps: 160,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "bit_rot",
        faults: &[Fault::BitRot, Fault::PowerLoss, Fault::ProcessKill],
        durable: None,
        deletes: false,
        compacts: false,
        hosts: Hosts::Log,
        steps: 160,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "compaction",
        faults: &[Fault::ProcessKill, Fault::PowerLoss, Fault::CrashInRecovery, Fault::DiskFull],
        durable: None,
        deletes: false,
        compacts: true,
        hosts: Hosts::Log,
        steps: 240,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "compaction_and_retention",
        faults: &[
            Fault::ProcessKill,
            Fault::PowerLoss,
            Fault::CrashInRecovery,
            Fault::WriteError,
            Fault::SyncError,
            Fault::FileError,
            Fault::DiskFull,
            Fault::ShortWrite,
        ],
        durable: None,
        deletes: true,
        compacts: true,
        hosts: Hosts::Log,
        steps: 240,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "everything",
        faults: &Fault::ALL,
        durable: None,
        deletes: true,
        compacts: false,
        hosts: Hosts::Log,
        steps: 240,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "groups",
        faults: &[
            Fault::ProcessKill,
            Fault::PowerLoss,
            Fault::CrashInRecovery,
            Fault::WriteError,
            Fault::SyncError,
            Fault::FileError,
            Fault::DiskFull,
            Fault::ShortWrite,
        ],
        durable: None,
        deletes: false,
        compacts: true,
        hosts: Hosts::Groups,
        steps: 300,
        every_ack_is_durable: false,
    },
    Scenario {
        name: "controller",
        faults: &[
            Fault::ProcessKill,
            Fault::PowerLoss,
            Fault::WriteError,
            Fault::SyncError,
            Fault::FileError,
            Fault::DiskFull,
            Fault::ShortWrite,
            Fault::BitRot,
        ],
        durable: Some(true),
        deletes: false,
        compacts: false,
        hosts: Hosts::Controller,
        steps: 30,
        every_ack_is_durable: false,
    },
];

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        SCENARIOS.iter().chain([&CANARY]).copied().find(|scenario| scenario.name == name)
    }
}

/// Claims more than a log promises: that acks which do not wait for fsync survive the loss of power. It must fail, or
/// the simulator sees nothing.
pub const CANARY: Scenario = Scenario {
    name: "canary",
    faults: &[Fault::PowerLoss],
    durable: Some(false),
    deletes: false,
    compacts: false,
    hosts: Hosts::Log,
    steps: 160,
    every_ack_is_durable: true,
};

/// What one seed drew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drawn {
    /// The log's settings.
    pub config: LogConfig,
    /// The faults in use: some seeds leave some out, as a fault may hide what another would show.
    pub faults: Vec<Fault>,
    /// Thousandths of steps that crash the node, if crashes are in use.
    pub crash_permille: u64,
    /// Thousandths of operations that fail, if failing is in use.
    pub fail_permille: u64,
}

fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.index(choices.len())]
}

impl Drawn {
    /// Draws.
    #[must_use]
    pub fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let durable = scenario.durable.unwrap_or_else(|| rng.chance(400));
        let mut config = LogConfig {
            segment_bytes: one_of(rng, &[900, 2_500, 8_000, 1 << 20]),
            segment_index_bytes: one_of(rng, &[64, 4_096, 1 << 20]),
            index_interval_bytes: one_of(rng, &[1, 300, 4_096]),
            segment_ms: one_of(rng, &[None, Some(5_000), Some(60_000)]),
            flush_messages: if durable { Some(1) } else { one_of(rng, &[None, None, Some(7)]) },
            flush_ms: one_of(rng, &[None, None, Some(0), Some(2_000)]),
            log_append_time: rng.chance(200),
            file_delete_delay_ms: one_of(rng, &[0, 1_000, 60_000]),
            retention_bytes: None,
            retention_ms: None,
            ..LogConfig::default()
        };
        if scenario.deletes {
            config.retention_bytes = one_of(rng, &[None, Some(6_000)]);
            config.retention_ms = one_of(rng, &[None, Some(120_000)]);
        }
        if scenario.compacts {
            config.segment_bytes = one_of(rng, &[900, 2_500]);
            config.cleanup_policy = CleanupPolicy { delete: scenario.deletes, compact: true };
            config.min_cleanable_dirty_ratio_permille = one_of(rng, &[0, 200]);
            config.min_compaction_lag_ms = one_of(rng, &[0, 1_000]);
            config.delete_retention_ms = one_of(rng, &[0, 5_000, 100_000_000]);
        }
        if scenario.hosts == Hosts::Groups {
            // A group of a few members must fit a segment.
            config.segment_bytes = one_of(rng, &[2_500, 6_000]);
        }
        if scenario.hosts == Hosts::Controller {
            config.segment_bytes = one_of(rng, &[2_500, 6_000]);
            // Only snapshots let it go.
            config.cleanup_policy = CleanupPolicy { delete: true, compact: false };
            config.log_append_time = false;
            config.file_delete_delay_ms = 0;
        }
        let mut faults: Vec<Fault> = scenario.faults.iter().copied().filter(|_| rng.chance(700)).collect();
        if faults.is_empty() {
            faults = scenario.faults.to_vec();
        }
        if scenario.hosts == Hosts::Groups && !durable {
            // Without fsync nothing is promised of what these take.
            faults.retain(|fault| !matches!(fault, Fault::PowerLoss | Fault::SyncError));
        }
        Self { config, faults, crash_permille: one_of(rng, &[5, 15, 40]), fail_permille: one_of(rng, &[5, 30, 80]) }
    }

    /// Whether this fault is in use.
    #[must_use]
    pub fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
