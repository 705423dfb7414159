//! Rules of this crate that can be broken on purpose: see [`types::mutants!`].

types::mutants! {
    /// A reply leaves before the records behind it are in the log: a commit is acked before it is logged.
    CommitAckedBeforeItIsLogged,
}
