//! Changing configs: AlterConfigs replaces all of a resource, IncrementalAlterConfigs edits single ones.

use std::sync::Arc;

use types::ErrorCode;
use types::limits::CONFIG_VALUE_CHARS_MAX;

use crate::Configs;
use crate::controller::{ConfigRules, Fault};
use crate::image::MetadataImage;
use crate::record::{ConfigResource, Record};

/// All configs that a resource shall have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigReplacement {
    /// Whose.
    pub resource: ConfigResource,
    /// Everything else goes back to its default.
    pub configs: Configs,
}

/// Edits of single configs of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    /// Whose.
    pub resource: ConfigResource,
    /// Each name at most once.
    pub edits: Vec<(Arc<str>, ConfigEdit)>,
}

/// An edit of one config.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigEdit {
    /// This value from now on.
    Set(Arc<str>),
    /// Back to the default.
    Delete,
    /// These items (comma-separated) join the list, if not in it.
    Append(Arc<str>),
    /// These items (comma-separated) leave the list.
    Subtract(Arc<str>),
}

type Results = Vec<(ConfigResource, Result<(), Fault>)>;

/// Plans AlterConfigs.
pub(crate) fn replace<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    resources: Vec<ConfigReplacement>,
) -> (Vec<Record>, Results) {
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(resources.len());
    for ConfigReplacement { resource, configs } in resources {
        let before = configs_of(image, &resource);
        let result = configs.values().try_for_each(|value| check_value_length(value));
        let result = result.and_then(|()| check(image, rules, &resource, &before, &configs));
        if result.is_ok() {
            for (name, value) in &configs {
                if before.get(name) != Some(value) || is_broker(&resource) {
                    records.push(set(&resource, name, Some(value)));
                }
            }
            records.extend(
                before.keys().filter(|name| !configs.contains_key(*name)).map(|name| set(&resource, name, None)),
            );
        }
        results.push((resource, result));
    }
    (records, results)
}

/// Plans IncrementalAlterConfigs.
pub(crate) fn change<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    resources: Vec<ConfigChange>,
) -> (Vec<Record>, Results) {
    let mut records = Vec::new();
    let mut results = Vec::with_capacity(resources.len());
    for ConfigChange { resource, edits } in resources {
        let result = change_one(image, rules, &resource, &edits).map(|mut new| records.append(&mut new));
        results.push((resource, result));
    }
    (records, results)
}

fn change_one<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    resource: &ConfigResource,
    edits: &[(Arc<str>, ConfigEdit)],
) -> Result<Vec<Record>, Fault> {
    let before = configs_of(image, resource);
    let mut after = (*before).clone();
    let mut records = Vec::new();
    for (name, edit) in edits {
        let current = before.get(name);
        let value = match edit {
            ConfigEdit::Set(value) => Some(Arc::clone(value)),
            ConfigEdit::Delete => None,
            ConfigEdit::Append(items) | ConfigEdit::Subtract(items) => {
                let append = matches!(edit, ConfigEdit::Append(_));
                if !rules.is_list(resource, name) {
                    let what = if append { "APPEND" } else { "SUBTRACT" };
                    let message = format!("Can't {what} to key {name} because its type is not LIST.");
                    return Err(Fault::new(ErrorCode::InvalidConfig, message));
                }
                let start = match current {
                    Some(current) => Some(current.to_string()),
                    None => rules.default_value(resource, name),
                };
                Some(edit_list(start.as_deref().unwrap_or(""), items, append).into())
            }
        };
        // A broker's config is written even when it does not change: that makes brokers load it again.
        if current != value.as_ref() || is_broker(resource) {
            records.push(set(resource, name, value.as_ref()));
        }
        match value {
            Some(value) => {
                check_value_length(&value)?;
                after.insert(Arc::clone(name), value);
            }
            None => drop(after.remove(name)),
        }
    }
    check(image, rules, resource, &before, &after)?;
    Ok(records)
}

/// `"a,b"` with `"b,c"` appended is `"a,b,c"`, with it subtracted `"a"`.
fn edit_list(start: &str, items: &str, append: bool) -> String {
    let mut list: Vec<&str> = start.split(',').filter(|item| !item.is_empty()).collect();
    for item in items.split(',') {
        match list.iter().position(|&have| have == item) {
            Some(at) if !append => drop(list.remove(at)),
            None if append => list.push(item),
            _ => {}
        }
    }
    list.join(",")
}

/// Refuses a value that no config may have.
pub(crate) fn check_value_length(value: &str) -> Result<(), Fault> {
    if CONFIG_VALUE_CHARS_MAX < value.encode_utf16().count() {
        let message = format!(
            "The configuration value cannot be added because it exceeds the maximum value size of \
             {CONFIG_VALUE_CHARS_MAX} bytes."
        );
        return Err(Fault::new(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

fn check<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    resource: &ConfigResource,
    before: &Configs,
    after: &Configs,
) -> Result<(), Fault> {
    rules.check(resource, before, after, image)?;
    match resource {
        ConfigResource::Topic(name) if image.topic(name).is_none() => {
            let message = format!("The topic '{name}' does not exist.");
            Err(Fault::new(ErrorCode::UnknownTopicOrPartition, message))
        }
        ConfigResource::Broker(node) if image.broker(*node).is_none() => {
            Err(Fault::new(ErrorCode::BrokerIdNotRegistered, format!("No node with id {node} found.")))
        }
        _ => Ok(()),
    }
}

fn configs_of(image: &MetadataImage, resource: &ConfigResource) -> Arc<Configs> {
    image.configs(resource).map(Arc::clone).unwrap_or_default()
}

const fn is_broker(resource: &ConfigResource) -> bool {
    matches!(resource, ConfigResource::Broker(_) | ConfigResource::DefaultBroker)
}

fn set(resource: &ConfigResource, name: &Arc<str>, value: Option<&Arc<str>>) -> Record {
    Record::Config { resource: resource.clone(), name: Arc::clone(name), value: value.map(Arc::clone) }
}
