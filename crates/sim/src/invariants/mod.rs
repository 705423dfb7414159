//! What must hold whatever happens, one file each.

use crate::history::{History, Seen};
use crate::scenario::Scenario;

mod acked_batches_survive;
mod acked_commands_survive;
mod acked_generations_stay;
mod acks_wait_for_their_mark;
mod committed_offsets_survive;
mod duplicates_are_rejected;
mod heals;
mod last_values_stay;
mod log_start_is_kept;
mod marks_only_rise;
mod offsets_are_not_reused;
mod reads_match_appends;
mod recovery_is_bounded;

/// Something that must hold.
pub trait Invariant {
    /// Its name: a claim.
    fn name(&self) -> &'static str;

    /// Judges what was seen, with everything that came before. `history` already contains it.
    ///
    /// # Errors
    /// How it was broken.
    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String>;
}

/// Those of a log, at the start of a run of `scenario`.
#[must_use]
pub fn all(scenario: &Scenario) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<offsets_are_not_reused::OffsetsAreNotReused>::default(),
        Box::<marks_only_rise::MarksOnlyRise>::default(),
        Box::<acks_wait_for_their_mark::AcksWaitForTheirMark>::default(),
        Box::<reads_match_appends::ReadsMatchAppends>::default(),
        Box::new(acked_batches_survive::AckedBatchesSurvive::new(scenario.every_ack_is_durable)),
        Box::<duplicates_are_rejected::DuplicatesAreRejected>::default(),
        Box::<last_values_stay::LastValuesStay>::default(),
        Box::<log_start_is_kept::LogStartIsKept>::default(),
        Box::<recovery_is_bounded::RecoveryIsBounded>::default(),
        Box::<heals::Heals>::default(),
    ]
}

/// Those of a group coordinator that keeps offsets for `retention_ms`.
#[must_use]
pub fn of_groups(retention_ms: i64) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(committed_offsets_survive::CommittedOffsetsSurvive::new(retention_ms)),
        Box::<acked_generations_stay::AckedGenerationsStay>::default(),
    ]
}

/// Those of a controller.
#[must_use]
pub fn of_controller() -> Vec<Box<dyn Invariant>> {
    vec![Box::<acked_commands_survive::AckedCommandsSurvive>::default()]
}
