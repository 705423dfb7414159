//! Rules of this crate that can be broken on purpose: see [`types::mutants!`].

types::mutants! {
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
