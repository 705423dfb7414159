//! Names of topics, groups and nodes for the shell's completion, asked from the cluster while somebody types.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;

use crate::config::entity::Kind;
use crate::failure::Failure;
use crate::session::{Connect, Session};

/// Nobody waits longer for a completion; no names are better than late ones.
const PATIENCE: Duration = Duration::from_millis(700);

/// Topics whose name begins with what was typed.
pub(crate) fn topics(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, async |session| {
        let topics = session.client.topics().await?;
        Ok(topics.iter().map(|topic| topic.name.to_string()).collect())
    })
}

/// Groups whose id begins with what was typed.
pub(crate) fn groups(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, async |session| {
        Ok(session.admin.list_groups().await?.into_iter().map(|group| group.id).collect())
    })
}

/// Nodes whose number begins with what was typed.
pub(crate) fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, async |session| {
        Ok(session.client.cluster().await?.nodes.iter().map(|node| node.id.to_string()).collect())
    })
}

/// Whatever has settings, of the kind that the line being completed names.
pub(crate) fn entities(typed: &OsStr) -> Vec<CompletionCandidate> {
    match kind_of(&words()) {
        Some(Kind::Topic) => topics(typed),
        Some(Kind::Group) => groups(typed),
        Some(Kind::Broker) => nodes(typed),
        None => Vec::new(),
    }
}

fn candidates(
    typed: &OsStr,
    ask: impl AsyncFnOnce(Session) -> Result<Vec<String>, Failure>,
) -> Vec<CompletionCandidate> {
    let connect = Connect { brokers: brokers_of(&words()), timeout: Some(PATIENCE), ..Connect::default() };
    // A cluster that does not answer has no names to offer.
    let names = connect.run(async |session| ask(session).await).unwrap_or_default();
    let typed = typed.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The line being completed.
fn words() -> Vec<String> {
    std::env::args().collect()
}

/// The kind in `config set topic`, and in `configs --entity-type topics`.
fn kind_of(words: &[String]) -> Option<Kind> {
    words.iter().find_map(|word| match word.strip_prefix("--entity-type=").unwrap_or(word) {
        "topic" | "topics" => Some(Kind::Topic),
        "group" | "groups" => Some(Kind::Group),
        "broker" | "brokers" | "node" => Some(Kind::Broker),
        _ => None,
    })
}

/// The brokers that the line being completed names.
fn brokers_of(words: &[String]) -> Option<String> {
    let is_option = |word: &str| ["-b", "--brokers", "--bootstrap-server", "--broker-list"].contains(&word);
    let named = |(index, word): (usize, &String)| match word.split_once('=') {
        Some((option, value)) if is_option(option) => Some(value.to_owned()),
        _ if is_option(word) => words.get(index + 1).cloned(),
        _ => None,
    };
    words.iter().enumerate().find_map(named).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_line_says_what_is_named() {
        let kind = |line: &str| kind_of(&words_of(line));
        assert_eq!(kind("ringlog config set -b h:1 topic or"), Some(Kind::Topic));
        assert_eq!(kind("ringlog config describe node 1"), Some(Kind::Broker));
        assert_eq!(kind("ringlog configs --describe --entity-type groups --entity-name b"), Some(Kind::Group));
        assert_eq!(kind("ringlog configs --describe --entity-type=topics --entity-name or"), Some(Kind::Topic));
        assert_eq!(kind("ringlog configs --describe --entity-name or"), None);
    }

    #[test]
    fn the_line_says_whom_to_ask() {
        let brokers = |line: &str| brokers_of(&words_of(line));
        assert_eq!(brokers("ringlog topic describe -b h:1 or"), Some("h:1".to_owned()));
        assert_eq!(brokers("ringlog topic describe --bootstrap-server=h:2 or"), Some("h:2".to_owned()));
        assert_eq!(brokers("ringlog console-consumer --broker-list h:3 --topic or"), Some("h:3".to_owned()));
        assert_eq!(brokers("ringlog topic describe or"), None);
    }
}
