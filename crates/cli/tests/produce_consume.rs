//! `ringlog produce` and `ringlog consume` against a running node.

mod nodes;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};
use std::time::Instant;

use nodes::{ANY_PORT, Folder, PATIENCE, Running, ringlog};
use serde_json::Value;

/// A node of its own, its folder, and how to ask it.
struct Stage {
    folder: Folder,
    // Ended before its folder goes.
    node: Option<Running>,
    address: String,
}

impl Stage {
    fn new(test: &str, settings: &[&str]) -> Self {
        let folder = Folder::new(test);
        let mut arguments = ANY_PORT.to_vec();
        let all = ["ringlog.shards=1", "group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=1"];
        arguments.extend(all.iter().chain(settings).flat_map(|setting| ["--override", setting]));
        let node = Running::start(&folder, &arguments, &[]);
        let address = node.word_after("told to connect to ");
        Self { folder, node: Some(node), address }
    }

    /// Starts a command with its three streams piped.
    fn spawn(&self, words: &str, more: &[&str]) -> Child {
        let mut command = ringlog(&self.folder);
        command.args(words.split(' ')).args(more).env("RINGLOG_BROKERS", &self.address);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("spawned")
    }

    fn ask(&self, words: &str, more: &[&str], input: &[u8]) -> Output {
        let mut child = self.spawn(words, more);
        // One that refuses its arguments does not read.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("ended")
    }

    /// What a command prints that must succeed.
    fn bytes(&self, words: &str, more: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.ask(words, more, input);
        assert!(output.status.success(), "{words} {more:?}: {output:?}");
        output.stdout
    }

    fn text(&self, words: &str, more: &[&str], input: &[u8]) -> String {
        String::from_utf8(self.bytes(words, more, input)).expect("UTF-8")
    }

    fn create(&self, topic: &str, partitions: u32) {
        self.text(&format!("topic create {topic} -p {partitions}"), &["-c", "retention.ms=-1"], b"");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.node.take());
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args([name, &pid]).status().expect("run").success());
}

/// The exit code of a child that must end by itself, and what it said.
fn end(mut child: Child) -> (Option<i32>, String) {
    let began = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if PATIENCE < began.elapsed() {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn any_bytes_come_back_as_they_were_sent() {
    let stage = Stage::new("bytes", &[]);
    stage.create("files", 1);
    stage.create("copy", 1);
    let every: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    std::fs::write(stage.folder.join("every"), &every).expect("written");
    stage.bytes("produce -t files -k every -H kind=bytes every", &[], b"");
    assert_eq!(stage.bytes("consume -t files -e -f %s", &[], b""), every);
    assert_eq!(stage.bytes("consume -t files -e -f", &["%R%s"], b""), [&70_000_u32.to_be_bytes()[..], &every].concat());

    // Through JSON and back: keys, values and headers of any bytes, nulls, empty parts, times.
    let line =
        br#"{"timestamp":1500000000001,"key":{"base64":"AP8K"},"value":"","headers":["h",{"base64":"/w=="},"n",null]}"#;
    stage.bytes("produce -t files -J", &[], line);
    stage.bytes("produce -t files -J", &[], br#"{"timestamp":1500000000002,"key":"","value":null}"#);
    for form in ["-J", "--output=jsonl"] {
        let json = stage.bytes("consume -t files -e", &[form], b"");
        stage.bytes("produce -t copy -J", &[], &json);
    }
    let format = ["%T|%K|%k|%S|%s|%H|%h\n"];
    let all = stage.bytes("consume -t files -e -f", &format, b"");
    let expected =
        [b"1500000000001|3|\x00\xff\n|0||2|h=\xff,n=NULL\n".as_slice(), b"1500000000002|0||-1||0|\n"].concat();
    assert!(all.ends_with(&expected), "{}", String::from_utf8_lossy(&all[all.len() - 100..]));
    assert_eq!(stage.bytes("consume -t copy -e -f", &format, b""), all.repeat(2));
}

#[test]
fn delimiters_of_any_length_cut_records_and_keys() {
    let stage = Stage::new("delimiters", &[]);
    stage.create("cut", 1);
    stage.text("produce -t cut -K => -D", &[r"\0\xff"], b"k=>a\nb\0\xffplain\0\xff\0\xff=>v");
    assert_eq!(stage.bytes("consume -t cut -e -K : -D", &[r"\0"], b""), b"k:a\nb\0:plain\0:v\0");
    assert_eq!(stage.text("consume -t cut -e -f", &["%K %S;"], b""), "1 3;-1 5;0 1;");
}

#[test]
fn what_a_format_prints_is_produced_by_the_same_format() {
    let stage = Stage::new("formats", &[]);
    stage.create("from", 3);
    stage.create("to", 3);
    stage.create("narrow", 1);
    stage.text("produce -t from -H a=b -p 2", &["-f", "%k;%s"], b"k1;v;1\nk2;\n\n");
    let format = r"%p|%o|%T|%h|%k;%s\n";
    let printed = stage.bytes("consume -t from -e -f", &[format], b"");
    stage.bytes("produce -t to -f", &[format], &printed);
    assert_eq!(stage.bytes("consume -t to -e -f", &[format], b""), printed);
    assert_eq!(stage.text("consume -t to -e -f", &["%p %k %s %h,"], b""), "2 k1 v;1 a=b,2 k2  a=b,");

    // A line that is no record costs only itself, as does one whose partition is not there.
    let output = stage.ask("produce -t narrow -f", &["%p;%s"], b"0;a\nb\n2;c\n0;d\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("record 2: it does not hold `;`") && said.contains("no partition 2"), "{said}");
    assert_eq!(stage.text("consume -t narrow -e", &[], b""), "a\nd\n");

    for (words, reason) in [("-f %k%s", "text between"), ("-f %s -K :", "cannot be used with"), ("-o 5", "consume")] {
        let output = stage.ask(&format!("produce -t to {words}"), &[], b"v\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(reason), "{words}: {said}");
    }
    stage.text("produce -t to -e", &[], b"kcat's letter\n");
}

#[test]
fn an_empty_value_is_a_tombstone_only_when_nulls_are_asked_for() {
    let stage = Stage::new("tombstones", &[]);
    stage.create("t", 1);
    stage.text("produce -t t -K :", &[], b"a:\n");
    stage.text("produce -t t -K : -Z", &[], b"b:\n:c\n");
    assert_eq!(stage.text("consume -t t -e -f", &["%k=%S;"], b""), "a=0;b=-1;=1;");
    assert_eq!(stage.text("consume -t t -e -K : -Z", &[], b""), "a:\nb:NULL\nNULL:c\n");
    let last = stage.text("consume -t t -o 1 -c 1 -J", &[], b"");
    let last: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!((&last["key"], &last["payload"]), (&Value::from("b"), &Value::Null));
}

#[test]
fn headers_are_kept_in_their_order_with_doubles_and_nulls() {
    let stage = Stage::new("headers", &[]);
    stage.create("t", 1);
    stage.text("produce -t t -H a=1 -H b -H a==", &[], b"v\n");
    let kcat: Value = serde_json::from_str(&stage.text("consume -t t -e -J", &[], b"")).expect("JSON");
    assert_eq!(kcat["headers"], serde_json::json!(["a", "1", "b", null, "a", "="]));
    let own: Value = serde_json::from_str(&stage.text("consume -t t -e --output json", &[], b"")).expect("JSON");
    assert_eq!((&own["schema"], &own["version"]), (&Value::from("consume"), &Value::from(1)));
    assert_eq!(own["records"][0]["headers"][1], serde_json::json!({"name": "b", "value": null}));
}

#[test]
fn each_form_of_offset_begins_and_ends_where_it_says() {
    let stage = Stage::new("offsets", &[]);
    stage.create("t", 1);
    let lines: String = (0..10)
        .map(|i| format!("{{\"timestamp\":{},\"value\":\"{i}\"}}\n", 1_500_000_000_000_u64 + 1000 * (i + 1)))
        .collect();
    stage.text("produce -t t -J", &[], lines.as_bytes());
    for (places, expected) in [
        ("-o beginning -e", "0123456789"),
        ("-o end -e", ""),
        ("-o -3 -e", "789"),
        ("-o -30 -e", "0123456789"),
        ("-o +8 -e", "89"),
        ("-o 4 -e", "456789"),
        ("-o 4:6", "45"),
        ("-o :2", "01"),
        ("-o 4 -c 2", "45"),
        ("-o s@1500000007001 -e", "789"),
        ("-o s@1500000007000 -e", "6789"),
        ("-o s@1500000003000 -o e@1500000005000", "23"),
        ("-o e@1500000002500", "01"),
        // The end that comes first counts.
        ("-o 8:99 -e", "89"),
        ("-o 4:6 -e", "45"),
        ("-o s@1500000008500 -o e@4100000000000 -e", "89"),
        ("-o @2017-07-14T02:40:09Z:end", "89"),
        ("-o s@1500000099000 -e", ""),
    ] {
        assert_eq!(stage.text(&format!("consume -t t {places} -f %s"), &[], b""), expected, "{places}");
    }
    let beyond = stage.ask("consume -t t -o 11 -e", &[], b"");
    assert_eq!(beyond.status.code(), Some(1), "{beyond:?}");
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("no offset 11 yet: it holds 0 to 10"), "{beyond:?}");
    assert_eq!(stage.ask("consume -t t -o nowhere", &[], b"").status.code(), Some(2));
    assert_eq!(stage.ask("consume -t t -o stored", &[], b"").status.code(), Some(2));

    // What comes after the end is waited for.
    let mut waiting = stage.spawn("consume -t t -o end -c 1 -f %s", &[]);
    let mut found = String::new();
    let began = Instant::now();
    // It may not have looked up the end before the first record is there.
    while waiting.try_wait().expect("a child").is_none() {
        assert!(began.elapsed() < PATIENCE, "it does not end");
        stage.text("produce -t t", &[], b"new\n");
    }
    waiting.stdout.take().expect("piped").read_to_string(&mut found).expect("read");
    assert_eq!(found, "new");
}

#[test]
fn a_group_goes_on_where_it_committed() {
    let stage = Stage::new("group", &[]);
    stage.create("t", 1);
    stage.text("produce -t t", &[], b"0\n1\n2\n3\n4\n5\n6\n");
    assert_eq!(stage.text("consume -t t -g g -c 3 -f %s", &[], b""), "012");
    assert_eq!(stage.text("consume -g g -c 2 t -f %s", &[], b""), "34");
    assert_eq!(stage.text("consume -t t -g g -p 0 -o stored -c 1 -f %s", &[], b""), "5");
    assert_eq!(stage.text("consume -t t -g g -e -f %s", &[], b""), "6");
    assert_eq!(stage.text("consume -t t -g g -e -f %s", &[], b""), "", "all was committed");
    let lag: Value = serde_json::from_str(&stage.text("group lag g -o json", &[], b"")).expect("JSON");
    assert!(lag.to_string().contains("\"lag_records\":0"), "{lag}");
}

#[test]
fn a_record_that_is_too_large_costs_only_itself() {
    let stage = Stage::new("large", &[]);
    stage.create("t", 1);
    stage.text("topic create small -p 1 -c max.message.bytes=1000", &[], b"");
    let large = "x".repeat(2 << 20);
    let output = stage.ask("produce -t t", &[], format!("a\n{large}\nb\n").as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("record 2: ") && said.contains("1 of 3 records were not sent"), "{said}");
    assert_eq!(stage.text("consume -t t -e", &[], b""), "a\nb\n");
    assert_eq!(stage.ask("produce -t t", &[], large.as_bytes()).status.code(), Some(1), "nothing at all was sent");

    // The node's own limit.
    let output = stage.ask(
        "produce -t small -X linger.ms=0 -X batch.size=1",
        &[],
        format!("a\n{}\nb\n", &large[..5000]).as_bytes(),
    );
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(stage.text("consume -t small -e", &[], b""), "a\nb\n");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_consumer() {
    let stage = Stage::new("head", &[]);
    stage.create("t", 1);
    let lines: String = (0..50_000).map(|i| format!("line {i}\n")).collect();
    stage.text("produce -t t", &[], lines.as_bytes());
    for more in ["-e", "-q"] {
        // Without -e it waits for more when all is read: a reader that goes then is noticed too.
        let mut child = stage.spawn("consume -t t", &[more]);
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().expect("piped"));
        reader.read_line(&mut first).expect("read");
        assert_eq!(first, "line 0\n");
        drop(reader);
        let (code, said) = end(child);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{more}");
    }
    let mut child = stage.spawn("consume -t t -o end", &[]);
    drop(child.stdout.take());
    assert_eq!(end(child).0, Some(0), "nothing was ever written");
}

#[test]
fn an_interrupted_consumer_commits_what_it_printed() {
    let stage = Stage::new("interrupted", &[]);
    stage.create("t", 1);
    stage.text("produce -t t", &[], b"0\n1\n2\n");
    let mut child = stage.spawn("consume -t t -g g", &[]);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for expected in ["0", "1", "2"] {
        assert_eq!(lines.next().expect("a line").expect("read"), expected);
    }
    signal(&child, "-INT");
    let (code, said) = end(child);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(lines.next().is_none());
    stage.text("produce -t t", &[], b"3\n");
    assert_eq!(stage.text("consume -t t -g g -e", &[], b""), "3\n");
}

#[test]
fn a_node_that_falls_silent_is_given_up_after_the_timeout() {
    let stage = Stage::new("silent", &[]);
    stage.create("t", 1);
    stage.text("produce -t t", &[], b"a\n");
    let mut consumer = stage.spawn("consume -t t -c 2 --timeout 1s", &[]);
    let mut first = String::new();
    let mut out = BufReader::new(consumer.stdout.take().expect("piped"));
    out.read_line(&mut first).expect("a record");
    // Its next fetch is under way, or will be.
    stage.node.as_ref().expect("runs").signal("-STOP");
    let began = Instant::now();
    let (code, said) = end(consumer);
    let took = began.elapsed();
    stage.node.as_ref().expect("runs").signal("-CONT");
    assert_eq!((first.as_str(), code), ("a\n", Some(4)), "{said}");
    assert!(said.contains("no answer"), "{said}");
    // One fetch, one question, and their time for each.
    assert!(took < PATIENCE / 6, "{took:?}");
}

#[test]
fn an_interrupted_producer_delivers_what_it_read_and_says_how_much() {
    let stage = Stage::new("broken-off", &[]);
    stage.create("t", 1);
    let mut child = stage.spawn("produce -t t --tee", &[]);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"0\n1\nhalf").expect("written");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for expected in ["0", "1"] {
        assert_eq!(lines.next().expect("a line").expect("read"), expected);
    }
    signal(&child, "-INT");
    let (code, said) = end(child);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("interrupted: 2 records were sent"), "{said}");
    drop(stdin);
    assert_eq!(stage.text("consume -t t -e", &[], b""), "0\n1\n");
}

#[test]
fn what_is_not_there_has_its_exit_code() {
    let stage = Stage::new("absent", &["auto.create.topics.enable=false"]);
    stage.create("t", 1);
    for command in [
        "consume -t absent -e",
        "consume -t absent -g g -e",
        "produce -t absent",
        "produce -t t no-such-file",
        "produce -t t -l no-such-file",
        "consume -t t -p 1 -e",
        "produce -t t -p 1",
    ] {
        let output = stage.ask(command, &[], b"v\n");
        assert_eq!(output.status.code(), Some(3), "{command}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{command}: {output:?}");
    }
    // Nobody listens at this port of a node that has ended.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address").to_string();
    for command in ["consume -t t -e", "consume -t t -g g", "produce -t t"] {
        let output = stage.ask(command, &["-b", &gone, "--timeout", "1s"], b"v\n");
        assert_eq!(output.status.code(), Some(4), "{command}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(&gone), "{command}: {output:?}");
    }
}
