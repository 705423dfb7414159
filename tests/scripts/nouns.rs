//! `ringlog topic`, `group`, `config`, `cluster`, `produce`, `consume` and `doctor --from-client` against a Ringlog and
//! against a Kafka: the same lines with the same answers, but for what Kafka's protocol cannot say. That is `-` or null
//! there, and `~` where it is estimated.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use serde_json::Value;
use tests::document::Description;
use tests::node::{Peer, ringlog_path};
use tests::tally::Tally;

use super::{Cluster, output_with, text};

/// How long a group may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(30);

const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";

/// A line that somebody types, and what must come of it.
struct Case {
    /// After `ringlog`; with `<TAB>` at its end it is what the shell asks for names to offer. `{now}`, `{quarter_ago}`, `{half_ago}` and `{hour_ago}` are times, `{broker}` is an address.
    line: &'static str,
    /// For stdin. `{x100}` and `{x1000}` are so many letters.
    input: &'static str,
    code: i32,
    /// Kafka's, if it is another.
    code_on_kafka: Option<i32>,
    expected: &'static [Expected],
}

const fn case(line: &'static str, expected: &'static [Expected]) -> Case {
    Case { line, input: "", code: 0, code_on_kafka: None, expected }
}

impl Case {
    const fn given(self, input: &'static str) -> Self {
        Self { input, ..self }
    }

    const fn fails(self, code: i32) -> Self {
        Self { code, ..self }
    }

    const fn fails_on_kafka(self, code: i32) -> Self {
        Self { code_on_kafka: Some(code), ..self }
    }
}

/// Something that must come of a line, for both or for one of them.
struct Expected {
    on: Option<Peer>,
    what: What,
}

enum What {
    /// The document that `-o json` prints has this at a JSON pointer: JSON, plain text, `A..B` (a number from A to B, both
    /// of them among it), `number` or `text` (any).
    Is(&'static str, &'static str),
    /// A whole line of stdout is so, by a regular expression.
    Line(&'static str),
    /// Stdout is this and nothing else.
    Prints(&'static str),
    /// Stderr has this in it.
    Says(&'static str),
}

const fn is(pointer: &'static str, value: &'static str) -> Expected {
    Expected { on: None, what: What::Is(pointer, value) }
}

const fn line(pattern: &'static str) -> Expected {
    Expected { on: None, what: What::Line(pattern) }
}

const fn prints(text: &'static str) -> Expected {
    Expected { on: None, what: What::Prints(text) }
}

const fn says(text: &'static str) -> Expected {
    Expected { on: None, what: What::Says(text) }
}

impl Expected {
    const fn on(self, peer: Peer) -> Self {
        Self { on: Some(peer), what: self.what }
    }
}

const RINGLOG: Peer = Peer::Ringlog;
const KAFKA: Peer = Peer::Kafka;

/// Topics with records in them. The batches of one record have 61 bytes of header, and 9 around a value of 100 or 1,000.
const TOPICS: &[Case] = &[
    case(
        "topic create parcels -p 3 -c retention.ms=7200000",
        &[
            is("/topics/0/topic", "parcels"),
            is("/topics/0/topic_id", "text"),
            is("/topics/0/partitions", "3"),
            is("/topics/0/replication_factor", "1"),
            is("/topics/0/outcome", "created"),
        ],
    ),
    case("topic create parcels", &[says("TOPIC_ALREADY_EXISTS"), says("Next: ")]).fails(1),
    case("topic create parcels --if-not-exists", &[line(r"parcels\t3\t1\texists")]),
    case("topic create planned -p 2 --dry-run", &[is("/dry_run", "true"), is("/topics/0/outcome", "would be created")]),
    case("topic describe planned", &[says("Next: ")]).fails(3),
    case("topic create wrong -c no.such=1", &[says("no.such")]).fails(1),
    case(
        "produce -t parcels -p 0 -J",
        &[is("/records", "1"), is("/partitions/0/partition", "0"), is("/partitions/0/offset_first", "0")],
    )
    .given(r#"{"timestamp":{hour_ago},"value":"{x100}"}"#),
    case("produce -t parcels -p 0 -J", &[is("/partitions/0/offset_last", "1")])
        .given(r#"{"timestamp":{half_ago},"value":"{x1000}"}"#),
    case("produce -t parcels -p 0 -J", &[is("/partitions/0/offset_last", "2")])
        .given(r#"{"timestamp":{now},"value":"{x100}"}"#),
    case("produce -t parcels -p 1 --dry-run", &[is("/dry_run", "true"), is("/partitions/0/records", "2")])
        .given("one\ntwo\n"),
    case(
        "consume -t parcels -e",
        &[
            is("/records/0/topic", "parcels"),
            is("/records/0/partition", "0"),
            is("/records/0/key", "null"),
            is("/records/0/timestamp_type", "create"),
            is("/records/2/offset", "2"),
            is("/records/3", "nothing"),
        ],
    ),
    case(r"consume -t parcels -e -f %p:%o:%S\n", &[prints("0:0:100\n0:1:1000\n0:2:100\n")]),
    case(r"consume -t parcels -e -o -1 -f %o\n", &[prints("2\n")]),
    case(r"consume -t parcels -o @-45m:end -f %o\n", &[prints("1\n2\n")]),
    case("consume -t nothing-there -e", &[says("Next: ")]).fails(3),
    case(
        "topic list parcels",
        &[
            is("/topics/0/topic", "parcels"),
            is("/topics/0/partitions", "3"),
            is("/topics/0/size_bytes", "1410"),
            is("/topics/0/retention_ms", "7200000"),
            is("/topics/0/owner", "null"),
            is("/topics/1", "nothing"),
        ],
    ),
    case(
        "topic describe parcels --skew --interval 50ms",
        &[
            is("/topics/0/records", "3"),
            is("/topics/0/size_bytes", "1410"),
            is("/topics/0/durability", "cached"),
            is("/topics/0/skew/size_percent", "300"),
            is("/topics/0/skew/idle_partitions", "3"),
            is("/topics/0/partitions/0/leader", "1"),
            is("/topics/0/partitions/0/in_sync", "[1]"),
            is("/topics/0/partitions/0/log_start_offset", "0"),
            is("/topics/0/partitions/0/log_end_offset", "3"),
            is("/topics/0/partitions/0/recovery_point", "0..3").on(RINGLOG),
            is("/topics/0/partitions/0/next_deletable/segment_base_offset", "0").on(RINGLOG),
            is("/topics/0/partitions/0/next_deletable/size_bytes", "1410").on(RINGLOG),
            is("/topics/0/partitions/0/recovery_point", "null").on(KAFKA),
            is("/topics/0/partitions/0/next_deletable", "null").on(KAFKA),
        ],
    ),
    case(
        "topic describe parcels",
        &[
            line(r"durability\tcached: .*"),
            line(r"retention.ms\t7200000\ttopic"),
            line(r"0\t1\t1\t1\t0\t3\t1\.3 KiB"),
            line(r"0\t\d\tfrom 0 \(1\.3 KiB\) at \S+\tits newest record is younger than retention.ms \(2 h\)")
                .on(RINGLOG),
            line(r"0\t-\t-\t-").on(KAFKA),
        ],
    ),
];

/// A group that has read one record of three.
const GROUPS: &[Case] = &[
    case(r"consume -t parcels -g readers -c 1 -f %o:%S\n", &[prints("0:100\n")]),
    case("group list -o wide", &[line(r"readers\tEmpty\tclassic\tconsumer")]),
    case("group list --state stable", &[prints("group\tstate\n")]),
    case("group describe readers", &[is("/groups/0/state", "Empty"), is("/groups/0/members", "[]")]),
    case("group describe nobody", &[says("there is no group nobody")]).fails(3),
    case(
        "group lag readers",
        &[
            is("/groups/0/lag_records", "2"),
            is("/groups/0/lost_records", "0"),
            is("/groups/0/verdict", "losing"),
            is("/groups/0/lag_ms", "1800000..1920000"),
            is("/groups/0/partitions/0/committed_offset", "1"),
            is("/groups/0/partitions/0/log_end_offset", "3"),
            is("/groups/0/partitions/0/keeps", "until"),
            is("/groups/0/partitions/1/verdict", "caught_up"),
            // The two batches; elsewhere two thirds of what is stored.
            is("/groups/0/lag_bytes", "1240").on(RINGLOG),
            is("/groups/0/lag_bytes_estimated", "false").on(RINGLOG),
            is("/groups/0/lag_bytes", "940").on(KAFKA),
            is("/groups/0/lag_bytes_estimated", "true").on(KAFKA),
            // Until the segment goes, by its newest record; elsewhere by the first unread one.
            is("/groups/0/headroom_ms", "7080000..7200000").on(RINGLOG),
            is("/groups/0/headroom_ms", "5280000..5400000").on(KAFKA),
        ],
    ),
    case(
        "group lag readers",
        &[
            line(r"LOSING\tgroup readers: in 1 h \d+ m retention reaches 2 unread records of parcels-0; .*"),
            line(r"parcels\t0\t1\t3\t2\t1\.2 KiB\t3\d m.*\t1 h 5\d m\t-\tLOSING").on(RINGLOG),
            line(r"parcels\t0\t1\t3\t2\t~940 B\t3\d m.*\t1 h [12]\d m\t-\tLOSING").on(KAFKA),
        ],
    ),
    case("group lag readers --warn 3h", &[]).fails(6),
    case("group lag readers --warn 10m", &[]),
    case("group lag nobody", &[says("there is no group nobody")]).fails(3),
    case(
        "group seek readers --to-earliest --dry-run",
        &[
            is("/dry_run", "true"),
            is("/repeated_records", "1"),
            is("/partitions/0/from_offset", "1"),
            is("/partitions/0/to_offset", "0"),
        ],
    ),
    case("group seek readers --to-time {quarter_ago} --dry-run", &[is("/partitions/0/to_offset", "2")]),
    case("group seek readers --by-duration 45m --dry-run", &[is("/partitions/0/to_offset", "1")]),
    case("group seek readers --shift-by 1 --topic parcels:0 --dry-run", &[is("/partitions/0/to_offset", "2")]),
    case(
        "group seek readers --to-offset 9 --topic parcels:0 --dry-run",
        &[is("/partitions/0/to_offset", "3"), is("/partitions/0/outside_offset", "9")],
    ),
    case("group seek readers --to-latest --to-file undo.csv", &[is("/skipped_records", "2"), is("/undo_file", "text")]),
    case(
        "group lag readers",
        &[
            is("/groups/0/verdict", "caught_up"),
            is("/groups/0/lag_records", "0"),
            is("/groups/0/lag_bytes", "0"),
            is("/groups/0/lag_ms", "0"),
            is("/groups/0/headroom_ms", "null"),
        ],
    ),
    case("group seek readers --from-file undo.csv", &[is("/repeated_records", "2")]),
    case("group lag readers", &[is("/groups/0/lag_records", "2")]),
    case("group seek nobody --to-earliest", &[says("there is no group nobody")]).fails(3),
];

/// While a member reads.
const GROUPS_ACTIVE: &[Case] = &[
    case(
        "group describe readers",
        &[
            is("/groups/0/state", "Stable"),
            is("/groups/0/members/0/member", "text"),
            is("/groups/0/members/0/assignment", r#"[{"topic":"parcels","partitions":[0,1,2]}]"#),
        ],
    ),
    case("group seek readers --to-earliest", &[says("is Stable with 1 member "), says("Next: ")]).fails(1),
    case("group delete readers --yes", &[says("has 1 member"), says("Next: ")]).fails(1),
];

/// What the shell offers of all this; and the group is put back to where it was.
const GROUPS_LEFT: &[Case] = &[
    case("group seek readers --to-offset 1 --topic parcels:0", &[is("/partitions/0/to_offset", "1")]),
    case("topic describe par<TAB>", &[prints("parcels\n")]),
    case("consume -t par<TAB>", &[prints("parcels\n")]),
    case("group lag read<TAB>", &[prints("readers\n")]),
    case("consume -t parcels -g read<TAB>", &[prints("readers\n")]),
];

/// Once the first two records are deleted, and the group had read one.
const GROUPS_LOST: &[Case] = &[
    case(
        "group lag readers",
        &[
            is("/groups/0/verdict", "lost"),
            is("/groups/0/lost_records", "1"),
            is("/groups/0/lag_records", "1"),
            is("/groups/0/lag_ms", "0..120000"),
            is("/groups/0/partitions/0/log_start_offset", "2"),
            is("/groups/0/lag_bytes", "170").on(RINGLOG),
            // All that is stored, deleted records among it, is all that can be read.
            is("/groups/0/lag_bytes", "1410").on(KAFKA),
        ],
    ),
    case(
        "group lag readers",
        &[line(r"LOST\tgroup readers: 1 records were deleted before it read them, of parcels-0; .*")],
    ),
    case("group lag readers --warn 1s", &[]).fails(6),
    case(
        "group delete readers --dry-run",
        &[is("/groups/0/committed_partitions", "3"), is("/groups/0/deleted", "false")],
    ),
    case("group delete readers", &[says("--yes")]).fails(2),
    case("group delete readers --yes", &[is("/groups/0/deleted", "true")]),
    case("group lag readers", &[says("there is no group readers")]).fails(3),
    case("group delete readers --yes", &[says("there is no group readers")]).fails(3),
];

const SETTINGS: &[Case] = &[
    case(
        "topic alter parcels -c retention.ms=3600000",
        &[is("/changes", r#"[{"setting":"retention.ms","before":"7200000","after":"3600000"}]"#)],
    ),
    case(
        "topic alter parcels --unset retention.ms --dry-run",
        &[is("/dry_run", "true"), is("/changes/0/after", "null")],
    ),
    case("topic alter parcels -c retention.ms=soon", &[says("retention.ms")]).fails(1),
    case(
        "topic alter parcels --owner team",
        &[line(r"ringlog.owner\t-\tteam").on(RINGLOG), says("this cluster is none").on(KAFKA)],
    )
    .fails_on_kafka(1),
    case("topic list --owner team", &[is("/topics/0/topic", "parcels").on(RINGLOG), is("/topics", "[]").on(KAFKA)]),
    case(
        "config get topic parcels retention.ms",
        &[
            is("/kind", "topic"),
            is("/settings/0/value", "\"3600000\""),
            is("/settings/0/source", "DYNAMIC_TOPIC_CONFIG"),
            is("/settings/0/documentation", "text"),
        ],
    ),
    case("config describe topic parcels", &[line(r"retention.ms\t3600000\ttopic")]),
    case("config set topic parcels segment.bytes=2097152", &[line(r"segment.bytes\t1073741824\t2097152")]),
    case("config set topic parcels segment.bytes=3 --dry-run", &[]).fails(1),
    case("config unset topic parcels segment.bytes", &[line(r"segment.bytes\t2097152\t1073741824")]),
    case("config get topic parcels no.such", &[says("no.such")]).fails(3),
    case("config describe topic nothing-there", &[says("Next: ")]).fails(3),
    case("config set broker default log.retention.bytes=604800001", &[line(r"log.retention.bytes\t-\t604800001")]),
    case("config describe broker default", &[line(r"log.retention.bytes\t604800001\t.*")]),
    case("config unset broker default log.retention.bytes", &[line(r"log.retention.bytes\t604800001\t-")]),
    case("config get broker 1 node.id", &[is("/settings/0/value", "\"1\""), is("/settings/0/read_only", "true")]),
    case("config describe broker 7", &[]).fails(3),
    case("topic add-partitions parcels --total 2", &[says("cannot have fewer")]).fails(2),
    case(
        "topic add-partitions parcels --total 6 --dry-run",
        &[is("/partitions_before", "3"), is("/partitions", "6"), is("/moved_keys_per_thousand", "500")],
    ),
    case("topic add-partitions parcels --total 6", &[says("order breaks"), says("--yes")]).fails(2),
    case("topic add-partitions parcels --total 6 --yes", &[is("/dry_run", "false"), is("/partitions", "6")]),
    case(
        "topic describe parcels",
        &[is("/topics/0/partitions/5/partition", "5"), is("/topics/0/partitions/6", "nothing")],
    ),
];

const CLUSTER: &[Case] = &[
    case(
        "cluster describe",
        &[
            is("/cluster_id", "text"),
            is("/controller", "1"),
            is("/nodes/0/node", "1"),
            is("/nodes/0/address", "{broker}"),
            is("/nodes/0/fenced", "false"),
        ],
    ),
    case("cluster health", &[is("/healthy", "true"), is("/leaderless", "[]"), is("/unreachable_nodes", "[]")]),
    case("cluster quorum", &[is("/leader", "1"), is("/members/0/role", "leader"), is("/members/0/behind", "0")]),
    case(
        "cluster dirs",
        &[
            is("/directories/0/node", "1"),
            is("/directories/0/error", "null"),
            is("/directories/0/total_bytes", "number"),
        ],
    ),
    case(
        "doctor --from-client {broker}",
        &[
            is("/verdict", "ok"),
            is("/findings/1/check", "bootstrap"),
            is("/findings/2/check", "advertised"),
            is("/findings/2/severity", "ok"),
        ],
    ),
    case(
        "topic delete parcels --dry-run",
        &[is("/records", "1"), is("/topics/0/partitions", "6"), is("/topics/0/outcome", "would be deleted")],
    ),
    case("topic delete parcels", &[says("1 records"), says("--yes")]).fails(2),
    case("topic delete parcels --yes --wait", &[is("/topics/0/outcome", "deleted")]),
    case("topic describe parcels", &[]).fails(3),
    case("topic delete parcels --yes", &[]).fails(3),
    case("topic delete parcels --yes --if-exists", &[line(r"parcels\t.*does not exist")]),
];

/// How many things are judged.
pub fn cases() -> u32 {
    let lines: usize = [TOPICS, GROUPS, GROUPS_ACTIVE, GROUPS_LEFT, GROUPS_LOST, SETTINGS, CLUSTER]
        .iter()
        .map(|cases| cases.len())
        .sum();
    lines as u32
}

/// Judges all of them. Files are written into `folder`.
///
/// # Errors
/// What some of them need could not be made.
pub fn judge(tally: &mut Tally, name: &str, peer: Peer, cluster: &Cluster<'_>, folder: &Path) -> Result<(), String> {
    let nouns = Nouns { cluster, peer, folder };
    let mut judge = |cases: &[&[Case]]| {
        for case in cases.iter().copied().flatten() {
            tally.judge(&format!("{name}: {}", case.line), nouns.comes_true(case));
        }
    };
    judge(&[TOPICS, GROUPS]);
    let mut member = nouns.reader()?;
    judge(&[GROUPS_ACTIVE]);
    end(&mut member)?;
    nouns.wait_for_state("Empty")?;
    judge(&[GROUPS_LEFT]);
    nouns.delete_records()?;
    judge(&[GROUPS_LOST, SETTINGS, CLUSTER]);
    Ok(())
}

struct Nouns<'a> {
    cluster: &'a Cluster<'a>,
    peer: Peer,
    folder: &'a Path,
}

impl Nouns<'_> {
    fn prepare(&self, command: &mut Command, words: &str) {
        command.args(words.split(' ')).current_dir(self.folder);
        command.env("RINGLOG_BROKERS", &self.cluster.address).env("HOME", self.folder);
    }

    fn ringlog(&self, words: &str, input: &str) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.arg("60").arg(ringlog_path());
        match words.strip_suffix("<TAB>") {
            None => self.prepare(&mut command, words),
            Some(typed) => self.prepare(command.env("COMPLETE", "fish"), &format!("-- ringlog {typed}")),
        }
        output_with(&mut command, input)
    }

    fn filled(&self, text: &str) -> String {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let minutes_ago = |minutes: u128| (now_ms - minutes * 60_000).to_string();
        text.replace("{now}", &minutes_ago(0))
            .replace("{quarter_ago}", &minutes_ago(15))
            .replace("{half_ago}", &minutes_ago(30))
            .replace("{hour_ago}", &minutes_ago(60))
            .replace("{x1000}", &"x".repeat(1000))
            .replace("{x100}", &"x".repeat(100))
            .replace("{broker}", &self.cluster.address)
    }

    fn comes_true(&self, case: &Case) -> Result<(), String> {
        let here: Vec<&What> = case
            .expected
            .iter()
            .filter(|each| each.on.is_none_or(|peer| peer == self.peer))
            .map(|each| &each.what)
            .collect();
        let has_document = here.iter().any(|what| matches!(what, What::Is(..)));
        let form = match (has_document, case.line.split(' ').next()) {
            (false, _) => "",
            (true, Some("produce" | "consume")) => " --output json",
            (true, _) => " -o json",
        };
        let output = self.ringlog(&self.filled(&(case.line.to_owned() + form)), &self.filled(case.input))?;
        let (stdout, stderr) = (text(&output), String::from_utf8_lossy(&output.stderr));
        let code = case.code_on_kafka.filter(|_| self.peer == Peer::Kafka).unwrap_or(case.code);
        if output.status.code() != Some(code) {
            return Err(format!("{}, not {code}: {stdout}{stderr}", output.status));
        }
        let document = if has_document { document(&stdout)? } else { Value::Null };
        for what in here {
            let holds = match what {
                What::Is(pointer, value) => is_value(document.pointer(pointer), &self.filled(value)),
                What::Line(pattern) => {
                    let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
                    stdout.lines().any(|line| whole.is_match(line))
                }
                What::Prints(whole) => stdout == **whole,
                What::Says(part) => stderr.contains(part),
            };
            if !holds {
                return Err(format!("not so: {what}: {stdout}{stderr}"));
            }
        }
        Ok(())
    }

    /// A member of the group, once it has its partitions.
    fn reader(&self) -> Result<Child, String> {
        let mut command = Command::new(ringlog_path());
        self.prepare(&mut command, "consume -q -t parcels -g readers --idle 60s");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let stable = self.wait_for_state("Stable");
        if stable.is_err() {
            end(&mut child)?;
        }
        stable.map(|()| child)
    }

    fn wait_for_state(&self, state: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let described = text(&self.ringlog("group describe readers -o json", "")?);
            if document(&described).is_ok_and(|document| is_value(document.pointer("/groups/0/state"), state)) {
                return Ok(());
            }
            if deadline < Instant::now() {
                return Err(format!("the group is not {state}: {described}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What no command of ours does.
    fn delete_records(&self) -> Result<(), String> {
        let file = self.folder.join("delete.json");
        let asked = r#"{"version":1,"partitions":[{"topic":"parcels","partition":0,"offset":2}]}"#;
        fs::write(&file, asked).map_err(|error| error.to_string())?;
        let done = self.cluster.theirs(DELETE_RECORDS, &["--offset-json-file", &file.display().to_string()])?;
        if text(&done).contains("low_watermark: 2") {
            Ok(())
        } else {
            Err(format!("records were not deleted: {done:?}"))
        }
    }
}

/// Asks a command to end and waits until it has.
fn end(child: &mut Child) -> Result<(), String> {
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| error.to_string())?;
    child.wait().map(drop).map_err(|error| error.to_string())
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(pointer, value) => write!(f, "{pointer} is {value}"),
            Self::Line(pattern) => write!(f, "a line is {pattern}"),
            Self::Prints(text) => write!(f, "it prints {text:?}"),
            Self::Says(part) => write!(f, "it says {part:?}"),
        }
    }
}

/// A document, which must be as its schema says.
fn document(text: &str) -> Result<Value, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let name = document["schema"].as_str().ok_or_else(|| format!("no schema is named: {text}"))?;
    Description::ask(name)?.check(&document)?;
    Ok(document)
}

fn is_value(found: Option<&Value>, wanted: &str) -> bool {
    let Some(found) = found else { return wanted == "nothing" };
    let range =
        wanted.split_once("..").and_then(|(least, most)| Some((least.parse().ok()?, most.parse::<i64>().ok()?)));
    match (wanted, range) {
        ("number", _) => found.is_number(),
        ("text", _) => found.as_str().is_some_and(|text| !text.is_empty()),
        (_, Some((least, most))) => found.as_i64().is_some_and(|number: i64| (least..=most).contains(&number)),
        _ => serde_json::from_str::<Value>(wanted).map_or_else(|_| found == wanted, |wanted| *found == wanted),
    }
}
