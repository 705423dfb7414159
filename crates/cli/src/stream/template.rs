//! Format strings: what `consume -f` prints of each record, and how `produce -f` reads one again. The letters are kcat's,
//! with rpk's where kcat has none.

use bytes::Bytes;
use client::FetchedRecord;
use types::{PartitionIndex, Timestamp};

use crate::produce::input::cut;
use crate::stream::escape::unescape_one;
use crate::stream::json::Parsed;
use crate::stream::time::parse_rfc3339;
use crate::units::rfc3339;

/// What the letters mean, for `--help` and for errors.
pub(crate) const LETTERS: &str = "\
  %s %v value     %S %V its bytes (-1: null)   %R the same as 4 bytes, big-endian
  %k key          %K its bytes (-1: null)      %h headers as name=value,...   %H how many
  %t topic        %p partition   %o offset     %e leader epoch
  %T timestamp in milliseconds   %d RFC 3339   %i number of the record, from 1
  %% a percent sign              \\n \\r \\t \\0 \\\\ \\xHH one byte each";

/// What a null is printed as with `-Z`.
const NULL: &[u8] = b"NULL";

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Vec<u8>),
    Value,
    ValueBytes,
    ValueBytesBinary,
    Key,
    KeyBytes,
    Headers,
    HeaderCount,
    Topic,
    Partition,
    Offset,
    LeaderEpoch,
    Millis,
    Rfc3339,
    Number,
}

/// A format string, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    /// Whether a null is printed as such, or as nothing.
    nulls: bool,
}

impl Template {
    /// Reads a format string.
    ///
    /// # Errors
    /// An unknown letter or escape.
    pub(crate) fn parse(text: &str, nulls: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            match first {
                '%' => {
                    let Some(letter) = rest.chars().next() else {
                        return Err("the format ends within a %; %% is a percent sign".to_owned());
                    };
                    rest = &rest[letter.len_utf8()..];
                    if letter == '%' {
                        literal.push(b'%');
                        continue;
                    }
                    let piece = Self::letter(letter)
                        .ok_or_else(|| format!("%{letter} stands for nothing; the letters are\n{LETTERS}"))?;
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
                '\\' => rest = unescape_one(rest, &mut literal)?,
                char => literal.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces, nulls })
    }

    /// The value, the key before it if it has a delimiter, and what ends a record: kcat's `-D` and `-K`.
    pub(crate) fn delimited(delimiter: Vec<u8>, key_delimiter: Option<Vec<u8>>, nulls: bool) -> Self {
        let mut pieces = Vec::new();
        if let Some(key_delimiter) = key_delimiter {
            pieces.extend([Piece::Key, Piece::Text(key_delimiter)]);
        }
        pieces.extend([Piece::Value, Piece::Text(delimiter)]);
        Self { pieces, nulls }
    }

    fn letter(letter: char) -> Option<Piece> {
        Some(match letter {
            's' | 'v' => Piece::Value,
            'S' | 'V' => Piece::ValueBytes,
            'R' => Piece::ValueBytesBinary,
            'k' => Piece::Key,
            'K' => Piece::KeyBytes,
            'h' => Piece::Headers,
            'H' => Piece::HeaderCount,
            't' => Piece::Topic,
            'p' => Piece::Partition,
            'o' => Piece::Offset,
            'e' => Piece::LeaderEpoch,
            'T' => Piece::Millis,
            'd' => Piece::Rfc3339,
            'i' => Piece::Number,
            _ => return None,
        })
    }

    /// Appends what is printed of a record; `number` counts the records from 1.
    pub(crate) fn write(&self, out: &mut Vec<u8>, seen: &FetchedRecord<'_>, number: u64) {
        let record = &seen.record;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value => out.extend_from_slice(self.or_null(record.value)),
                Piece::Key => out.extend_from_slice(self.or_null(record.key)),
                Piece::ValueBytes => out.extend_from_slice(len(record.value).to_string().as_bytes()),
                Piece::ValueBytesBinary => out.extend_from_slice(&len(record.value).to_be_bytes()),
                Piece::KeyBytes => out.extend_from_slice(len(record.key).to_string().as_bytes()),
                Piece::Headers => {
                    for (index, header) in record.headers().enumerate() {
                        if 0 < index {
                            out.push(b',');
                        }
                        out.extend_from_slice(header.key);
                        out.push(b'=');
                        out.extend_from_slice(header.value.unwrap_or(NULL));
                    }
                }
                Piece::HeaderCount => out.extend_from_slice(record.header_count().to_string().as_bytes()),
                Piece::Topic => out.extend_from_slice(seen.at.topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(seen.at.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(seen.offset.to_string().as_bytes()),
                Piece::LeaderEpoch => {
                    let epoch = seen.batch.leader_epoch.map_or(-1, |epoch| epoch.value());
                    out.extend_from_slice(epoch.to_string().as_bytes());
                }
                Piece::Millis => out.extend_from_slice(record.timestamp.millis().to_string().as_bytes()),
                Piece::Rfc3339 => {
                    out.extend_from_slice(rfc3339(record.timestamp.millis()).as_bytes());
                }
                Piece::Number => out.extend_from_slice(number.to_string().as_bytes()),
            }
        }
    }

    fn or_null<'a>(&self, part: Option<&'a [u8]>) -> &'a [u8] {
        part.unwrap_or(if self.nulls { NULL } else { b"" })
    }
}

/// A format string that records are read by: each letter takes what stands before the text behind it, the last one the
/// rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
    /// Whether an empty key or value is null.
    nulls: bool,
}

impl Template {
    /// The same format, to read records by that `delimiter` has been cut off already.
    ///
    /// # Errors
    /// The places of its letters cannot be told in the input.
    pub(crate) fn into_pattern(mut self, delimiter: &[u8]) -> Result<Pattern, String> {
        // As in `consume -f '%s\n'`.
        if let Some(Piece::Text(text)) = self.pieces.last_mut()
            && text.ends_with(delimiter)
        {
            text.truncate(text.len() - delimiter.len());
            if text.is_empty() {
                self.pieces.pop();
            }
        }
        let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
        if !self.pieces.contains(&Piece::Value) {
            return Err("the format has no %s: where is the value?".to_owned());
        }
        if self.pieces.contains(&Piece::ValueBytesBinary) {
            return Err("%R is four bytes of any value, which are not told from what stands around them".to_owned());
        }
        if self.pieces.windows(2).any(|pair| !is_text(&pair[0]) && !is_text(&pair[1])) {
            return Err(
                "two letters need text between them, or nobody knows where the first one's part ends".to_owned()
            );
        }
        let holds = |text: &[u8]| memchr::memmem::find(text, delimiter).is_some();
        if self.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if holds(text))) {
            return Err("what ends a record (-D) stands within the format: choose another with -D".to_owned());
        }
        Ok(Pattern { pieces: self.pieces, nulls: self.nulls })
    }
}

impl Pattern {
    /// The record that `part` stands for. Topic, offset, epoch, number and sizes are passed over: they are the node's.
    ///
    /// # Errors
    /// It does not look as the format says.
    pub(crate) fn read(&self, part: &Bytes) -> Result<Parsed, String> {
        let mut parsed = Parsed::default();
        let mut rest = part.clone();
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            if let Piece::Text(text) = piece {
                // At the start: any other is taken together with the letter before it.
                let after = rest.strip_prefix(text.as_slice()).ok_or_else(|| missing("start with", text))?;
                rest = rest.slice_ref(after);
                continue;
            }
            let field = match pieces.next_if(|next| matches!(next, Piece::Text(_))) {
                Some(Piece::Text(text)) if pieces.peek().is_none() => {
                    let field = rest.strip_suffix(text.as_slice()).ok_or_else(|| missing("end with", text))?;
                    rest.slice_ref(field)
                }
                Some(Piece::Text(text)) => {
                    let (field, after) = cut(&rest, text).ok_or_else(|| missing("hold", text))?;
                    rest = after;
                    field
                }
                _ => std::mem::take(&mut rest),
            };
            self.take(piece, field, &mut parsed)?;
        }
        Ok(parsed)
    }

    fn take(&self, piece: &Piece, field: Bytes, parsed: &mut Parsed) -> Result<(), String> {
        let text = || String::from_utf8_lossy(&field);
        let present = |field: &Bytes| !self.nulls || !field.is_empty();
        match piece {
            Piece::Value => parsed.value = Some(field).filter(present),
            Piece::Key => parsed.key = Some(field).filter(present),
            Piece::Headers => parsed.headers = read_headers(&field),
            Piece::Partition => {
                let partition = text().trim().parse().ok().and_then(PartitionIndex::from_wire);
                parsed.partition = Some(partition.ok_or_else(|| format!("`{}` is no partition", text()))?);
            }
            Piece::Millis => {
                let millis = text().trim().parse().map_err(|_| format!("`{}` is no time in milliseconds", text()))?;
                parsed.timestamp = Some(Timestamp::from_millis(millis));
            }
            Piece::Rfc3339 => parsed.timestamp = Some(parse_rfc3339(text().trim())?),
            Piece::Topic
            | Piece::Offset
            | Piece::LeaderEpoch
            | Piece::Number
            | Piece::HeaderCount
            | Piece::KeyBytes
            | Piece::ValueBytes
            | Piece::ValueBytesBinary
            | Piece::Text(_) => {}
        }
        Ok(())
    }
}

fn missing(verb: &str, text: &[u8]) -> String {
    format!("it does not {verb} `{}`, as the format (-f) wants", text.escape_ascii())
}

/// `name=value,...`, as `%h` prints them.
fn read_headers(field: &Bytes) -> Vec<(String, Option<Bytes>)> {
    let pair = |pair: &[u8]| {
        let pair = field.slice_ref(pair);
        let (name, value) = cut(&pair, b"=").map_or((pair, None), |(name, value)| (name, Some(value)));
        (String::from_utf8_lossy(&name).into_owned(), value.filter(|value| **value != *NULL))
    };
    field.split(|byte| *byte == b',').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn len(part: Option<&[u8]>) -> i32 {
    part.map_or(-1, |part| part.len() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::print::tests::{SAMPLE, with_sample};

    fn check(format: &str, nulls: bool, expected: &[u8]) {
        let template = Template::parse(format, nulls).expect("read");
        let mut out = Vec::new();
        with_sample(&SAMPLE, |seen| template.write(&mut out, seen, 1));
        assert_eq!(out, expected, "{format}: {}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn each_letter_prints_its_part() {
        check(r"%t[%p]@%o %k=%s\n", false, b"orders[2]@41 key=value\n");
        check("%v %V %S %K", false, b"value 5 5 3");
        check("%R", false, &[0, 0, 0, 5]);
        check("%h %H", false, b"source=web,empty=NULL 2");
        check("%T %d %e %i", false, b"1500 1970-01-01T00:00:01.500Z 7 1");
        check(r"100%% gr\xc3\xb6\u{df}e".replace(r"\u{df}", "ß").as_str(), false, "100% größe".as_bytes());
    }

    fn pattern(format: &str, nulls: bool, delimiter: &[u8]) -> Result<Pattern, String> {
        Template::parse(format, nulls)?.into_pattern(delimiter)
    }

    #[test]
    fn what_a_format_prints_it_reads_again() {
        let format = r"%t[%p]@%o %T %h|%k=%s;\n";
        let template = Template::parse(format, false).expect("read");
        let mut printed = Vec::new();
        with_sample(&SAMPLE, |seen| template.write(&mut printed, seen, 1));
        assert_eq!(printed.pop(), Some(b'\n'));
        let read = pattern(format, false, b"\n").expect("a pattern").read(&printed.into()).expect("read");
        let headers = vec![("source".to_owned(), Some("web".into())), ("empty".to_owned(), None)];
        let expected = Parsed {
            partition: PartitionIndex::from_wire(2),
            timestamp: Some(Timestamp::from_millis(1500)),
            key: Some("key".into()),
            value: Some("value".into()),
            headers,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn the_last_letter_takes_the_rest_and_empty_parts_are_null_when_asked() {
        let read = |format: &str, nulls, part: &'static str| {
            let parsed = pattern(format, nulls, b"\n").expect("a pattern").read(&part.into())?;
            Ok::<_, String>((parsed.key, parsed.value))
        };
        let some = |text: &'static str| Some(Bytes::from(text));
        assert_eq!(read("%k;%s", false, "a;b;c"), Ok((some("a"), some("b;c"))));
        assert_eq!(read("%k;%s;", false, "a;b;c;"), Ok((some("a"), some("b;c"))));
        assert_eq!(read("%k;%s", true, ";"), Ok((None, None)));
        assert_eq!(read("%k;%s", false, ";"), Ok((some(""), some(""))));
        assert_eq!(read("<%s>", false, "<v>"), Ok((None, some("v"))));
        for (format, part, reason) in [
            ("%k;%s", "a", "does not hold `;`"),
            ("<%s>", "v>", "does not start with `<`"),
            ("<%s>", "<v", "does not end with `>`"),
            ("%p;%s", "-1;v", "`-1` is no partition"),
            ("%T;%s", "soon;v", "no time in milliseconds"),
            ("%d;%s", "soon;v", "no RFC 3339 time"),
        ] {
            let error = read(format, false, part).expect_err(part);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_format_whose_parts_cannot_be_told_apart_reads_nothing() {
        for (format, reason) in [("%k%s", "text between them"), ("%k", "no %s"), ("%R%s", "%R"), (r"%k\n%s", "-D")] {
            let error = pattern(format, false, b"\n").expect_err(format);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn unknown_letters_and_escapes_are_refused() {
        for wrong in ["%z", "%", r"\q", "50%"] {
            assert!(Template::parse(wrong, false).is_err(), "{wrong}");
        }
        assert!(Template::parse("%z", false).expect_err("refused").contains("%s %v value"));
    }
}
