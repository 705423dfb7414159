//! A modelled disk with a page cache in front of it, for one folder.
//!
//! What a process sees is the cache. What is on the platter is the cache as of each file's last fsync, plus whatever of
//! the later writes the kernel happened to write back: nobody knows which, until the power goes. Then, per write and
//! per 512-byte sector, chance decides what arrived; a sector caught in between may hold garbage. Names behave as in a
//! journal: the folder's changes since its last fsync survive up to some point, in order, and not beyond it.
//!
//! A failed fsync is the kernel's: what it should have synced may or may not have arrived, and is no longer dirty, so
//! that the next fsync succeeds without it.
//!
//! Not modelled: a device that lies about fsync, a file system that breaks its own metadata, sectors that read as errors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use storage::FileName;
use storage::compaction::CleanedFiles;
use types::io::{Dir, DirEntry};

use crate::rng::Rng;

/// A file whatever its name: what an open descriptor holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Inode(u64);

/// The bytes of a sector reach the platter together, or are garbage.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate { bytes: usize },
}

#[derive(Clone, Debug, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last fsync, in order.
    dirty: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { name: String, inode: Inode },
    Unlink { name: String },
    Rename { from: String, to: String },
}

/// Bytes read through [`Dir`], for judging what recovery looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadBytes {
    /// The file.
    pub name: String,
    /// From here.
    pub position: u64,
    /// So many.
    pub bytes: usize,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<Inode, File>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    name_changes: Vec<(u64, NameChange)>,
    changes_total: u64,
    inodes_total: u64,
    reads: RefCell<Vec<ReadBytes>>,
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { position, bytes } => {
            let end = position + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*position..end].copy_from_slice(bytes);
        }
        Change::Truncate { bytes } => content.resize(*bytes, 0),
    }
}

fn apply_name(names: &mut BTreeMap<String, Inode>, change: &NameChange) {
    match change {
        NameChange::Link { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Unlink { name } => {
            names.remove(name);
        }
        NameChange::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl Disk {
    /// The moment up to which a sync that begins now covers changes.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.changes_total
    }

    /// The file of this name.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// Bytes of the file as a process sees it.
    #[must_use]
    pub fn len(&self, inode: Inode) -> usize {
        self.files.get(&inode).map_or(0, |file| file.cached.len())
    }

    /// Whether the folder holds no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Makes the file, or empties the one that is there.
    pub fn create(&mut self, name: &str) {
        if let Some(inode) = self.open(name) {
            self.change(inode, Change::Truncate { bytes: 0 });
            return;
        }
        self.inodes_total += 1;
        let inode = Inode(self.inodes_total);
        self.files.insert(inode, File::default());
        self.change_name(NameChange::Link { name: name.to_owned(), inode });
    }

    /// Writes into the cache.
    pub fn write(&mut self, inode: Inode, position: u64, bytes: &[u8]) {
        self.change(inode, Change::Write { position: position as usize, bytes: bytes.to_vec() });
    }

    /// Cuts in the cache.
    pub fn truncate(&mut self, inode: Inode, bytes: u64) {
        self.change(inode, Change::Truncate { bytes: bytes as usize });
    }

    /// fsync, of the changes made before `mark`.
    pub fn sync(&mut self, inode: Inode, mark: u64) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        let File { durable, dirty, .. } = file;
        dirty.retain(|(at, change)| {
            let covered = *at < mark;
            if covered {
                apply(durable, change);
            }
            !covered
        });
    }

    /// An fsync that failed: of the changes made before `mark`, some arrived; none is dirty any more.
    pub fn sync_failed(&mut self, inode: Inode, mark: u64, rng: &mut Rng) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        let File { durable, dirty, .. } = file;
        let mut index = 0;
        while index < dirty.len() {
            if mark <= dirty[index].0 {
                index += 1;
                continue;
            }
            let (_, change) = dirty.remove(index);
            if rng.chance(300) {
                apply(durable, &change);
            }
        }
    }

    /// fsync of the folder, of the changes of names made before `mark`.
    pub fn sync_names(&mut self, mark: u64) {
        let durable = &mut self.durable_names;
        self.name_changes.retain(|(at, change)| {
            let covered = *at < mark;
            if covered {
                apply_name(durable, change);
            }
            !covered
        });
    }

    /// Renames; a missing `from` changes nothing.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.names.contains_key(from) {
            self.change_name(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        }
    }

    /// Unlinks; a missing file changes nothing.
    pub fn delete(&mut self, name: &str) {
        if self.names.contains_key(name) {
            self.change_name(NameChange::Unlink { name: name.to_owned() });
        }
    }

    /// Replaces a file whole, durably: new file, fsync, rename, fsync of the folder.
    pub fn replace(&mut self, name: &str, bytes: &[u8]) {
        self.inodes_total += 1;
        let inode = Inode(self.inodes_total);
        self.files.insert(inode, File { cached: bytes.to_vec(), durable: bytes.to_vec(), dirty: Vec::new() });
        self.change_name(NameChange::Link { name: name.to_owned(), inode });
        self.sync_names(self.mark());
    }

    /// The power goes: the cache with everything that had not arrived. Returns the bits that flipped on the way.
    pub fn lose_power(&mut self, rng: &mut Rng) -> Vec<(String, u64, u32)> {
        let survive = rng.index(self.name_changes.len() + 1);
        for (_, change) in self.name_changes.drain(..).take(survive) {
            apply_name(&mut self.durable_names, &change);
        }
        self.names = self.durable_names.clone();
        let named: Vec<Inode> = self.names.values().copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
        let mut flips: Vec<(Inode, u64, u32)> = Vec::new();
        for (inode, file) in &mut self.files {
            let cached_bytes = file.cached.len();
            let mood = rng.below(4);
            for (_, change) in std::mem::take(&mut file.dirty) {
                match (mood, change) {
                    (0, _) => {}
                    (1, change) => apply(&mut file.durable, &change),
                    (_, Change::Write { position, bytes }) => {
                        for (position, bit) in write_some_sectors(&mut file.durable, position, &bytes, rng) {
                            flips.push((*inode, position, bit));
                        }
                    }
                    (_, change) => {
                        if rng.chance(500) {
                            apply(&mut file.durable, &change);
                        }
                    }
                }
            }
            // The length may have been journalled without the data.
            if file.durable.len() < cached_bytes && rng.chance(200) {
                file.durable.resize(cached_bytes, 0);
            }
            file.cached = file.durable.clone();
        }
        let name_of = |inode| self.names.iter().find(|(_, named)| **named == inode).map(|(name, _)| name.clone());
        flips.into_iter().filter_map(|(inode, position, bit)| Some((name_of(inode)?, position, bit))).collect()
    }

    /// The power goes, and of what arrived no bit flipped: for those who judge what lies above the log's checksums, which
    /// do not cover a leader epoch.
    pub fn lose_power_whole(&mut self, rng: &mut Rng) {
        for (name, position, bit) in self.lose_power(rng) {
            if let Some(inode) = self.open(&name) {
                self.flip(inode, position, bit);
            }
        }
    }

    /// fsync of every file, as a host does before it opens a folder in which something failed.
    pub fn sync_all(&mut self) {
        let mark = self.mark();
        let inodes: Vec<Inode> = self.files.keys().copied().collect();
        for inode in inodes {
            self.sync(inode, mark);
        }
    }

    /// Throws away cached bytes that are not dirty, as a host does before it opens a folder in which an fsync failed.
    pub fn drop_clean_cache(&mut self) {
        for file in self.files.values_mut() {
            file.cached = file.durable.clone();
            for (_, change) in &file.dirty {
                apply(&mut file.cached, change);
            }
        }
    }

    /// Flips a bit of a file, on the platter and in the cache.
    pub fn flip(&mut self, inode: Inode, position: u64, bit: u32) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        for content in [&mut file.cached, &mut file.durable] {
            if let Some(byte) = content.get_mut(position as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Reads as a process does.
    #[must_use]
    pub fn read(&self, inode: Inode, position: u64, bytes: usize) -> &[u8] {
        let Some(file) = self.files.get(&inode) else { return &[] };
        let start = (position as usize).min(file.cached.len());
        let end = start.saturating_add(bytes).min(file.cached.len());
        &file.cached[start..end]
    }

    /// Gives up the bytes of files without a name, for runs so long that they count.
    pub fn forget_unlinked(&mut self) {
        let Self { files, names, durable_names, .. } = self;
        files.retain(|inode, _| names.values().chain(durable_names.values()).any(|named| named == inode));
    }

    /// What was read through [`Dir`] since the last call.
    pub fn take_reads(&mut self) -> Vec<ReadBytes> {
        self.reads.take()
    }

    /// Every name and its file.
    pub fn names(&self) -> impl Iterator<Item = (&str, Inode)> {
        self.names.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    fn change(&mut self, inode: Inode, change: Change) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        apply(&mut file.cached, &change);
        file.dirty.push((self.changes_total, change));
        self.changes_total += 1;
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.name_changes.push((self.changes_total, change));
        self.changes_total += 1;
    }
}

/// Returns the bits that flipped.
fn write_some_sectors(durable: &mut Vec<u8>, position: usize, bytes: &[u8], rng: &mut Rng) -> Vec<(u64, u32)> {
    let mut flips = Vec::new();
    let end = position + bytes.len();
    let mut at = position;
    while at < end {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let sector = &bytes[at - position..next - position];
        match rng.below(8) {
            0..=3 => apply(durable, &Change::Write { position: at, bytes: sector.to_vec() }),
            4 => {
                let mut garbage = sector.to_vec();
                let flipped = rng.index(garbage.len());
                let bit = rng.below(8) as u32;
                garbage[flipped] ^= 1 << bit;
                flips.push(((at + flipped) as u64, bit));
                apply(durable, &Change::Write { position: at, bytes: garbage });
            }
            _ => {}
        }
        at = next;
    }
    flips
}

/// The maintenance thread's writes, until one fails.
pub struct Writer<'a> {
    disk: &'a mut Disk,
    begun: Vec<FileName>,
    /// How many more operations succeed.
    budget: usize,
}

impl<'a> Writer<'a> {
    /// Writes to `disk`; the operation after `budget` of them finds it full.
    pub fn new(disk: &'a mut Disk, budget: usize) -> Self {
        Self { disk, begun: Vec::new(), budget }
    }

    fn spend(&mut self) -> io::Result<()> {
        self.budget = self.budget.checked_sub(1).ok_or(io::Error::from_raw_os_error(28))?;
        Ok(())
    }
}

impl CleanedFiles for Writer<'_> {
    fn append(&mut self, file: FileName, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        let name = file.to_string();
        if !self.begun.contains(&file) {
            self.begun.push(file);
            self.disk.create(&name);
        }
        if let Some(inode) = self.disk.open(&name) {
            self.disk.write(inode, self.disk.len(inode) as u64, bytes);
        }
        Ok(())
    }

    fn finish(&mut self, file: FileName) -> io::Result<()> {
        self.spend()?;
        if let Some(inode) = self.disk.open(&file.to_string()) {
            self.disk.sync(inode, self.disk.mark());
        }
        Ok(())
    }
}

impl Dir for Disk {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        Ok(self
            .names()
            .map(|(name, inode)| DirEntry { name: name.to_owned(), bytes: self.len(inode) as u64 })
            .collect())
    }

    fn read_at(&self, name: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inode = self.open(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = self.read(inode, position, buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.reads.borrow_mut().push(ReadBytes { name: name.to_owned(), position, bytes: bytes.len() });
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(disk: &mut Disk, bytes: &[u8]) -> Inode {
        disk.create("a");
        let inode = disk.open("a").expect("just created");
        disk.write(inode, 0, bytes);
        inode
    }

    #[test]
    fn synced_bytes_and_names_survive_power_loss_whatever_chance_says() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut disk = Disk::default();
            let inode = file_with(&mut disk, b"synced");
            disk.sync(inode, disk.mark());
            disk.sync_names(disk.mark());
            disk.write(inode, 6, b"not synced");
            disk.lose_power(&mut rng);
            let inode = disk.open("a").expect("its name was synced");
            assert_eq!(disk.read(inode, 0, 6), b"synced");
        }
    }

    #[test]
    fn unsynced_bytes_may_survive_or_not() {
        let (mut survived, mut lost) = (false, false);
        for seed in 0..200 {
            let mut disk = Disk::default();
            let inode = file_with(&mut disk, b"bytes");
            disk.sync_names(disk.mark());
            disk.lose_power(&mut Rng::new(seed));
            let whole = disk.open("a").is_some_and(|inode| disk.read(inode, 0, 99) == b"bytes");
            survived |= whole;
            lost |= !whole;
            let _ = inode;
        }
        assert!(survived && lost);
    }

    #[test]
    fn a_sync_does_not_cover_what_came_after_it_began() {
        let mut lost = false;
        for seed in 0..50 {
            let mut disk = Disk::default();
            let inode = file_with(&mut disk, b"first");
            let mark = disk.mark();
            disk.write(inode, 5, b"second");
            disk.sync(inode, mark);
            disk.sync_names(disk.mark());
            disk.lose_power(&mut Rng::new(seed));
            assert_eq!(disk.read(inode, 0, 5), b"first");
            lost |= disk.read(inode, 5, 6) != b"second";
        }
        assert!(lost);
    }

    #[test]
    fn after_a_failed_sync_the_next_one_does_not_help() {
        let mut lost = false;
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut disk = Disk::default();
            let inode = file_with(&mut disk, b"bytes");
            disk.sync_names(disk.mark());
            disk.sync_failed(inode, disk.mark(), &mut rng);
            assert_eq!(disk.read(inode, 0, 5), b"bytes", "the cache still shows them");
            disk.sync(inode, disk.mark());
            disk.lose_power(&mut rng);
            lost |= disk.read(inode, 0, 5) != b"bytes";
        }
        assert!(lost);
    }
}
