//! Why the oldest segment of a log is still there, in words.

use std::time::Duration;

use client::{Kept, NextDeletable};

use crate::units;

/// The node's reason with the settings that it follows from.
pub(super) fn kept_because<'a>(next: &NextDeletable, setting: &dyn Fn(&str) -> Option<&'a str>) -> String {
    let value = |name: &str| setting(name).unwrap_or("?").to_owned();
    let age = || match value("retention.ms").parse() {
        Ok(millis) => units::duration(Duration::from_millis(millis)),
        Err(_) => value("retention.ms"),
    };
    let size = || match value("retention.bytes").parse() {
        Ok(bytes) => units::bytes(bytes),
        Err(_) => value("retention.bytes"),
    };
    let Some(kept) = next.kept else {
        return "for a reason that only a newer ringlog knows".to_owned();
    };
    match kept {
        Kept::NextCheck => "it is due and goes at the next check".to_owned(),
        Kept::Empty => "there is nothing in the log".to_owned(),
        Kept::NoLimit => "neither retention.ms nor retention.bytes sets a limit".to_owned(),
        Kept::NotByPolicy => format!("cleanup.policy is {}, which does not delete", value("cleanup.policy")),
        Kept::HighWatermark => "not every replica in sync has it yet".to_owned(),
        Kept::Young => format!("its newest record is younger than retention.ms ({})", age()),
        Kept::FutureTimestamp => {
            format!(
                "its newest record carries a time that is still to come; retention.ms ({}) counts from there",
                age()
            )
        }
        Kept::Small => format!("the log is not larger than retention.bytes ({}) by it", size()),
        Kept::Active => "it takes appends: it goes by size once it has rolled".to_owned(),
        Kept::Compacting => "compaction is at work on it".to_owned(),
        Kept::Poisoned => "its log directory failed: nothing is deleted until a restart".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_the_setting_it_follows_from() {
        let setting = |name: &str| match name {
            "retention.ms" => Some("3600000"),
            "retention.bytes" => Some("1048576"),
            "cleanup.policy" => Some("compact"),
            _ => None,
        };
        let words = |kept| {
            let next = NextDeletable { segment: None, bytes: 0, at: None, bytes_until_size: None, kept };
            kept_because(&next, &setting)
        };
        assert!(words(Some(Kept::Young)).contains("retention.ms (1 h)"));
        assert!(words(Some(Kept::Small)).contains("retention.bytes (1.0 MiB)"));
        assert!(words(Some(Kept::NotByPolicy)).contains("compact"));
        for kept in Kept::ALL {
            assert!(!words(Some(kept)).contains('?'), "{kept:?}");
        }
        assert!(words(None).contains("newer"));
    }
}
