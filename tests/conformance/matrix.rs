//! The table of client and feature in MATRIX.md: every cell says `run`, or `absent: <reason>`.

use std::collections::BTreeMap;

/// Every client family, in the table's column order.
pub const CLIENTS: &[&str] = &["java", "librdkafka", "kafka-python", "aiokafka", "kafkajs", "franz-go"];

/// Every feature, in the order in which a client's program runs them.
pub const FEATURES: &[&str] = &[
    "interop-write",
    "create",
    "produce-none",
    "produce-gzip",
    "produce-snappy",
    "produce-lz4",
    "produce-zstd",
    "idempotent",
    "group-commit",
    "rebalance",
    "surplus",
    "single-owner",
    "static-member",
    "seek-time",
    "large",
    "headers",
    "nulls",
    "admin",
    "transactions-answered",
    "interop-read",
];

/// What MATRIX.md says about one client and one feature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// The client's program judges the feature.
    Run,
    /// It cannot, for the reason given.
    Absent(String),
}

/// The table, or every way in which it falls short of CLIENTS x FEATURES.
pub fn parse(text: &str) -> Result<BTreeMap<(String, String), Cell>, Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    let mut cells = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let row: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if row[0] == "feature" {
            columns = row[1..].iter().map(|&name| name.to_owned()).collect();
            continue;
        }
        if columns.is_empty() || row[0].starts_with('-') {
            continue;
        }
        for (column, &cell) in columns.iter().zip(&row[1..]) {
            let at = (column.clone(), row[0].to_owned());
            match cell.split_once(':') {
                None if cell == "run" => {
                    cells.insert(at, Cell::Run);
                }
                Some(("absent", reason)) if !reason.trim().is_empty() => {
                    cells.insert(at, Cell::Absent(reason.trim().to_owned()));
                }
                _ => {
                    wrong.push(format!("MATRIX.md, {column}, {}: neither `run` nor `absent: <reason>`: {cell}", row[0]))
                }
            }
        }
    }
    for &client in CLIENTS {
        for &feature in FEATURES {
            if !cells.contains_key(&(client.to_owned(), feature.to_owned())) {
                wrong.push(format!("MATRIX.md has no cell for {client}, {feature}"));
            }
        }
    }
    for (client, feature) in cells.keys() {
        if !CLIENTS.contains(&client.as_str()) || !FEATURES.contains(&feature.as_str()) {
            wrong.push(format!("MATRIX.md has a cell that nothing runs: {client}, {feature}"));
        }
    }
    if wrong.is_empty() { Ok(cells) } else { Err(wrong) }
}
