//! Rows of DescribeConfigs: every setting of a resource with its effective value, where that came from, and what it hides.

use super::catalogue::ValueType;
use super::proved::{Config, Dynamic, Overrides};

/// Where an effective value comes from, numbered as DescribeConfigs numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum ConfigSource {
    DynamicTopic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
    DynamicGroup,
}

impl ConfigSource {
    /// The number in a DescribeConfigs response.
    #[must_use]
    pub const fn to_wire(self) -> i8 {
        match self {
            Self::DynamicTopic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::DynamicGroup => 8,
        }
    }
}

/// A value that the effective one is, or hides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    /// The name it was set under.
    pub name: String,
    /// Its value, `None` if null or secret.
    pub value: Option<String>,
    /// Where it was set.
    pub source: ConfigSource,
}

/// One setting of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigRow {
    /// Kafka's name.
    pub name: String,
    /// Its effective value, `None` if null or secret.
    pub value: Option<String>,
    /// It cannot be altered while the node runs.
    pub read_only: bool,
    /// Where the effective value was set.
    pub source: ConfigSource,
    /// The value is kept secret.
    pub sensitive: bool,
    /// The effective value and those it hides, strongest first; empty unless asked for.
    pub synonyms: Vec<Synonym>,
    /// Its type.
    pub value_type: ValueType,
    /// Our sentences about it; `None` unless asked for.
    pub documentation: Option<String>,
}

/// What a DescribeConfigs request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DescribeOptions<'a> {
    /// Only these; `None` is all.
    pub names: Option<&'a [&'a str]>,
    /// With synonyms.
    pub synonyms: bool,
    /// With documentation.
    pub documentation: bool,
}

/// The rows of a topic with these overrides.
#[must_use]
pub fn describe_topic(
    config: &Config,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
    options: DescribeOptions<'_>,
) -> Vec<ConfigRow> {
    let _ = (config, dynamic, overrides, options);
    Vec::new()
}

/// The rows of this broker.
#[must_use]
pub fn describe_broker(config: &Config, dynamic: Dynamic<'_>, options: DescribeOptions<'_>) -> Vec<ConfigRow> {
    let _ = (config, dynamic, options);
    Vec::new()
}

/// The rows of a group with these overrides.
#[must_use]
pub fn describe_group(
    config: &Config,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
    options: DescribeOptions<'_>,
) -> Vec<ConfigRow> {
    let _ = (config, dynamic, overrides, options);
    Vec::new()
}
