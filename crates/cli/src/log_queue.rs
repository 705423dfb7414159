//! The way of a log line to stderr: a bounded queue, and one thread that writes.
//!
//! Whoever reads stderr may stop (a journald that is stopped, a pipe that nobody empties), and a write then waits until it
//! reads again. That holds up this thread, and never a shard: a line that finds the queue full is lost, and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use broker::recent_log;
use types::limits::LOG_LINES_WAITING_MAX;

/// How often a flush looks whether the queue has room for it.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

enum Job {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(Sender<()>),
}

/// Takes lines from any thread; cloning shares it.
#[derive(Clone)]
pub(crate) struct LogQueue {
    jobs: SyncSender<Job>,
    /// Lines queued or being written.
    waiting: Arc<AtomicUsize>,
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(LOG_LINES_WAITING_MAX);
        let waiting = Arc::<AtomicUsize>::default();
        let left = Arc::clone(&waiting);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&queue, &left, out))?;
        Ok(Self { jobs, waiting })
    }

    /// Queues a line, or counts it as lost. Never waits.
    pub(crate) fn push(&self, line: &[u8]) {
        // Before the thread can take it, so that the count never goes below zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            recent_log::count_lost();
        }
    }

    /// Whether all that was queued is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Waits until all that was queued is written, but no longer than `wait_max`.
    pub(crate) fn flush(&self, wait_max: Duration) {
        let began = Instant::now();
        let (written, answer) = channel();
        let mut job = Job::Flush(written);
        while let Err(error) = self.jobs.try_send(job) {
            if wait_max <= began.elapsed() {
                return;
            }
            std::thread::sleep(FLUSH_RETRY);
            job = match error {
                std::sync::mpsc::TrySendError::Full(job) => job,
                std::sync::mpsc::TrySendError::Disconnected(_) => return,
            };
        }
        // Whoever cannot write has nothing to say of it either.
        let _ = answer.recv_timeout(wait_max.saturating_sub(began.elapsed()));
    }
}

fn write_all(queue: &Receiver<Job>, waiting: &AtomicUsize, mut out: impl Write) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Line(line) => {
                if out.write_all(&line).is_err() {
                    recent_log::count_lost();
                }
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Job::Flush(written) => {
                // It may have waited long enough.
                let _ = written.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[derive(Default)]
    struct Gate {
        is_open: Mutex<bool>,
        opened: Condvar,
        written: Mutex<Vec<u8>>,
    }

    /// Takes lines once its gate is open.
    #[derive(Clone, Default)]
    struct Gated(Arc<Gate>);

    impl Gated {
        fn open(&self) {
            *self.0.is_open.lock().expect("unpoisoned") = true;
            self.0.opened.notify_all();
        }

        fn written(&self) -> String {
            String::from_utf8(self.0.written.lock().expect("unpoisoned").clone()).expect("text")
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let is_open = self.0.is_open.lock().expect("unpoisoned");
            drop(self.0.opened.wait_while(is_open, |is_open| !*is_open).expect("unpoisoned"));
            self.0.written.lock().expect("unpoisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stopped_reader_costs_lines_and_nobodys_time() {
        let out = Gated::default();
        let queue = LogQueue::start(out.clone()).expect("a thread");
        let lost_before = recent_log::lines_lost();
        // One more may have been taken out of the queue already.
        let pushed = LOG_LINES_WAITING_MAX + 1 + 25;
        for number in 0..pushed {
            queue.push(format!("{number}\n").as_bytes());
        }
        let lost = (recent_log::lines_lost() - lost_before) as usize;
        assert!((25..=26).contains(&lost), "{lost}");
        assert!(!queue.is_idle());
        let began = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(30), "a flush waits no longer than it may");
        out.open();
        queue.flush(Duration::from_secs(30));
        assert!(queue.is_idle());
        let written = out.written();
        assert_eq!(written.lines().count(), pushed - lost);
        assert!(written.starts_with("0\n1\n2\n"), "in order");
    }
}
