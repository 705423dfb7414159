//! `ringlog get-offsets`: kafka-get-offsets.sh.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{OffsetAt, Topic};
use types::{Timestamp, TopicPartition};

use super::{TopicPattern, chosen};
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::print_text;
use crate::session::Connect;

const AFTER_HELP: &str = "\
Flags and output are those of Kafka 4.3's kafka-get-offsets.sh: topic:partition:offset lines.

Examples:
  ringlog get-offsets --topic orders
  ringlog get-offsets --topic orders --time earliest
  ringlog get-offsets --topic-partitions 'orders:0-2,clicks'";

/// The flags of kafka-get-offsets.sh.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct GetOffsets {
    /// Topics by a regular expression
    #[arg(long, add = ArgValueCompleter::new(live_names::topics))]
    topic: Option<String>,
    /// Only these partitions, commas between
    #[arg(long, value_name = "NUMBERS")]
    partitions: Option<String>,
    /// Topics with partitions: orders:1, orders:0-2 (without 2), orders:5-, orders:-3, commas between
    #[arg(long, value_name = "PATTERNS", conflicts_with_all = ["topic", "partitions"])]
    topic_partitions: Option<String>,
    /// latest (-1), earliest (-2), max-timestamp (-3), earliest-local (-4), latest-tiered (-5), earliest-pending-upload
    /// (-6), or milliseconds since 1970
    #[arg(long, value_name = "TIME", default_value = "latest", allow_hyphen_values = true)]
    time: String,
    /// Without the cluster's own topics
    #[arg(long)]
    exclude_internal_topics: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Some partitions of the topics that match.
struct Wanted {
    topic: Option<TopicPattern>,
    partitions: Vec<Range<i32>>,
}

impl Wanted {
    fn has(&self, topic: &str, partition: i32) -> bool {
        self.topic.as_ref().is_none_or(|pattern| pattern.matches(topic))
            && (self.partitions.is_empty() || self.partitions.iter().any(|range| range.contains(&partition)))
    }
}

impl GetOffsets {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let as_script =
            |failure: Failure| Failure { code: Code::Failed, message: format!("Error occurred: {}", failure.message) };
        let at = parse_time(&self.time).map_err(as_script)?;
        let wanted = self.wanted().map_err(as_script)?;
        self.connect.run(async |session| {
            let topics = chosen(session.client.topics().await?, None, self.exclude_internal_topics)?;
            let (led, leaderless) = partitions_of(&topics, &wanted);
            if led.is_empty() && leaderless.is_empty() {
                let why = "Could not match any topic-partitions with the specified filters";
                return Err(as_script(Failure::new(Code::Failed, why)));
            }
            for at in leaderless {
                tell!("Skip getting offsets for topic-partition {at} due to error: it has no leader");
            }
            let found = session.admin.list_offsets(&led, at).await?;
            // In the order in which Kafka's script sorts them: by the text.
            let lines: BTreeMap<String, String> = found
                .into_iter()
                .map(|(at, found)| (at.to_string(), format!("{}:{}:{}\n", at.topic, at.partition, found.offset)))
                .collect();
            print_text(&lines.into_values().collect::<String>())
        })
    }

    fn wanted(&self) -> Result<Vec<Wanted>, Failure> {
        if let Some(patterns) = &self.topic_partitions {
            return patterns.split(',').map(parse_pattern).collect();
        }
        let topic = self.topic.as_deref().map(TopicPattern::new).transpose()?;
        let number = |text: &str| match text.trim().parse::<i32>() {
            Ok(number) => Ok(number..number.saturating_add(1)),
            Err(_) => Err(Failure::new(Code::Failed, format!("`{text}` is no number of a partition"))),
        };
        let partitions =
            self.partitions.iter().flat_map(|text| text.split(',')).map(number).collect::<Result<_, _>>()?;
        Ok(vec![Wanted { topic, partitions }])
    }
}

/// The partitions wanted: with a leader, and without.
fn partitions_of(topics: &[Arc<Topic>], wanted: &[Wanted]) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
    let (mut led, mut leaderless) = (Vec::new(), Vec::new());
    for topic in topics {
        for partition in &topic.partitions {
            if wanted.iter().any(|wanted| wanted.has(&topic.name, partition.index.value())) {
                let at = TopicPartition::new(Arc::clone(&topic.name), partition.index);
                if partition.leader.is_some() { led.push(at) } else { leaderless.push(at) }
            }
        }
    }
    (led, leaderless)
}

/// `topic:partitions`, each of which may be left out.
fn parse_pattern(text: &str) -> Result<Wanted, Failure> {
    let wrong = || Failure::new(Code::Failed, format!("Invalid rule: {text}"));
    let (topic, partitions) = match text.split_once(':') {
        Some((topic, partitions)) => (topic, partitions),
        None => (text, ""),
    };
    let topic = if topic.is_empty() { None } else { Some(TopicPattern::new(topic)?) };
    let bound = |text: &str, unless: i32| match text {
        "" => Ok(unless),
        text => text.parse::<i32>().ok().filter(|number| 0 <= *number).ok_or_else(wrong),
    };
    let range = match partitions.split_once('-') {
        _ if partitions.is_empty() => None,
        Some((from, to)) => Some(bound(from, 0)?..bound(to, i32::MAX)?),
        None => {
            let number = bound(partitions, 0)?;
            Some(number..number.saturating_add(1))
        }
    };
    let partitions = range.into_iter().collect();
    Ok(Wanted { topic, partitions })
}

fn parse_time(text: &str) -> Result<OffsetAt, Failure> {
    Ok(match text {
        "latest" | "-1" => OffsetAt::Latest,
        "earliest" | "-2" => OffsetAt::Earliest,
        "max-timestamp" | "-3" => OffsetAt::MaxTimestamp,
        "earliest-local" | "-4" => OffsetAt::EarliestLocal,
        "latest-tiered" | "-5" => OffsetAt::LatestTiered,
        "earliest-pending-upload" | "-6" => OffsetAt::EarliestPendingUpload,
        text => match text.parse() {
            Ok(millis) => OffsetAt::Time(Timestamp::from_millis(millis)),
            Err(_) => {
                let why = format!(
                    "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 \
                     or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format \
                     timestamp"
                );
                return Err(Failure::new(Code::Failed, why));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_topics_and_ranges_of_partitions() {
        let has = |pattern: &str, topic: &str, partition| {
            parse_pattern(pattern).map(|wanted| wanted.has(topic, partition)).map_err(|failure| failure.message)
        };
        for (pattern, topic, partition, expected) in [
            ("orders:1", "orders", 1, true),
            ("orders:1", "orders", 0, false),
            ("orders:0-2", "orders", 2, false),
            ("orders:0-2", "orders", 1, true),
            ("ord.*:5-", "orders", 7, true),
            (":-3", "any", 2, true),
            (":-3", "any", 3, false),
            ("orders", "orders", 99, true),
            ("orders", "clicks", 0, false),
        ] {
            assert_eq!(has(pattern, topic, partition), Ok(expected), "{pattern} {topic} {partition}");
        }
        assert!(has("orders:x", "orders", 0).is_err());
    }
}
