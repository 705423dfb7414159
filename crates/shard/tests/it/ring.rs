//! The log ring and its inline twin, on files of this machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use shard::{AppendBackend, LogFile, OpenMode, ShardEvent, ShardRuntime};
use tokio::sync::Notify;
use types::limits::GATHER_BATCHES_MAX;

use crate::{TestDir, on_shard};

const BACKENDS: [AppendBackend; 2] = [AppendBackend::Ring, AppendBackend::Inline];

/// Collects completions by token.
struct Completions {
    arrived: Rc<RefCell<BTreeMap<u64, io::Result<usize>>>>,
    more: Rc<Notify>,
}

impl Completions {
    fn collect(runtime: &ShardRuntime<u64>) -> Self {
        let (arrived, more) = (Rc::new(RefCell::new(BTreeMap::new())), Rc::new(Notify::new()));
        let collector = Self { arrived: Rc::clone(&arrived), more: Rc::clone(&more) };
        runtime
            .on_event(move |event| {
                if let ShardEvent::Completion(completion) = event {
                    let before = arrived.borrow_mut().insert(completion.token, completion.result);
                    assert!(before.is_none(), "one completion for token {}", completion.token);
                    more.notify_one();
                }
            })
            .expect("first handler");
        collector
    }

    /// All results in order of their tokens, once there are `count`.
    async fn take(&self, count: usize) -> Vec<io::Result<usize>> {
        while self.arrived.borrow().len() < count {
            self.more.notified().await;
        }
        std::mem::take(&mut *self.arrived.borrow_mut()).into_values().collect()
    }
}

fn created(path: &Path) -> Arc<LogFile> {
    Arc::new(LogFile::open_blocking(path, OpenMode::CreateNew).expect("a new file"))
}

/// The temporary directory's file system and, where there is one, a tmpfs.
fn places() -> Vec<TestDir> {
    let mut places = vec![TestDir::new()];
    if Path::new("/dev/shm").is_dir() {
        places.push(TestDir::within(Path::new("/dev/shm")));
    }
    places
}

#[test]
fn gathered_writes_land_where_they_were_aimed() {
    for backend in BACKENDS {
        for dir in places() {
            let path = dir.path("log");
            let results = on_shard(backend, {
                let path = path.clone();
                move |runtime| async move {
                    let completions = Completions::collect(&runtime);
                    let (ring, file) = (runtime.log_ring(), created(&path));
                    ring.write(1, file.clone(), 0, vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cde")]);
                    ring.write(2, file.clone(), 5, vec![Bytes::from_static(b"fg")]);
                    ring.write(3, file.clone(), 7, vec![Bytes::new(), Bytes::from_static(b"h"), Bytes::new()]);
                    ring.write(4, file.clone(), 8, vec![]);
                    completions.take(4).await
                }
            });
            let written: Vec<usize> = results.into_iter().map(|result| result.expect("written")).collect();
            assert_eq!(written, [5, 2, 1, 0], "{backend:?}");
            assert_eq!(std::fs::read(&path).expect("there"), b"abcdefgh");
        }
    }
}

#[test]
fn largest_gather_is_written_whole_and_synced() {
    for backend in BACKENDS {
        let dir = TestDir::new();
        let path = dir.path("log");
        let (written, synced) = on_shard(backend, {
            let path = path.clone();
            move |runtime| async move {
                let completions = Completions::collect(&runtime);
                let (ring, file) = (runtime.log_ring(), created(&path));
                let buffers = (0..GATHER_BATCHES_MAX).map(|index| Bytes::from(vec![index as u8; 1000])).collect();
                ring.write(1, file.clone(), 0, buffers);
                let written = completions.take(1).await.remove(0);
                ring.sync(2, file);
                (written.expect("written"), completions.take(1).await.remove(0).expect("synced"))
            }
        });
        assert_eq!((written, synced), (GATHER_BATCHES_MAX * 1000, 0));
        let bytes = std::fs::read(&path).expect("there");
        assert_eq!(bytes.len(), written);
        assert!(bytes.chunks(1000).enumerate().all(|(index, chunk)| chunk.iter().all(|&byte| byte == index as u8)));
    }
}

/// Three times as many operations as the ring has places: the rest waits, and nothing is lost or mixed up.
#[test]
fn more_operations_than_the_ring_has_places_all_complete() {
    const OPERATIONS: u64 = 3 * types::limits::LOG_RING_ENTRIES as u64;
    for backend in BACKENDS {
        let dir = TestDir::new();
        let path = dir.path("log");
        on_shard(backend, {
            let path = path.clone();
            move |runtime| async move {
                let completions = Completions::collect(&runtime);
                let (ring, file) = (runtime.log_ring(), created(&path));
                for number in 0..OPERATIONS {
                    let bytes = Bytes::copy_from_slice(&number.to_be_bytes());
                    ring.write(number, file.clone(), number * 8, vec![bytes]);
                }
                assert_eq!(ring.in_flight(), OPERATIONS as usize);
                for result in completions.take(OPERATIONS as usize).await {
                    assert_eq!(result.expect("written"), 8);
                }
                assert_eq!(ring.in_flight(), 0);
            }
        });
        let bytes = std::fs::read(&path).expect("there");
        assert!(bytes.chunks(8).enumerate().all(|(index, chunk)| chunk == (index as u64).to_be_bytes()));
        assert_eq!(bytes.len() as u64, OPERATIONS * 8);
    }
}

#[test]
fn errors_keep_their_errno() {
    for backend in BACKENDS {
        let results = on_shard(backend, |runtime| async move {
            let dir = TestDir::new();
            drop(created(&dir.path("log")));
            let completions = Completions::collect(&runtime);
            let ring = runtime.log_ring();
            let read_only = LogFile::open_blocking(dir.path("log"), OpenMode::Read).expect("there");
            ring.write(1, Arc::new(read_only), 0, vec![Bytes::from_static(b"x")]);
            let full = LogFile::open_blocking("/dev/full", OpenMode::ReadWrite).expect("every Linux has it");
            ring.write(2, Arc::new(full), 0, vec![Bytes::from_static(b"x"), Bytes::from_static(b"y")]);
            completions.take(2).await
        });
        let errnos: Vec<_> =
            results.into_iter().map(|result| result.expect_err("cannot be written").raw_os_error()).collect();
        assert_eq!(errnos, [Some(libc::EBADF), Some(libc::ENOSPC)], "{backend:?}");
    }
}

#[test]
fn read_ahead_answers_what_is_there() {
    let read = on_shard(AppendBackend::Ring, |runtime| async move {
        let dir = TestDir::new();
        let file = created(&dir.path("log"));
        file.write_at_blocking(0, &[7; 10_000]).expect("written");
        let completions = Completions::collect(&runtime);
        let ring = runtime.log_ring();
        ring.read_ahead(1, file.clone(), 0, 4096);
        ring.read_ahead(2, file.clone(), 8000, 1 << 30);
        ring.read_ahead(3, file, 20_000, 4096);
        completions.take(3).await
    });
    let read: Vec<usize> = read.into_iter().map(|result| result.expect("read")).collect();
    assert_eq!(read, [4096, 2000, 0]);
}

#[test]
fn shard_that_ends_amid_writes_lets_the_kernel_finish_them() {
    let dir = TestDir::new();
    let path = dir.path("log");
    on_shard(AppendBackend::Ring, {
        let path = path.clone();
        move |runtime| async move {
            runtime.on_event(|_| {}).expect("first handler");
            let file = created(&path);
            for number in 0..64 {
                runtime.log_ring().write(number, file.clone(), number << 16, vec![Bytes::from(vec![9; 1 << 16])]);
            }
            runtime.log_ring().sync(64, file);
            // Long enough for the submit, too short for the fsync.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    });
    let bytes = std::fs::read(&path).expect("there");
    assert!(bytes.iter().all(|&byte| byte == 9 || byte == 0));
}

/// The file size limit cuts a write short, as a full disk does: the rest is tried once and then says why.
#[test]
fn short_write_is_continued_once_and_then_names_the_reason() {
    if crate::in_own_process("ring::short_write_is_continued_once_and_then_names_the_reason") {
        return;
    }
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: 10_000 };
    // SAFETY: `limit` is a live rlimit; this process ends right after the test.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    for backend in BACKENDS {
        let dir = TestDir::new();
        let path = dir.path("log");
        let result = on_shard(backend, {
            let path = path.clone();
            move |runtime| async move {
                let completions = Completions::collect(&runtime);
                let buffers = vec![Bytes::from(vec![1; 4000]), Bytes::from(vec![2; 4000]), Bytes::from(vec![3; 4000])];
                runtime.log_ring().write(1, created(&path), 0, buffers);
                completions.take(1).await.remove(0)
            }
        });
        assert_eq!(
            result.expect_err("12,000 bytes do not fit 10,000").raw_os_error(),
            Some(libc::EFBIG),
            "{backend:?}"
        );
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 10_000);
    }
}
