//! Records as JSON, in two shapes: our own (`--output json`, `jsonl`) and kcat's envelope (`-J`). `produce -J` reads both.
//!
//! ```text
//! {"topic":"orders","partition":0,"offset":7,"timestamp":"2026-11-28T10:00:00.000Z","timestamp_type":"create",
//!  "leader_epoch":0,"key":"k","value":"v","headers":[{"name":"source","value":"web"}]}
//! {"topic":"orders","partition":0,"offset":7,"tstype":"create","ts":1795860000000,"broker":1,"headers":["source","web"],
//!  "key":"k","payload":"v"}
//! ```
//! A key, value or header value that is null is `null`. One that is not UTF-8 is `{"base64":"/w=="}`, so nothing is lost
//! on the way out and back in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::{FetchedRecord, TimestampType};
use serde_json::{Map, Value};
use types::{PartitionIndex, Timestamp};

use super::time;
use crate::units::rfc3339;

/// Appends a record in our own shape.
pub(crate) fn write_own(out: &mut Vec<u8>, seen: &FetchedRecord<'_>) {
    out.push(b'{');
    write_place(out, seen);
    out.extend_from_slice(b",\"timestamp\":");
    write_str(out, &rfc3339(seen.record.timestamp.millis()));
    out.extend_from_slice(b",\"timestamp_type\":");
    write_str(out, timestamp_type(seen));
    out.extend_from_slice(b",\"leader_epoch\":");
    match seen.batch.leader_epoch {
        Some(epoch) => out.extend_from_slice(epoch.value().to_string().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"key\":");
    write_bytes(out, seen.record.key);
    out.extend_from_slice(b",\"value\":");
    write_bytes(out, seen.record.value);
    out.extend_from_slice(b",\"headers\":[");
    for (index, header) in seen.record.headers().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
        write_bytes(out, Some(header.key));
        out.extend_from_slice(b",\"value\":");
        write_bytes(out, header.value);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// Appends a record in kcat's shape.
pub(crate) fn write_kcat(out: &mut Vec<u8>, seen: &FetchedRecord<'_>, broker: i32) {
    out.push(b'{');
    write_place(out, seen);
    out.extend_from_slice(b",\"tstype\":");
    write_str(out, if timestamp_type(seen) == "create" { "create" } else { "logappend" });
    out.extend_from_slice(format!(",\"ts\":{},\"broker\":{broker}", seen.record.timestamp.millis()).as_bytes());
    if 0 < seen.record.header_count() {
        out.extend_from_slice(b",\"headers\":[");
        for (index, header) in seen.record.headers().enumerate() {
            if 0 < index {
                out.push(b',');
            }
            write_bytes(out, Some(header.key));
            out.push(b',');
            write_bytes(out, header.value);
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"key\":");
    write_bytes(out, seen.record.key);
    out.extend_from_slice(b",\"payload\":");
    write_bytes(out, seen.record.value);
    out.push(b'}');
}

fn timestamp_type(seen: &FetchedRecord<'_>) -> &'static str {
    match seen.batch.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "log_append",
    }
}

fn write_place(out: &mut Vec<u8>, seen: &FetchedRecord<'_>) {
    out.extend_from_slice(b"\"topic\":");
    write_str(out, &seen.at.topic);
    out.extend_from_slice(format!(",\"partition\":{},\"offset\":{}", seen.at.partition, seen.offset).as_bytes());
}

fn write_str(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string in memory");
}

fn write_bytes(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => write_str(out, text),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":");
            write_str(out, &STANDARD.encode(bytes));
            out.push(b'}');
        }
    }
}

/// A record as its input asks for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Where it is to go, if the input says so.
    pub(crate) partition: Option<PartitionIndex>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
}

/// Reads one record of either shape. Where it once lay is not kept: another topic has other partitions.
///
/// # Errors
/// Not JSON, or a field of the wrong kind; the reason names it.
pub(crate) fn parse(line: &[u8]) -> Result<Parsed, String> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    if !fields.contains_key("value") && !fields.contains_key("payload") {
        return Err("the object has neither `value` nor `payload`; a tombstone is \"value\":null".to_owned());
    }
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
    let timestamp = match (take("ts"), take("timestamp")) {
        (None, None) => None,
        (Some(Value::Number(millis)), _) | (None, Some(Value::Number(millis))) => {
            Some(Timestamp::from_millis(millis.as_i64().ok_or("a timestamp must be whole milliseconds")?))
        }
        (None, Some(Value::String(text))) => Some(time::parse_rfc3339(&text)?),
        _ => return Err("a timestamp must be milliseconds or RFC 3339".to_owned()),
    };
    let key = take("key").map(|value| parse_bytes("key", value)).transpose()?;
    let value = take("value").or_else(|| take("payload")).map(|value| parse_bytes("value", value)).transpose()?;
    let headers = take("headers").map(parse_headers).transpose()?.unwrap_or_default();
    Ok(Parsed { partition: None, timestamp, key, value, headers })
}

fn parse_headers(value: Value) -> Result<Vec<(String, Option<Bytes>)>, String> {
    let wrong = || "`headers` must be a list of {\"name\":..,\"value\":..}, or of names and values in turn".to_owned();
    let Value::Array(items) = value else { return Err(wrong()) };
    let mut headers = Vec::new();
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        let (name, value) = match item {
            Value::Object(mut pair) if pair.contains_key("name") => {
                (pair.remove("name").unwrap_or_default(), pair.remove("value").unwrap_or_default())
            }
            name => (name, items.next().ok_or_else(wrong)?),
        };
        let Value::String(name) = name else { return Err(wrong()) };
        let value = if value.is_null() { None } else { Some(parse_bytes("headers", value)?) };
        headers.push((name, value));
    }
    Ok(headers)
}

/// A string is itself, `{"base64":..}` its bytes; anything else is kept as the JSON it is.
fn parse_bytes(name: &str, value: Value) -> Result<Bytes, String> {
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Object(object) if object.len() == 1 && object.get("base64").is_some_and(Value::is_string) => {
            let text = object["base64"].as_str().unwrap_or_default();
            STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("`{name}` is not base64: {error}"))
        }
        other => Ok(other.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let own = parse(
            br#"{"topic":"t","partition":2,"offset":7,"timestamp":"1970-01-01T00:00:01.500Z",
            "key":"k","value":{"base64":"/w=="},"headers":[{"name":"a","value":"b"},{"name":"c","value":null}]}"#,
        );
        let headers = vec![("a".to_owned(), Some(Bytes::from("b"))), ("c".to_owned(), None)];
        let expected = Parsed {
            partition: None,
            timestamp: Some(Timestamp::from_millis(1500)),
            key: Some("k".into()),
            value: Some(Bytes::from_static(b"\xff")),
            headers,
        };
        assert_eq!(own.expect("read"), expected);
        let kcat = parse(
            br#"{"topic":"t","partition":2,"offset":7,"tstype":"create","ts":1500,"broker":1,
            "headers":["a","b","c",null],"key":"k","payload":{"base64":"/w=="}}"#,
        );
        assert_eq!(kcat.expect("read"), expected);
    }

    #[test]
    fn a_value_that_is_json_is_kept_as_json_and_null_is_a_tombstone() {
        assert_eq!(parse(br#"{"value":{"a":1}}"#).expect("read").value, Some(r#"{"a":1}"#.into()));
        assert_eq!(parse(br#"{"key":"k","value":null}"#).expect("read").value, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, reason) in [
            ("nonsense", "not a JSON object"),
            ("[1]", "not a JSON object"),
            (r#"{"key":"k"}"#, "neither `value` nor `payload`"),
            (r#"{"value":"v","timestamp":"yesterday"}"#, "RFC 3339"),
            (r#"{"value":{"base64":"*"}}"#, "`value` is not base64"),
            (r#"{"value":"v","headers":["odd"]}"#, "`headers`"),
        ] {
            let error = parse(line.as_bytes()).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
