//! Every setting that Kafka 4.3.1 knows, and Ringlog's own, as one text table beside this file (`catalogue.tsv`): facts
//! (type, default, bounds, importance, how it may be changed) are Kafka's, sentences are ours.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Kafka's config types, numbered as DescribeConfigs numbers them (KIP-569).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum ValueType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ValueType {
    /// Kafka's name of the type, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }

    /// The number in a DescribeConfigs response.
    #[must_use]
    pub const fn to_wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// How much most users should care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Who may change a broker setting while the node runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker or as the default of all.
    ClusterWide,
}

/// What Ringlog does with a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// It does what Kafka's documentation says.
    Effective,
    /// Any valid value is taken, none does anything here; said once at start.
    NoEffect,
    /// The feature does not exist yet: only Kafka's default is taken.
    NotBuilt,
    /// Taking it silently would weaken safety or security: only the default is taken.
    Refused,
    /// A list of nodes: taken without effect with one entry, refused with more, as several nodes are not built yet.
    OneNode,
}

/// Which values a setting takes, besides having its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Bounds {
    /// Any value of the type.
    Any,
    /// A number from `min` to `max`, both included.
    Range {
        /// Smallest value taken.
        min: i64,
        /// Largest value taken, if there is a bound beyond the type's.
        max: Option<i64>,
        /// One value taken outside the range (`compression.gzip.level=-1`).
        also: Option<i64>,
    },
    /// One of these words; for a list, any number of them.
    Words(Vec<&'static str>),
    /// One of these words, upper or lower case.
    WordsAnyCase(Vec<&'static str>),
    /// `*`, or pairs `partition:broker`.
    Replicas,
    /// Pairs `host:limit`, commas between.
    HostLimits,
    /// A list with at least one entry, if it is set at all.
    NonEmptyList,
    /// A text without line breaks, tabs and other control characters.
    Line {
        /// Most characters taken.
        chars_max: usize,
    },
}

/// A row of the catalogue.
#[derive(Clone, PartialEq, Debug)]
pub struct ConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub value_type: ValueType,
    /// The default as Kafka prints it; `None` when Kafka's is null.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub bounds: Bounds,
    /// How much most users should care.
    pub importance: Importance,
    /// How it may change while the node runs (for topic and group settings: always at will).
    pub update: Update,
    /// What Ringlog does with it.
    pub treatment: Treatment,
    /// Kafka keeps it out of DescribeConfigs.
    pub internal: bool,
    /// What it means, in our words.
    pub documentation: &'static str,
}

/// The three sorts of settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Scope {
    /// Of a node, from its properties file or by AlterConfigs on a broker.
    Broker,
    /// Of a topic.
    Topic,
    /// Of a consumer, share or streams group (KIP-848, KIP-932, KIP-1071).
    Group,
}

impl Scope {
    /// All settings of this sort, by name.
    pub fn keys(self) -> impl Iterator<Item = &'static ConfigKey> {
        table(self).values()
    }

    /// The setting with this name.
    #[must_use]
    pub fn key(self, name: &str) -> Option<&'static ConfigKey> {
        table(self).get(name)
    }
}

type Table = BTreeMap<&'static str, ConfigKey>;

static TABLES: LazyLock<[Table; 3]> = LazyLock::new(|| {
    let mut tables = [Table::new(), Table::new(), Table::new()];
    for line in include_str!("catalogue.tsv").lines().filter(|line| !line.starts_with('#')) {
        let Some((scope, key)) = parse_row(line) else {
            panic!("catalogue.tsv, which is part of this program, has a row that is none: {line}");
        };
        let earlier = tables[scope as usize].insert(key.name, key);
        assert!(earlier.is_none(), "catalogue.tsv has a name twice: {line}");
    }
    tables
});

fn table(scope: Scope) -> &'static Table {
    &TABLES[scope as usize]
}

/// `scope | name | type | default | bounds | importance | update | treatment | documentation`, tabs between.
fn parse_row(line: &'static str) -> Option<(Scope, ConfigKey)> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let scope = match next()? {
        "topic" => Scope::Topic,
        "group" => Scope::Group,
        "broker" => Scope::Broker,
        _ => return None,
    };
    let name = next()?;
    let value_type = match next()? {
        "boolean" => ValueType::Boolean,
        "string" => ValueType::String,
        "int" => ValueType::Int,
        "short" => ValueType::Short,
        "long" => ValueType::Long,
        "double" => ValueType::Double,
        "list" => ValueType::List,
        "class" => ValueType::Class,
        "password" => ValueType::Password,
        _ => return None,
    };
    let default = match next()? {
        "null" => None,
        "\"\"" => Some(""),
        text => Some(text),
    };
    let bounds = parse_bounds(next()?)?;
    let importance = match next()? {
        "high" => Importance::High,
        "medium" => Importance::Medium,
        "low" => Importance::Low,
        _ => return None,
    };
    let update = next()?;
    let internal = update.ends_with('!');
    let update = match update.trim_end_matches('!') {
        "restart" => Update::ReadOnly,
        "node" => Update::PerBroker,
        "cluster" | "any" => Update::ClusterWide,
        _ => return None,
    };
    let treatment = match next()? {
        "effective" => Treatment::Effective,
        "no-effect" => Treatment::NoEffect,
        "not-built" => Treatment::NotBuilt,
        "refused" => Treatment::Refused,
        "one-node" => Treatment::OneNode,
        _ => return None,
    };
    let documentation = next()?;
    let key = ConfigKey { name, value_type, default, bounds, importance, update, treatment, internal, documentation };
    Some((scope, key))
}

fn parse_bounds(text: &'static str) -> Option<Bounds> {
    let words = |text: &'static str| text.trim_start_matches('[').trim_end_matches(']').split(',').collect();
    match text {
        "*" => Some(Bounds::Any),
        "replicas" => Some(Bounds::Replicas),
        "limits" => Some(Bounds::HostLimits),
        "nonempty" => Some(Bounds::NonEmptyList),
        _ if text.starts_with("line ") => Some(Bounds::Line { chars_max: text["line ".len()..].parse().ok()? }),
        _ if text.starts_with('[') => Some(Bounds::Words(words(text))),
        _ if text.starts_with('~') => Some(Bounds::WordsAnyCase(words(&text[1..]))),
        _ => {
            let (range, also) = match text.split_once('|') {
                Some((range, also)) => (range, Some(also.parse().ok()?)),
                None => (text, None),
            };
            let (min, max) = range.split_once("..")?;
            let max = if max.is_empty() { None } else { Some(max.parse().ok()?) };
            Some(Bounds::Range { min: min.parse().ok()?, max, also })
        }
    }
}

/// The pairs of a text like `10.0.0.1:5, ::1:7`; `None` when one of them is none.
pub(super) fn host_limits(text: &str) -> Option<Vec<(&str, u32)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (host, limit) = entry.rsplit_once(':')?;
            let (host, limit) = (host.trim(), limit.trim().parse().ok()?);
            (!host.is_empty()).then_some((host, limit))
        })
        .collect()
}

/// A value of a setting's type, inside its bounds.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `true` or `false`, in any case.
    Bool(bool),
    /// Int, short and long.
    Int(i64),
    /// A fraction.
    Double(f64),
    /// String, class and password.
    Text(String),
    /// Entries trimmed; an empty text is an empty list.
    List(Vec<String>),
}

impl Value {
    /// The text as Kafka prints a parsed value.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) => format!("{value:?}").replace('e', "E"),
            Self::Text(value) => value.clone(),
            Self::List(entries) => entries.join(","),
        }
    }
}

impl ConfigKey {
    /// The value that `text` stands for.
    ///
    /// # Errors
    /// The rule that `text` breaks, as the end of a sentence that begins with name and value.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let value = match self.value_type {
            ValueType::Boolean if text.eq_ignore_ascii_case("true") => Value::Bool(true),
            ValueType::Boolean if text.eq_ignore_ascii_case("false") => Value::Bool(false),
            ValueType::Boolean => return Err("must be true or false".to_owned()),
            ValueType::Short => self.parse_whole(text, i64::from(i16::MIN), i64::from(i16::MAX))?,
            ValueType::Int => self.parse_whole(text, i64::from(i32::MIN), i64::from(i32::MAX))?,
            ValueType::Long => self.parse_whole(text, i64::MIN, i64::MAX)?,
            ValueType::Double => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Value::Double(value),
                _ => return Err("must be a number".to_owned()),
            },
            ValueType::List if text.is_empty() => Value::List(Vec::new()),
            ValueType::List => Value::List(self.split(text)),
            ValueType::String | ValueType::Class | ValueType::Password => Value::Text(text.to_owned()),
        };
        if self.holds(&value) { Ok(value) } else { Err(format!("must be {}", self.takes())) }
    }

    /// The entries of a list, trimmed. Of words there is one each, as Kafka drops what is there twice.
    fn split(&self, text: &str) -> Vec<String> {
        let mut entries: Vec<String> = Vec::new();
        for entry in text.split(',').map(str::trim) {
            if !matches!(self.bounds, Bounds::Words(_)) || !entries.iter().any(|known| known == entry) {
                entries.push(entry.to_owned());
            }
        }
        entries
    }

    fn parse_whole(&self, text: &str, type_min: i64, type_max: i64) -> Result<Value, String> {
        match text.parse::<i64>() {
            Ok(value) if (type_min..=type_max).contains(&value) => Ok(Value::Int(value)),
            // A number too big for the type is told the setting's own bound, when that is the tighter one.
            _ => match self.bounds {
                Bounds::Range { max: Some(_), .. } => Err(format!("must be {}", self.takes())),
                _ => Err(format!(
                    "must be a whole number, {} to at most {type_max}",
                    match self.bounds {
                        Bounds::Range { min, .. } => min,
                        _ => type_min,
                    }
                )),
            },
        }
    }

    fn holds(&self, value: &Value) -> bool {
        let one_of = |words: &[&str], text: &str, any_case: bool| {
            words.iter().any(|word| *word == text || (any_case && word.eq_ignore_ascii_case(text)))
        };
        match (&self.bounds, value) {
            (Bounds::Range { min, max, also }, Value::Int(value)) => {
                (min <= value && max.is_none_or(|max| *value <= max)) || *also == Some(*value)
            }
            #[expect(clippy::cast_precision_loss, reason = "the bounds of fractions are small whole numbers")]
            (Bounds::Range { min, max, .. }, Value::Double(value)) => {
                *min as f64 <= *value && max.is_none_or(|max| *value <= max as f64)
            }
            (Bounds::Words(words), Value::Text(text)) => one_of(words, text, false),
            (Bounds::WordsAnyCase(words), Value::Text(text)) => one_of(words, text, true),
            (Bounds::Words(words), Value::List(entries)) => entries.iter().all(|entry| one_of(words, entry, false)),
            (Bounds::WordsAnyCase(words), Value::List(entries)) => {
                entries.iter().all(|entry| one_of(words, entry, true))
            }
            (Bounds::Replicas, Value::List(entries)) => match entries.as_slice() {
                [star] if star == "*" => true,
                entries => entries.iter().all(|entry| is_replica(entry)),
            },
            (Bounds::HostLimits, Value::Text(text)) => host_limits(text).is_some(),
            (Bounds::NonEmptyList, Value::List(entries)) => entries.iter().all(|entry| !entry.is_empty()),
            (Bounds::Line { chars_max }, Value::Text(text)) => {
                text.chars().count() <= *chars_max && !text.chars().any(char::is_control)
            }
            _ => true,
        }
    }

    /// What the setting takes, in words: "from 1 to 9, or -1".
    #[must_use]
    pub fn takes(&self) -> String {
        let kind = match self.value_type {
            ValueType::Boolean => return "true or false".to_owned(),
            ValueType::Int | ValueType::Short | ValueType::Long => "a whole number",
            ValueType::Double => "a number",
            ValueType::List => "a list, commas between",
            ValueType::String => "a text",
            ValueType::Class => "the name of a Java class",
            ValueType::Password => "a secret",
        };
        match &self.bounds {
            Bounds::Any => kind.to_owned(),
            Bounds::Range { min, max, also } => {
                let mut text = match max {
                    Some(max) => format!("{kind} from {min} to {max}"),
                    None => format!("{kind} of at least {min}"),
                };
                if let Some(also) = also {
                    text.push_str(&format!(", or {also}"));
                }
                text
            }
            Bounds::Words(words) | Bounds::WordsAnyCase(words) if self.value_type == ValueType::List => {
                format!("a list of {}", words.join(", "))
            }
            Bounds::Words(words) | Bounds::WordsAnyCase(words) => format!("one of {}", words.join(", ")),
            Bounds::Replicas => "`*`, or a list of partition:broker pairs".to_owned(),
            Bounds::HostLimits => "pairs host:limit, commas between".to_owned(),
            Bounds::NonEmptyList => "a list without empty entries".to_owned(),
            Bounds::Line { chars_max } => format!("one line of at most {chars_max} characters"),
        }
    }

    /// Whether `value` is what stands when nothing is written.
    #[must_use]
    pub fn is_default(&self, value: &Value) -> bool {
        match self.default {
            Some(text) => self.parse(text).as_ref() == Ok(value),
            None => {
                matches!(value, Value::Text(text) if text.is_empty())
                    || matches!(value, Value::List(entries) if entries.is_empty())
            }
        }
    }

    /// The value is kept secret.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.value_type == ValueType::Password
    }
}

fn is_replica(entry: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    entry.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
}

/// Topic settings and the broker setting that is their default, in the order of the topic names.
const TWINS: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// Broker settings of which the first that is set counts, each with the milliseconds of its unit.
const CHAINS: &[&[(&str, i64)]] = &[
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
    &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
    &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
];

/// The broker setting that is the default of a topic setting.
#[must_use]
pub fn broker_twin(topic_name: &str) -> Option<&'static str> {
    TWINS.binary_search_by(|(topic, _)| topic.cmp(&topic_name)).ok().map(|at| TWINS[at].1)
}

/// The topic setting whose default a broker setting is.
#[must_use]
pub fn topic_twin(broker_name: &str) -> Option<&'static str> {
    let first = chain(broker_name).map_or(broker_name, |chain| chain[0].0);
    TWINS.iter().find(|(_, broker)| *broker == first).map(|(topic, _)| *topic)
}

/// The chain that a broker setting is part of, strongest first.
#[must_use]
pub fn chain(broker_name: &str) -> Option<&'static [(&'static str, i64)]> {
    CHAINS.iter().find(|chain| chain.iter().any(|(name, _)| *name == broker_name)).copied()
}

/// Topic settings of older Kafkas that tools still send: taken with any value, without effect, never listed.
pub const TOPIC_NAMES_IGNORED: &[&str] = &["message.downconversion.enable", "message.format.version"];
