//! `ringlog doctor`: the preflight's findings.

use broker::preflight::{self, Finding, Severity};
use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::load::Source;
use crate::output::{Output, print_json, print_rows, print_text};

/// The arguments of `doctor`.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    source: Source,
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Exit with 6 on warnings too, not only on what keeps a node from starting
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let config = self.source.load()?;
        let findings = preflight::judge(&config, &preflight::facts(&config, true));
        match self.output {
            Output::Json => print_json(&Document::of(&findings))?,
            Output::Table => {
                print_rows(&["severity", "check", "found", "cure"], &rows(&findings))?;
                print_text(&format!("\n{}\n", summary(&findings)))?;
            }
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
        (0, warnings) => {
            format!("A node runs here, with {warnings} warnings. Next: follow their cures, or ringlog serve")
        }
        (refusals, _) => format!("A node does not start here: {refusals} refusals. Next: follow their cures"),
    }
}

fn rows(findings: &[Finding]) -> Vec<Vec<String>> {
    let cells = |finding: &Finding| {
        let cure = finding.cure.clone().unwrap_or_default();
        vec![finding.severity.word().to_owned(), finding.check.to_owned(), finding.found.clone(), cure]
    };
    findings.iter().map(cells).collect()
}

/// The JSON form. Fields are only ever added; `version` changes when one would change its meaning.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    verdict: &'static str,
    findings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    check: &'a str,
    severity: &'static str,
    found: &'a str,
    cure: Option<&'a str>,
}

impl<'a> Document<'a> {
    fn of(findings: &'a [Finding]) -> Self {
        let row = |finding: &'a Finding| Row {
            check: finding.check,
            severity: finding.severity.word(),
            found: &finding.found,
            cure: finding.cure.as_deref(),
        };
        Self { version: 1, verdict: worst(findings).word(), findings: findings.iter().map(row).collect() }
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
    fn json_has_a_version_a_verdict_and_one_object_a_finding() {
        let text = serde_json::to_string_pretty(&Document::of(&findings())).expect("serialised");
        expect![[r#"
            {
              "version": 1,
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
        assert!(summary(&findings).contains("1 warnings"));
        findings[1].severity = Severity::Refusal;
        assert!(summary(&findings).starts_with("A node does not start here"));
        findings.truncate(1);
        assert_eq!(summary(&findings), "A node runs well here. Next: ringlog serve");
        assert_eq!(rows(&findings), [["ok", "kernel", "Linux 6.12", ""]]);
    }
}
