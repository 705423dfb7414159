//! `ringlog consumer-groups`: the flags and the output of Kafka's kafka-consumer-groups.sh, so that run-books and what
//! parses its columns go on working. `ringlog group` tells more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCompleter;
use client::{CoordinatorKind, GroupMember};
use types::{Offset, TopicPartition};

use crate::failure::{Code, Failure};
use crate::group::seek::{self, FileOffsets, Move, Target, parse_time};
use crate::group::standing::{self, Leaders, Standing, TopicFilter};
use crate::group::{Groups, is_active, named_or_all};
use crate::live_names;
use crate::output::print_text;
use crate::session::{Connect, Session};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog consumer-groups --bootstrap-server 127.0.0.1:9092 --describe --group billing
  ringlog consumer-groups --bootstrap-server 127.0.0.1:9092 --reset-offsets --group billing --topic orders --to-earliest --execute

Unlike Kafka's tool it ends with an exit code other than 0 when something fails, and writes errors to stderr.";

/// The arguments of Kafka's tool.
#[derive(Args)]
#[command(after_help = AFTER_HELP, group(ArgGroup::new("action").required(true)), group(ArgGroup::new("to")))]
pub(crate) struct ConsumerGroups {
    /// List all consumer groups
    #[arg(long, group = "action")]
    list: bool,
    /// Describe groups and how far they are behind
    #[arg(long, group = "action")]
    describe: bool,
    /// Delete groups
    #[arg(long, group = "action")]
    delete: bool,
    /// Set what groups read next
    #[arg(long, group = "action")]
    reset_offsets: bool,
    /// Forget what a group has committed
    #[arg(long, group = "action")]
    delete_offsets: bool,
    /// The group. May be given many times
    #[arg(long, value_name = "GROUP", add = ArgValueCompleter::new(live_names::groups))]
    group: Vec<String>,
    /// Every group
    #[arg(long)]
    all_groups: bool,
    /// With --list the states, or only groups in these; with --describe the state
    #[arg(long, value_name = "STATES", num_args = 0..=1, default_missing_value = "")]
    state: Option<String>,
    /// With --list the kinds, or only groups of these: classic, consumer
    #[arg(long = "type", value_name = "TYPES", num_args = 0..=1, default_missing_value = "")]
    kind: Option<String>,
    /// With --describe the members
    #[arg(long)]
    members: bool,
    /// With --describe offsets and lag, as without
    #[arg(long)]
    offsets: bool,
    /// With --describe more columns
    #[arg(long)]
    verbose: bool,
    /// topic, or topic:0,1,2. May be given many times
    #[arg(long, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topic: Vec<String>,
    /// All topics that the group has committed
    #[arg(long)]
    all_topics: bool,
    /// To the oldest record
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Behind the newest record
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To where it is
    #[arg(long, group = "to")]
    to_current: bool,
    /// To this offset
    #[arg(long, group = "to", value_name = "OFFSET", allow_negative_numbers = true)]
    to_offset: Option<i64>,
    /// To a time: YYYY-MM-DDThh:mm:ss.sss, UTC unless a zone is given
    #[arg(long, group = "to", value_name = "TIME", value_parser = parse_time)]
    to_datetime: Option<i64>,
    /// To a time ago: PnDTnHnMnS
    #[arg(long, group = "to", value_name = "DURATION", value_parser = units::parse_duration)]
    by_duration: Option<Duration>,
    /// So many records on
    #[arg(long, group = "to", value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To what a file of --export says
    #[arg(long, group = "to", value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Only show what would be set: the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Set it
    #[arg(long)]
    execute: bool,
    /// Print what is set as CSV
    #[arg(long)]
    export: bool,
    /// The nodes
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// A client's properties file
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// Milliseconds to wait for answers
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
}

const MISSING: &str = "-";
/// Kafka's least width of most columns.
const WIDTH_MIN: usize = 15;

impl ConsumerGroups {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let connect = Connect {
            brokers: self.bootstrap_server.clone(),
            config_file: self.command_config.clone(),
            timeout: self.timeout.map(Duration::from_millis),
            ..Connect::default()
        };
        connect.run(|session| async move {
            if self.list {
                return self.print_list(&session).await;
            }
            if self.group.is_empty() && !self.all_groups {
                return Err(Failure::new(Code::Usage, "name the groups with --group, or take --all-groups"));
            }
            let groups = if self.all_groups { Groups::default() } else { Groups { groups: self.group.clone() } };
            let groups = named_or_all(&session, &groups).await?;
            match self {
                Self { describe: true, .. } => self.describe(&session, &groups).await,
                Self { delete: true, .. } => delete(&session, &groups).await,
                Self { reset_offsets: true, .. } => self.reset(&session, &groups).await,
                _ => self.forget(&session, &groups).await,
            }
        })
    }

    async fn print_list(&self, session: &Session) -> Result<(), Failure> {
        let one_of = |list: &Option<String>, value: &str| {
            let list = list.as_deref().unwrap_or_default();
            list.is_empty() || list.split(',').any(|each| each.trim().eq_ignore_ascii_case(value))
        };
        let groups = session.admin.list_groups().await?.into_iter().filter(|group| {
            matches!(group.protocol_type.as_str(), "" | "consumer")
                && !group.kind.eq_ignore_ascii_case("share")
                && one_of(&self.state, &group.state)
                && one_of(&self.kind, &group.kind)
        });
        let groups: Vec<client::Group> = groups.collect();
        if self.state.is_none() && self.kind.is_none() {
            return print_text(&groups.iter().map(|group| format!("{}\n", group.id)).collect::<String>());
        }
        let mut widths = vec![groups.iter().map(|group| group.id.len()).fold(WIDTH_MIN, usize::max) + 10];
        let mut heads = vec!["GROUP"];
        let columns = [(self.kind.is_some(), "TYPE"), (self.state.is_some(), "STATE")];
        for (_, head) in columns.iter().filter(|(shown, _)| *shown) {
            heads.push(head);
            widths.push(20);
        }
        let mut out = line(&heads, &widths);
        for group in &groups {
            let kind = capitalised(&group.kind);
            let mut cells = vec![group.id.as_str()];
            cells.extend(self.kind.as_ref().map(|_| kind.as_str()));
            cells.extend(self.state.as_ref().map(|_| group.state.as_str()));
            out += &line(&cells, &widths);
        }
        print_text(&out)
    }

    async fn describe(&self, session: &Session, groups: &[String]) -> Result<(), Failure> {
        let standings = standing::ask(&session.admin, groups, &TopicFilter::default()).await?;
        let mut failures = Vec::new();
        for standing in standings {
            let id = &standing.group.id;
            if let Some(error) = standing.error {
                failures.push(error.into());
                continue;
            }
            match standing.group.state.as_str() {
                client::GROUP_DEAD => {
                    failures.push(Failure::new(Code::NotFound, format!("Consumer group '{id}' does not exist.")));
                    continue;
                }
                "Empty" => tell!("\nConsumer group '{id}' has no active members."),
                "Stable" => {}
                _ => tell!("\nWarning: Consumer group '{id}' is rebalancing."),
            }
            let text = match self {
                Self { members: true, .. } => members_text(&standing.group, self.verbose),
                Self { state: Some(_), offsets: false, .. } => {
                    state_text(&standing.group, &coordinator(session, id).await?, self.verbose)
                }
                _ => offsets_text(&standing, self.verbose),
            };
            print_text(&text)?;
        }
        Failure::of_many("describe groups", groups.len(), failures)
    }

    fn target(&self) -> Result<Target, Failure> {
        Ok(match self {
            Self { to_earliest: true, .. } => Target::Earliest,
            Self { to_latest: true, .. } => Target::Latest,
            Self { to_current: true, .. } => Target::Current,
            Self { to_offset: Some(offset), .. } => Target::Offset(*offset),
            Self { to_datetime: Some(time), .. } => Target::Time(*time),
            Self { by_duration: Some(ago), .. } => Target::ago(*ago),
            Self { shift_by: Some(records), .. } => Target::Shift(*records),
            _ => {
                let why = "say where to: --to-earliest, --to-latest, --to-current, --to-offset, --to-datetime, --by-duration, --shift-by or --from-file";
                return Err(Failure::new(Code::Usage, why));
            }
        })
    }

    async fn reset(&self, session: &Session, groups: &[String]) -> Result<(), Failure> {
        let mut file = self.from_file.as_ref().map(read_file).transpose()?;
        if file.is_none() && self.topic.is_empty() && !self.all_topics {
            return Err(Failure::new(Code::Usage, "One of the reset scopes should be defined: --all-topics, --topic."));
        }
        if !self.execute && !self.dry_run {
            tell!("WARN: nothing is changed without --execute; add --dry-run to say that this is meant");
        }
        let filter = TopicFilter::parse(if self.all_topics { &[] } else { &self.topic })?;
        let described = session.admin.describe_groups(groups).await?;
        let (mut failures, mut all) = (Vec::new(), Vec::new());
        for (id, group) in described {
            let group = match group {
                Ok(group) => group,
                Err(error) => {
                    failures.push(error.into());
                    continue;
                }
            };
            if is_active(&group.state) {
                let why = format!(
                    "Assignments can only be reset if the group '{id}' is inactive, but the current state is {}.",
                    group.state
                );
                failures.push(Failure::new(Code::Failed, why));
                continue;
            }
            let target = match &mut file {
                Some(file) => {
                    Target::File(file.remove(&Some(id.clone())).or_else(|| file.remove(&None)).unwrap_or_default())
                }
                None => self.target()?,
            };
            // What was set for the groups before is still told.
            let moves = match seek::plan(&session.admin, &id, &filter, &target).await {
                Ok(moves) => moves,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            for each in &moves {
                if let (Some(asked), Some(to)) = (each.outside, each.to) {
                    tell!(
                        "WARN: offset {asked} of {}-{} lies outside of the log: set to {to}",
                        each.at.topic,
                        each.at.partition
                    );
                }
            }
            if self.execute
                && let Err(error) = seek::apply(&session.admin, &id, &moves).await
            {
                failures.push(error.into());
                continue;
            }
            all.push((id, moves));
        }
        print_text(&if self.export { export_text(&all) } else { reset_text(&all) })?;
        Failure::of_many("reset offsets", groups.len(), failures)
    }

    async fn forget(&self, session: &Session, groups: &[String]) -> Result<(), Failure> {
        let [group] = groups else {
            return Err(Failure::new(Code::Usage, "--delete-offsets takes one --group"));
        };
        if self.topic.is_empty() {
            return Err(Failure::new(Code::Usage, "name what to forget with --topic"));
        }
        let leaders = Leaders::ask(&session.admin).await?;
        let partitions: Vec<TopicPartition> =
            TopicFilter::parse(&self.topic)?.partitions(&leaders)?.into_iter().collect();
        let outcome = session.admin.delete_group_offsets(group, &partitions).await;
        let (head, status) = match &outcome {
            Ok(()) => {
                (format!("Request succeeded for deleting offsets from group {group}.\n"), "Successful".to_owned())
            }
            Err(error) => (
                "\nError: Encountered some partition-level error, see the follow-up details.\n".to_owned(),
                format!("Error: {error}"),
            ),
        };
        let widths = [WIDTH_MIN, 10, WIDTH_MIN];
        let mut out = head + "\n" + &line(&["TOPIC", "PARTITION", "STATUS"], &widths);
        for at in &partitions {
            out += &line(&[&at.topic, &at.partition.to_string(), &status], &widths);
        }
        print_text(&out)?;
        outcome.map_err(Into::into)
    }
}

async fn delete(session: &Session, groups: &[String]) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let mut deleted = Vec::new();
    for group in groups {
        match session.admin.delete_group(group).await {
            Ok(()) => deleted.push(format!("'{group}'")),
            Err(error) => {
                let code = Failure::from(error.clone()).code;
                failures.push(Failure::new(code, format!("* Group '{group}' could not be deleted due to: {error}")));
            }
        }
    }
    if !deleted.is_empty() {
        print_text(&format!("Deletion of requested consumer groups ({}) was successful.\n", deleted.join(", ")))?;
    }
    Failure::of_many("Deletion of some consumer groups failed", groups.len(), failures)
}

/// `host:port  (id)`, as Kafka's tool shows a coordinator.
async fn coordinator(session: &Session, group: &str) -> Result<String, Failure> {
    let found = session.client.coordinators(CoordinatorKind::Group, &[group.to_owned()]).await?;
    let id = found.keys().next().copied();
    let cluster = session.client.cluster().await?;
    let node = cluster.nodes.iter().find(|node| Some(node.id) == id);
    Ok(node.map_or(MISSING.to_owned(), |node| format!("{}  ({})", node.address, node.id)))
}

fn read_file(path: &PathBuf) -> Result<FileOffsets, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Code::Failed, format!("cannot read {}: {error}", path.display())))?;
    seek::parse_file(&text).map_err(|why| Failure::new(Code::Usage, format!("{}: {why}", path.display())))
}

/// Cells padded to their widths, with a space between them; 0 is no padding.
fn line(cells: &[&str], widths: &[usize]) -> String {
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join(" ") + "\n"
}

fn width<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(str::len).fold(WIDTH_MIN, usize::max)
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn offsets_text(standing: &Standing, verbose: bool) -> String {
    let group = &standing.group;
    let mut rows: Vec<[String; 10]> = Vec::new();
    let text = |offset: Option<i64>| offset.map_or(MISSING.to_owned(), |offset| offset.to_string());
    for place in &standing.places {
        let reader = group.members.iter().find(|member| member.assignment.contains(&place.at));
        let of = |field: fn(&GroupMember) -> &String| reader.map_or(MISSING.to_owned(), |reader| field(reader).clone());
        let committed = place.committed.as_ref().map(|committed| committed.offset.value());
        let end = place.log.map(|(_, end)| end.value());
        let epoch = place.committed.as_ref().and_then(|committed| committed.leader_epoch);
        rows.push([
            group.id.clone(),
            place.at.topic.to_string(),
            place.at.partition.to_string(),
            epoch.map_or(MISSING.to_owned(), |epoch| epoch.to_string()),
            text(committed),
            text(end),
            // Kafka counts from the committed offset, whether or not the records are still there.
            text(committed.zip(end).map(|(committed, end)| end - committed)),
            of(|member| &member.id),
            of(|member| &member.client_host),
            of(|member| &member.client_id),
        ]);
    }
    for member in group.members.iter().filter(|member| member.assignment.is_empty()) {
        let mut row: [String; 10] = std::array::from_fn(|_| MISSING.to_owned());
        row[0].clone_from(&group.id);
        row[7..].clone_from_slice(&[member.id.clone(), member.client_host.clone(), member.client_id.clone()]);
        rows.push(row);
    }
    if rows.is_empty() {
        return String::new();
    }
    let of = |at: usize| width(rows.iter().map(|row| row[at].as_str()));
    let widths = [of(0), of(1), 10, WIDTH_MIN, WIDTH_MIN, WIDTH_MIN, WIDTH_MIN, of(7), of(8), 0];
    let heads = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    let shown: Vec<usize> = (0..heads.len()).filter(|at| verbose || *at != 3).collect();
    let widths: Vec<usize> = shown.iter().map(|at| widths[*at]).collect();
    let mut out = "\n".to_owned() + &line(&shown.iter().map(|at| heads[*at]).collect::<Vec<_>>(), &widths);
    for row in &rows {
        out += &line(&shown.iter().map(|at| row[*at].as_str()).collect::<Vec<_>>(), &widths);
    }
    out
}

/// A column of members: its head, its width, and a member's cell.
type Column = (&'static str, usize, fn(&GroupMember) -> String);

fn members_text(group: &client::Group, verbose: bool) -> String {
    let statics = group.members.iter().any(|member| member.instance_id.is_some());
    let column = |field: fn(&GroupMember) -> &str| width(group.members.iter().map(field));
    let mut columns: Vec<Column> = vec![("CONSUMER-ID", column(|member| &member.id), |member| member.id.clone())];
    if statics {
        let instances = column(|member| member.instance_id.as_deref().unwrap_or_default()).max(17);
        columns.push(("GROUP-INSTANCE-ID", instances, |member| member.instance_id.clone().unwrap_or_default()));
    }
    columns.push(("HOST", column(|member| &member.client_host), |member| member.client_host.clone()));
    columns.push(("CLIENT-ID", column(|member| &member.client_id), |member| member.client_id.clone()));
    columns.push(("#PARTITIONS", WIDTH_MIN, |member| member.assignment.len().to_string()));
    if verbose {
        let assignments = group.members.iter().map(|member| assignment_text(member).len()).fold(20, usize::max);
        columns.push(("CURRENT-EPOCH", WIDTH_MIN, |_| MISSING.to_owned()));
        columns.push(("CURRENT-ASSIGNMENT", assignments, assignment_text));
        columns.push(("TARGET-EPOCH", WIDTH_MIN, |_| MISSING.to_owned()));
        columns.push(("TARGET-ASSIGNMENT", 20, |_| MISSING.to_owned()));
    }
    let group_width = group.id.len().max(WIDTH_MIN);
    let cells = |first: &str, rest: Vec<String>| {
        let mut out = format!("{first:<group_width$} ");
        for (cell, (_, width, _)) in rest.iter().zip(&columns) {
            out += &format!("{cell:<width$} ");
        }
        // Only without the columns of --verbose does Kafka's line end in a space behind the last column.
        if verbose {
            out.pop();
        }
        out + "\n"
    };
    let mut out = "\n".to_owned() + &cells("GROUP", columns.iter().map(|(head, ..)| (*head).to_owned()).collect());
    for member in &group.members {
        out += &cells(&group.id, columns.iter().map(|(_, _, cell)| cell(member)).collect());
    }
    out
}

/// `orders:0,1,2;payments:0`.
fn assignment_text(member: &GroupMember) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for at in &member.assignment {
        topics.entry(&at.topic).or_default().push(at.partition.value());
    }
    let topics = topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", partitions.join(","))
    });
    Some(topics.collect::<Vec<_>>().join(";")).filter(|text| !text.is_empty()).unwrap_or_else(|| MISSING.to_owned())
}

fn state_text(group: &client::Group, coordinator: &str, verbose: bool) -> String {
    let members = group.members.len().to_string();
    let strategy = if group.protocol.is_empty() { MISSING } else { &group.protocol };
    let mut columns = vec![
        ("GROUP", group.id.as_str(), group.id.len().max(WIDTH_MIN)),
        ("COORDINATOR (ID)", coordinator, coordinator.len().max(25)),
        ("ASSIGNMENT-STRATEGY", strategy, 20),
        ("STATE", &group.state, 20),
    ];
    if verbose {
        columns.extend([("GROUP-EPOCH", MISSING, WIDTH_MIN), ("TARGET-ASSIGNMENT-EPOCH", MISSING, 25)]);
    }
    columns.push(("#MEMBERS", &members, 0));
    let widths: Vec<usize> = columns.iter().map(|(_, _, width)| *width).collect();
    let heads: Vec<&str> = columns.iter().map(|(head, ..)| *head).collect();
    let cells: Vec<&str> = columns.iter().map(|(_, cell, _)| *cell).collect();
    "\n".to_owned() + &line(&heads, &widths) + &line(&cells, &widths)
}

fn reset_text(all: &[(String, Vec<Move>)]) -> String {
    let groups = width(all.iter().map(|(id, _)| id.as_str()));
    let topics = width(all.iter().flat_map(|(_, moves)| moves).map(|each| &*each.at.topic));
    let widths = [groups, topics, 10, 0];
    let mut out = "\n".to_owned() + &line(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &widths);
    for (id, moves) in all {
        for each in moves {
            let to = each.to.map_or(MISSING.to_owned(), |to| to.to_string());
            out += &line(&[id, &each.at.topic, &each.at.partition.to_string(), &to], &widths);
        }
    }
    out
}

fn export_text(all: &[(String, Vec<Move>)]) -> String {
    let quoted = |id: &String| match id.contains([',', '"']) {
        true => format!("\"{}\"", id.replace('"', "\"\"")),
        false => id.clone(),
    };
    let mut out = String::new();
    for (id, moves) in all {
        for each in moves {
            let group = if all.len() == 1 { String::new() } else { quoted(id) + "," };
            let to = each.to.map_or(-1, Offset::value);
            out += &format!("{group}{},{},{to}\n", each.at.topic, each.at.partition);
        }
    }
    out + "\n"
}
