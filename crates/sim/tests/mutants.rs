//! Each rule broken on purpose is noticed by a scenario that passes while it holds.

use std::panic::catch_unwind;

use sim::scenario::Scenario;
use storage::mutants::Mutant;

/// A broken rule of a log, of a machine's host, or of the metadata quorum and its controller.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Log(Mutant),
    Host(machine::mutants::Mutant),
    Quorum(quorum::mutants::Mutant),
}

impl Broken {
    fn arm(mutant: Option<Self>) -> bool {
        let (log, host, quorum) = match mutant {
            None => (None, None, None),
            Some(Self::Log(mutant)) => (Some(mutant), None, None),
            Some(Self::Host(mutant)) => (None, Some(mutant), None),
            Some(Self::Quorum(mutant)) => (None, None, Some(mutant)),
        };
        Mutant::arm(log) && machine::mutants::Mutant::arm(host) && quorum::mutants::Mutant::arm(quorum)
    }
}

/// Within this many seeds.
const SEEDS_MAX: u64 = 2_000;

/// Where it shows, and by what. `Some` invariant is the one that must be first to notice; `None`: any, or an assertion
/// of the log itself.
const IN_HOSTS: [(machine::mutants::Mutant, &str, Option<&str>); machine::mutants::Mutant::ALL.len()] =
    [(machine::mutants::Mutant::CommitAckedBeforeItIsLogged, "groups", Some("committed_offsets_survive"))];

/// The same, of the metadata quorum's.
const IN_QUORUM: [(quorum::mutants::Mutant, &str, Option<&str>); quorum::mutants::Mutant::ALL.len()] = [
    (quorum::mutants::Mutant::TrimmedToTheNewestSnapshot, "controller", Some("metadata_can_be_loaded")),
    (quorum::mutants::Mutant::ProducerIdsNotTaken, "controller", Some("acked_commands_survive")),
];

/// The same, of the log's.
const CAUGHT_BY: [(Mutant, &str, Option<&str>); Mutant::ALL.len()] = [
    (Mutant::AckBeforeWriteCompleted, "process_kill", Some("acked_batches_survive")),
    (Mutant::OffsetReusedAfterFailedAppend, "failing_writes", Some("offsets_are_not_reused_within_an_epoch")),
    (Mutant::RecoveryCutsBelowRecoveryPoint, "bit_rot", Some("rot_is_told")),
    (Mutant::SequenceWindowNotRolledBack, "failing_writes", None),
    (Mutant::IndexTrustedAfterCrash, "power_loss", Some("reads_match_appends")),
    (Mutant::DurableAckBeforeSync, "power_loss", None),
    (Mutant::RecoveryPointBeforeSync, "power_loss", Some("what_was_not_broken_opens")),
    (Mutant::ProducerSnapshotIgnored, "process_kill", Some("duplicates_are_rejected")),
    (Mutant::FolderNotSynced, "power_loss", Some("acked_batches_survive")),
    (Mutant::FailedAppendNotCut, "failing_writes", None),
    (Mutant::FailedSyncRetried, "failing_device", Some("acked_batches_survive")),
];

/// What a seed says with this rule broken; `None`: nothing.
fn verdict(scenario: Scenario, seed: u64, mutant: Broken) -> Option<String> {
    assert!(Broken::arm(Some(mutant)), "tests are built with mutants");
    let outcome = catch_unwind(|| sim::run(scenario, seed));
    Broken::arm(None);
    match outcome {
        Ok(outcome) => outcome.violation.map(|violation| violation.invariant),
        Err(_) => Some("an assertion of the log".to_owned()),
    }
}

#[test]
fn every_mutant_is_caught_by_a_scenario_that_passes_without_it() {
    let mut missed = Vec::new();
    let in_logs = CAUGHT_BY.map(|(mutant, scenario, by)| (Broken::Log(mutant), scenario, by));
    let in_hosts = IN_HOSTS.map(|(mutant, scenario, by)| (Broken::Host(mutant), scenario, by));
    let in_quorum = IN_QUORUM.map(|(mutant, scenario, by)| (Broken::Quorum(mutant), scenario, by));
    for (mutant, scenario, by) in in_logs.into_iter().chain(in_hosts).chain(in_quorum) {
        let scenario = Scenario::named(scenario).expect("a scenario of this name");
        let caught = (0..SEEDS_MAX).find_map(|seed| {
            let verdict = verdict(scenario, seed, mutant)?;
            by.is_none_or(|by| by == verdict).then_some((seed, verdict))
        });
        let Some((seed, verdict)) = caught else {
            missed.push(mutant);
            continue;
        };
        println!("{mutant:?}: seed {seed} of {}: {verdict}", scenario.name);
        assert_eq!(sim::run(scenario, seed).violation, None, "{} seed {seed} without {mutant:?}", scenario.name);
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_MAX} seeds: {missed:?}");
}
