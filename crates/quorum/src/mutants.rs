//! Rules of this crate that can be broken on purpose, one at a time, to see whether the simulator notices. Compiled in
//! only with the feature `mutants`, which no release has; without it [`Mutant::is_armed`] is `false` at compile time.

/// A rule, named for what is done instead of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutant {
    /// The log is trimmed up to the newest snapshot, and the one before it goes.
    TrimmedToTheNewestSnapshot,
    /// A block of producer ids is handed out, and not noted as taken.
    ProducerIdsNotTaken,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::TrimmedToTheNewestSnapshot, Self::ProducerIdsNotTaken];
}

#[cfg(feature = "mutants")]
mod armed {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ARMED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// Breaks this rule, and no other, on this thread; `None` mends all. `false`: this build cannot.
        pub fn arm(mutant: Option<Self>) -> bool {
            ARMED.set(mutant);
            true
        }

        /// Whether this rule is broken.
        #[must_use]
        pub fn is_armed(self) -> bool {
            ARMED.get() == Some(self)
        }
    }
}

#[cfg(not(feature = "mutants"))]
impl Mutant {
    /// Breaks a rule on this thread: not in this build.
    pub const fn arm(_: Option<Self>) -> bool {
        false
    }

    /// Whether this rule is broken: never in this build.
    #[must_use]
    pub const fn is_armed(self) -> bool {
        false
    }
}
