//! How a task of a shard asks for the end of the turn. Shared by the runtime and the log ring.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Whether a shard's pump sleeps. Written by its shard, read by every sender, so it has a cache line pair to itself.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Parked(pub(crate) AtomicBool);

/// Wakes the pump, at most once a turn.
///
/// Lives on: its shard's thread.
pub(crate) struct TurnSignal {
    scheduled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    parked: Arc<Parked>,
}

impl TurnSignal {
    pub(crate) fn new(parked: Arc<Parked>) -> Self {
        Self { scheduled: Cell::new(false), waker: RefCell::new(None), parked }
    }

    /// Makes sure that the pump runs after the tasks that are ready now.
    pub(crate) fn schedule(&self) {
        if !self.scheduled.replace(true) {
            // The pump is about to run anyway: whoever sends mail from now on need not pay for a wake.
            self.parked.0.store(false, Ordering::Relaxed);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }

    /// Whether a turn was asked for since the last call.
    pub(crate) fn take(&self) -> bool {
        self.scheduled.replace(false)
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match &mut *slot {
            Some(known) => known.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }
}
