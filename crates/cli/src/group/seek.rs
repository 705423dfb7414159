//! `ringlog group seek`: sets what a group reads next, shows what that skips or repeats, and how to take it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCompleter;
use client::{Admin, ClientError, OffsetAt};
use jiff::Timestamp as Moment;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use types::{ErrorCode, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::failure::{Code, Failure};
use crate::group::standing::{Leaders, TopicFilter};
use crate::group::{is_active, no_group};
use crate::live_names;
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::{Connect, Session};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog group seek billing --to-time 2026-11-27T06:00:00Z --dry-run   what would be read again or skipped
  ringlog group seek billing --by-duration 2h --topic orders            from two hours ago, this topic only
  ringlog group seek billing --from-file undo.csv                       back to what a file says

Files have lines `topic,partition,offset`, as kafka-consumer-groups.sh --export writes them; -1 means nothing committed.";

/// The arguments of `group seek`.
#[derive(Args)]
#[command(after_help = AFTER_HELP, group(ArgGroup::new("to").required(true)))]
pub(crate) struct SeekCommand {
    /// The group; it must have no members
    #[arg(add = ArgValueCompleter::new(live_names::groups))]
    group: String,
    /// Only this topic, or these partitions of it (orders:0,1). May be given many times. Without, all that the group has committed
    #[arg(long, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topic: Vec<String>,
    /// To the oldest record kept
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Behind the newest record
    #[arg(long, group = "to")]
    to_latest: bool,
    /// To where it is: changes nothing, for --to-file
    #[arg(long, group = "to")]
    to_current: bool,
    /// To the first record of this time or later: 2026-11-27T06:00:00Z, or milliseconds since 1970
    #[arg(long, group = "to", value_name = "TIME", value_parser = parse_time)]
    to_time: Option<i64>,
    /// To the first record as young as this: 30m, 2h, 1d
    #[arg(long, group = "to", value_name = "DURATION", value_parser = units::parse_duration)]
    by_duration: Option<Duration>,
    /// To this offset, in each partition
    #[arg(long, group = "to", value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// This many records on, or back if negative
    #[arg(long, group = "to", value_name = "RECORDS")]
    shift_by: Option<i64>,
    /// To what a file says
    #[arg(long, group = "to", value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Show from, to and the records between, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Where to write what was committed before [default: ringlog-undo-GROUP-TIME.csv, not with --dry-run]
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Where a group is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Earliest,
    Latest,
    Current,
    Time(i64),
    Offset(i64),
    Shift(i64),
    /// `None`: nothing is to be committed.
    File(BTreeMap<TopicPartition, Option<Offset>>),
}

/// What is committed for one partition before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) at: TopicPartition,
    pub(super) from: Option<Offset>,
    pub(super) to: Option<Offset>,
    /// The offset asked for, if the log does not reach it.
    pub(super) outside: Option<i64>,
}

impl SeekCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (target, filter) = (self.target()?, TopicFilter::parse(&self.topic)?);
        self.connect.run(|session| async move { self.seek(&session, &target, &filter).await })
    }

    fn target(&self) -> Result<Target, Failure> {
        Ok(match self {
            Self { to_earliest: true, .. } => Target::Earliest,
            Self { to_latest: true, .. } => Target::Latest,
            Self { to_time: Some(time), .. } => Target::Time(*time),
            Self { by_duration: Some(ago), .. } => Target::ago(*ago),
            Self { to_offset: Some(offset), .. } => Target::Offset(*offset),
            Self { shift_by: Some(records), .. } => Target::Shift(*records),
            Self { from_file: Some(path), .. } => Target::File(read_file(path, &self.group)?),
            _ => Target::Current,
        })
    }

    async fn seek(&self, session: &Session, target: &Target, filter: &TopicFilter) -> Result<(), Failure> {
        let admin = &session.admin;
        if !self.dry_run {
            self.check_inactive(admin).await?;
        }
        let moves = plan(admin, &self.group, filter, target).await?;
        let mut undo = None;
        if !self.dry_run || self.to_file.is_some() {
            let path = self.to_file.clone().unwrap_or_else(|| undo_path(&self.group, units::now_ms()));
            let cannot = |error| {
                Failure::new(Code::Failed, format!("cannot write {}: {error}; nothing was changed", path.display()))
                    .with_next("the same with --to-file and a place that can be written")
            };
            std::fs::write(&path, file_of(&moves)).map_err(cannot)?;
            undo = Some(path);
        }
        if !self.dry_run {
            apply(admin, &self.group, &moves).await.map_err(|error| self.refused(error, undo.as_deref()))?;
        }
        let answer = GroupSeek::of(&self.group, self.dry_run, &moves, undo.as_deref());
        print(&answer, self.format.output)?;
        if self.format.output.is_text() {
            match (&answer.undo_command, self.dry_run) {
                (Some(command), false) => tell!("To undo: {command}"),
                (_, true) => tell!("Nothing was changed. To do it: the same without --dry-run"),
                (None, false) => {}
            }
        }
        Ok(())
    }

    async fn check_inactive(&self, admin: &Admin) -> Result<(), Failure> {
        let group = admin.describe_groups(std::slice::from_ref(&self.group)).await?.remove(&self.group);
        let Some(group) = group.transpose()? else { return Ok(()) };
        if !is_active(&group.state) {
            return Ok(());
        }
        let mut clients: Vec<String> =
            group.members.iter().map(|member| format!("{} at {}", member.client_id, member.client_host)).collect();
        clients.sort();
        clients.dedup();
        let why = format!(
            "group {} is {} with {} ({}), which would go on from where it is and commit over what is set",
            self.group,
            group.state,
            units::counted(group.members.len() as u64, "member"),
            clients.join(", ")
        );
        Err(Failure::new(Code::Failed, why).with_next(&format!(
            "stop the members, wait until `ringlog group describe {}` says Empty, then `{}`",
            self.group,
            self.again()
        )))
    }

    /// The same command, to be given again.
    fn again(&self) -> String {
        let mut words = vec!["ringlog".to_owned(), "group".to_owned(), "seek".to_owned(), quoted(&self.group)];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), quoted(&value)]);
            }
        };
        option("to-time", self.to_time.map(units::rfc3339));
        option("by-duration", self.by_duration.map(|ago| format!("{}ms", ago.as_millis())));
        option("to-offset", self.to_offset.map(|offset| offset.to_string()));
        option("shift-by", self.shift_by.map(|records| records.to_string()));
        option("from-file", self.from_file.as_ref().map(|path| path.display().to_string()));
        for topic in &self.topic {
            option("topic", Some(topic.clone()));
        }
        let flags =
            [(self.to_earliest, "--to-earliest"), (self.to_latest, "--to-latest"), (self.to_current, "--to-current")];
        words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned()));
        words.join(" ")
    }

    fn refused(&self, error: ClientError, undo: Option<&Path>) -> Failure {
        let joined = matches!(
            error.code(),
            Some(ErrorCode::UnknownMemberId | ErrorCode::NonEmptyGroup | ErrorCode::GroupSubscribedToTopic)
        );
        if !joined {
            return error.into();
        }
        let undo = undo.map(|path| format!(" (what was committed before is in {})", path.display()));
        let why = format!("a member joined group {} meanwhile: {error}{}", self.group, undo.unwrap_or_default());
        Failure::new(Code::Failed, why).with_next(&format!("stop it, then `{}`", self.again()))
    }
}

fn quoted(word: &str) -> String {
    let plain =
        !word.is_empty() && word.chars().all(|each| each.is_ascii_alphanumeric() || "-_./:,+@%=".contains(each));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

impl Target {
    /// The time that long ago.
    pub(super) fn ago(ago: Duration) -> Self {
        let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Self::Time(units::now_ms().saturating_sub(ago_ms).max(0))
    }
}

/// Milliseconds since 1970, from a number or a time; one without a zone is UTC, as Kafka's tool takes it.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    let utc = || text.parse::<DateTime>().and_then(|time| TimeZone::UTC.to_timestamp(time));
    text.parse::<Moment>()
        .or_else(|_| utc())
        .map(Moment::as_millisecond)
        .map_err(|_| format!("`{text}` is no time, such as 2026-11-27T06:00:00Z or 1795759200000"))
}

/// What would be committed where. With an empty filter, where the group has committed already.
pub(super) async fn plan(
    admin: &Admin,
    group: &str,
    filter: &TopicFilter,
    target: &Target,
) -> Result<Vec<Move>, Failure> {
    let leaders = Leaders::ask(admin).await?;
    let committed = admin.group_offsets(group, None).await?;
    let partitions: BTreeSet<TopicPartition> = match target {
        Target::File(offsets) => offsets.keys().filter(|at| filter.matches(at)).cloned().collect(),
        _ if filter.is_everything() => committed.keys().cloned().collect(),
        _ => filter.partitions(&leaders)?,
    };
    if partitions.is_empty() {
        if !committed.is_empty() {
            let why = format!("nothing that --topic names is in what group {group} is to read");
            return Err(Failure::new(Code::Usage, why));
        }
        let described = admin.describe_groups(&[group.to_owned()]).await?.remove(group).transpose()?;
        return Err(match described.filter(|group| group.state != client::GROUP_DEAD) {
            None => no_group(group).with_next("name what it is to read with --topic, or see ringlog group list"),
            Some(_) => Failure::new(Code::Failed, format!("group {group} has committed nothing yet"))
                .with_next("name what it is to read with --topic"),
        });
    }
    // What a deleted topic left behind can only be forgotten.
    let asked: Vec<TopicPartition> = partitions.iter().filter(|at| leaders.leader(at).is_some()).cloned().collect();
    let starts = admin.list_offsets(&asked, OffsetAt::Earliest).await?;
    let ends = admin.list_offsets(&asked, OffsetAt::Latest).await?;
    let times = match target {
        Target::Time(millis) => admin.list_offsets(&asked, OffsetAt::Time(Timestamp::from_millis(*millis))).await?,
        _ => BTreeMap::new(),
    };
    let mut moves = Vec::with_capacity(partitions.len());
    for at in partitions {
        let from = committed.get(&at).map(|committed| committed.offset);
        let (Some(start), Some(end)) = (starts.get(&at), ends.get(&at)) else {
            if let Target::File(_) | Target::Current = target {
                let why = format!("{}-{} does not exist, or nobody leads it", at.topic, at.partition);
                return Err(Failure::new(Code::NotFound, why).with_next("ringlog topic list"));
            }
            continue;
        };
        let log = (start.offset, end.offset);
        let by_time = times.get(&at).map(|found| found.offset);
        let (to, outside) = aim(target, &at, from, log, by_time).map_err(|why| Failure::new(Code::Usage, why))?;
        moves.push(Move { at, from, to, outside });
    }
    Ok(moves)
}

/// Where `target` lies in one partition, and the offset asked for if that lies outside of the log.
fn aim(
    target: &Target,
    at: &TopicPartition,
    from: Option<Offset>,
    (start, end): (Offset, Offset),
    by_time: Option<Offset>,
) -> Result<(Option<Offset>, Option<i64>), String> {
    let within = |offset: i64| {
        let inside = offset.clamp(start.value(), end.value());
        (Some(Offset::new(inside)), (inside != offset).then_some(offset))
    };
    Ok(match target {
        Target::Earliest => (Some(start), None),
        Target::Latest => (Some(end), None),
        Target::Current => match from {
            Some(from) => within(from.value()),
            // As Kafka's tool does: a group that has nothing committed stands at the end.
            None => (Some(end), None),
        },
        // No record is that young.
        Target::Time(_) => (Some(by_time.unwrap_or(end)), None),
        Target::Offset(offset) => within(*offset),
        Target::Shift(records) => match from {
            Some(from) => within(from.value().saturating_add(*records)),
            None => {
                return Err(format!("{}-{} cannot be shifted: nothing is committed for it", at.topic, at.partition));
            }
        },
        Target::File(offsets) => match offsets.get(at).copied().flatten() {
            Some(offset) => within(offset.value()),
            None => (None, None),
        },
    })
}

/// Commits what `moves` say.
pub(super) async fn apply(admin: &Admin, group: &str, moves: &[Move]) -> Result<(), ClientError> {
    let mut offsets = BTreeMap::new();
    let mut forgotten = Vec::new();
    for each in moves {
        match each.to {
            Some(to) => drop(offsets.insert(each.at.clone(), to)),
            None if each.from.is_some() => forgotten.push(each.at.clone()),
            None => {}
        }
    }
    if !offsets.is_empty() {
        admin.set_group_offsets(group, &offsets).await?;
    }
    if !forgotten.is_empty() {
        admin.delete_group_offsets(group, &forgotten).await?;
    }
    Ok(())
}

/// Where the undo file goes when nobody says.
fn undo_path(group: &str, now_ms: i64) -> PathBuf {
    let group: String = group
        .chars()
        .map(|each| if each.is_ascii_alphanumeric() || "-_.".contains(each) { each } else { '_' })
        .collect();
    let time: String = units::rfc3339(now_ms).chars().filter(char::is_ascii_alphanumeric).collect();
    PathBuf::from(format!("ringlog-undo-{group}-{time}.csv"))
}

/// What was committed before, as `--from-file` reads it.
fn file_of(moves: &[Move]) -> String {
    let line = |each: &Move| {
        let offset = each.from.map_or(-1, Offset::value);
        format!("{},{},{offset}\n", each.at.topic, each.at.partition)
    };
    moves.iter().map(line).collect()
}

fn read_file(path: &Path, group: &str) -> Result<BTreeMap<TopicPartition, Option<Offset>>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        Failure::new(code, format!("cannot read {}: {error}", path.display()))
    })?;
    let wrong = |why| Failure::new(Code::Usage, format!("{}: {why}", path.display()));
    let mut offsets = parse_file(&text).map_err(wrong)?;
    let own = offsets.remove(&Some(group.to_owned()));
    own.or_else(|| offsets.remove(&None)).ok_or_else(|| wrong(format!("there is nothing for group {group} in it")))
}

/// Offsets by group; `None` for lines without a group. Kafka's tool writes `topic,partition,offset` for one group and
/// `group,topic,partition,offset` for several.
pub(super) type FileOffsets = BTreeMap<Option<String>, BTreeMap<TopicPartition, Option<Offset>>>;

pub(super) fn parse_file(text: &str) -> Result<FileOffsets, String> {
    let mut offsets = FileOffsets::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {}: `{line}` is not topic,partition,offset", number + 1);
        let mut fields = line.trim().rsplitn(4, ',').map(|field| field.trim().trim_matches('"'));
        let (offset, partition, topic) = (fields.next(), fields.next(), fields.next());
        let group = fields.next().map(str::to_owned);
        let (Some(offset), Some(partition), Some(topic)) = (offset, partition, topic) else { return Err(wrong()) };
        let offset: i64 = offset.parse().map_err(|_| wrong())?;
        let partition = partition.parse().ok().and_then(PartitionIndex::from_wire).ok_or_else(wrong)?;
        if topic.is_empty() || offset < -1 {
            return Err(wrong());
        }
        let at = TopicPartition::new(topic, partition);
        let (offset, name) = (Offset::from_wire(offset), at.to_string());
        if offsets.entry(group).or_default().insert(at, offset).is_some_and(|before| before != offset) {
            return Err(format!("line {}: {name} has another offset than a line before", number + 1));
        }
    }
    Ok(offsets)
}

/// What a seek did, or would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupSeek {
    group: String,
    /// Whether nothing was changed.
    dry_run: bool,
    /// Records that the group reads again.
    repeated_records: i64,
    /// Records that it skips.
    skipped_records: i64,
    /// Where what was committed before is written.
    undo_file: Option<String>,
    /// The command that takes it back.
    undo_command: Option<String>,
    partitions: Vec<SeekRow>,
}

#[derive(Serialize, JsonSchema)]
struct SeekRow {
    topic: String,
    partition: i32,
    /// What was committed; null: nothing.
    from_offset: Option<i64>,
    /// What is committed now; null: nothing.
    to_offset: Option<i64>,
    /// Positive: this many are skipped; negative: this many are read again. Null where nothing was, or is, committed.
    records: Option<i64>,
    /// The offset asked for, if the log does not reach it and the nearest one was taken.
    outside_offset: Option<i64>,
}

impl GroupSeek {
    fn of(group: &str, dry_run: bool, moves: &[Move], undo: Option<&Path>) -> Self {
        let row = |each: &Move| SeekRow {
            topic: each.at.topic.to_string(),
            partition: each.at.partition.value(),
            from_offset: each.from.map(Offset::value),
            to_offset: each.to.map(Offset::value),
            records: each.from.zip(each.to).map(|(from, to)| to.value() - from.value()),
            outside_offset: each.outside,
        };
        let partitions: Vec<SeekRow> = moves.iter().map(row).collect();
        let sum =
            |sign: i64| partitions.iter().filter_map(|row| row.records).map(|records| (sign * records).max(0)).sum();
        let undo_file = undo.map(|path| path.display().to_string());
        Self {
            group: group.to_owned(),
            dry_run,
            repeated_records: sum(-1),
            skipped_records: sum(1),
            undo_command: undo_file
                .as_ref()
                .map(|file| format!("ringlog group seek {} --from-file {}", quoted(group), quoted(file))),
            undo_file,
            partitions,
        }
    }
}

impl Answer for GroupSeek {
    const SCHEMA: &'static str = "group.seek";
    const LINES: &'static str = "partitions";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let offset = |offset: Option<i64>| offset.map_or("-".to_owned(), |offset| offset.to_string());
        let cells = |row: &SeekRow| {
            let affected = match row.records {
                None => "-".to_owned(),
                Some(0) => "none".to_owned(),
                Some(records) if records < 0 => format!("{} again", units::count(records.unsigned_abs())),
                Some(records) => format!("{} skipped", units::count(records.unsigned_abs())),
            };
            let note = match row.outside_offset {
                Some(asked) => Cell::toned(format!("{asked} lies outside of the log"), Tone::Warning),
                None => "".into(),
            };
            vec![
                row.topic.clone().into(),
                row.partition.to_string().into(),
                offset(row.from_offset).into(),
                offset(row.to_offset).into(),
                affected.into(),
                note,
            ]
        };
        let verb = if self.dry_run { "to be read again" } else { "read again" };
        let summary = format!(
            "{} {verb}, {} skipped",
            units::counted(self.repeated_records.unsigned_abs(), "record"),
            units::count(self.skipped_records.unsigned_abs())
        );
        vec![
            Section::rows(&["topic", "partition", "from", "to", "records", ""], self.partitions.iter().map(cells)),
            Section::Text(summary),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", PartitionIndex::new(partition))
    }

    #[test]
    fn targets_are_kept_within_the_log() {
        let aimed = |target: &Target, from: Option<i64>, by_time: Option<i64>| {
            let log = (Offset::new(10), Offset::new(20));
            let (to, outside) =
                aim(target, &at(0), from.map(Offset::new), log, by_time.map(Offset::new)).expect("aimed");
            (to.map(Offset::value), outside)
        };
        assert_eq!(aimed(&Target::Earliest, Some(15), None), (Some(10), None));
        assert_eq!(aimed(&Target::Latest, None, None), (Some(20), None));
        assert_eq!(aimed(&Target::Current, Some(5), None), (Some(10), Some(5)));
        assert_eq!(aimed(&Target::Current, None, None), (Some(20), None));
        assert_eq!(aimed(&Target::Time(1), Some(15), Some(12)), (Some(12), None));
        assert_eq!(aimed(&Target::Time(1), Some(15), None), (Some(20), None));
        assert_eq!(aimed(&Target::Offset(25), Some(15), None), (Some(20), Some(25)));
        assert_eq!(aimed(&Target::Offset(-3), Some(15), None), (Some(10), Some(-3)));
        assert_eq!(aimed(&Target::Shift(-3), Some(15), None), (Some(12), None));
        assert_eq!(aimed(&Target::Shift(i64::MAX), Some(15), None), (Some(20), Some(i64::MAX)));
        let file = Target::File(BTreeMap::from([(at(0), None)]));
        assert_eq!(aimed(&file, Some(15), None), (None, None));
        assert!(aim(&Target::Shift(1), &at(0), None, (Offset::ZERO, Offset::ZERO), None).is_err());
    }

    #[test]
    fn what_the_undo_file_says_is_read_back() {
        let moves = [(0, Some(7)), (1, None)].map(|(partition, from)| Move {
            at: at(partition),
            from: from.map(Offset::new),
            to: Some(Offset::ZERO),
            outside: None,
        });
        let text = file_of(&moves);
        assert_eq!(text, "t,0,7\nt,1,-1\n");
        let read = parse_file(&text).expect("read");
        assert_eq!(read[&None], BTreeMap::from([(at(0), Some(Offset::new(7))), (at(1), None)]));
    }

    #[test]
    fn files_of_one_group_and_of_several_are_read_and_nonsense_is_named_by_its_line() {
        let read = parse_file("\"g,1\",\"t\",0,5\n\ng2,t,1,6\n").expect("read");
        assert_eq!(read[&Some("g,1".to_owned())], BTreeMap::from([(at(0), Some(Offset::new(5)))]));
        assert_eq!(read[&Some("g2".to_owned())].len(), 1);
        for text in ["t,0", "t,0,x", "t,-1,5", ",0,5", "t,0,-2", "t,0,2"] {
            let error = parse_file(&format!("t,0,1\n{text}")).expect_err(text);
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in
            ["2023-11-14T22:13:20.123Z", "2023-11-14T23:13:20.123+01:00", "2023-11-14T22:13:20.123", "1700000000123"]
        {
            assert_eq!(parse_time(text), Ok(1_700_000_000_123), "{text}");
        }
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn an_undo_file_is_named_after_the_group_and_the_time() {
        assert_eq!(undo_path("a/b c", 1_700_000_000_123), PathBuf::from("ringlog-undo-a_b_c-20231114T221320123Z.csv"));
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("orders:0,1"), "orders:0,1");
    }
}
