//! `ringlog group`: consumer groups, what they have committed, and how far they are behind.

mod delete;
mod describe;
pub(crate) mod kafka;
mod lag;
mod list;
mod seek;
mod standing;

pub(crate) use delete::GroupDeletion;
pub(crate) use describe::GroupDescription;
pub(crate) use lag::GroupLag;
pub(crate) use list::GroupList;
pub(crate) use seek::GroupSeek;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use crate::failure::{Code, Failure};
use crate::live_names;
use crate::session::Session;

/// The commands about groups.
#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// Every group, its state and kind
    List(list::ListCommand),
    /// A group's members, what each is assigned, and what the group waits for
    Describe(describe::DescribeCommand),
    /// How far groups are behind in records, bytes and time, and how long until retention overtakes them
    Lag(lag::LagCommand),
    /// Set what a group without members reads next
    Seek(seek::SeekCommand),
    /// Delete groups without members and what they have committed
    Delete(delete::DeleteCommand),
}

impl GroupCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(),
            Self::Describe(describe) => describe.run(),
            Self::Lag(lag) => lag.run(),
            Self::Seek(seek) => seek.run(),
            Self::Delete(delete) => delete.run(),
        }
    }
}

/// Groups named, or all of them.
#[derive(Args, Clone, Debug, Default)]
struct Groups {
    /// The groups; all of the cluster when none is named
    #[arg(value_name = "GROUP", add = ArgValueCompleter::new(live_names::groups))]
    groups: Vec<String>,
}

/// The groups named, or every consumer group of the cluster.
async fn named_or_all(session: &Session, named: &Groups) -> Result<Vec<String>, Failure> {
    if !named.groups.is_empty() {
        let mut groups = named.groups.clone();
        groups.sort();
        groups.dedup();
        return Ok(groups);
    }
    let groups = session.admin.list_groups().await?;
    // Share and Streams groups, and the workers of Connect, keep no offsets of this kind.
    let reads = |group: &client::Group| {
        matches!(group.kind.to_ascii_lowercase().as_str(), "" | "classic" | "consumer")
            && matches!(group.protocol_type.as_str(), "" | "consumer")
    };
    Ok(groups.into_iter().filter(reads).map(|group| group.id).collect())
}

/// A group that does not exist.
fn no_group(id: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no group {id}")).with_next("ringlog group list")
}

/// Whether a state means that a group has members or is about to.
fn is_active(state: &str) -> bool {
    !matches!(state, "Empty" | "" | client::GROUP_DEAD)
}
