//! `ringlog group lag`: how far groups are behind, and how long until retention overtakes them.

use std::cmp::Reverse;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::group::standing::{self, Keeps, Leaders, Place, Standing, TopicFilter, UnreadBytes};
use crate::group::{Groups, named_or_all, no_group};
use crate::live_names;
use crate::output::{Answer, Cell, Format, Section, Tone, print, print_text};
use crate::session::{Connect, Session};
use crate::stream::is_reader_gone;
use crate::units;

/// With less headroom than this a group that reads is in danger, unless `--warn` says otherwise.
const DANGER_MS: i64 = 3_600_000;
/// The same for a group that nobody reads with.
const DANGER_UNREAD_MS: i64 = 24 * DANGER_MS;
/// Groups that the lines on top name one by one.
const LOUD_LINES_MAX: usize = 10;

const AFTER_HELP: &str = "\
Examples:
  ringlog group lag billing                   each partition, and the total
  ringlog group lag                           every group of the cluster
  ringlog group lag billing --warn 2h         exit code 6 when retention is closer than two hours
  ringlog group lag -o json | jq '.groups[] | select(.lag_records > 1000) | .group'

Behind: how long ago the first unread record was made. Headroom: how long until retention may delete it. Bytes are
exact from a Ringlog; from other brokers they are estimated and marked ~, and headroom counts by retention.ms only.";

/// The arguments of `group lag`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct LagCommand {
    #[command(flatten)]
    groups: Groups,
    /// Only this topic, or these partitions of it (orders:0,1). May be given many times
    #[arg(long, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topic: Vec<String>,
    /// Show each partition, not only the totals, of several groups too
    #[arg(long)]
    partitions: bool,
    /// Exit with 6 if records are lost, or retention is closer than this to an unread one
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    warn: Option<Duration>,
    /// Ask again and again, every 2 s or as often as said
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
        value_parser = units::parse_duration)]
    watch: Option<Duration>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

impl LagCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let filter = TopicFilter::parse(&self.topic)?;
        self.connect.run(|session| async move {
            loop {
                let answer = self.ask(&session, &filter).await?;
                let verdict = self.verdict(&answer);
                let Some(pause) = self.watch else {
                    print(&answer, self.format.output)?;
                    return verdict;
                };
                if io::stdout().is_terminal() && self.format.output.is_text() {
                    // Clears the screen and begins at its top.
                    print_text("\u{1b}[H\u{1b}[2J\u{1b}[3J")?;
                }
                print(&answer, self.format.output)?;
                verdict?;
                // `| head` has seen enough.
                if is_reader_gone(&io::stdout()) {
                    return Ok(());
                }
                tokio::time::sleep(pause.max(Duration::from_millis(100))).await;
            }
        })
    }

    async fn ask(&self, session: &Session, filter: &TopicFilter) -> Result<GroupLag, Failure> {
        let groups = named_or_all(session, &self.groups).await?;
        let standings = standing::ask(&session.admin, &groups, filter).await?;
        if let [only] = &standings[..]
            && !self.groups.groups.is_empty()
            && only.is_absent()
        {
            return Err(no_group(&only.group.id));
        }
        if !filter.is_everything() && standings.iter().all(|standing| standing.places.is_empty()) {
            // Fails for what is not there; what is there nobody here reads.
            filter.partitions(&Leaders::ask(&session.admin).await?)?;
        }
        let now_ms = units::now_ms();
        let warn_ms = self.warn.map(|warn| i64::try_from(warn.as_millis()).unwrap_or(i64::MAX));
        let mut answer = GroupLag::of(&standings, now_ms, warn_ms);
        answer.shows_partitions = self.partitions || answer.groups.len() == 1;
        Ok(answer)
    }

    fn verdict(&self, answer: &GroupLag) -> Result<(), Failure> {
        let failed: Vec<&GroupRow> = answer.groups.iter().filter(|group| group.error.is_some()).collect();
        if let Some(first) = failed.first() {
            let code = match failed.len() < answer.groups.len() {
                true => Code::Partial,
                false if failed.iter().all(|group| group.absent) => Code::NotFound,
                false => Code::Failed,
            };
            let why = first.error.as_deref().unwrap_or_default();
            let groups = units::counted(failed.len() as u64, "group");
            return Err(Failure::new(code, format!("{groups} could not be read: {}: {why}", first.group)));
        }
        if self.warn.is_some() && answer.groups.iter().any(|group| Verdict::Losing <= group.verdict) {
            return Err(Failure::verdict());
        }
        Ok(())
    }
}

/// How groups are behind.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupLag {
    /// When it was asked.
    asked_at: String,
    /// The groups, those that lose records first.
    groups: Vec<GroupRow>,
    #[serde(skip)]
    shows_partitions: bool,
}

#[derive(Serialize, JsonSchema)]
struct GroupRow {
    group: String,
    /// Kafka's word: Stable, Empty, PreparingRebalance, ...
    state: String,
    /// How many members it has.
    members: usize,
    /// The worst of its partitions'.
    verdict: Verdict,
    /// Records that can be read and are not yet, over all partitions.
    lag_records: i64,
    /// Bytes stored of them; null where no broker says.
    lag_bytes: Option<u64>,
    /// Whether lag_bytes is an estimate, for at least one partition.
    lag_bytes_estimated: bool,
    /// The largest of its partitions'.
    lag_ms: Option<i64>,
    /// The smallest of its partitions'; null where retention takes nothing.
    headroom_ms: Option<i64>,
    /// Records deleted before they were read.
    lost_records: i64,
    /// Why the group could not be read.
    error: Option<String>,
    partitions: Vec<PartitionRow>,
    /// Whether there is no such group.
    #[serde(skip)]
    absent: bool,
}

#[derive(Serialize, JsonSchema)]
struct PartitionRow {
    topic: String,
    partition: i32,
    verdict: Verdict,
    /// The offset that the group reads next; null: it has committed none.
    committed_offset: Option<i64>,
    /// Null: there is no such partition now, or nobody leads it.
    log_start_offset: Option<i64>,
    log_end_offset: Option<i64>,
    /// Records that can be read and are not yet. Null where nothing is committed.
    lag_records: Option<i64>,
    /// Bytes stored of them.
    lag_bytes: Option<u64>,
    /// Whether lag_bytes is an estimate: it is exact from a Ringlog.
    lag_bytes_estimated: bool,
    /// How long ago the first unread record was made; 0 when nothing is unread.
    lag_ms: Option<i64>,
    /// How long until retention may delete the first unread record; null: never, or nobody knows.
    headroom_ms: Option<i64>,
    /// When that is.
    kept_until: Option<String>,
    /// What is known of that: until, always, nothing_unread or unknown.
    keeps: &'static str,
    /// Records deleted before they were read.
    lost_records: i64,
    /// The member that reads it.
    member: Option<String>,
    /// That member's host.
    host: Option<String>,
}

/// How it is going, the better first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Nothing is unread.
    CaughtUp,
    /// Nothing is committed, so nobody knows.
    NotCommitted,
    /// Something is unread and will be kept long enough.
    Behind,
    /// There is no such partition now, or nobody leads it.
    NoLog,
    /// Retention may delete unread records soon.
    Losing,
    /// Records were deleted unread.
    Lost,
}

impl Verdict {
    fn of(place: &Place, now_ms: i64, danger_ms: i64) -> Self {
        match place.lag() {
            None if place.committed.is_some() => Self::NoLog,
            None => Self::NotCommitted,
            Some(lag) if 0 < lag.lost => Self::Lost,
            Some(_) if place.headroom_ms(now_ms).is_some_and(|headroom_ms| headroom_ms < danger_ms) => Self::Losing,
            Some(lag) if lag.records == 0 => Self::CaughtUp,
            Some(_) => Self::Behind,
        }
    }

    fn cell(self) -> Cell {
        let (text, tone) = match self {
            Self::CaughtUp => ("caught up", Tone::Good),
            Self::NotCommitted => ("nothing committed", Tone::Plain),
            Self::Behind => ("behind", Tone::Plain),
            Self::NoLog => ("no such log", Tone::Warning),
            Self::Losing => ("LOSING", Tone::Bad),
            Self::Lost => ("LOST", Tone::Bad),
        };
        Cell::toned(text, tone)
    }
}

impl GroupLag {
    fn of(standings: &[Standing], now_ms: i64, warn_ms: Option<i64>) -> Self {
        let mut groups: Vec<GroupRow> =
            standings.iter().map(|standing| GroupRow::of(standing, now_ms, warn_ms)).collect();
        groups.sort_by_key(|group| Reverse(group.verdict.max(Verdict::Behind)));
        Self { asked_at: units::rfc3339(now_ms), groups, shows_partitions: false }
    }

    /// Groups that lost records or are about to: a line each, above everything else.
    fn loud(&self) -> Vec<(String, Cell)> {
        let loud: Vec<&GroupRow> = self.groups.iter().filter(|group| Verdict::Losing <= group.verdict).collect();
        let mut lines: Vec<(String, Cell)> = loud
            .iter()
            .take(LOUD_LINES_MAX)
            .map(|group| {
                let word = if group.verdict == Verdict::Lost { "LOST" } else { "LOSING" };
                (word.to_owned(), Cell::toned(group.loud(), Tone::Bad))
            })
            .collect();
        if LOUD_LINES_MAX < loud.len() {
            let more = format!("and {} groups more, see below", loud.len() - LOUD_LINES_MAX);
            lines.push((String::new(), Cell::toned(more, Tone::Bad)));
        }
        lines
    }
}

impl GroupRow {
    fn of(standing: &Standing, now_ms: i64, warn_ms: Option<i64>) -> Self {
        let group = &standing.group;
        let danger_ms = warn_ms.unwrap_or(if group.members.is_empty() { DANGER_UNREAD_MS } else { DANGER_MS });
        let partitions: Vec<PartitionRow> = standing
            .places
            .iter()
            .map(|place| {
                let reader = group.members.iter().find(|member| member.assignment.contains(&place.at));
                PartitionRow {
                    member: reader.map(|member| member.id.clone()),
                    host: reader.map(|member| member.client_host.clone()),
                    ..PartitionRow::of(place, now_ms, danger_ms)
                }
            })
            .collect();
        let bytes: Option<u64> = partitions
            .iter()
            .filter(|row| row.lag_records.is_some())
            .map(|row| row.lag_bytes)
            .try_fold(0u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
        Self {
            group: group.id.clone(),
            state: group.state.clone(),
            members: group.members.len(),
            verdict: partitions.iter().map(|row| row.verdict).max().unwrap_or(Verdict::NotCommitted),
            lag_records: partitions.iter().filter_map(|row| row.lag_records).fold(0, i64::saturating_add),
            lag_bytes: bytes,
            lag_bytes_estimated: partitions.iter().any(|row| row.lag_bytes_estimated),
            lag_ms: partitions.iter().filter_map(|row| row.lag_ms).max(),
            headroom_ms: partitions.iter().filter_map(|row| row.headroom_ms).min(),
            lost_records: partitions.iter().map(|row| row.lost_records).fold(0, i64::saturating_add),
            error: match &standing.error {
                None if standing.is_absent() => Some("there is no such group".to_owned()),
                error => error.as_ref().map(ToString::to_string),
            },
            absent: standing.is_absent(),
            partitions,
        }
    }

    /// What is wrong, in one sentence, with what to do.
    fn loud(&self) -> String {
        let worst = self.partitions.iter().filter(|row| row.verdict == self.verdict).min_by_key(|row| row.headroom_ms);
        let Some(worst) = worst else { return self.group.clone() };
        let place = format!("{}-{}", worst.topic, worst.partition);
        if self.verdict == Verdict::Lost {
            let lost = units::count(self.lost_records.unsigned_abs());
            return format!(
                "group {}: {lost} records were deleted before it read them, of {place}{}; it goes on by its \
                 auto.offset.reset, or after `ringlog group seek {} --to-earliest`",
                self.group,
                others(self, Verdict::Lost),
                self.group
            );
        }
        let left = worst.headroom_ms.map(millis).unwrap_or_default();
        let unread = units::count(worst.lag_records.unwrap_or(0).unsigned_abs());
        let cure = match self.members {
            0 => "nobody reads with it: start its members",
            _ => "make it read faster",
        };
        format!(
            "group {}: in {left} retention reaches {unread} unread records of {place}{}; {cure}, or raise retention.ms of {}",
            self.group,
            others(self, Verdict::Losing),
            worst.topic
        )
    }
}

fn others(group: &GroupRow, verdict: Verdict) -> String {
    match group.partitions.iter().filter(|row| row.verdict == verdict).count() {
        0 | 1 => String::new(),
        2 => " and 1 partition more".to_owned(),
        count => format!(" and {} partitions more", count - 1),
    }
}

impl PartitionRow {
    fn of(place: &Place, now_ms: i64, danger_ms: i64) -> Self {
        let lag = place.lag();
        let (lag_bytes, lag_bytes_estimated) = match place.unread {
            UnreadBytes::Unknown => (None, false),
            UnreadBytes::Exactly(bytes) => (Some(bytes), false),
            UnreadBytes::About(bytes) => (Some(bytes), true),
        };
        let (keeps, kept_until) = match place.keeps {
            Keeps::Unknown => ("unknown", None),
            Keeps::NothingUnread => ("nothing_unread", None),
            Keeps::Always => ("always", None),
            Keeps::Until(until) => ("until", Some(units::rfc3339(until.millis()))),
        };
        Self {
            topic: place.at.topic.to_string(),
            partition: place.at.partition.value(),
            verdict: Verdict::of(place, now_ms, danger_ms),
            committed_offset: place.committed.as_ref().map(|committed| committed.offset.value()),
            log_start_offset: place.log.map(|(start, _)| start.value()),
            log_end_offset: place.log.map(|(_, end)| end.value()),
            lag_records: lag.map(|lag| lag.records),
            lag_bytes,
            lag_bytes_estimated,
            lag_ms: place.behind_ms(now_ms),
            headroom_ms: place.headroom_ms(now_ms),
            kept_until,
            keeps,
            lost_records: lag.map_or(0, |lag| lag.lost),
            member: None,
            host: None,
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let offset = |offset: Option<i64>| offset.map_or("-".to_owned(), |offset| offset.to_string());
        let mut cells = vec![
            self.topic.clone().into(),
            self.partition.to_string().into(),
            offset(self.committed_offset).into(),
            offset(self.log_end_offset).into(),
            records(self.lag_records).into(),
            bytes(self.lag_bytes, self.lag_bytes_estimated).into(),
            time(self.lag_ms).into(),
            self.headroom().into(),
            lost(self.lost_records),
            self.verdict.cell(),
        ];
        if wide {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            cells.extend([
                offset(self.log_start_offset).into(),
                text(&self.kept_until).into(),
                text(&self.member).into(),
                text(&self.host).into(),
            ]);
        }
        cells
    }

    fn headroom(&self) -> String {
        match (self.headroom_ms, self.keeps) {
            (Some(ms), _) => millis(ms),
            (None, "always") => "no limit".to_owned(),
            (None, _) => "-".to_owned(),
        }
    }
}

const PARTITION_HEADS: &[&str] =
    &["topic", "partition", "committed", "end", "lag", "bytes", "behind", "headroom", "lost", "verdict"];
const PARTITION_HEADS_WIDE: &[&str] = &["start", "kept until", "member", "host"];
const GROUP_HEADS: &[&str] = &["group", "state", "members", "lag", "bytes", "behind", "headroom", "lost", "verdict"];

fn millis(ms: i64) -> String {
    units::duration(Duration::from_millis(ms.unsigned_abs()))
}

fn time(ms: Option<i64>) -> String {
    ms.map_or("-".to_owned(), millis)
}

fn records(records: Option<i64>) -> String {
    records.map_or("-".to_owned(), |records| units::count(records.unsigned_abs()))
}

fn bytes(bytes: Option<u64>, estimated: bool) -> String {
    let mark = if estimated { "~" } else { "" };
    bytes.map_or("-".to_owned(), |bytes| format!("{mark}{}", units::bytes(bytes)))
}

fn lost(lost: i64) -> Cell {
    match lost {
        0 => "-".into(),
        lost => Cell::toned(units::count(lost.unsigned_abs()), Tone::Bad),
    }
}

impl Answer for GroupLag {
    const SCHEMA: &'static str = "group.lag";
    const LINES: &'static str = "groups";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut sections = Vec::new();
        let loud = self.loud();
        if !loud.is_empty() {
            sections.push(Section::Facts(loud));
        }
        let group_cells = |group: &GroupRow| {
            vec![
                group.group.clone().into(),
                group.state.clone().into(),
                group.members.to_string().into(),
                records(Some(group.lag_records)).into(),
                bytes(group.lag_bytes, group.lag_bytes_estimated).into(),
                time(group.lag_ms).into(),
                time(group.headroom_ms).into(),
                lost(group.lost_records),
                match &group.error {
                    Some(error) => Cell::toned(error, Tone::Bad),
                    None => group.verdict.cell(),
                },
            ]
        };
        sections.push(Section::rows(GROUP_HEADS, self.groups.iter().map(group_cells)));
        if self.shows_partitions {
            let several = 1 < self.groups.len();
            let mut heads: Vec<&str> = if several { vec!["group"] } else { Vec::new() };
            heads.extend(PARTITION_HEADS);
            heads.extend(if wide { PARTITION_HEADS_WIDE } else { &[] });
            let rows = self.groups.iter().flat_map(|group| {
                group.partitions.iter().map(move |row| {
                    let mut cells: Vec<Cell> = if several { vec![group.group.clone().into()] } else { Vec::new() };
                    cells.extend(row.cells(wide));
                    cells
                })
            });
            sections.push(Section::rows(&heads, rows));
        }
        sections
    }
}

#[cfg(test)]
mod tests {
    use client::{Group, GroupMember};
    use types::Timestamp;

    use super::*;
    use crate::group::standing::tests::place;

    const NOW_MS: i64 = 5000;

    fn standing(members: usize, places: Vec<Place>) -> Standing {
        let member = |number: usize| GroupMember {
            id: format!("m{number}"),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            assignment: Vec::new(),
        };
        let group = Group { id: "g".to_owned(), members: (0..members).map(member).collect(), ..Group::default() };
        Standing { group, places, error: None }
    }

    fn kept_until(ms: i64) -> Place {
        Place { keeps: Keeps::Until(Timestamp::from_millis(ms)), unread: UnreadBytes::Exactly(100), ..place(Some(15)) }
    }

    fn row(members: usize, places: Vec<Place>, warn_ms: Option<i64>) -> GroupRow {
        GroupRow::of(&standing(members, places), NOW_MS, warn_ms)
    }

    #[test]
    fn a_group_is_as_bad_as_its_worst_partition() {
        let far = NOW_MS + 2 * DANGER_UNREAD_MS;
        let verdict = |members, places, warn_ms| row(members, places, warn_ms).verdict;
        assert_eq!(verdict(1, vec![place(Some(20))], None), Verdict::CaughtUp);
        assert_eq!(verdict(1, vec![kept_until(far)], None), Verdict::Behind);
        // Nobody reads: a day is short. With members an hour is.
        assert_eq!(verdict(0, vec![kept_until(NOW_MS + DANGER_UNREAD_MS - 1)], None), Verdict::Losing);
        assert_eq!(verdict(1, vec![kept_until(NOW_MS + DANGER_UNREAD_MS - 1)], None), Verdict::Behind);
        assert_eq!(verdict(1, vec![kept_until(NOW_MS + DANGER_MS - 1)], None), Verdict::Losing);
        // What is asked for counts instead.
        assert_eq!(verdict(0, vec![kept_until(NOW_MS + 999)], Some(999)), Verdict::Behind);
        assert_eq!(verdict(0, vec![kept_until(NOW_MS + 998)], Some(999)), Verdict::Losing);
        assert_eq!(verdict(1, vec![kept_until(far), place(Some(7))], None), Verdict::Lost);
        assert_eq!(verdict(1, vec![place(None)], None), Verdict::NotCommitted);
        let deleted = Place { log: None, ..place(Some(7)) };
        assert_eq!(verdict(1, vec![deleted, kept_until(far)], None), Verdict::NoLog);
    }

    #[test]
    fn totals_are_sums_and_the_worst() {
        let mut about = kept_until(NOW_MS + 700);
        about.unread = UnreadBytes::About(50);
        let total = row(1, vec![kept_until(NOW_MS + 900), about, place(None)], None);
        assert_eq!((total.lag_records, total.lag_bytes, total.lag_bytes_estimated), (10, Some(150), true));
        assert_eq!((total.lag_ms, total.headroom_ms), (Some(4000), Some(700)));
        let unknown = row(1, vec![kept_until(NOW_MS + 900), place(Some(15))], None);
        assert_eq!(unknown.lag_bytes, None, "a sum with an unknown part is unknown");
    }

    #[test]
    fn what_is_lost_or_about_to_be_comes_first_and_says_what_to_do() {
        let standings = [
            standing(1, vec![kept_until(i64::MAX)]),
            standing(0, vec![kept_until(NOW_MS + 60_000)]),
            standing(0, vec![place(Some(7))]),
        ];
        let answer = GroupLag::of(&standings, NOW_MS, None);
        let verdicts: Vec<Verdict> = answer.groups.iter().map(|group| group.verdict).collect();
        assert_eq!(verdicts, [Verdict::Lost, Verdict::Losing, Verdict::Behind]);
        let loud: Vec<String> = answer.groups[..2].iter().map(GroupRow::loud).collect();
        assert!(loud[0].starts_with("group g: 3 records were deleted before it read them, of t-0;"), "{}", loud[0]);
        assert!(loud[0].contains("`ringlog group seek g --to-earliest`"), "{}", loud[0]);
        assert_eq!(
            loud[1],
            "group g: in 1 m retention reaches 5 unread records of t-0; nobody reads with it: start its members, or raise retention.ms of t"
        );
        assert!(matches!(&answer.sections(false)[0], Section::Facts(lines) if lines.len() == 2));
    }
}
