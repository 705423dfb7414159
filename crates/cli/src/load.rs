//! From the command line to proved settings: file, environment, overrides.

use std::io;
use std::path::PathBuf;

use broker::config::{Config, ConfigError, Dynamic, RawConfig};
use clap::Args;

use crate::failure::{Code, Failure};

/// Where the settings come from.
#[derive(Args)]
pub(crate) struct Source {
    /// Kafka's properties file; embedded defaults without it
    #[arg(value_name = "server.properties")]
    pub(crate) file: Option<PathBuf>,
    /// Set one value; wins over file and environment. May be given many times
    #[arg(long = "override", value_name = "NAME=VALUE")]
    pub(crate) overrides: Vec<String>,
}

impl Source {
    /// Reads and proves everything.
    pub(crate) fn load(&self) -> Result<Config, Failure> {
        Config::prove(self.read()?, Dynamic::NONE).map_err(|error| refusal(&error))
    }

    /// Reads everything, right or wrong.
    pub(crate) fn read(&self) -> Result<RawConfig, Failure> {
        let mut raw = RawConfig::new();
        raw.set_host_name(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default());
        if let Some(path) = &self.file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
                Failure::new(code, format!("cannot read {}: {error}", path.display()))
            })?;
            raw.read_properties(path, &text);
        }
        // Values that are not UTF-8 cannot be settings.
        raw.read_environment(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        );
        for text in &self.overrides {
            raw.read_override(text).map_err(|reason| Failure::new(Code::Usage, format!("--override {reason}")))?;
        }
        Ok(raw)
    }
}

/// Everything that is wrong, and where to look first.
pub(crate) fn refusal(error: &ConfigError) -> Failure {
    let mut text = String::from("these settings cannot be used:\n");
    for problem in &error.problems {
        text.push_str(&format!("  {problem}\n"));
    }
    let name = error.problems.first().map_or("NAME", |problem| &problem.name);
    text.push_str(&format!("Next: ringlog config explain {name}"));
    Failure::new(Code::Failed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(overrides: &[&str]) -> Source {
        Source { file: None, overrides: overrides.iter().map(|text| (*text).to_owned()).collect() }
    }

    #[test]
    fn every_problem_is_listed_and_the_next_step_named() {
        let failure = source(&["num.partitions=0", "log.dirs="]).load().expect_err("refused");
        assert_eq!(failure.code, Code::Failed);
        assert!(failure.message.contains("num.partitions = `0` (--override)"), "{}", failure.message);
        assert!(failure.message.ends_with("Next: ringlog config explain num.partitions"), "{}", failure.message);
        assert_eq!(failure.message.lines().count(), 4);
    }

    #[test]
    fn a_missing_file_and_a_bad_override_have_their_own_codes() {
        let missing = Source { file: Some("/no/such/file".into()), overrides: Vec::new() };
        assert_eq!(missing.load().expect_err("missing").code, Code::NotFound);
        assert_eq!(source(&["nonsense"]).load().expect_err("malformed").code, Code::Usage);
    }
}
