//! What can go wrong, and how often it really met something under way: a fault that never hits proves nothing.

use std::fmt;

/// A kind of fault that a run may inject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The process dies; the page cache lives.
    ProcessKill,
    /// The machine loses power: unsynced writes are lost, in any order, some torn.
    PowerLoss,
    /// A process dies or power goes while recovery's own work is under way.
    CrashInRecovery,
    /// EIO on a write; a part of it may have arrived.
    WriteError,
    /// EIO on fsync: what it should have synced is lost or not, and the next fsync does not know of it.
    SyncError,
    /// EIO on another operation: create, rename, delete, truncate, whole-file write.
    FileError,
    /// ENOSPC on a write, create or whole-file write.
    DiskFull,
    /// A write that says it wrote less than it was given.
    ShortWrite,
    /// A flipped bit in bytes that were synced, while the node is down.
    BitRot,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ProcessKill,
        Self::PowerLoss,
        Self::CrashInRecovery,
        Self::WriteError,
        Self::SyncError,
        Self::FileError,
        Self::DiskFull,
        Self::ShortWrite,
        Self::BitRot,
    ];
}

/// Counts per kind of fault.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    injected: [u64; Fault::ALL.len()],
    in_flight: [u64; Fault::ALL.len()],
}

impl Tally {
    /// The fault happened; `met_work` says whether it hit an operation that was under way.
    pub fn count(&mut self, fault: Fault, met_work: bool) {
        self.injected[fault as usize] += 1;
        self.in_flight[fault as usize] += u64::from(met_work);
    }

    /// How often this kind met an operation under way.
    #[must_use]
    pub fn met_work(&self, fault: Fault) -> u64 {
        self.in_flight[fault as usize]
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for index in 0..Fault::ALL.len() {
            self.injected[index] += other.injected[index];
            self.in_flight[index] += other.in_flight[index];
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>10} {:>18}", "fault", "injected", "met work under way")?;
        for fault in Fault::ALL {
            let index = fault as usize;
            writeln!(f, "{:<16} {:>10} {:>18}", format!("{fault:?}"), self.injected[index], self.in_flight[index])?;
        }
        Ok(())
    }
}
