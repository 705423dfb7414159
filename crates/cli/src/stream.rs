//! What `produce` and `consume` share: how they stop, how they write, and how far they are.

pub(crate) mod escape;
pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod template;
pub(crate) mod time;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::failure::{Code, Failure};

/// Bytes at which the buffer is written even though more is at hand.
const OUT_BYTES: usize = 256 * 1024;

/// The exit code of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Stdout in large writes. The caller flushes when it has nothing more at hand, so that nobody waits for a record.
#[derive(Debug)]
pub(crate) struct Out {
    stdout: File,
    pub(crate) buffer: Vec<u8>,
}

/// Whoever read stdout has gone (`| head`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReaderGone;

impl Out {
    /// # Errors
    /// Stdout is closed.
    pub(crate) fn stdout() -> Result<Self, Failure> {
        // `Stdout` of the standard library writes a line at a time.
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::output(&error))?;
        Ok(Self { stdout: stdout.into(), buffer: Vec::with_capacity(2 * OUT_BYTES) })
    }

    /// Writes what is there if it has grown large.
    ///
    /// # Errors
    /// As [`Out::flush`].
    pub(crate) fn flush_if_large(&mut self) -> Result<Result<(), ReaderGone>, Failure> {
        if self.buffer.len() < OUT_BYTES { Ok(Ok(())) } else { self.flush() }
    }

    /// Whether the reader has gone; asked while there is nothing to write, which would tell.
    pub(crate) fn is_reader_gone(&self) -> bool {
        is_reader_gone(&self.stdout)
    }

    /// Writes what is there.
    ///
    /// # Errors
    /// Stdout cannot be written: its disk is full, say.
    pub(crate) fn flush(&mut self) -> Result<Result<(), ReaderGone>, Failure> {
        let written = self.stdout.write_all(&self.buffer);
        self.buffer.clear();
        match written {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Err(ReaderGone)),
            Err(error) => Err(Failure::output(&error)),
        }
    }
}

/// Whether nobody can read any more what is written into `pipe`.
pub(crate) fn is_reader_gone(pipe: &impl AsFd) -> bool {
    // No event is asked for: what is reported then is an error or the other end's hang-up.
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let polls = poll(&mut polled, PollTimeout::ZERO);
    polls.is_ok() && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// SIGINT and SIGTERM. The first asks for a clean end; the second ends at once.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<(AtomicBool, Notify)>);

impl Interrupt {
    /// Starts to listen.
    ///
    /// # Errors
    /// Signals cannot be waited for.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let fail = |error| Failure::new(Code::Failed, format!("cannot wait for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        let shared = Self(Arc::default());
        let told = shared.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if told.0.0.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
                told.0.1.notify_one();
            }
        });
        Ok(shared)
    }

    /// Returns once it was asked to end.
    pub(crate) async fn wait(&self) {
        if !self.is_set() {
            self.0.1.notified().await;
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }
}
