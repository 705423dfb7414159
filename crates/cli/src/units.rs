//! Quantities as people write and read them; documents hold the bare numbers.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// Bytes with a binary unit: `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    broker::preflight::human(bytes)
}

/// A number of bytes as people write it: `512`, `64KiB`, `1.5GiB` (powers of 1,024), `10GB`, `1TB` (powers of 1,000).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number of bytes, such as 512, 64KiB, 1.5GiB or 10GB");
    let text = text.trim();
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = |name: &str| "KMGTP".find(&name[..1]).map_or(0, |at| at as i32 + 1);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        unit @ ("KIB" | "MIB" | "GIB" | "TIB" | "PIB") => 1024_f64.powi(power(unit)),
        unit @ ("KB" | "MB" | "GB" | "TB" | "PB") => 1000_f64.powi(power(unit)),
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor;
    if bytes < 2_f64.powi(63) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A length of time as people write it: `500ms`, `5s`, `1h 30m`, `7d`. A bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time, such as 500ms, 5s, 1h30m or 7d");
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    // No calendar is meant: a day has 24 hours. Months and years have no length.
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

/// A length of time in two units at most: `1.5 s`, `3 m 20 s`, `7 d`.
pub(crate) fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let seconds = time.as_secs();
    let two = |big: u64, name: &str, small: u64, small_name: &str| match small {
        0 => format!("{big} {name}"),
        _ => format!("{big} {name} {small} {small_name}"),
    };
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => match millis % 1000 / 100 {
            0 => format!("{seconds} s"),
            tenth => format!("{seconds}.{tenth} s"),
        },
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A time as RFC 3339 in UTC with milliseconds; what lies outside of the calendar stays a number.
pub(crate) fn rfc3339(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

/// Milliseconds since 1970 now.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// So many of something: `1 member`, `2,000 members`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Whole numbers with a comma at every third digit.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1.5 GiB", 1_610_612_736),
            ("10gb", 10_000_000_000),
            ("1PB", 1_000_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1XB", "1G", "-1", "1.2.3", "99999999999PB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5000),
            ("5", 5000),
            ("0.5", 500),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2 days", 172_800_000),
            ("1w", 604_800_000),
            ("7d", 604_800_000),
            ("1d12h", 129_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-5s", "-1", "5x", "inf", "1 month"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_shown_in_two_units_at_most() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1500, "1.5 s"),
            (60_000, "1 m"),
            (200_000, "3 m 20 s"),
            (5_400_000, "1 h 30 m"),
            (604_800_000, "7 d"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn times_and_counts() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
