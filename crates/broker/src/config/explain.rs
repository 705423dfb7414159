//! `config explain NAME`: what a setting means, takes and does here.

/// The page about `name`, broker, topic and group settings alike; `None` when there is no such setting.
#[must_use]
pub fn explain(name: &str) -> Option<String> {
    let _ = name;
    None
}

/// Names that look like `name`, best first, at most five: "did you mean".
#[must_use]
pub fn nearest_names(name: &str) -> Vec<&'static str> {
    let _ = name;
    Vec::new()
}
