//! The one window through which recovery looks at a disk. `shard` implements it with files, `sim` with a modelled disk,
//! tests with a map. It reads only: what recovery wants changed, it returns as a plan.

use std::io;

/// A file in a [`Dir`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name within the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// One partition's directory, as recovery reads it. Nothing below it is a directory.
pub trait Dir {
    /// Every file, in no particular order.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn list(&self) -> io::Result<Vec<DirEntry>>;

    /// Reads up to `buffer.len()` bytes at `position` of `name`; fewer only at the end of the file, 0 beyond it.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, else whatever the disk answers.
    fn read_at(&self, name: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
}
