//! Open files of a log, and the few slow calls on them that a shard makes without blocking.
//!
//! Everything `async` here runs on tokio-uring, so only on a shard. Errors keep their errno (`raw_os_error`).

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, fcntl};

/// How to open a [`LogFile`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    ReadWrite,
    /// Reading and writing; made if it is not there. Its directory entry is durable after [`sync_dir`].
    Create,
    /// Reading and writing; made now, an error if it is there.
    CreateNew,
}

/// An open file of a log. Shared (`Arc`) by appends, read plans and helper threads; closed with the last of them.
///
/// Whoever drops the last share of a file that was removed waits while its blocks are freed: give that share to
/// [`crate::Maintenance`].
pub struct LogFile {
    fd: OwnedFd,
    path: PathBuf,
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFile({})", self.path.display())
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for LogFile {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl LogFile {
    /// Opens `path` without blocking the shard.
    ///
    /// # Errors
    /// What open(2) answers.
    pub async fn open(path: impl Into<PathBuf>, mode: OpenMode) -> io::Result<Self> {
        let path = path.into();
        let file = tokio_uring::fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(mode == OpenMode::Create)
            .create_new(mode == OpenMode::CreateNew)
            .open(&path)
            .await?;
        // tokio-uring closes its own descriptor and lends it to nobody.
        let fd = duplicate(file.as_raw_fd())?;
        file.close().await?;
        Ok(Self { fd, path })
    }

    /// Opens `path` on the calling thread: for start-up, helper threads and tests.
    ///
    /// # Errors
    /// What open(2) answers.
    pub fn open_blocking(path: impl Into<PathBuf>, mode: OpenMode) -> io::Result<Self> {
        let path = path.into();
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(mode == OpenMode::Create)
            .create_new(mode == OpenMode::CreateNew)
            .truncate(false)
            .open(&path)?;
        Ok(Self { fd: file.into(), path })
    }

    /// Where it was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes. Answered from memory by the kernel.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub fn size_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(nix::sys::stat::fstat(self)?.st_size).unwrap_or(0))
    }

    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file. **Blocks on a cold page.**
    ///
    /// # Errors
    /// What pread(2) answers.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match nix::sys::uio::pread(self, &mut buffer[filled..], offset(position + filled as u64)?) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    /// Reads what the page cache holds at `position`, without waiting for the disk: fewer bytes than asked when the
    /// rest is cold or the file ends, `None` when the first page is cold. Asks the kernel to read ahead then.
    ///
    /// A file system that cannot say (no `RWF_NOWAIT`) is read anyway, and may block.
    ///
    /// # Errors
    /// What preadv2(2) answers.
    pub fn read_at_cached(&self, position: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.preadv2_nowait(position, buffer) {
            Ok(read) => Ok(Some(read)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                Some(libc::EOPNOTSUPP | libc::ENOSYS) => self.read_at(position, buffer).map(Some),
                _ => Err(error),
            },
        }
    }

    /// Whether `bytes` bytes from `position` (which must lie within the file) are in the page cache, so that sendfile
    /// will not wait for the disk. The answer may be outdated at once: cap what you send on it.
    #[must_use]
    pub fn is_cached(&self, position: u64, bytes: u64) -> bool {
        static CACHESTAT_DENIED: AtomicBool = AtomicBool::new(false);
        if bytes == 0 {
            return true;
        }
        if !CACHESTAT_DENIED.load(Ordering::Relaxed) {
            match self.is_cached_by_cachestat(position, bytes) {
                Ok(cached) => return cached,
                Err(_) => CACHESTAT_DENIED.store(true, Ordering::Relaxed),
            }
        }
        self.is_cached_by_preadv2(position, bytes)
    }

    /// cachestat(2), Linux 6.5: counts the pages of the range that are cached.
    fn is_cached_by_cachestat(&self, position: u64, bytes: u64) -> io::Result<bool> {
        let page_bytes = page_bytes();
        let pages = (position + bytes - 1) / page_bytes - position / page_bytes + 1;
        Ok(cachestat(self, position, bytes)? >= pages)
    }

    /// The first and the last byte of the range, read with `RWF_NOWAIT`. What lies between is taken on trust.
    fn is_cached_by_preadv2(&self, position: u64, bytes: u64) -> bool {
        [position, position + bytes - 1].into_iter().all(|at| {
            let mut byte = [0];
            match self.preadv2_nowait(at, &mut byte) {
                Ok(_) => true,
                // A file system that cannot say is trusted to be in memory (as tmpfs is).
                Err(error) => matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)),
            }
        })
    }

    fn preadv2_nowait(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: the one iovec covers exactly `buffer`, which is borrowed mutably for the whole call.
        let read = unsafe { libc::preadv2(self.as_raw_fd(), &raw const iovec, 1, offset(position)?, libc::RWF_NOWAIT) };
        if read < 0 { Err(io::Error::last_os_error()) } else { Ok(read as usize) }
    }

    /// fdatasync(2) on the calling thread, for helper threads. On a shard use [`crate::LogRing::sync`].
    ///
    /// # Errors
    /// What fdatasync(2) answers. It is final: never try again (the kernel forgets what it failed to write).
    pub fn sync_blocking(&self) -> io::Result<()> {
        Ok(nix::unistd::fdatasync(self)?)
    }

    /// Cuts or extends the file to `bytes`, on the calling thread: for helper threads (see [`crate::Maintenance`]).
    ///
    /// # Errors
    /// What ftruncate(2) answers.
    pub fn truncate_blocking(&self, bytes: u64) -> io::Result<()> {
        Ok(nix::unistd::ftruncate(self, offset(bytes)?)?)
    }

    /// Writes all of `buffer` at `position`, on the calling thread: for helper threads and tests.
    ///
    /// # Errors
    /// What pwrite(2) answers.
    pub fn write_at_blocking(&self, position: u64, buffer: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < buffer.len() {
            match nix::sys::uio::pwrite(self, &buffer[written..], offset(position + written as u64)?) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Asks the kernel to start writing the range back; does not wait for the disk unless its queue is full.
    ///
    /// # Errors
    /// What sync_file_range(2) answers.
    pub(crate) fn start_writeback(&self, position: u64, bytes: u64) -> io::Result<()> {
        let (position, bytes) = (offset(position)?, offset(bytes)?);
        // SAFETY: a plain call on a descriptor that `self` keeps open; it touches no memory of ours.
        let answer = unsafe { libc::sync_file_range(self.as_raw_fd(), position, bytes, libc::SYNC_FILE_RANGE_WRITE) };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Renames `from` to `to`, replacing it. Durable after [`sync_dir`] of both directories.
///
/// # Errors
/// What rename(2) answers.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    tokio_uring::fs::rename(from, to).await
}

/// Removes a file. **Freeing a large file takes long**: leave that to [`crate::Maintenance`].
///
/// # Errors
/// What unlink(2) answers.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    tokio_uring::fs::remove_file(path).await
}

/// Makes a directory and those above it; fine if it is there.
///
/// # Errors
/// What mkdir(2) answers.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    tokio_uring::fs::create_dir_all(path).await
}

/// Makes the entries of a directory durable: what was created in it, renamed, removed.
///
/// # Errors
/// What open(2) or fsync(2) answers. A failed fsync is final.
pub async fn sync_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let dir = tokio_uring::fs::File::open(path).await?;
    let result = dir.sync_all().await;
    dir.close().await?;
    result
}

/// Replaces `dir/name` by `bytes` so that a crash leaves the old or the new contents, durably: a temporary file
/// (`name` + `.tmp`) is written, fsynced, renamed, and the directory fsynced.
///
/// # Errors
/// What the calls answer. The temporary file may be left behind; the next call replaces it.
pub async fn atomic_write(dir: &Path, name: &str, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
    let temporary = temporary_path(dir, name);
    let file = tokio_uring::fs::File::create(&temporary).await?;
    let (written, _) = file.write_all_at(bytes.into(), 0).await;
    let synced = match written {
        Ok(()) => file.sync_all().await,
        Err(error) => Err(error),
    };
    file.close().await?;
    synced?;
    rename(&temporary, dir.join(name)).await?;
    sync_dir(dir).await
}

/// [`atomic_write`] on the calling thread: for start-up and helper threads.
///
/// # Errors
/// As [`atomic_write`].
pub fn atomic_write_blocking(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(dir, name);
    let file = File::create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary, dir.join(name))?;
    sync_dir_blocking(dir)
}

/// [`sync_dir`] on the calling thread.
///
/// # Errors
/// As [`sync_dir`].
pub fn sync_dir_blocking(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn temporary_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.tmp"))
}

fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller holds `fd` open over this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(0))?;
    // SAFETY: the kernel has just made `copy`; nobody else knows it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(copy) })
}

fn offset(position: u64) -> io::Result<i64> {
    i64::try_from(position).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

fn page_bytes() -> u64 {
    static PAGE_BYTES: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *PAGE_BYTES.get_or_init(|| {
        // SAFETY: a plain query without arguments in memory.
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    })
}

/// Pages of the range that are in the page cache.
pub(crate) fn cachestat(file: &impl AsRawFd, position: u64, bytes: u64) -> io::Result<u64> {
    /// The number is the same on every architecture; libc has no function for it.
    const SYS_CACHESTAT: libc::c_long = 451;
    // | offset (8B) | length (8B) |
    let range = [position, bytes];
    // | cached (8B) | dirty (8B) | writeback (8B) | evicted (8B) | recently evicted (8B) |, each in pages.
    let mut counts = [0_u64; 5];
    // SAFETY: both arrays have the size and alignment of the kernel's structures and live over the call; the kernel
    // writes only `counts`.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0_u32) };
    if answer == 0 { Ok(counts[0]) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel forget the pages of a file that it takes for clean (posix_fadvise(2), DONTNEED): the next read goes to
/// the disk. Call it after a sync, as dirty pages stay.
///
/// # Errors
/// What open(2) or posix_fadvise(2) answers.
pub fn drop_page_cache_blocking(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    // SAFETY: the descriptor is open for the whole call; posix_fadvise takes nothing else.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Writes everything dirty on the file system of `dir` to its disk, on the calling thread (syncfs(2)): for start-up.
///
/// # Errors
/// What open(2) or syncfs(2) answers: also an earlier failure to write that nobody has heard of yet.
pub fn sync_file_system_blocking(dir: &Path) -> io::Result<()> {
    let dir = std::fs::File::open(dir)?;
    // SAFETY: the descriptor is open for the whole call; syncfs takes nothing else.
    if unsafe { libc::syncfs(dir.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 64 pages on the temporary directory's file system, removed at once: it lives as long as it is open.
    fn file() -> LogFile {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("shard-cache-{}-{number}", std::process::id()));
        let file = LogFile::open_blocking(&path, OpenMode::CreateNew).expect("a new file");
        file.write_at_blocking(0, &vec![7; 64 * page_bytes() as usize]).expect("written");
        file.sync_blocking().expect("synced");
        std::fs::remove_file(path).expect("removed");
        file
    }

    /// Drops clean pages from the page cache; false where the file system keeps them (it is memory).
    fn evict(file: &LogFile, position: u64, bytes: u64) -> bool {
        // SAFETY: a plain call on a descriptor that `file` keeps open.
        let answer =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), position as i64, bytes as i64, libc::POSIX_FADV_DONTNEED) };
        answer == 0 && cachestat(file, position, bytes).is_ok_and(|pages| pages == 0)
    }

    #[test]
    fn both_probes_tell_cached_from_cold() {
        let (file, page) = (file(), page_bytes());
        assert!(file.is_cached(0, 64 * page) && file.is_cached_by_preadv2(0, 64 * page));
        assert!(file.is_cached(page - 1, 2) && file.is_cached(64 * page - 1, 1) && file.is_cached(0, 0));
        if !evict(&file, 32 * page, 32 * page) {
            return;
        }
        if let Ok(cached) = file.is_cached_by_cachestat(0, 32 * page) {
            assert!(cached);
            assert!(!file.is_cached_by_cachestat(31 * page, page + 1).expect("just answered"));
            assert!(!file.is_cached_by_cachestat(32 * page, 32 * page).expect("just answered"));
        }
        // Last, as it makes the kernel read ahead.
        assert!(file.is_cached_by_preadv2(0, 32 * page));
        assert!(!file.is_cached_by_preadv2(0, 64 * page));
    }

    #[test]
    fn cached_read_never_waits_for_the_disk() {
        let (file, page) = (file(), page_bytes());
        let mut buffer = vec![0; 2 * page as usize];
        assert_eq!(file.read_at_cached(page, &mut buffer).expect("read"), Some(buffer.len()));
        assert!(buffer.iter().all(|&byte| byte == 7));
        assert_eq!(file.read_at_cached(64 * page, &mut buffer).expect("read"), Some(0), "the end of the file");
        if !evict(&file, 0, 64 * page) {
            return;
        }
        assert_eq!(file.read_at_cached(40 * page, &mut buffer).expect("cold"), None);
        assert_eq!(file.read_at(40 * page, &mut buffer).expect("read"), buffer.len());
        assert_eq!(file.read_at_cached(40 * page, &mut buffer).expect("read"), Some(buffer.len()));
    }
}
