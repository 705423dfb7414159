//! The shard against a real kernel: rings, files, sockets, threads.

mod denied;
mod files;
mod mail;
mod network;
mod ring;
mod turns;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use shard::{AppendBackend, ShardRuntime, ShardSpec, mailboxes, spawn};
use types::ShardId;

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, gone with it.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("shard-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `main` on one shard and returns what it returns; fails when that takes too long.
fn on_shard<T, F, Main>(backend: AppendBackend, main: F) -> T
where
    T: Send + 'static,
    F: FnOnce(ShardRuntime<u64>) -> Main + Send + 'static,
    Main: Future<Output = T> + 'static,
{
    let (mut receivers, _mailboxes) = mailboxes(1).expect("eventfds");
    let (done, result) = mpsc::channel();
    let spec = ShardSpec { backend, ..ShardSpec::new(ShardId::new(0)) };
    let handle = spawn(spec, receivers.remove(0), |runtime| async move {
        drop(done.send(main(runtime).await));
    })
    .expect("io_uring is allowed here");
    let result = match result.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the shard hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            handle.join().expect("the shard panicked");
            panic!("the shard ended without a result");
        }
    };
    handle.join().expect("the shard ends cleanly");
    result
}

/// Runs the calling test again in a process of its own, because it changes what its process may do; true when that is
/// done, false in that process.
fn in_own_process(name: &str) -> bool {
    const MARK: &str = "SHARD_TEST_IN_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return false;
    }
    let child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .expect("runs");
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}{errors}");
    true
}
