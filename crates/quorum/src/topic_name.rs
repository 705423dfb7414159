//! Kafka's rules for topic names.

use types::limits::TOPIC_NAME_CHARS_MAX;

/// Why `name` cannot be a topic's name, in Kafka's words; `None` when it can.
#[must_use]
pub fn fault(name: &str) -> Option<String> {
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if TOPIC_NAME_CHARS_MAX < name.encode_utf16().count() {
        format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_CHARS_MAX}")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return None;
    };
    Some(format!("Topic name is invalid: {why}"))
}

/// What two names that would be one metric's name have in common: `a.b` and `a_b` are both `a_b`. `None` when the name
/// holds neither character and cannot collide.
#[must_use]
pub fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_judges_them() {
        for good in ["a", "A-Z_0.9", &"x".repeat(249), "..."] {
            assert_eq!(fault(good), None, "{good}");
        }
        assert_eq!(fault("").unwrap(), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(fault(".").unwrap(), "Topic name is invalid: '.' is not allowed");
        assert_eq!(fault("..").unwrap(), "Topic name is invalid: '..' is not allowed");
        assert!(fault(&"x".repeat(250)).unwrap().ends_with("is longer than the max allowed length 249"));
        for bad in ["a b", "a/b", "ä", "a\0"] {
            assert!(fault(bad).unwrap().contains("other than ASCII alphanumerics"), "{bad}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_eq!(collision_key("a-b"), None);
    }
}
