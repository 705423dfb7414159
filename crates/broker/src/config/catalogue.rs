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
}

/// Which values a setting takes, besides having its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Bounds {
    /// Any value of the type.
    Any,
    /// A number from `min` to `max`, both included.
    Range {
        /// Smallest value taken.
        min: f64,
        /// Largest value taken, if there is a bound beyond the type's.
        max: Option<f64>,
        /// One value taken outside the range (`compression.gzip.level=-1`).
        also: Option<f64>,
    },
    /// One of these words; for a list, any number of them, none twice.
    Words(Vec<&'static str>),
    /// `*`, or pairs `partition:broker`.
    Replicas,
    /// A list with at least one entry, if it is set at all.
    NonEmptyList,
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

static TABLES: LazyLock<[Table; 3]> = LazyLock::new(|| [Table::new(), Table::new(), Table::new()]);

fn table(scope: Scope) -> &'static Table {
    &TABLES[match scope {
        Scope::Broker => 0,
        Scope::Topic => 1,
        Scope::Group => 2,
    }]
}
