//! Rules of this crate that can be broken on purpose, one at a time, to see whether the simulator notices. Compiled in
//! only with the feature `mutants`, which no release has; without it [`Mutant::is_armed`] is `false` at compile time.

/// A rule, named for what is done instead of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutant {
    /// A batch is acked, and the log end moved, when its write begins.
    AckBeforeWriteCompleted,
    /// After a failed append the log goes on in the same leader epoch.
    OffsetReusedAfterFailedAppend,
    /// Damage below the recovery point is cut like a torn tail.
    RecoveryCutsBelowRecoveryPoint,
    /// A failed append leaves its sequences taken.
    SequenceWindowNotRolledBack,
    /// An index is taken as it is found after a loss of power.
    IndexTrustedAfterCrash,
    /// In durable mode a batch is acked once it is written.
    DurableAckBeforeSync,
    /// The recovery point moves when its syncs begin.
    RecoveryPointBeforeSync,
    /// Recovery forgets the producers that the checkpoint holds.
    ProducerSnapshotIgnored,
    /// A new file's name is not synced with its bytes.
    FolderNotSynced,
    /// What a failed append left in the file stays there.
    FailedAppendNotCut,
    /// A failed fsync is tried again.
    FailedSyncRetried,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeWriteCompleted,
        Self::OffsetReusedAfterFailedAppend,
        Self::RecoveryCutsBelowRecoveryPoint,
        Self::SequenceWindowNotRolledBack,
        Self::IndexTrustedAfterCrash,
        Self::DurableAckBeforeSync,
        Self::RecoveryPointBeforeSync,
        Self::ProducerSnapshotIgnored,
        Self::FolderNotSynced,
        Self::FailedAppendNotCut,
        Self::FailedSyncRetried,
    ];
}

#[cfg(feature = "mutants")]
mod armed {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ARMED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// Breaks this rule, and no other, on this thread; `None` mends all. `false`: this build cannot.
        pub fn arm(mutant: Option<Self>) -> bool {
            ARMED.set(mutant);
            true
        }

        /// Whether this rule is broken.
        #[must_use]
        pub fn is_armed(self) -> bool {
            ARMED.get() == Some(self)
        }
    }
}

#[cfg(not(feature = "mutants"))]
impl Mutant {
    /// Breaks a rule on this thread: not in this build.
    pub const fn arm(_: Option<Self>) -> bool {
        false
    }

    /// Whether this rule is broken: never in this build.
    #[must_use]
    pub const fn is_armed(self) -> bool {
        false
    }
}
