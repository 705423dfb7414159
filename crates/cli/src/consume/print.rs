//! What becomes of a record on stdout.

use std::collections::BTreeMap;

use client::FetchedRecord;
use types::TopicPartition;

use super::document::{LINES, SCHEMA, VERSION};
use crate::console::ConsoleFormat;
use crate::stream::json;
use crate::stream::template::Template;
use crate::units::rfc3339;

/// The form of the records.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// `-f`, or value and delimiters.
    Template(Template),
    /// kcat's JSON, one record a line; who leads what, for its `broker`.
    Kcat(BTreeMap<TopicPartition, i32>),
    /// Our JSON, one record a line.
    JsonLines,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// Columns; at a terminal padded, in a pipe tab-separated.
    Table { wide: bool, padded: bool },
    /// As Kafka's console consumer prints.
    Console(ConsoleFormat),
}

/// Prints records one after another.
#[derive(Debug)]
pub(crate) struct Printer {
    form: Form,
    /// Records printed.
    pub(crate) records: u64,
}

impl Printer {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, records: 0 }
    }

    /// What stands before the first record.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Json => out
                .extend_from_slice(format!("{{\"schema\":\"{SCHEMA}\",\"version\":{VERSION},\"{LINES}\":[").as_bytes()),
            Form::Yaml => {
                out.extend_from_slice(format!("schema: {SCHEMA}\nversion: {VERSION}\n{LINES}:\n").as_bytes());
            }
            Form::Table { wide, padded } => {
                let heads = ["topic", "partition", "offset", "timestamp", "epoch", "headers", "key", "value"];
                let cells = heads.map(|head| if *padded { head.to_uppercase() } else { head.to_owned() });
                row(out, *wide, *padded, cells);
            }
            Form::Template(_) | Form::Kcat(_) | Form::JsonLines | Form::Console(_) => {}
        }
    }

    /// One record.
    pub(crate) fn record(&mut self, out: &mut Vec<u8>, seen: &FetchedRecord<'_>) {
        self.records += 1;
        match &self.form {
            Form::Template(template) => template.write(out, seen, self.records),
            Form::Kcat(leaders) => {
                json::write_kcat(out, seen, leaders.get(seen.at).copied().unwrap_or(-1));
                out.push(b'\n');
            }
            Form::JsonLines => {
                json::write_own(out, seen);
                out.push(b'\n');
            }
            Form::Json => {
                out.extend_from_slice(if self.records == 1 { b"\n" } else { b",\n" });
                json::write_own(out, seen);
            }
            Form::Yaml => {
                // JSON is YAML's flow style.
                out.extend_from_slice(b"- ");
                json::write_own(out, seen);
                out.push(b'\n');
            }
            Form::Table { wide, padded } => {
                let record = &seen.record;
                let headers: Vec<String> = record
                    .headers()
                    .map(|header| format!("{}={}", shown(Some(header.key)), shown(header.value)))
                    .collect();
                let cells = [
                    seen.at.topic.to_string(),
                    seen.at.partition.to_string(),
                    seen.offset.to_string(),
                    rfc3339(record.timestamp.millis()),
                    seen.batch.leader_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.value().to_string()),
                    if headers.is_empty() { "-".to_owned() } else { headers.join(",") },
                    shown(record.key),
                    shown(record.value),
                ];
                row(out, *wide, *padded, cells);
            }
            Form::Console(format) => format.write(out, seen),
        }
    }

    /// What stands after the last record.
    pub(crate) fn end(&self, out: &mut Vec<u8>) {
        match &self.form {
            Form::Json => out.extend_from_slice(if self.records == 0 { b"]}\n" } else { b"\n]}\n" }),
            // An empty list, lest it be null.
            Form::Yaml if self.records == 0 => {
                out.pop();
                out.extend_from_slice(b" []\n");
            }
            _ => {}
        }
    }
}

/// The columns that `table` leaves to `wide`: topic, epoch, headers.
const WIDE_ONLY: [usize; 3] = [0, 4, 5];

/// How wide each column is at a terminal; what is longer moves the rest of its row.
const WIDTHS: [usize; 8] = [16, 9, 10, 24, 5, 16, 16, 0];

fn row(out: &mut Vec<u8>, wide: bool, padded: bool, cells: [String; 8]) {
    let mut first = true;
    for (index, cell) in cells.iter().enumerate() {
        if !wide && WIDE_ONLY.contains(&index) {
            continue;
        }
        if !first {
            out.extend_from_slice(if padded { b"  " } else { b"\t" });
        }
        first = false;
        out.extend_from_slice(cell.as_bytes());
        if padded {
            let missing = WIDTHS[index].saturating_sub(cell.chars().count());
            out.extend(std::iter::repeat_n(b' ', missing));
        }
    }
    out.push(b'\n');
}

/// A part of a record on one line: control characters and what is not UTF-8 escaped, null as `-`.
fn shown(part: Option<&[u8]>) -> String {
    let Some(part) = part else { return "-".to_owned() };
    let mut text = String::with_capacity(part.len());
    for chunk in part.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' | '\t' | '\n' | '\r' => text.extend(char.escape_default()),
                char if char.is_control() => text.push_str(&format!("\\x{:02x}", char as u32)),
                char => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use batch::{BatchBuilder, Codec};
    use client::{Fetched, Isolation, visit};
    use expect_test::{Expect, expect};
    use serde_json::{Map, Value};
    use types::{LeaderEpoch, Offset, PartitionIndex, Timestamp};

    use super::super::document::ConsumedRecord;
    use super::*;
    use crate::schemas;

    pub(crate) struct Sample {
        pub(crate) key: Option<&'static [u8]>,
        pub(crate) value: Option<&'static [u8]>,
        pub(crate) headers: &'static [(&'static str, Option<&'static [u8]>)],
    }

    /// At orders-2, offset 41, epoch 7, 1500 ms after 1970 began.
    pub(crate) const SAMPLE: Sample =
        Sample { key: Some(b"key"), value: Some(b"value"), headers: &[("source", Some(b"web")), ("empty", None)] };

    const BINARY: Sample = Sample { key: None, value: Some(b"a\tb\xff\x1b[2J\\"), headers: &[] };

    pub(crate) fn with_sample(sample: &Sample, see: impl FnMut(&FetchedRecord<'_>)) {
        let mut see = see;
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(Timestamp::from_millis(1500), sample.key, sample.value, sample.headers);
        let from = Offset::from_wire(41).expect("an offset");
        let fetched = Fetched {
            at: TopicPartition::new("orders", PartitionIndex::new(2)),
            from,
            records: builder.build(from, LeaderEpoch::new(7)),
            high_watermark: None,
            log_start: None,
            aborted: Vec::new(),
        };
        visit(&fetched, Isolation::ReadUncommitted, |seen| {
            see(&seen);
            std::ops::ControlFlow::Continue(())
        })
        .expect("a good batch");
    }

    fn check(form: Form, expected: &Expect) {
        let mut printer = Printer::new(form);
        let mut out = Vec::new();
        printer.begin(&mut out);
        for sample in [&SAMPLE, &BINARY] {
            with_sample(sample, |seen| printer.record(&mut out, seen));
        }
        printer.end(&mut out);
        expected.assert_eq(&String::from_utf8(out).expect("text"));
    }

    #[test]
    fn each_form_prints_both_records() {
        check(
            Form::Kcat(BTreeMap::new()),
            &expect![[r#"
            {"topic":"orders","partition":2,"offset":41,"tstype":"create","ts":1500,"broker":-1,"headers":["source","web","empty",null],"key":"key","payload":"value"}
            {"topic":"orders","partition":2,"offset":41,"tstype":"create","ts":1500,"broker":-1,"key":null,"payload":{"base64":"YQli/xtbMkpc"}}
        "#]],
        );
        check(
            Form::JsonLines,
            &expect![[r#"
            {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":"key","value":"value","headers":[{"name":"source","value":"web"},{"name":"empty","value":null}]}
            {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":null,"value":{"base64":"YQli/xtbMkpc"},"headers":[]}
        "#]],
        );
        check(
            Form::Json,
            &expect![[r#"
            {"schema":"consume","version":1,"records":[
            {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":"key","value":"value","headers":[{"name":"source","value":"web"},{"name":"empty","value":null}]},
            {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":null,"value":{"base64":"YQli/xtbMkpc"},"headers":[]}
            ]}
        "#]],
        );
        check(
            Form::Yaml,
            &expect![[r#"
            schema: consume
            version: 1
            records:
            - {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":"key","value":"value","headers":[{"name":"source","value":"web"},{"name":"empty","value":null}]}
            - {"topic":"orders","partition":2,"offset":41,"timestamp":"1970-01-01T00:00:01.500Z","timestamp_type":"create","leader_epoch":7,"key":null,"value":{"base64":"YQli/xtbMkpc"},"headers":[]}
        "#]],
        );
        check(
            Form::Table { wide: false, padded: false },
            &expect![[r#"
            partition	offset	timestamp	key	value
            2	41	1970-01-01T00:00:01.500Z	key	value
            2	41	1970-01-01T00:00:01.500Z	-	a\tb\xff\x1b[2J\\
        "#]],
        );
        check(
            Form::Table { wide: true, padded: true },
            &expect![[r#"
            TOPIC             PARTITION  OFFSET      TIMESTAMP                 EPOCH  HEADERS           KEY               VALUE
            orders            2          41          1970-01-01T00:00:01.500Z  7      source=web,empty=-  key               value
            orders            2          41          1970-01-01T00:00:01.500Z  7      -                 -                 a\tb\xff\x1b[2J\\
        "#]],
        );
    }

    #[test]
    fn records_are_what_their_description_says() {
        let mut printer = Printer::new(Form::JsonLines);
        let mut out = Vec::new();
        for sample in [&SAMPLE, &BINARY] {
            with_sample(sample, |seen| printer.record(&mut out, seen));
        }
        let lines = String::from_utf8(out).expect("text");
        let described = schemas::all().into_iter().find(|each| each.name == SCHEMA).expect("listed").schema;
        let described = &described.get("$defs").expect("types")["ConsumedRecord"]["required"];
        for line in lines.lines() {
            serde_json::from_str::<ConsumedRecord>(line).expect("of the types described");
            let record: Map<String, Value> = serde_json::from_str(line).expect("an object");
            assert_eq!(&Value::from_iter(record.keys().cloned()), described, "{line}");
        }
    }

    #[test]
    fn no_records_are_an_empty_list() {
        for (form, expected) in [
            (Form::Json, "{\"schema\":\"consume\",\"version\":1,\"records\":[]}\n"),
            (Form::Yaml, "schema: consume\nversion: 1\nrecords: []\n"),
        ] {
            let printer = Printer::new(form);
            let mut out = Vec::new();
            printer.begin(&mut out);
            printer.end(&mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
