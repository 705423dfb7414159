//! How answers are printed: tables for people at a terminal, tab-separated lines for pipes, documents for programs.
//!
//! Each command's answer is one type that implements [`Answer`]: its fields are the document, its sections the table.
//! What a document holds is described by the type itself (`ringlog generate schema NAME`), frozen in
//! `crates/cli/schemas`. Fields are only added; [`Answer::VERSION`] is raised when one changes its meaning or goes. A line
//! of `jsonl` is an element of the document's field [`Answer::LINES`] and nothing else: it carries no version, so that a
//! million of them do not carry it a million times, and changes only with the document's.
//!
//! Names of fields end in their unit (`_bytes`, `_ms`, `_per_s`); numbers are whole and raw; times are RFC 3339 in UTC.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Attribute, Cell as TableCell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The form of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// Columns at a terminal, tab-separated lines in a pipe
    #[default]
    Table,
    /// As table, with more columns
    Wide,
    /// One JSON document with schema and version
    Json,
    /// The same document in YAML
    Yaml,
    /// One JSON object a line, one for each row; of the schema and version that json says
    Jsonl,
}

impl Output {
    /// Whether a person reads it, so that remarks beside the answer are welcome.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// The option `-o`, the same for every command but `produce` and `consume`, where `-o` is kcat's offset.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// How to print the answer; `ringlog generate schema` describes the documents
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t, help_heading = "Output")]
    pub(crate) output: Output,
}

/// What a command answers.
pub(crate) trait Answer: Serialize + JsonSchema {
    /// The document's name: noun and verb, `topic.list`.
    const SCHEMA: &'static str;
    /// Raised when a field changes its meaning or goes.
    const VERSION: u32 = 1;
    /// The field whose elements `jsonl` prints, one a line; empty: the whole document is one line.
    const LINES: &'static str = "";

    /// The same for people; `wide` asks for more columns.
    fn sections(&self, wide: bool) -> Vec<Section>;
}

/// How much a cell should catch the eye.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

/// One field of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// A block of a table answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// Named columns.
    Rows { heads: Vec<String>, rows: Vec<Vec<Cell>> },
    /// Names on the left, values on the right, no heads.
    Facts(Vec<(String, Cell)>),
    /// Lines as they are.
    Text(String),
}

impl Section {
    /// Rows under `heads`.
    pub(crate) fn rows<C: Into<Cell>>(heads: &[&str], rows: impl IntoIterator<Item = Vec<C>>) -> Self {
        let rows = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
        Self::Rows { heads: heads.iter().map(|&head| head.to_owned()).collect(), rows: rows.collect() }
    }

    /// Facts, one a line.
    pub(crate) fn facts<C: Into<Cell>>(facts: impl IntoIterator<Item = (&'static str, C)>) -> Self {
        Self::Facts(facts.into_iter().map(|(name, cell)| (name.to_owned(), cell.into())).collect())
    }
}

/// Prints an answer on stdout in the form asked for.
pub(crate) fn print<A: Answer>(answer: &A, output: Output) -> Result<(), Failure> {
    let terminal = io::stdout().is_terminal();
    print_text(&render(answer, output, terminal, terminal && use_colour())?)
}

/// Prints text on stdout as it is. A reader that went away (`| head`) is not a failure.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::output(&error)),
    }
}

/// Whether colours are wanted (<https://no-color.org>); whether the stream is a terminal is the caller's question.
pub(crate) fn use_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn render<A: Answer>(answer: &A, output: Output, terminal: bool, colour: bool) -> Result<String, Failure> {
    let unprintable = |error: String| Failure::output(&io::Error::other(error));
    let json = |value: &Value, pretty: bool| {
        let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        text.map(|text| text + "\n").map_err(|error| unprintable(error.to_string()))
    };
    match output {
        Output::Table | Output::Wide => {
            let sections = answer.sections(output == Output::Wide);
            let texts = sections.iter().map(|section| if terminal { table(section, colour) } else { lines(section) });
            Ok(texts.collect::<Vec<_>>().join("\n"))
        }
        Output::Json => json(&document(answer)?, true),
        Output::Yaml => serde_saphyr::to_string(&document(answer)?).map_err(|error| unprintable(error.to_string())),
        Output::Jsonl => match document(answer)?.get(A::LINES) {
            Some(Value::Array(items)) => items.iter().map(|item| json(item, false)).collect(),
            _ => json(&document(answer)?, false),
        },
    }
}

/// The answer's fields behind its schema and version.
fn document<A: Answer>(answer: &A) -> Result<Value, Failure> {
    let fields = serde_json::to_value(answer).map_err(|error| Failure::output(&error.into()))?;
    let mut document = Map::new();
    document.insert("schema".to_owned(), A::SCHEMA.into());
    document.insert("version".to_owned(), A::VERSION.into());
    let Value::Object(fields) = fields else { panic!("{} is not a struct", A::SCHEMA) };
    document.extend(fields);
    Ok(Value::Object(document))
}

/// Words up to this length are never broken: numbers, times and ids can then be read and copied.
const WORD_COLUMNS_MAX: usize = 24;

/// Columns between two columns of a table; one where that saves folding.
const GAP_COLUMNS: u16 = 2;

fn table(section: &Section, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if colour {
        table.enforce_styling();
    }
    let cell = |cell: &Cell| {
        let text = TableCell::new(&cell.text);
        match cell.tone {
            _ if !colour => text,
            Tone::Plain => text,
            Tone::Good => text.fg(Color::Green),
            Tone::Warning => text.fg(Color::Yellow),
            Tone::Bad => text.fg(Color::Red).add_attribute(Attribute::Bold),
        }
    };
    match section {
        Section::Rows { heads, rows } => {
            table.set_header(heads.iter().map(|head| head.to_uppercase()));
            table.add_rows(rows.iter().map(|row| row.iter().map(cell)));
        }
        Section::Facts(facts) => {
            table.add_rows(facts.iter().map(|(name, value)| [TableCell::new(name), cell(value)]));
        }
        Section::Text(text) => return format!("{}\n", text.trim_end()),
    }
    // A terminal that tells no width, or one too narrow for the words, gets lines as long as they are.
    let layout = table.width().and_then(|width| layout(&wishes(section), width));
    let gap = layout.as_ref().map_or(GAP_COLUMNS, |(gap, _)| *gap);
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index < last { gap } else { 0 }));
    }
    if let Some((_, widths)) = layout {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for (column, width) in table.column_iter_mut().zip(widths) {
            let width = width + column.padding_width();
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// What a column of a table would take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wish {
    /// Its longest word, or the most that a word is kept whole for.
    min: u16,
    /// Its longest cell.
    max: u16,
}

impl Wish {
    fn widen(&mut self, cell: &str) {
        let columns = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        let word = cell.split(' ').map(|word| columns(word).min(WORD_COLUMNS_MAX as u16)).max().unwrap_or(0);
        self.min = self.min.max(word);
        self.max = self.max.max(cell.lines().map(columns).max().unwrap_or(0));
    }
}

fn wishes(section: &Section) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let mut row = |cells: &mut dyn Iterator<Item = &str>| {
        for (index, cell) in cells.enumerate() {
            if index == wishes.len() {
                wishes.push(Wish::default());
            }
            wishes[index].widen(cell);
        }
    };
    match section {
        Section::Rows { heads, rows } => {
            row(&mut heads.iter().map(String::as_str));
            for cells in rows {
                row(&mut cells.iter().map(|cell| cell.text.as_str()));
            }
        }
        Section::Facts(facts) => {
            for (name, value) in facts {
                row(&mut [name.as_str(), value.text.as_str()].into_iter());
            }
        }
        Section::Text(_) => {}
    }
    wishes
}

/// The columns between two columns, and how wide each of these is, in `width` for all of it: as wide as its words at
/// least, and what is left is shared evenly among those that want more. `None` when not even the words fit.
fn layout(wishes: &[Wish], width: u16) -> Option<(u16, Vec<u16>)> {
    let gaps = u16::try_from(wishes.len()).ok()?.saturating_sub(1);
    let left = |gap: u16, of: fn(&Wish) -> u16| {
        let taken = wishes.iter().try_fold(gaps.checked_mul(gap)?, |sum, wish| sum.checked_add(of(wish)))?;
        width.checked_sub(taken)
    };
    let is_tight = left(GAP_COLUMNS, |wish| wish.max).is_none() && left(1, |wish| wish.max).is_some();
    let gap = if is_tight { 1 } else { GAP_COLUMNS };
    let mut left = left(gap, |wish| wish.min)?;
    let mut widths: Vec<u16> = wishes.iter().map(|wish| wish.min).collect();
    loop {
        let wanting: Vec<usize> = (0..wishes.len()).filter(|&index| widths[index] < wishes[index].max).collect();
        if wanting.is_empty() || left == 0 {
            return Some((gap, widths));
        }
        let share = (left / wanting.len() as u16).max(1);
        for index in wanting {
            let more = share.min(wishes[index].max - widths[index]).min(left);
            widths[index] += more;
            left -= more;
        }
    }
}

fn lines(section: &Section) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        cells.map(|cell| cell.replace(['\t', '\n'], " ")).collect::<Vec<_>>().join("\t") + "\n"
    };
    match section {
        Section::Rows { heads, rows } => {
            let mut out = line(&mut heads.iter().map(String::as_str));
            out.extend(rows.iter().map(|row| line(&mut row.iter().map(|cell| cell.text.as_str()))));
            out
        }
        Section::Facts(facts) => {
            facts.iter().map(|(name, value)| line(&mut [name.as_str(), value.text.as_str()].into_iter())).collect()
        }
        Section::Text(text) => format!("{}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Row {
        name: String,
        size_bytes: u64,
    }

    #[derive(Serialize, JsonSchema)]
    struct Rows {
        total_bytes: u64,
        rows: Vec<Row>,
    }

    impl Answer for Rows {
        const SCHEMA: &'static str = "test.rows";
        const LINES: &'static str = "rows";

        fn sections(&self, wide: bool) -> Vec<Section> {
            let heads: &[&str] = if wide { &["name", "size"] } else { &["name"] };
            let cells = |row: &Row| {
                let mut cells = vec![Cell::toned(&row.name, Tone::Bad)];
                cells.extend(wide.then(|| format!("{} B", row.size_bytes).into()));
                cells
            };
            vec![
                Section::facts([("total", self.total_bytes.to_string())]),
                Section::rows(heads, self.rows.iter().map(cells)),
            ]
        }
    }

    fn rendered(output: Output, terminal: bool, colour: bool) -> String {
        let row = |name: &str| Row { name: name.to_owned(), size_bytes: 7 };
        let rows = Rows { total_bytes: 14, rows: vec![row("a\tb"), row("yes")] };
        render(&rows, output, terminal, colour).expect("rendered")
    }

    #[test]
    fn pipes_get_one_line_a_row_whatever_the_cells_hold() {
        assert_eq!(rendered(Output::Wide, false, false), "total\t14\n\nname\tsize\na b\t7 B\nyes\t7 B\n");
        assert!(rendered(Output::Table, true, false).contains("NAME"));
    }

    #[test]
    fn columns_are_folded_between_words_and_not_at_all_where_those_do_not_fit() {
        let section = Section::rows(
            &["name", "why"],
            [vec!["partition", "because of a reason"], vec!["p", &"x".repeat(WORD_COLUMNS_MAX + 6)]],
        );
        let wishes = wishes(&section);
        assert_eq!(wishes, [Wish { min: 9, max: 9 }, Wish { min: 24, max: 30 }]);
        assert_eq!(layout(&wishes, 80), Some((2, vec![9, 30])));
        assert_eq!(layout(&wishes, 40), Some((1, vec![9, 30])));
        assert_eq!(layout(&wishes, 36), Some((2, vec![9, 25])));
        assert_eq!(layout(&wishes, 35), Some((2, vec![9, 24])));
        assert_eq!(layout(&wishes, 34), None);
        // What is left goes to those that want it, to its last column.
        let wish = |min, max| Wish { min, max };
        assert_eq!(layout(&[wish(1, 50), wish(1, 3), wish(1, 50)], 30), Some((2, vec![12, 3, 11])));
        assert_eq!(layout(&[], 10), Some((2, Vec::new())));
    }

    #[test]
    fn colours_are_there_only_when_wanted() {
        assert!(rendered(Output::Table, true, true).contains("\u{1b}["));
        assert!(!rendered(Output::Table, true, false).contains('\u{1b}'));
    }

    #[test]
    fn documents_have_a_schema_and_a_version_before_their_fields() {
        expect![[r#"
            {
              "schema": "test.rows",
              "version": 1,
              "total_bytes": 14,
              "rows": [
                {
                  "name": "a\tb",
                  "size_bytes": 7
                },
                {
                  "name": "yes",
                  "size_bytes": 7
                }
              ]
            }
        "#]]
        .assert_eq(&rendered(Output::Json, true, true));
        expect![[r#"
            {"name":"a\tb","size_bytes":7}
            {"name":"yes","size_bytes":7}
        "#]]
        .assert_eq(&rendered(Output::Jsonl, true, true));
        expect![[r#"
            schema: test.rows
            version: 1
            total_bytes: 14
            rows:
            - name: "a\tb"
              size_bytes: 7
            - name: "yes"
              size_bytes: 7
        "#]]
        .assert_eq(&rendered(Output::Yaml, true, true));
    }
}
