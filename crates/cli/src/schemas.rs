//! The documents that commands print with `-o json`, described for programs: `ringlog generate schema`.
//!
//! Every [`Answer`] is listed here, and what `consume` prints. The descriptions are made from the types and their comments, and frozen in
//! `crates/cli/schemas`: a change shows there, beside the version that it may have to raise.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::output::Answer;

/// One document's description.
pub(crate) struct Description {
    /// Noun and verb, `topic.list`.
    pub(crate) name: &'static str,
    /// JSON Schema.
    pub(crate) schema: Schema,
}

/// Every document, by name.
pub(crate) fn all() -> Vec<Description> {
    let mut all = vec![
        of::<crate::bench::diff::BenchDifference>(),
        of::<crate::bench::disk::DiskLimits>(),
        of::<crate::bench::net::NetworkLimits>(),
        of::<crate::bench::report::BenchPage>(),
        of::<crate::bench::rows::BenchResults>(),
        of::<crate::cluster::ClusterDescription>(),
        of::<crate::cluster::ClusterDirs>(),
        of::<crate::cluster::ClusterHealth>(),
        of::<crate::cluster::ClusterQuorum>(),
        of::<crate::config::ConfigCheck>(),
        of::<crate::config::ConfigExplanation>(),
        of::<crate::config::ConfigList>(),
        of::<crate::config::change::ConfigChanges>(),
        of::<crate::config::describe::ConfigDescription>(),
        of::<crate::doctor::DoctorReport>(),
        of::<crate::group::GroupDeletion>(),
        of::<crate::group::GroupDescription>(),
        of::<crate::group::GroupLag>(),
        of::<crate::group::GroupList>(),
        of::<crate::group::GroupSeek>(),
        of::<crate::log::LogInspection>(),
        of::<crate::log::LogVerification>(),
        of::<crate::log::adopt::LogAdoption>(),
        of::<crate::log::repair::LogRepair>(),
        of::<crate::topic::add_partitions::TopicWidening>(),
        of::<crate::topic::create::TopicCreation>(),
        of::<crate::topic::delete::TopicDeletion>(),
        of::<crate::topic::describe::TopicDescription>(),
        of::<crate::topic::list::TopicList>(),
        of::<crate::plan::PlanAnswer>(),
        of::<crate::produce::Produced>(),
        consumed(),
    ];
    all.sort_by_key(|description| description.name);
    all
}

fn of<A: Answer + JsonSchema>() -> Description {
    describe::<A>(A::SCHEMA, A::VERSION, A::LINES)
}

/// The one document that is written record by record.
fn consumed() -> Description {
    use crate::consume::document::{Consumed, LINES, SCHEMA, VERSION};
    describe::<Consumed>(SCHEMA, VERSION, LINES)
}

fn describe<T: JsonSchema>(name: &'static str, version: u32, lines: &str) -> Description {
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), name.into());
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut).expect("an answer is a struct");
    let own = std::mem::take(fields);
    fields.insert("schema".to_owned(), json!({ "const": name, "description": "Which document this is" }));
    let mut raised = "Raised when a field changes its meaning or goes".to_owned();
    if !lines.is_empty() {
        raised += &format!("; the lines of jsonl, the elements of `{lines}`, carry no version and follow this one");
    }
    fields.insert("version".to_owned(), json!({ "const": version, "description": raised }));
    fields.extend(own);
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.splice(0..0, ["schema".into(), "version".into()]);
    }
    if !lines.is_empty() {
        schema.insert("x-jsonl".to_owned(), lines.into());
    }
    Description { name, schema }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn own(folder: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    /// `UPDATE_SCHEMAS=1 cargo test -p cli schemas` writes them anew.
    #[test]
    fn documents_are_as_they_were_frozen() {
        let mut names = BTreeSet::new();
        for Description { name, schema } in all() {
            let path = own("schemas").join(format!("{name}.json"));
            let text = serde_json::to_string_pretty(&schema).expect("serialised") + "\n";
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                fs::write(&path, &text).expect("written");
            }
            let frozen = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(text, frozen, "{} differs: is a version to be raised?", path.display());
            assert!(names.insert(format!("{name}.json")), "two documents are called {name}");
        }
        let files = fs::read_dir(own("schemas")).expect("a folder");
        let files = files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8"));
        assert_eq!(files.collect::<BTreeSet<_>>(), names, "a file describes no document");
    }

    #[test]
    fn every_answer_is_listed() {
        fn visit(folder: &Path, found: &mut Vec<String>) {
            for file in fs::read_dir(folder).expect("a folder") {
                let path = file.expect("readable").path();
                if path.is_dir() {
                    visit(&path, found);
                } else if path.file_name().is_some_and(|name| name != "output.rs") {
                    let text = fs::read_to_string(&path).expect("readable");
                    found.extend(text.lines().filter_map(|line| {
                        Some(line.strip_prefix("impl Answer for ")?.trim_end_matches(" {").to_owned())
                    }));
                }
            }
        }
        let mut answers = Vec::new();
        visit(&own("src"), &mut answers);
        assert!(!answers.is_empty());
        let listed = fs::read_to_string(own("src/schemas.rs")).expect("readable");
        answers.retain(|answer| !listed.contains(&format!("::{answer}>(),")));
        assert!(answers.is_empty(), "not listed in schemas.rs: {answers:?}");
    }
}
