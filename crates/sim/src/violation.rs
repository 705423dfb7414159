//! What a run broke.

/// A run that broke something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which invariant.
    pub invariant: String,
    /// How.
    pub detail: String,
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

pub(crate) fn violation(invariant: &str, detail: impl Into<String>) -> Violation {
    Violation { invariant: invariant.to_owned(), detail: detail.into() }
}
