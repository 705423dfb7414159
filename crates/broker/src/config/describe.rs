//! Rows of DescribeConfigs: every setting of a resource with its effective value, where that came from, and what it hides.

use super::catalogue::{ConfigKey, Scope, Treatment, Update, Value, ValueType, broker_twin, chain};
use super::proved::{Config, Dynamic, Layers, Overrides};
use super::topic::effective_topic_value;

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

impl DescribeOptions<'_> {
    fn wants(&self, name: &str) -> bool {
        self.names.is_none_or(|names| names.contains(&name))
    }
}

/// The rows of a topic with these overrides.
#[must_use]
pub fn describe_topic(
    config: &Config,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
    options: DescribeOptions<'_>,
) -> Vec<ConfigRow> {
    let layers = config.layers(dynamic);
    let keys = Scope::Topic.keys().filter(|key| !key.internal && options.wants(key.name));
    keys.map(|key| {
        let value = effective_topic_value(layers, overrides, key.name);
        let mut synonyms = broker_twin(key.name).map(|twin| broker_synonyms(layers, twin)).unwrap_or_default();
        let own = overrides.get(key.name).filter(|text| key.parse(text).is_ok());
        if own.is_some() {
            let value = value.as_ref().map(Value::to_text);
            synonyms.insert(0, Synonym { name: key.name.to_owned(), value, source: ConfigSource::DynamicTopic });
        }
        row(key, value, false, synonyms, options)
    })
    .collect()
}

/// The rows of this broker: all settings, effective.
#[must_use]
pub fn describe_broker(config: &Config, dynamic: Dynamic<'_>, options: DescribeOptions<'_>) -> Vec<ConfigRow> {
    let layers = config.layers(dynamic);
    let keys = Scope::Broker.keys().filter(|key| !key.internal && options.wants(key.name));
    keys.map(|key| {
        let (mut value, mut synonyms) = (layers.value(key.name), broker_synonyms(layers, key.name));
        // Under both of its names the node's number is what it runs on, as in Kafka.
        if matches!(key.name, "node.id" | "broker.id") {
            let number = Value::Int(i64::from(config.node_id.value()));
            if value.as_ref() != Some(&number) {
                let name = key.name.to_owned();
                synonyms.insert(0, Synonym { name, value: Some(number.to_text()), source: ConfigSource::StaticBroker });
            }
            value = Some(number);
        }
        row(key, value, key.update == Update::ReadOnly, synonyms, options)
    })
    .collect()
}

/// The rows of the nameless broker, the default of all brokers: only what was set there.
#[must_use]
pub fn describe_default_broker(dynamic: Dynamic<'_>, options: DescribeOptions<'_>) -> Vec<ConfigRow> {
    let set = dynamic.cluster.iter().filter(|(name, _)| options.wants(name));
    set.filter_map(|(name, text)| {
        let key = Scope::Broker.key(name)?;
        let value = key.parse(text).ok()?;
        let source = ConfigSource::DynamicDefaultBroker;
        let synonym = Synonym { name: name.clone(), value: shown(key, Some(&value)), source };
        Some(row(key, Some(value), key.update == Update::ReadOnly, vec![synonym], options))
    })
    .collect()
}

/// The rows of a group with these overrides.
#[must_use]
pub fn describe_group(
    config: &Config,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
    options: DescribeOptions<'_>,
) -> Vec<ConfigRow> {
    let layers = config.layers(dynamic);
    let keys = Scope::Group.keys().filter(|key| !key.internal && options.wants(key.name));
    keys.map(|key| {
        let twin = format!("group.{}", key.name);
        let mut synonyms = broker_synonyms(layers, &twin);
        let own = overrides.get(key.name).and_then(|text| key.parse(text).ok());
        if let Some(own) = &own {
            let value = Some(own.to_text());
            synonyms.insert(0, Synonym { name: key.name.to_owned(), value, source: ConfigSource::DynamicGroup });
        }
        let default = || key.default.and_then(|text| key.parse(text).ok());
        let value = own.or_else(|| layers.value(&twin)).or_else(default);
        row(key, value, false, synonyms, options)
    })
    .collect()
}

/// Where the value of a broker setting stands, strongest first. As in Kafka, values under another name of its chain
/// count only behind one under the name itself: with `log.retention.hours` alone, `log.retention.ms` shows none.
fn broker_synonyms(layers: Layers<'_>, name: &str) -> Vec<Synonym> {
    let alone = [(name, 1)];
    let names = chain(name).unwrap_or(&alone);
    let keys = || names.iter().filter_map(|(name, _)| Scope::Broker.key(name));
    let mut found = Vec::new();
    let mut add = |key: &ConfigKey, text: Option<&str>, source: ConfigSource| {
        if let Some(value) = text.and_then(|text| key.parse(text).ok()) {
            found.push(Synonym { name: key.name.to_owned(), value: shown(key, Some(&value)), source });
        }
    };
    for (layer, source) in [
        (layers.dynamic.broker, ConfigSource::DynamicBroker),
        (layers.dynamic.cluster, ConfigSource::DynamicDefaultBroker),
    ] {
        keys().for_each(|key| add(key, layer.get(key.name).map(String::as_str), source));
    }
    keys().for_each(|key| {
        add(key, layers.raw.get(key.name).map(|raw| raw.value.as_str()), ConfigSource::StaticBroker);
    });
    keys().for_each(|key| add(key, key.default, ConfigSource::Default));
    found.into_iter().skip_while(|synonym| synonym.name != name).collect()
}

fn shown(key: &ConfigKey, value: Option<&Value>) -> Option<String> {
    value.filter(|_| !key.is_sensitive()).map(Value::to_text)
}

fn row(
    key: &ConfigKey,
    value: Option<Value>,
    read_only: bool,
    synonyms: Vec<Synonym>,
    options: DescribeOptions<'_>,
) -> ConfigRow {
    ConfigRow {
        name: key.name.to_owned(),
        value: shown(key, value.as_ref()),
        read_only,
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        sensitive: key.is_sensitive(),
        synonyms: if options.synonyms { synonyms } else { Vec::new() },
        value_type: key.value_type,
        documentation: options.documentation.then(|| documentation(key)),
    }
}

fn documentation(key: &ConfigKey) -> String {
    match key.treatment {
        Treatment::Effective | Treatment::OneNode => key.documentation.to_owned(),
        Treatment::NoEffect => format!("{} Without effect in Ringlog.", key.documentation),
        Treatment::NotBuilt | Treatment::Refused => {
            format!("{} Not built in Ringlog yet: only the default is taken.", key.documentation)
        }
    }
}
