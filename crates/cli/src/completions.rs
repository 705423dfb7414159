//! `ringlog generate`: files made from the command line's own definition.

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::failure::Failure;

/// What to generate.
#[derive(Subcommand)]
pub(crate) enum Generate {
    /// Completions for a shell, to stdout: `ringlog generate completions bash > /etc/bash_completion.d/ringlog`
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Generate {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Self::Completions { shell } = self;
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut crate::Cli::command(), "ringlog", &mut script);
        crate::output::print_text(&String::from_utf8_lossy(&script))
    }
}
