//! Names of topics and groups for the shell's completion, asked from the cluster while somebody types.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;

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

fn candidates(
    typed: &OsStr,
    ask: impl AsyncFnOnce(Session) -> Result<Vec<String>, Failure>,
) -> Vec<CompletionCandidate> {
    let connect = Connect {
        brokers: brokers_of(std::env::args().collect::<Vec<_>>().as_slice()),
        timeout: Some(PATIENCE),
        ..Connect::default()
    };
    // A cluster that does not answer has no names to offer.
    let names = connect.run(async |session| ask(session).await).unwrap_or_default();
    let typed = typed.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The brokers that the line being completed names.
fn brokers_of(words: &[String]) -> Option<String> {
    let named = |(index, word): (usize, &String)| match word.split_once('=') {
        Some(("--brokers" | "--bootstrap-server", value)) => Some(value.to_owned()),
        _ if matches!(word.as_str(), "-b" | "--brokers" | "--bootstrap-server") => words.get(index + 1).cloned(),
        _ => None,
    };
    words.iter().enumerate().find_map(named).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_whom_to_ask() {
        let brokers = |line: &str| brokers_of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(brokers("ringlog topic describe -b h:1 or"), Some("h:1".to_owned()));
        assert_eq!(brokers("ringlog topic describe --bootstrap-server=h:2 or"), Some("h:2".to_owned()));
        assert_eq!(brokers("ringlog topic describe or"), None);
    }
}
