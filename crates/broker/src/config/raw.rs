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
    host_name: Option<String>,
    names_twice: Vec<(String, Origin)>,
}

/// Variables of Kafka's container image that are no settings: they steer its start script and its JVM.
const VARIABLES_OF_THE_IMAGE: &[&str] = &[
    "KAFKA_VERSION",
    "KAFKA_HEAP_OPTS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_PORT",
    "KAFKA_HOME",
];

/// What the commands that ask a cluster read; no settings of a node.
const VARIABLES_OF_CLIENTS: &[&str] = &["RINGLOG_BROKERS", "RINGLOG_CONFIG_FILE", "RINGLOG_PROFILE"];

impl RawConfig {
    /// Nothing written: the embedded defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine's name, told to clients where a listener binds every interface and nothing is advertised.
    pub fn set_host_name(&mut self, host_name: &str) {
        let host_name = host_name.trim();
        self.host_name = (!host_name.is_empty()).then(|| host_name.to_owned());
    }

    /// The machine's name, `localhost` when nobody told.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.host_name.as_deref().unwrap_or("localhost")
    }

    /// Takes the settings of a properties file, in Java's syntax: `name=value`, `name:value` or `name value`; `#` and
    /// `!` begin comments; a backslash at the end goes on in the next line; `\t \n \r \f \uXXXX` and escaped separators.
    pub fn read_properties(&mut self, path: &Path, text: &str) {
        let mut lines = text.lines().enumerate();
        let mut seen = BTreeMap::new();
        while let Some((index, line)) = lines.next() {
            let first = line.trim_start();
            if first.is_empty() || first.starts_with(['#', '!']) {
                continue;
            }
            let mut logical = first.to_owned();
            while ends_in_continuation(&logical) {
                logical.pop();
                match lines.next() {
                    Some((_, more)) => logical.push_str(more.trim_start()),
                    None => break,
                }
            }
            let (name, value) = split_property(&logical);
            let origin = Origin::File { path: path.to_owned(), line: index + 1 };
            if seen.insert(name.clone(), ()).is_some() {
                self.names_twice.push((name.clone(), origin.clone()));
            }
            self.set(&name, &value, origin);
        }
    }

    /// Takes `KAFKA_LOG_DIRS` as `log.dirs` and `RINGLOG_HTTP_LISTENER` as `ringlog.http.listener`, mapped as Kafka's
    /// container image maps them: `_` is a dot, `__` an underscore, `___` a dash.
    pub fn read_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, value) in variables {
            let (prefix, rest) = if let Some(rest) = variable.strip_prefix("KAFKA_") {
                ("", rest)
            } else if let Some(rest) = variable.strip_prefix("RINGLOG_") {
                ("ringlog.", rest)
            } else {
                continue;
            };
            let other = [VARIABLES_OF_THE_IMAGE, VARIABLES_OF_CLIENTS].concat().contains(&variable.as_str());
            if rest.is_empty() || other {
                continue;
            }
            let name = rest.to_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".");
            let name = format!("{prefix}{}", name.replace('\u{0}', "_"));
            self.set(&name, &value, Origin::Environment { variable });
        }
    }

    /// Takes one `name=value`, as after `--override`.
    ///
    /// # Errors
    /// What is wrong with the text when there is no `=` or no name.
    pub fn read_override(&mut self, text: &str) -> Result<(), String> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                self.set(name, value, Origin::Override);
                Ok(())
            }
            _ => Err(format!("`{text}` is not of the form name=value, such as num.partitions=3")),
        }
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

    /// Names that one properties file holds more than once, with the place of the later one, which counts.
    pub fn names_twice(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.names_twice.iter().map(|(name, origin)| (name.as_str(), origin))
    }
}

/// An odd number of backslashes at the end: the last one escapes the end of the line.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name ends at the first `=`, `:` or blank that is not escaped; blanks around one `=` or `:` are dropped.
fn split_property(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, char)| {
        let ends = !escaped && (matches!(char, '=' | ':') || char.is_whitespace());
        escaped = *char == '\\' && !escaped;
        ends
    });
    let (name, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescape(name), unescape(value))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(decoded) if digits.len() == 4 => {
                        out.push(decoded);
                        chars.nth(3);
                    }
                    _ => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
