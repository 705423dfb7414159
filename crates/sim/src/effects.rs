//! What a host does for a log: its effects, done on the modelled disk, well or badly.

use bytes::Bytes;
use storage::{Effect, FileName, IoFault, PartitionLog, ReadRange, ReadStep, Stage};

use crate::disk::{Disk, Inode};
use crate::faults::{Fault, Tally};
use crate::rng::Rng;
use crate::scenario::Drawn;

/// How far a retried read may go before it is called endless.
pub const READ_STEPS_MAX: usize = 64;

/// Decides what fails.
pub struct Injector<'a> {
    /// Where chance comes from.
    pub rng: &'a mut Rng,
    /// What may fail, and how often.
    pub drawn: &'a Drawn,
    /// Counts it.
    pub tally: &'a mut Tally,
    /// Whether anything fails at all.
    pub on: bool,
}

impl Injector<'_> {
    /// Whether this goes wrong, now.
    pub fn fails(&mut self, fault: Fault) -> bool {
        let fails = self.on && self.drawn.may(fault) && self.rng.chance(self.drawn.fail_permille);
        if fails {
            self.tally.count(fault, true);
        }
        fails
    }
}

/// An operation under way.
pub struct Work {
    /// What is to be done.
    pub effect: Effect,
    /// The file, found when the operation began.
    inode: Option<Inode>,
    /// What a sync covers.
    mark: u64,
}

impl Work {
    /// Begins an operation.
    ///
    /// # Errors
    /// It names a file that is not there.
    pub fn begin(disk: &Disk, effect: Effect) -> Result<Self, String> {
        let file = match &effect {
            Effect::Write { file, .. } | Effect::Sync { file, .. } | Effect::Truncate { file, .. } => Some(*file),
            _ => None,
        };
        let inode = file.and_then(|file| disk.open(&file.to_string()));
        if let (Some(file), None) = (file, inode) {
            return Err(format!("{effect:?}: no {file}"));
        }
        Ok(Self { effect, inode, mark: disk.mark() })
    }

    /// What it writes; nothing if it is not a write.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Effect::Write { buffers, .. } = &self.effect else { return Vec::new() };
        buffers.iter().flat_map(|buffer: &Bytes| buffer.to_vec()).collect()
    }

    /// Does the operation, well or badly.
    ///
    /// # Errors
    /// The fault that was injected.
    pub fn finish(&self, disk: &mut Disk, chance: &mut Injector<'_>) -> Result<usize, IoFault> {
        match &self.effect {
            Effect::Write { position, .. } => {
                let bytes = self.bytes();
                let some = chance.rng.index(bytes.len() + 1);
                let (written, result) = if chance.fails(Fault::WriteError) {
                    (some, Err(IoFault::DEVICE))
                } else if chance.fails(Fault::DiskFull) {
                    (some, Err(IoFault::DISK_FULL))
                } else if some < bytes.len() && chance.fails(Fault::ShortWrite) {
                    (some, Ok(some))
                } else {
                    (bytes.len(), Ok(bytes.len()))
                };
                if let Some(inode) = self.inode {
                    disk.write(inode, *position, &bytes[..written]);
                }
                result
            }
            Effect::Sync { .. } => {
                let Some(inode) = self.inode else { return Ok(0) };
                if chance.fails(Fault::SyncError) {
                    disk.sync_failed(inode, self.mark, chance.rng);
                    return Err(IoFault::DEVICE);
                }
                disk.sync(inode, self.mark);
                Ok(0)
            }
            _ => {
                let full = matches!(self.effect, Effect::Create { .. } | Effect::WriteFile { .. })
                    && chance.fails(Fault::DiskFull);
                let fault = if full {
                    Some(IoFault::DISK_FULL)
                } else if chance.fails(Fault::FileError) {
                    Some(IoFault::DEVICE)
                } else {
                    None
                };
                if fault.is_none() || chance.rng.chance(500) {
                    self.change_files(disk);
                }
                fault.map_or(Ok(0), Err)
            }
        }
    }

    /// An operation that nobody waits for any more: done, half done or not done. Returns the bytes of a write that
    /// reached the file.
    pub fn abandon(&self, disk: &mut Disk, rng: &mut Rng) -> Vec<u8> {
        match (&self.effect, rng.below(3)) {
            (_, 0) => {}
            (Effect::Write { position, .. }, chance) => {
                let mut bytes = self.bytes();
                bytes.truncate(if chance == 1 { bytes.len() } else { rng.index(bytes.len() + 1) });
                if let Some(inode) = self.inode {
                    disk.write(inode, *position, &bytes);
                    return bytes;
                }
            }
            (Effect::Sync { .. }, _) => {
                if let Some(inode) = self.inode {
                    disk.sync(inode, self.mark);
                }
            }
            _ => self.change_files(disk),
        }
        Vec::new()
    }

    fn change_files(&self, disk: &mut Disk) {
        match &self.effect {
            Effect::Create { file, .. } => disk.create(&file.to_string()),
            Effect::SyncDir { .. } => disk.sync_names(self.mark),
            Effect::WriteFile { file, bytes, .. } => disk.replace(&file.to_string(), bytes),
            Effect::Truncate { bytes, .. } => {
                if let Some(inode) = self.inode {
                    disk.truncate(inode, *bytes);
                    disk.sync(inode, disk.mark());
                }
            }
            Effect::Rename { from, to, .. } => disk.rename(&from.to_string(), &to.to_string()),
            Effect::Delete { file, .. } => disk.delete(&file.to_string()),
            Effect::Write { .. } | Effect::Sync { .. } => {}
        }
    }
}

/// Reads once; `None` when there is nothing.
///
/// # Errors
/// Why not, in words.
pub fn read_range(log: &PartitionLog, disk: &Disk, range: &ReadRange) -> Result<Option<Vec<u8>>, String> {
    let mut step = log.read(range).map_err(|fault| format!("{range:?}: {fault}"))?;
    for _ in 0..READ_STEPS_MAX {
        match step {
            ReadStep::Empty => return Ok(None),
            ReadStep::Slice(slice) => {
                let bytes = read_file(disk, &slice.file, slice.position, slice.bytes as usize)?;
                if bytes.len() < slice.bytes as usize {
                    return Err(format!("{range:?}: {slice:?} goes beyond the file"));
                }
                return Ok(Some(bytes));
            }
            ReadStep::Scan(scan) => {
                let bytes = read_file(disk, &scan.file, scan.position, scan.bytes)?;
                step = log.resume_read(range, scan, &bytes).map_err(|fault| format!("{range:?}: {fault}"))?;
            }
        }
    }
    Err(format!("{range:?}: no end of scans"))
}

/// Reads from a file of the log.
///
/// # Errors
/// It is not there.
pub fn read_file(disk: &Disk, file: &FileName, position: u64, bytes: usize) -> Result<Vec<u8>, String> {
    let name = file.to_string();
    // A rename may have happened before the log has heard of it: then the file is at its new name.
    let inode = disk
        .open(&name)
        .or_else(|| disk.open(&file.at(Stage::Live).to_string()))
        .ok_or_else(|| format!("a read of {name}, which is not there"))?;
    Ok(disk.read(inode, position, bytes).to_vec())
}
