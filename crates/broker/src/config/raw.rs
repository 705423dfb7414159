//! Settings as somebody wrote them, each with where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Line of a properties file, counted from 1.
    File {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// `--override name=value`.
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// A value as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawValue {
    /// The text, trimmed.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// All values as written; nothing is checked yet. Later sources win over earlier ones, so call the readers in the order
/// file, environment, overrides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawConfig {
    values: BTreeMap<String, RawValue>,
}

impl RawConfig {
    /// Nothing written: the embedded defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the settings of a properties file (Java's syntax). Returns names that it holds more than once.
    pub fn read_properties(&mut self, _path: &Path, _text: &str) -> Vec<String> {
        Vec::new()
    }

    /// Takes `KAFKA_LOG_DIRS` as `log.dirs` and `RINGLOG_HTTP_LISTENER` as `ringlog.http.listener`, mapped as Kafka's
    /// container image maps them: `_` is a dot, `__` an underscore, `___` a dash.
    pub fn read_environment(&mut self, _variables: impl Iterator<Item = (String, String)>) {}

    /// Takes one `name=value`, as after `--override`.
    ///
    /// # Errors
    /// What is wrong with the text when there is no `=` or no name.
    pub fn read_override(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form name=value"))?;
        self.set(name, value, Origin::Override);
        Ok(())
    }

    /// Sets one value; a later one wins.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) {
        self.values.insert(name.trim().to_owned(), RawValue { value: value.trim().to_owned(), origin });
    }

    /// What was written for `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.values.get(name)
    }

    /// Everything written, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }
}
