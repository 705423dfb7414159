//! Rules that can be broken on purpose, one at a time, to see whether the simulator notices.

/// Declares a crate's `Mutant`: a closed list of rules, each named for what is done instead of it. They can be broken only
/// in a build of that crate with its feature `mutants`, which no release has; without it `is_armed` is `false` at compile
/// time.
#[macro_export]
macro_rules! mutants {
    ($($(#[$each:meta])* $mutant:ident),+ $(,)?) => {
        /// A rule of this crate that can be broken, named for what is done instead of it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mutant {
            $($(#[$each])* $mutant),+
        }

        #[cfg(feature = "mutants")]
        ::std::thread_local! {
            static ARMED: ::std::cell::Cell<Option<Mutant>> = const { ::std::cell::Cell::new(None) };
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant),+];

            /// By its name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mutant| ::std::format!("{mutant:?}") == name)
            }

            /// Breaks this rule, and no other, on this thread; `None` mends all. `false`: this build cannot.
            #[cfg(feature = "mutants")]
            pub fn arm(mutant: Option<Self>) -> bool {
                ARMED.set(mutant);
                true
            }

            /// Breaks a rule on this thread: not in this build.
            #[cfg(not(feature = "mutants"))]
            pub const fn arm(_: Option<Self>) -> bool {
                false
            }

            /// Whether this rule is broken.
            #[cfg(feature = "mutants")]
            #[must_use]
            pub fn is_armed(self) -> bool {
                ARMED.get() == Some(self)
            }

            /// Whether this rule is broken: never in this build.
            #[cfg(not(feature = "mutants"))]
            #[must_use]
            pub const fn is_armed(self) -> bool {
                false
            }
        }
    };
}
