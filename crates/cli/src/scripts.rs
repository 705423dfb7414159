//! Kafka's scripts under ringlog: `topics`, `configs` and `get-offsets` take the flags of kafka-topics.sh,
//! kafka-configs.sh and kafka-get-offsets.sh and print the lines that they print, so that run-books and whatever parses
//! them keep working. Exit codes are theirs too: 0, or 1 for every failure.

pub(crate) mod configs;
pub(crate) mod get_offsets;
pub(crate) mod topics;

use std::sync::Arc;

use client::Topic;
use regex::Regex;

use crate::failure::{Code, Failure};

/// Topics by name, as `--topic` of Kafka's scripts means it: a regular expression for the whole name, in which a comma is
/// an alternative.
struct TopicPattern(Regex);

impl TopicPattern {
    fn new(text: &str) -> Result<Self, Failure> {
        let pattern = text.trim().replace(',', "|").replace(' ', "");
        let pattern = pattern.trim_matches(['"', '\'']);
        let regex = Regex::new(&format!("^(?:{pattern})$"));
        let wrong = |error| Failure::new(Code::Failed, format!("--topic {text} is no regular expression: {error}"));
        regex.map(Self).map_err(wrong)
    }

    fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// Those of `topics` that a script means.
fn chosen(
    mut topics: Vec<Arc<Topic>>,
    pattern: Option<&str>,
    exclude_internal: bool,
) -> Result<Vec<Arc<Topic>>, Failure> {
    let pattern = pattern.map(TopicPattern::new).transpose()?;
    topics.retain(|topic| !(exclude_internal && topic.internal));
    topics.retain(|topic| pattern.as_ref().is_none_or(|pattern| pattern.matches(&topic.name)));
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_for_whole_names_and_commas_are_alternatives() {
        let matches = |pattern: &str, name: &str| TopicPattern::new(pattern).expect("a pattern").matches(name);
        assert!(matches("orders", "orders") && !matches("orders", "orders-2") && !matches("rders", "orders"));
        assert!(matches("ord.*, clicks", "clicks") && matches("\"ord.*\"", "orders"));
        assert!(TopicPattern::new("(").is_err());
    }
}
