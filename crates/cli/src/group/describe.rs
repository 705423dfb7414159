//! `ringlog group describe`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::group::list::state;
use crate::group::no_group;
use crate::live_names;
use crate::output::{Answer, Cell, Format, Section, print};
use crate::session::Connect;
use crate::topic::once;

const AFTER_HELP: &str = "\
Examples:
  ringlog group describe billing
  ringlog group describe billing -o json | jq '.groups[0].members[].host'

How far the group is behind is in: ringlog group lag billing";

/// The arguments of `group describe`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DescribeCommand {
    /// The groups
    #[arg(value_name = "GROUP", required = true, add = ArgValueCompleter::new(live_names::groups))]
    groups: Vec<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Groups and their members.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupDescription {
    groups: Vec<GroupDescribed>,
}

#[derive(Serialize, JsonSchema)]
struct GroupDescribed {
    group: String,
    /// Kafka's word: Stable, Empty, PreparingRebalance, ...
    state: String,
    /// What that means, and what the group waits for.
    reason: String,
    /// classic or consumer.
    kind: String,
    /// How partitions are assigned: range, cooperative-sticky, uniform, ...; empty in a group without members.
    assignor: String,
    members: Vec<MemberDescribed>,
}

#[derive(Serialize, JsonSchema)]
struct MemberDescribed {
    member: String,
    /// Its group.instance.id, if it is a static member.
    instance: Option<String>,
    client_id: String,
    host: String,
    assignment: Vec<Assigned>,
}

#[derive(Serialize, JsonSchema)]
struct Assigned {
    topic: String,
    partitions: Vec<i32>,
}

impl DescribeCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut described =
            self.connect.run(|session| async move { Ok(session.admin.describe_groups(&self.groups).await?) })?;
        let mut failures = Vec::new();
        let mut groups = Vec::new();
        let ids = once(&self.groups);
        for &id in &ids {
            match described.remove(id) {
                Some(Ok(group)) if group.state != client::GROUP_DEAD => groups.push(GroupDescribed::of(group)),
                Some(Err(error)) => failures.push(error.into()),
                Some(Ok(_)) | None => failures.push(no_group(id)),
            }
        }
        if !groups.is_empty() {
            print(&GroupDescription { groups }, self.format.output)?;
        }
        Failure::of_many("describe groups", ids.len(), failures)
    }
}

impl GroupDescribed {
    fn of(group: client::Group) -> Self {
        let reason = reason(&group.state, group.members.len());
        let members = group.members.into_iter().map(|member| {
            let mut assignment: Vec<Assigned> = Vec::new();
            for at in &member.assignment {
                match assignment.last_mut() {
                    Some(topic) if topic.topic == *at.topic => topic.partitions.push(at.partition.value()),
                    _ => assignment
                        .push(Assigned { topic: at.topic.to_string(), partitions: vec![at.partition.value()] }),
                }
            }
            MemberDescribed {
                member: member.id,
                instance: member.instance_id,
                client_id: member.client_id,
                host: member.client_host,
                assignment,
            }
        });
        let mut members: Vec<MemberDescribed> = members.collect();
        members.sort_by(|a, b| (&a.host, &a.client_id, &a.member).cmp(&(&b.host, &b.client_id, &b.member)));
        Self {
            group: group.id,
            state: group.state,
            reason,
            kind: group.kind.to_lowercase(),
            assignor: group.protocol,
            members,
        }
    }
}

/// What a state means for the one who waits.
fn reason(state: &str, members: usize) -> String {
    match state {
        "Stable" if members == 1 => "its only member has its partitions and reads".to_owned(),
        "Stable" => format!("all {members} members have their partitions and read"),
        "Empty" => {
            "no member is connected; what is committed is kept until offsets.retention.minutes are over".to_owned()
        }
        "PreparingRebalance" => {
            "a member came, left or fell silent: reading pauses until all have joined again, at the latest for the \
             longest max.poll.interval.ms among them"
                .to_owned()
        }
        "CompletingRebalance" => "all have joined; the leading member is working out who reads what".to_owned(),
        "Assigning" => "the coordinator is working out who reads what".to_owned(),
        "Reconciling" => "members are giving up and taking over partitions".to_owned(),
        other => format!("{other}, as the coordinator says"),
    }
}

impl Assigned {
    /// `orders: 0-2, 5`.
    fn text(&self) -> String {
        let mut sorted = self.partitions.clone();
        sorted.sort_unstable();
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for partition in sorted {
            match ranges.last_mut() {
                Some((_, last)) if partition == *last + 1 => *last = partition,
                _ => ranges.push((partition, partition)),
            }
        }
        let ranges = ranges.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        format!("{}: {}", self.topic, ranges.collect::<Vec<_>>().join(", "))
    }
}

impl Answer for GroupDescription {
    const SCHEMA: &'static str = "group.describe";
    const LINES: &'static str = "groups";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut sections = Vec::new();
        for group in &self.groups {
            let facts: Vec<(&'static str, Cell)> = vec![
                ("group", group.group.clone().into()),
                ("state", state(&group.state)),
                ("reason", group.reason.clone().into()),
                ("kind", group.kind.clone().into()),
                ("assignor", if group.assignor.is_empty() { "-".into() } else { group.assignor.clone().into() }),
                ("members", group.members.len().to_string().into()),
            ];
            sections.push(Section::facts(facts));
            if group.members.is_empty() {
                continue;
            }
            let cells = |member: &MemberDescribed| {
                let assigned: Vec<String> = member.assignment.iter().map(Assigned::text).collect();
                let mut cells: Vec<String> = vec![member.client_id.clone(), member.host.clone()];
                if wide {
                    cells.extend([member.member.clone(), member.instance.clone().unwrap_or_else(|| "-".to_owned())]);
                }
                cells.push(if assigned.is_empty() { "nothing".to_owned() } else { assigned.join("; ") });
                cells
            };
            let heads: &[&str] =
                if wide { &["client", "host", "member", "instance", "reads"] } else { &["client", "host", "reads"] };
            sections.push(Section::rows(heads, group.members.iter().map(cells)));
        }
        sections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_shown_as_ranges() {
        let text = |partitions: &[i32]| Assigned { topic: "t".to_owned(), partitions: partitions.to_vec() }.text();
        assert_eq!(text(&[2, 0, 1, 5]), "t: 0-2, 5");
        assert_eq!(text(&[7]), "t: 7");
    }

    #[test]
    fn every_state_of_kafka_has_its_reason() {
        for state in ["Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"] {
            assert!(!reason(state, 2).contains("as the coordinator says"), "{state}");
        }
    }
}
