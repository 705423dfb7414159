//! `ringlog group list`.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::Connect;

const AFTER_HELP: &str = "\
Examples:
  ringlog group list
  ringlog group list --state Empty            groups that nobody reads with
  ringlog group list -o json | jq -r '.groups[].group'";

/// The arguments of `group list`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ListCommand {
    /// Only groups in this state: Stable, Empty, PreparingRebalance, CompletingRebalance, Dead. May be given many times
    #[arg(long, value_name = "STATE", ignore_case = true)]
    state: Vec<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The groups of a cluster.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupList {
    groups: Vec<GroupListed>,
}

#[derive(Serialize, JsonSchema)]
struct GroupListed {
    group: String,
    /// Kafka's word: Stable, Empty, PreparingRebalance, ...
    state: String,
    /// classic, consumer, share; empty from brokers that do not say.
    kind: String,
    /// consumer, connect, ...
    protocol_type: String,
}

impl ListCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let groups = self.connect.run(|session| async move { Ok(session.admin.list_groups().await?) })?;
        let wanted = |group: &client::Group| {
            self.state.is_empty() || self.state.iter().any(|state| state.eq_ignore_ascii_case(&group.state))
        };
        let groups = groups.into_iter().filter(wanted).map(|group| GroupListed {
            group: group.id,
            state: group.state,
            kind: group.kind.to_lowercase(),
            protocol_type: group.protocol_type,
        });
        print(&GroupList { groups: groups.collect() }, self.format.output)
    }
}

impl Answer for GroupList {
    const SCHEMA: &'static str = "group.list";
    const LINES: &'static str = "groups";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let heads = ["group", "state", "kind", "protocol"];
        let heads = if wide { &heads[..] } else { &heads[..2] };
        let cells = |group: &GroupListed| {
            let mut cells = vec![group.group.clone().into(), state(&group.state)];
            if wide {
                cells.extend([group.kind.clone().into(), group.protocol_type.clone().into()]);
            }
            cells
        };
        vec![Section::rows(heads, self.groups.iter().map(cells))]
    }
}

/// A state in its colour.
pub(super) fn state(state: &str) -> Cell {
    let tone = match state {
        "Stable" => Tone::Good,
        "Empty" | "" => Tone::Plain,
        _ => Tone::Warning,
    };
    Cell::toned(state, tone)
}
