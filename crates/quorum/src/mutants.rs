//! Rules of this crate that can be broken on purpose: see [`types::mutants!`].

types::mutants! {
    /// The log is trimmed up to the newest snapshot, and the one before it goes.
    TrimmedToTheNewestSnapshot,
    /// A block of producer ids is handed out, and not noted as taken.
    ProducerIdsNotTaken,
}
