//! Moments as people write them.

use types::Timestamp;

use crate::units::parse_duration;

/// Reads RFC 3339 (`2026-11-28T10:00:00Z`).
///
/// # Errors
/// It is something else.
pub(crate) fn parse_rfc3339(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is no RFC 3339 time; one is 2026-11-28T10:00:00Z"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// Reads a time: milliseconds (13 digits) or seconds (10 digits) since 1970, RFC 3339, a day in UTC, or so long ago
/// (`-90m`, `-1h30m`, `-7d`).
///
/// # Errors
/// It is none of these.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let digits = text.len();
    if let (true, Ok(number)) = (text.bytes().all(|byte| byte.is_ascii_digit()), text.parse::<i64>()) {
        return Ok(Timestamp::from_millis(if digits <= 10 { number.saturating_mul(1000) } else { number }));
    }
    if let Some(duration) = text.strip_prefix('-') {
        let ago = parse_duration(duration)?.as_millis();
        let millis = i64::try_from(ago).map_err(|_| format!("`{text}` is longer ago than time is kept"))?;
        return Ok(Timestamp::from_millis(now.millis().saturating_sub(millis)));
    }
    if let Ok(midnight) = parse_rfc3339(&format!("{text}T00:00:00Z")) {
        return Ok(midnight);
    }
    parse_rfc3339(text).map_err(|_| {
        format!(
            "`{text}` is no time: give milliseconds or seconds since 1970, 2026-11-28, 2026-11-28T10:00:00Z, or -90m"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let now = Timestamp::from_millis(10_000_000_000);
        for (text, millis) in [
            ("1700000000123", 1_700_000_000_123),
            ("1700000000", 1_700_000_000_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-01T00:00:01.5Z", 1500),
            ("1970-01-01T01:00:00+01:00", 0),
            ("-1h30m", 10_000_000_000 - 5_400_000),
            ("-2d", 10_000_000_000 - 172_800_000),
        ] {
            assert_eq!(parse(text, now).expect(text).millis(), millis, "{text}");
        }
        for wrong in ["", "-", "soon", "-5x", "1970-13-01", "99999999999999999999"] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
    }
}
