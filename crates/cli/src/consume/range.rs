//! Where reading begins and ends: kcat's `-o` and rpk's, in one grammar.
//!
//! ```text
//! beginning | start | end | stored   where nothing else is said, beginning
//! 42        at offset 42             -10      ten records before the end      +10   ten after the start
//! s@T       from time T              e@T      until time T (that one not included); both may be given
//! 42:50     from 42 until 50         :end     until the end there is now       @T1:T2   a span of time
//! ```

use types::{Offset, Timestamp};

use crate::stream::time;

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    Beginning,
    End,
    /// Where the group has committed.
    Stored,
    At(Offset),
    /// So many records before the end.
    Back(i64),
    /// So many offsets after the start.
    Forward(i64),
    Time(Timestamp),
}

/// Where to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    Never,
    /// The end as it is when reading begins.
    End,
    /// This offset, which is not read.
    At(Offset),
    /// The first record at or after this time, which is not read.
    Time(Timestamp),
}

/// Both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// `None`: not said.
    pub(crate) from: Option<From>,
    pub(crate) until: Until,
}

/// Reads all values of `-o`, as often as it was given.
///
/// # Errors
/// One is none of the forms above, or two say the same thing differently.
pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Range, String> {
    let mut range = Range { from: None, until: Until::Never };
    for text in texts {
        let (from, until) = parse_one(text, now)?;
        if from.is_some() && range.from.is_some() || until.is_some() && range.until != Until::Never {
            return Err(format!("-o {text} says again what another -o has said; only s@T and e@T go together"));
        }
        range.from = range.from.or(from);
        range.until = until.unwrap_or(range.until);
    }
    Ok(range)
}

fn parse_one(text: &str, now: Timestamp) -> Result<(Option<From>, Option<Until>), String> {
    let time = |text: &str| time::parse(text, now);
    if let Some(text) = text.strip_prefix("s@") {
        return Ok((Some(From::Time(time(text)?)), None));
    }
    if let Some(text) = text.strip_prefix("e@") {
        return Ok((None, Some(Until::Time(time(text)?))));
    }
    if let Some(span) = text.strip_prefix('@') {
        let (from, until) = split_span(span);
        let from = if from.is_empty() { None } else { Some(From::Time(time(from)?)) };
        let until = match until {
            None | Some("") => None,
            Some("end") => Some(Until::End),
            Some(text) => Some(Until::Time(time(text)?)),
        };
        return if from.is_none() && until.is_none() { Err(wrong(text)) } else { Ok((from, until)) };
    }
    let (from, until) = match text.split_once(':') {
        Some((from, until)) => (from, Some(until)),
        None => (text, None),
    };
    let from = match from {
        "" if until.is_some_and(|until| !until.is_empty()) => None,
        "beginning" | "start" | "earliest" => Some(From::Beginning),
        "end" | "latest" => Some(From::End),
        "stored" => Some(From::Stored),
        number => Some(parse_number(number).ok_or_else(|| wrong(text))?),
    };
    let until = match until {
        None | Some("") => None,
        Some("end") => Some(Until::End),
        Some(number) => Some(Until::At(offset(number).ok_or_else(|| wrong(text))?)),
    };
    Ok((from, until))
}

/// Cuts `T1:T2`; colons within a time do not count.
fn split_span(span: &str) -> (&str, Option<&str>) {
    let cut = span.char_indices().filter(|(_, char)| *char == ':').map(|(at, _)| at).find(|&at| {
        let (from, until) = (&span[..at], &span[at + 1..]);
        // `2026-11-28T10:00:00Z` is cut nowhere: neither `...T10` nor `00:00Z` is a time.
        let reads =
            |text: &str| text.is_empty() || text == "end" || time::parse(text, Timestamp::from_millis(0)).is_ok();
        reads(from) && reads(until)
    });
    match cut {
        Some(at) => (&span[..at], Some(&span[at + 1..])),
        None => (span, None),
    }
}

fn parse_number(text: &str) -> Option<From> {
    let count = |digits: &str| offset(digits).map(Offset::value);
    match text.as_bytes().first()? {
        b'-' => count(&text[1..]).map(From::Back),
        b'+' => count(&text[1..]).map(From::Forward),
        _ => offset(text).map(From::At),
    }
}

fn offset(digits: &str) -> Option<Offset> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?.and_then(Offset::from_wire)
}

fn wrong(text: &str) -> String {
    format!(
        "-o {text} is no place: give beginning, end, stored, an offset, -N (before the end), +N (after the start), \
         s@TIME, e@TIME, FROM:UNTIL, or @TIME:TIME"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Range, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(&texts, Timestamp::from_millis(10_000_000))
    }

    #[test]
    fn kcats_and_rpks_forms_are_read() {
        let at = |number| Offset::from_wire(number).expect("not negative");
        let time = Timestamp::from_millis;
        for (texts, from, until) in [
            (&["beginning"][..], Some(From::Beginning), Until::Never),
            (&["start"], Some(From::Beginning), Until::Never),
            (&["end"], Some(From::End), Until::Never),
            (&["stored"], Some(From::Stored), Until::Never),
            (&["42"], Some(From::At(at(42))), Until::Never),
            (&["42:"], Some(From::At(at(42))), Until::Never),
            (&["-10"], Some(From::Back(10)), Until::Never),
            (&["+10"], Some(From::Forward(10)), Until::Never),
            (&[":end"], None, Until::End),
            (&["start:end"], Some(From::Beginning), Until::End),
            (&["42:50"], Some(From::At(at(42))), Until::At(at(50))),
            (&[":50"], None, Until::At(at(50))),
            (&["s@1700000000123"], Some(From::Time(time(1_700_000_000_123))), Until::Never),
            (
                &["s@1700000000123", "e@1700000000124"],
                Some(From::Time(time(1_700_000_000_123))),
                Until::Time(time(1_700_000_000_124)),
            ),
            (&["@-1h"], Some(From::Time(time(6_400_000))), Until::Never),
            (&["@-1h:end"], Some(From::Time(time(6_400_000))), Until::End),
            (&["@-2h:-1h"], Some(From::Time(time(2_800_000))), Until::Time(time(6_400_000))),
            (&["@:1970-01-01T00:00:05Z"], None, Until::Time(time(5000))),
            (&["@1970-01-01T00:00:04Z:1970-01-01T00:00:05Z"], Some(From::Time(time(4000))), Until::Time(time(5000))),
            (&["@1970-01-01T00:00:04Z"], Some(From::Time(time(4000))), Until::Never),
            (&[], None, Until::Never),
        ] {
            assert_eq!(read(texts).expect("read"), Range { from, until }, "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_forms_there_are() {
        for texts in [
            &["nowhere"][..],
            &["--1"],
            &["+"],
            &[":"],
            &["@"],
            &["4:x"],
            &["s@x"],
            &["1", "2"],
            &["9223372036854775808"],
        ] {
            assert!(read(texts).is_err(), "{texts:?}");
        }
        assert!(read(&["nowhere"]).expect_err("refused").contains("stored"));
    }
}
