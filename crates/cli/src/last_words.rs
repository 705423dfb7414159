//! What a node says of a fault of its own, and how long its end may wait for that.
//!
//! A broken invariant is a panic, which tells of itself on stderr and then ends the process. Whoever reads stderr may have
//! stopped (see `log_queue`), and telling would then wait for ever: a node that neither serves nor ends.

use std::process::abort;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long a panic may take to be told, with the lines that were logged before it.
const TELLING_WAIT_MAX: Duration = Duration::from_secs(1);

/// From now on a panic calls `before` and is then told as ever; where that takes too long, the process is aborted untold.
pub(crate) fn bound(before: impl Fn(Duration) + Send + Sync + 'static) {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let (told, telling) = channel::<()>();
        // Without a thread it is told all the same, however long that takes.
        let _ = thread::Builder::new().name("last-words".to_owned()).spawn(move || abort_unless_told(&telling));
        before(TELLING_WAIT_MAX / 2);
        tell(panic);
        drop(told);
    }));
}

fn abort_unless_told(telling: &Receiver<()>) {
    if telling.recv_timeout(TELLING_WAIT_MAX) == Err(RecvTimeoutError::Timeout) {
        abort();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, Write, pipe};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::time::Instant;

    use super::*;

    /// Set for a process that is to panic.
    const IS_CHILD: &str = "TEST_LAST_WORDS";
    const PATIENCE: Duration = Duration::from_secs(60);
    const SIGABRT: i32 = 6;
    /// What the test harness ends with when a test failed.
    const TEST_FAILED: i32 = 101;

    /// Not a test by itself: what the others run as a process of its own.
    #[test]
    fn a_child_panics() {
        if std::env::var_os(IS_CHILD).is_some() {
            bound(|_| {});
            panic!("these are its last words");
        }
    }

    /// A process that panics, and the pipe that is its stderr; a full one holds more than it will take in.
    fn start(is_full: bool) -> (Child, PipeReader) {
        let (reader, mut writer) = pipe().expect("a pipe");
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "last_words::tests::a_child_panics", "--nocapture"]).env(IS_CHILD, "1");
        command.stdout(Stdio::null()).stderr(writer.try_clone().expect("a descriptor"));
        if is_full {
            let (filled, filling) = channel();
            // It goes on as long as there is a reader.
            thread::spawn(move || {
                while writer.write_all(&[b'x'; 4096]).is_ok() {
                    let _ = filled.send(());
                }
            });
            while filling.recv_timeout(Duration::from_millis(500)).is_ok() {}
        }
        (command.spawn().expect("spawned"), reader)
    }

    fn end_of(mut child: Child) -> Option<ExitStatus> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().expect("a child") {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.kill().expect("a child");
        let _ = child.wait();
        None
    }

    #[test]
    fn a_panic_that_nobody_reads_ends_the_process_all_the_same() {
        let (child, reader) = start(true);
        let status = end_of(child).expect("it hangs");
        assert_eq!(status.signal(), Some(SIGABRT), "{status}");
        drop(reader);
    }

    #[test]
    fn a_panic_that_is_read_is_told_and_ends_as_ever() {
        let (child, mut reader) = start(false);
        let status = end_of(child).expect("it hangs");
        assert_eq!(status.code(), Some(TEST_FAILED), "{status}");
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("text");
        assert!(said.contains("these are its last words"), "{said}");
    }
}
