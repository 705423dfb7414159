//! `ringlog doctor`: the preflight's findings; or, as a client sees a cluster, whether its nodes can be reached.

mod from_client;

use broker::preflight::{self, Finding, Severity};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::load::Source;
use crate::output::{Answer, Cell, Format, Section, Tone, print};

const AFTER_HELP: &str = "\
Examples:
  ringlog doctor                                 what this machine allows a node
  ringlog doctor --override log.dirs=/tmp -o json
  ringlog doctor --from-client 127.0.0.1:9092    resolves, connects, and tries the address of every node";

/// The arguments of `doctor`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Doctor {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    format: Format,
    /// Look at a cluster from here as its clients do instead: name, port, protocol, every node's advertised address
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["file", "overrides"])]
    from_client: Option<String>,
    /// Exit with 6 on warnings too, not only on what keeps a node from starting
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let findings = match &self.from_client {
            Some(address) => from_client::look(address)?,
            None => {
                let config = self.source.load()?;
                preflight::judge(&config, &preflight::facts(&config, true))
            }
        };
        print(&DoctorReport::of(&findings), self.format.output)?;
        if self.format.output.is_text() {
            let summary = if self.from_client.is_some() { from_client::summary(&findings) } else { summary(&findings) };
            tell!("\n{summary}");
        }
        let worst = worst(&findings);
        let bound = if self.strict { Severity::Warning } else { Severity::Refusal };
        if worst >= bound { Err(Failure::verdict()) } else { Ok(()) }
    }
}

fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    match (count(Severity::Refusal), count(Severity::Warning)) {
        (0, 0) => "A node runs well here. Next: ringlog serve".to_owned(),
        (0, 1) => "A node runs here, with 1 warning. Next: follow its cure, or ringlog serve".to_owned(),
        (0, warnings) => {
            format!("A node runs here, with {warnings} warnings. Next: follow their cures, or ringlog serve")
        }
        (1, _) => "A node does not start here: 1 refusal. Next: follow its cure".to_owned(),
        (refusals, _) => format!("A node does not start here: {refusals} refusals. Next: follow their cures"),
    }
}

/// What was looked at on this machine, and what is not as it should be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DoctorReport {
    /// The severity of the worst finding: `ok`, `note`, `warning` or `refusal`.
    verdict: &'static str,
    findings: Vec<Row>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    /// What was looked at.
    check: &'static str,
    /// `ok`, `note`, `warning` (a node runs, but slower or at a risk) or `refusal` (a node does not start).
    severity: &'static str,
    /// What was found, in words.
    found: String,
    /// What to do about it; null when there is nothing to do.
    cure: Option<String>,
}

impl DoctorReport {
    fn of(findings: &[Finding]) -> Self {
        let row = |finding: &Finding| Row {
            check: finding.check,
            severity: finding.severity.word(),
            found: finding.found.clone(),
            cure: finding.cure.clone(),
        };
        Self { verdict: worst(findings).word(), findings: findings.iter().map(row).collect() }
    }
}

impl Answer for DoctorReport {
    const SCHEMA: &'static str = "doctor";
    const LINES: &'static str = "findings";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let cells = |row: &Row| {
            let tone = match row.severity {
                "refusal" => Tone::Bad,
                "warning" => Tone::Warning,
                _ => Tone::Plain,
            };
            let cure = row.cure.clone().unwrap_or_default();
            vec![Cell::toned(row.severity, tone), row.check.into(), (&row.found).into(), cure.into()]
        };
        vec![Section::rows(&["severity", "check", "found", "cure"], self.findings.iter().map(cells))]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding { check: "kernel", severity: Severity::Ok, found: "Linux 6.12".into(), cure: None },
            Finding {
                check: "clock",
                severity: Severity::Warning,
                found: "is slow".into(),
                cure: Some("fix it".into()),
            },
        ]
    }

    #[test]
    fn json_has_a_verdict_and_one_object_a_finding() {
        let text = serde_json::to_string_pretty(&DoctorReport::of(&findings())).expect("serialised");
        expect![[r#"
            {
              "verdict": "warning",
              "findings": [
                {
                  "check": "kernel",
                  "severity": "ok",
                  "found": "Linux 6.12",
                  "cure": null
                },
                {
                  "check": "clock",
                  "severity": "warning",
                  "found": "is slow",
                  "cure": "fix it"
                }
              ]
            }"#]]
        .assert_eq(&text);
    }

    #[test]
    fn the_summary_follows_the_worst_finding() {
        let mut findings = findings();
        assert!(summary(&findings).contains("with 1 warning."));
        findings[1].severity = Severity::Refusal;
        assert!(summary(&findings).starts_with("A node does not start here"));
        findings.truncate(1);
        assert_eq!(summary(&findings), "A node runs well here. Next: ringlog serve");
    }
}
