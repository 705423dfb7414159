//! Text from the command line that stands for bytes: `\n`, `\t`, `\x01`.

/// The bytes that `text` stands for: `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH` are one byte each, all else is itself.
///
/// # Errors
/// A backslash with something else behind it.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape_one(&rest[at + 1..], &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Reads what stands behind a backslash; returns the text after it.
pub(crate) fn unescape_one<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut chars = text.chars();
    let byte = match chars.next() {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits = text.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(byte) = byte else { return Err("\\x wants two hexadecimal digits, as in \\x01".to_owned()) };
            bytes.push(byte);
            return Ok(&text[3..]);
        }
        Some(other) => return Err(format!("\\{other} stands for nothing; known are \\n \\r \\t \\0 \\\\ \\xHH")),
        None => return Err("a lone backslash at the end; \\\\ stands for one".to_owned()),
    };
    bytes.push(byte);
    Ok(chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_one_byte_each() {
        assert_eq!(unescape(r"a\tb\x00\xFF\\n").expect("read"), b"a\tb\x00\xff\\n");
        assert_eq!(unescape("größe").expect("read"), "größe".as_bytes());
        for wrong in [r"\q", r"\x1", r"\xzz", "\\", r"\x+1"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
