//! Numbers for people: three figures, and the unit that keeps them short.

/// `850 µs`, `2.35 ms`, `1.20 s`.
pub(crate) fn latency(us: u64) -> String {
    duration_text(us as f64)
}

/// The same of a value off a chart's axis.
pub(crate) fn duration_text(us: f64) -> String {
    if us < 999.5 {
        format!("{} µs", three(us))
    } else if us < 999_500.0 {
        format!("{} ms", three(us / 1e3))
    } else {
        format!("{} s", three(us / 1e6))
    }
}

/// `12.3 k`, `1.20 M`; below ten thousand in full.
pub(crate) fn count(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size < 9_999.5 => return grouped(value.round() as i64),
        size if size < 999_500.0 => (value / 1e3, " k"),
        size if size < 999_500_000.0 => (value / 1e6, " M"),
        _ => (value / 1e9, " G"),
    };
    format!("{}{unit}", three(scaled))
}

/// `1.50 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    let mut scaled = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.5 {
            return format!("{} {unit}", three(scaled));
        }
        scaled /= 1024.0;
    }
    format!("{} TiB", three(scaled))
}

/// `4,321`.
pub(crate) fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0 { format!("-{out}") } else { out }
}

/// Three figures, without zeros that say nothing: `0.5`, `2.35`, `23.5`, `235`.
pub(crate) fn three(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_three_figures() {
        assert_eq!(
            [0, 850, 2_349, 23_456, 999_600, 61_000_000].map(latency),
            ["0 µs", "850 µs", "2.35 ms", "23.5 ms", "1 s", "61 s"]
        );
        assert_eq!([0.0, 4321.0, 12_345.0, 1_200_000.0].map(count), ["0", "4,321", "12.3 k", "1.2 M"]);
        assert_eq!([512.0, 1536.0, 10_485_760.0].map(bytes), ["512 B", "1.5 KiB", "10 MiB"]);
        assert_eq!([1_234_567, -1000, 12].map(grouped), ["1,234,567", "-1,000", "12"]);
    }
}
