//! `ringlog group delete`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::group::{is_active, no_group};
use crate::live_names;
use crate::output::{Answer, Format, Section, print};
use crate::session::{Connect, Consent, Session};
use crate::topic::once;
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog group delete billing-old --dry-run    what would go
  ringlog group delete billing-old billing-test --yes

What a group has committed goes with it. To keep it: ringlog group seek GROUP --to-current --dry-run --to-file FILE";

/// The arguments of `group delete`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DeleteCommand {
    /// The groups
    #[arg(value_name = "GROUP", required = true, add = ArgValueCompleter::new(live_names::groups))]
    groups: Vec<String>,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Groups that were deleted, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupDeletion {
    /// Whether nothing was changed.
    dry_run: bool,
    groups: Vec<GroupDeleted>,
}

#[derive(Serialize, JsonSchema)]
struct GroupDeleted {
    group: String,
    /// Partitions for which it had committed offsets.
    committed_partitions: usize,
    /// Whether it is gone.
    deleted: bool,
    /// Why it is not.
    error: Option<String>,
}

impl DeleteCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(|session| async move {
            let ids = once(&self.groups);
            let (mut deletion, mut failures) = self.look(&session, &ids).await?;
            if !self.dry_run && !deletion.groups.is_empty() {
                self.consent.ask(&deletion.question())?;
                for group in &mut deletion.groups {
                    match session.admin.delete_group(&group.group).await {
                        Ok(()) => group.deleted = true,
                        Err(error) => {
                            group.error = Some(error.to_string());
                            failures.push(error.into());
                        }
                    }
                }
            }
            if !deletion.groups.is_empty() {
                print(&deletion, self.format.output)?;
            }
            Failure::of_many("delete groups", ids.len(), failures)
        })
    }

    /// What can be deleted, and why the others cannot.
    async fn look(&self, session: &Session, ids: &[&str]) -> Result<(GroupDeletion, Vec<Failure>), Failure> {
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        let mut described = session.admin.describe_groups(&ids).await?;
        let mut offsets = session.admin.offsets_of_groups(&ids).await?;
        let mut failures = Vec::new();
        let mut groups = Vec::new();
        for id in ids {
            let group = match described.remove(&id) {
                Some(Ok(group)) => group,
                Some(Err(error)) => {
                    failures.push(error.into());
                    continue;
                }
                None => continue,
            };
            let committed = offsets.remove(&id).and_then(Result::ok).unwrap_or_default();
            if group.state == client::GROUP_DEAD && committed.is_empty() {
                failures.push(no_group(&id));
            } else if is_active(&group.state) {
                let members = units::counted(group.members.len() as u64, "member");
                let why = format!("group {id} is {} and has {members}", group.state);
                failures
                    .push(Failure::new(Code::Failed, why).with_next(&format!(
                        "stop its members (`ringlog group describe {id}` names them), then again"
                    )));
            } else {
                let committed_partitions = committed.len();
                groups.push(GroupDeleted { group: id, committed_partitions, deleted: false, error: None });
            }
        }
        Ok((GroupDeletion { dry_run: self.dry_run, groups }, failures))
    }
}

impl GroupDeletion {
    fn question(&self) -> String {
        let names: Vec<&str> = self.groups.iter().map(|group| group.group.as_str()).collect();
        let partitions: usize = self.groups.iter().map(|group| group.committed_partitions).sum();
        let partitions = units::counted(partitions as u64, "partition");
        format!("This deletes {} and what is committed for {partitions}.", names.join(", "))
    }
}

impl Answer for GroupDeletion {
    const SCHEMA: &'static str = "group.delete";
    const LINES: &'static str = "groups";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let cells = |group: &GroupDeleted| {
            let outcome = match (&group.error, group.deleted) {
                (Some(error), _) => error.clone(),
                (None, true) => "deleted".to_owned(),
                (None, false) => "would be deleted".to_owned(),
            };
            vec![group.group.clone(), group.committed_partitions.to_string(), outcome]
        };
        vec![Section::rows(&["group", "committed partitions", "outcome"], self.groups.iter().map(cells))]
    }
}
