//! The repository's rules, as tests: what imports what, where `unsafe` may stand, what the simulated crates must not
//! touch. This crate finds and reads the sources; the rules themselves are in `tests/rules.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/tidy lies two folders below the root").to_path_buf()
}

/// One source file of the repository.
pub struct Source {
    /// Path from the root, with `/` between its parts.
    pub path: String,
    /// The text as written.
    pub text: String,
    /// The text with comments, strings and character literals blanked out; lines stay where they are.
    pub code: String,
}

impl Source {
    /// The crate a file under `crates/` belongs to.
    pub fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// The lines (counted from 1) whose code holds one of `words` as a whole word.
    pub fn lines_with(&self, words: &[&str]) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (index, line) in self.code.lines().enumerate() {
            for word in words {
                if has_word(line, word) {
                    found.push((index + 1, (*word).to_owned()));
                }
            }
        }
        found
    }
}

/// Whether `line` holds `word` with no letter, digit or underscore on either side of it.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|i| line.as_bytes().get(i).copied());
        let after = line.as_bytes().get(at + word.len()).copied();
        !is_part(before) && !is_part(after)
    })
}

/// Every Rust source of the repository, in path order; generated and fetched folders are left out.
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for top in ["crates", "benches", "tests"] {
        collect(&root.join(top), &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            // A file may vanish between the listing and the reading while somebody edits.
            let text = fs::read_to_string(&path).ok()?;
            let code = blank_comments_and_literals(&text);
            let path = path.strip_prefix(&root).expect("found below the root").to_string_lossy().replace('\\', "/");
            Some(Source { path, text, code })
        })
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                collect(&path, paths);
            }
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

/// Blanks what is not code, keeping every line break, so that a rule about code does not stumble over prose.
pub fn blank_comments_and_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i < bytes.len() {
        if bytes[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if bytes[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `r#"…"#`, `br"…"` and their like; `None` where no such string starts.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at;
    if matches!(bytes[i], b'b' | b'c') {
        i += 1;
    }
    if bytes.get(i) != Some(&b'r') {
        return None;
    }
    i += 1;
    let hashes = bytes[i..].iter().take_while(|&&b| b == b'#').count();
    i += hashes;
    if bytes.get(i) != Some(&b'"') {
        return None;
    }
    i += 1;
    while i < bytes.len() {
        if bytes[i] == b'"' && bytes[i + 1..].iter().take_while(|&&b| b == b'#').count() >= hashes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(bytes.len())
}

/// The end of a character literal; `at` itself where the quote opens a lifetime.
fn char_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let mut i = at + 2;
        // The escaped character may itself be a quote: '\''.
        i += 1;
        while i < bytes.len() && bytes[i] != b'\'' {
            i += 1;
        }
        return (i + 1).min(bytes.len());
    }
    // One character, of up to four bytes, then the closing quote.
    for width in 1..=4 {
        if bytes.get(at + 1 + width) == Some(&b'\'') && (width == 1 || bytes[at + 1] >= 0x80) {
            return at + width + 2;
        }
    }
    at
}

/// A crate's own-crate imports and outside libraries, by section, read from its `Cargo.toml`.
pub struct Manifest {
    /// The folder's name, which is the crate's name.
    pub name: String,
    /// `[dependencies]` and `[build-dependencies]`.
    pub dependencies: Vec<String>,
    /// `[dev-dependencies]`.
    pub dev_dependencies: Vec<String>,
}

/// The manifests of all crates under `crates/`, in name order.
pub fn manifests() -> Vec<Manifest> {
    let mut manifests = Vec::new();
    let Ok(entries) = fs::read_dir(root().join("crates")) else { return manifests };
    for entry in entries.flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
        manifests.push(parse_manifest(&entry.file_name().to_string_lossy(), &text));
    }
    manifests.sort_by(|a, b| a.name.cmp(&b.name));
    manifests
}

/// Reads the names out of a manifest's dependency tables. Only the two forms used here are known: `[dependencies]` with
/// one name a line (also under `[target.….dependencies]`), and `[dependencies.name]`.
pub fn parse_manifest(name: &str, text: &str) -> Manifest {
    let mut manifest = Manifest { name: name.to_owned(), dependencies: Vec::new(), dev_dependencies: Vec::new() };
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if let Some((table, dependency)) = section.rsplit_once('.')
                && let Some(list) = dependency_list(&mut manifest, table)
            {
                list.push(dependency.to_owned());
            }
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(list) = dependency_list(&mut manifest, &section) else { continue };
        let end = line.find(['=', '.', ' ']).unwrap_or(line.len());
        list.push(line[..end].trim_matches('"').to_owned());
    }
    manifest
}

fn dependency_list<'a>(manifest: &'a mut Manifest, section: &str) -> Option<&'a mut Vec<String>> {
    match section.rsplit('.').next()? {
        "dependencies" | "build-dependencies" => Some(&mut manifest.dependencies),
        "dev-dependencies" => Some(&mut manifest.dev_dependencies),
        _ => None,
    }
}

/// One row of the table under `## Imports` in ARCHITECTURE.md.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// The importing crate.
    pub name: String,
    /// What it may import; a lone `*` means anything.
    pub may: Vec<String>,
}

/// Reads the import table out of ARCHITECTURE.md: `| crate | may import |`, names in back quotes.
pub fn import_table(architecture: &str) -> Vec<ImportRow> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in architecture.lines() {
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim() == "Imports";
            continue;
        }
        if !inside || !line.starts_with('|') {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [names, may] = cells.as_slice() else { continue };
        for name in quoted(names) {
            rows.push(ImportRow { name, may: quoted(may) });
        }
    }
    rows
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
