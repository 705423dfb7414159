//! How answers are printed: tables for people at a terminal, tab-separated lines for pipes, JSON for programs.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// The form of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// Columns at a terminal, tab-separated lines in a pipe
    #[default]
    Table,
    /// One JSON document with a `version`
    Json,
}

/// Prints rows under `heads`.
pub(crate) fn print_rows(heads: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let text = if stdout.is_terminal() { table(heads, rows) } else { lines(heads, rows) };
    stdout.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
}

/// Prints one JSON document.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::output(&error.into()))?;
    print_text(&format!("{text}\n"))
}

/// Prints text as it is. A reader that went away (`| head`) is not a failure.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::output(&error)),
    }
}

fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heads.iter().map(|head| head.to_uppercase()));
    table.add_rows(rows);
    format!("{}\n", table.trim_fmt())
}

fn lines(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = heads.join("\t") + "\n";
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace(['\t', '\n'], " ")).collect();
        out.push_str(&cells.join("\t"));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_get_one_line_a_row_whatever_the_cells_hold() {
        let rows = vec![vec!["a\tb".to_owned(), "c\nd".to_owned()]];
        assert_eq!(lines(&["one", "two"], &rows), "one\ttwo\na b\tc d\n");
        assert!(table(&["one"], &[vec!["x".to_owned()]]).contains("ONE"));
    }
}
