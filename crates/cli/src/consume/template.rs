//! Format strings: what `-f` prints of each record. The letters are kcat's, with rpk's where kcat has none.

use client::FetchedRecord;

use crate::stream::escape::unescape_one;
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

    #[test]
    fn unknown_letters_and_escapes_are_refused() {
        for wrong in ["%z", "%", r"\q", "50%"] {
            assert!(Template::parse(wrong, false).is_err(), "{wrong}");
        }
        assert!(Template::parse("%z", false).expect_err("refused").contains("%s %v value"));
    }
}
