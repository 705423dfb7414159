//! `ringlog generate`: files made from what the program itself knows.

mod grafana;
mod prometheus;

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::failure::{Code, Failure};
use crate::output::print_text;
use crate::schemas;

const SCHEMA_AFTER_HELP: &str = "\
Examples:
  ringlog generate schema                 the names of all documents
  ringlog generate schema topic.list      what `ringlog topic list -o json` prints, as JSON Schema";

/// What to generate.
#[derive(Subcommand)]
pub(crate) enum Generate {
    /// Completions for a shell, to stdout: `ringlog generate completions bash > /etc/bash_completion.d/ringlog`
    Completions {
        /// The shell
        shell: Shell,
    },
    /// JSON Schemas of the documents that commands print with -o json, yaml and jsonl
    #[command(after_help = SCHEMA_AFTER_HELP)]
    Schema {
        /// Only this document; without, their names
        name: Option<String>,
    },
    /// A Prometheus configuration, and alert rules
    #[command(subcommand)]
    Prometheus(prometheus::Prometheus),
    /// A dashboard for Grafana's import: `ringlog generate grafana > ringlog.json`
    Grafana,
}

impl Generate {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut crate::Cli::command(), "ringlog", &mut script);
                print_text(&String::from_utf8_lossy(&script))
            }
            Self::Prometheus(prometheus) => prometheus.run(),
            Self::Grafana => grafana::run(),
            Self::Schema { name: None } => {
                let names: String = schemas::all().iter().map(|schema| format!("{}\n", schema.name)).collect();
                print_text(&names)
            }
            Self::Schema { name: Some(name) } => {
                let Some(found) = schemas::all().into_iter().find(|schema| schema.name == name) else {
                    let failure = Failure::new(Code::NotFound, format!("no command prints a document {name}"));
                    return Err(failure.with_next("ringlog generate schema lists their names"));
                };
                let text = serde_json::to_string_pretty(&found.schema).expect("a schema is JSON");
                print_text(&(text + "\n"))
            }
        }
    }
}
