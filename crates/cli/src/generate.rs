//! `ringlog generate`: files made from what the program itself knows.

mod grafana;
mod prometheus;

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::failure::{Code, Failure};
use crate::output::print_text;
use crate::schemas;

const SCHEMA_AFTER_HELP: &str = "\
Examples:
  ringlog generate schema                 the names of all documents
  ringlog generate schema topic.list      what `ringlog topic list -o json` prints, as JSON Schema";

const COMPLETIONS_AFTER_HELP: &str = "\
Topics and groups are asked from the cluster that the line names (-b), or else RINGLOG_BROKERS or the profile does.

Examples:
  ringlog generate completions bash   put it into /etc/bash_completion.d/ringlog
  ringlog generate completions zsh    put it into a folder of $fpath as _ringlog
  ringlog generate completions fish   put it into ~/.config/fish/completions/ringlog.fish";

const MAN_AFTER_HELP: &str = "\
Examples:
  ringlog generate man                 the first page, for `man -l -`
  ringlog generate man --dir man1      ringlog.1, ringlog-topic.1, ringlog-topic-create.1, ...";

const SYSTEMD_AFTER_HELP: &str = "\
Examples:
  ringlog generate systemd             put it into /etc/systemd/system/ringlog.service
  ringlog generate systemd --properties /srv/ringlog.properties --user kafka";

/// What to generate.
#[derive(Subcommand)]
pub(crate) enum Generate {
    /// Completions for a shell, with the names of the cluster's topics and groups
    #[command(after_help = COMPLETIONS_AFTER_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Man pages, one for each command
    #[command(after_help = MAN_AFTER_HELP)]
    Man {
        /// Where to write them; without, the first page goes to stdout
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// A systemd unit that runs a node
    #[command(after_help = SYSTEMD_AFTER_HELP)]
    Systemd {
        /// The node's properties file
        #[arg(long, value_name = "FILE", default_value = "/etc/ringlog/server.properties")]
        properties: String,
        /// The user that it runs as
        #[arg(long, value_name = "NAME", default_value = "ringlog")]
        user: String,
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
            Self::Completions { shell } => completions(*shell),
            Self::Man { dir } => man(dir.as_deref()),
            Self::Systemd { properties, user } => systemd(properties, user),
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

/// The script only hands the line to this program, which then knows the cluster's names.
fn completions(shell: Shell) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&shell.to_string()) else {
        return Err(Failure::new(Code::Failed, format!("there are no completions for {shell}")));
    };
    let mut script = Vec::new();
    completer
        .write_registration("COMPLETE", "ringlog", "ringlog", "ringlog", &mut script)
        .map_err(|error| Failure::output(&error))?;
    print_text(&String::from_utf8_lossy(&script))
}

fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let command = crate::Cli::command();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|error| Failure::output(&error))?;
        return print_text(&String::from_utf8_lossy(&page));
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|error| Failure::new(Code::Failed, format!("cannot write into {}: {error}", dir.display())))
}

fn systemd(properties: &str, user: &str) -> Result<(), Failure> {
    let fault =
        |error: std::io::Error| Failure::new(Code::Failed, format!("where this program lies is not known: {error}"));
    let program = std::env::current_exe().map_err(fault)?;
    print_text(&format!(
        "[Unit]\n\
         Description=Ringlog\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         User={user}\n\
         ExecStart={} serve {properties} --log-format json\n\
         Restart=on-failure\n\
         LimitNOFILE=1048576\n\
         TimeoutStopSec=60\n\
         StateDirectory=ringlog\n\
         WorkingDirectory=/var/lib/ringlog\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        program.display()
    ))
}
