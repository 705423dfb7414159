//! A partition's directory as recovery reads it: [`types::io::Dir`] over real files. Blocks, so it belongs on a helper
//! thread or in start-up.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use types::io::{Dir, DirEntry};

use crate::file::{LogFile, OpenMode};

/// A directory of the file system. Keeps the file it read last open, as recovery reads one file after another.
#[derive(Debug)]
pub struct FileDir {
    path: PathBuf,
    last: RefCell<Option<(String, LogFile)>>,
}

impl FileDir {
    /// The directory at `path`, which is read only when asked.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: RefCell::new(None) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Dir for FileDir {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // Names that are not UTF-8 are nobody's here; nor are directories.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                entries.push(DirEntry { name, bytes: metadata.len() });
            }
        }
        Ok(entries)
    }

    fn read_at(&self, name: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut last = self.last.borrow_mut();
        let file = match &mut *last {
            Some((open, file)) if open == name => file,
            slot => {
                let file = LogFile::open_blocking(self.path.join(name), OpenMode::Read)?;
                &mut slot.insert((name.to_owned(), file)).1
            }
        };
        file.read_at(position, buffer)
    }
}
