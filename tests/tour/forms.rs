//! Every command that answers, in all five forms: `json`, `yaml` and `jsonl` are read and held against the document's
//! schema, `table` and `wide` must tell of the same things. A command that is neither listed here nor excused fails, and
//! so does a document that no command listed here prints.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;
use tests::document::{self, Description};

use super::{Tour, plain, section};

const FORMS: [&str; 5] = ["table", "wide", "json", "yaml", "jsonl"];

/// A command that answers, with arguments for which there is something to tell.
struct Answers {
    command: &'static str,
    /// `{form}` is the form's name, for what can be done only once.
    arguments: &'static str,
    /// Run before it, for each form.
    before: &'static str,
    /// Its exit code.
    code: i32,
    /// Whether each run finds other things worth telling.
    measures: bool,
}

const fn answers(command: &'static str, arguments: &'static str) -> Answers {
    Answers { command, arguments, before: "true", code: 0, measures: false }
}

impl Answers {
    const fn after(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    const fn measures(self) -> Self {
        Self { measures: true, ..self }
    }

    const fn ends_with(self, code: i32) -> Self {
        Self { code, ..self }
    }
}

/// What there is to ask about.
const MADE_BEFORE: &str = "ringlog topic create forms -p 2 --owner team --note 'for the forms' -c retention.ms=7200000 \
     && ringlog produce -t forms -p 0 -J < records.jsonl && ringlog consume -q -t forms -g forms -c 1 > /dev/null \
     && mkdir -p copied && cp -r DATA/forms-0 copied \
     && printf 'name = \"short\"\\nwarmup_s = 0.1\\nduration_s = 0.3\\n[load]\\nrate = 200\\n' > short.toml \
     && ringlog bench run short.toml --target BROKER --force --results before";

/// Records of every kind: parts that are null, empty, text or bytes.
const RECORDS: &str = r#"{"timestamp":1500000000001,"key":"k1","value":"first","headers":[{"name":"a","value":null}]}
{"key":null,"value":{"base64":"AP8K"},"headers":[{"name":"b","value":{"base64":"/w=="}}]}
{"key":"","value":null}
"#;

const ANSWERS: &[Answers] = &[
    answers("topic create", "forms-created-{form} -p 2"),
    answers("topic list", ""),
    answers("topic describe", "forms --skew --interval 10ms"),
    answers("topic alter", "forms-altered-{form} -c retention.ms=1").after("ringlog topic create forms-altered-{form}"),
    answers("topic add-partitions", "forms-added-{form} --add 1").after("ringlog topic create forms-added-{form} -p 1"),
    answers("topic delete", "forms-deleted-{form} --yes").after("ringlog topic create forms-deleted-{form}"),
    answers("group list", ""),
    answers("group describe", "forms"),
    answers("group lag", "forms"),
    answers("group seek", "forms --to-latest --dry-run"),
    answers("group delete", "forms-{form} --yes").after("ringlog group seek forms-{form} --topic forms --to-earliest"),
    answers("produce", "-t forms -l list-{form}").after("echo line > list-{form}"),
    answers("consume", "-t forms -e"),
    answers("config get", "topic forms retention.ms"),
    answers("config describe", "topic forms --all"),
    answers("config set", "topic forms-set-{form} segment.ms=1").after("ringlog topic create forms-set-{form}"),
    answers("config unset", "topic forms-unset-{form} segment.ms")
        .after("ringlog topic create forms-unset-{form} -c segment.ms=1"),
    answers("config list", "--set --override num.partitions=3"),
    answers("config explain", "cleanup.policy"),
    answers("config check", "--override num.partitions=3"),
    answers("cluster describe", ""),
    answers("cluster health", ""),
    answers("cluster quorum", ""),
    answers("cluster dirs", ""),
    // Machines differ in what doctor finds, clusters in what clients find.
    answers("doctor", "--from-client BROKER"),
    answers("log inspect", "copied/forms-0"),
    answers("log verify", "copied/forms-0 damaged-{form}")
        .after("mkdir damaged-{form} && printf xxxxxxxxxxxxxxxx > damaged-{form}/00000000000000000000.log")
        .ends_with(6),
    answers("log repair", "copied-{form}/forms-0").after("cp -r copied copied-{form}"),
    answers("log adopt", "copied --unclean --dry-run --override log.dirs=adopted-{form}"),
    answers("plan", "--rate 1000 --message-bytes 1KB"),
    answers("bench disk", "--time 100ms --bytes 1MiB --limits limits-{form}.json"),
    answers("bench net", "--time 100ms --limits limits-{form}.json"),
    answers("bench run", "short.toml --target BROKER --force --results run-{form}").measures(),
    answers("bench compare", "BROKER BROKER short.toml --repeat 1 --force --results compared-{form}").measures(),
    answers("bench diff", "before/* before/*"),
    answers("bench report", "before/* --to page-{form}"),
];

/// Commands without a form to choose, and why.
const WITHOUT_FORM: &[(&str, &str)] = &[
    ("serve", "runs until it is stopped"),
    ("debug bundle", "writes a file"),
    ("generate *", "prints files"),
    ("consumer-groups", "prints as Kafka's script does"),
    ("topics", "prints as Kafka's script does"),
    ("configs", "prints as Kafka's script does"),
    ("get-offsets", "prints as Kafka's script does"),
    ("console-producer", "prints as Kafka's script does"),
    ("console-consumer", "prints as Kafka's script does"),
];

/// What a command printed in each form, in the order of [`FORMS`].
type Printed = [String; FORMS.len()];

pub(super) fn judge(tour: &mut Tour) {
    let commands = match tour.commands() {
        Ok(commands) => commands,
        Err(why) => return tour.tally.fail("the forms of every command", &why),
    };
    let made = std::fs::write(tour.folder.join("work/records.jsonl"), RECORDS)
        .map_err(|error| error.to_string())
        .and_then(|()| succeeds(tour, MADE_BEFORE, 0));
    if let Err(why) = made {
        return tour.tally.fail("what the forms tell of", &why);
    }
    let mut documents = BTreeSet::new();
    for answers in ANSWERS {
        let verdict = printed(tour, answers).and_then(|printed| {
            documents.insert(judge_documents(&printed)?);
            judge_tables(&printed, answers.measures)?;
            Ok(())
        });
        tour.tally.judge(&format!("ringlog {} in all forms", answers.command), verdict);
    }
    for (words, help) in commands.iter().filter(|(_, help)| section(help, "Commands:").next().is_none()) {
        let command = words.join(" ");
        let has_forms = help.contains("--output <FORM>");
        let listed = ANSWERS.iter().any(|answers| answers.command == command);
        let excused = WITHOUT_FORM.iter().any(|(pattern, _)| super::matches(pattern, &command));
        let why = match (has_forms, listed, excused) {
            (true, true, false) | (false, false, true) => continue,
            (true, false, _) => "has forms that nobody looks at: it belongs into ANSWERS",
            (true, true, true) => "is excused and has forms",
            (false, true, _) => "is in ANSWERS and has no forms",
            (false, false, false) => "has no --output, and nothing says why",
        };
        tour.tally.fail(&command, why);
    }
    let undocumented =
        document::names().map(|names| names.into_iter().filter(|name| !documents.contains(name)).collect());
    let verdict = undocumented.and_then(|names: Vec<String>| match names.is_empty() {
        true => Ok(()),
        false => Err(format!("no command here prints {names:?}")),
    });
    tour.tally.judge("every document is printed by a command", verdict);
}

/// Runs a command once for each form, all at once.
fn printed(tour: &Tour, answers: &Answers) -> Result<Printed, String> {
    let one = |form: &'static str| {
        succeeds(tour, &answers.before.replace("{form}", form), 0)?;
        let option = if matches!(answers.command, "consume" | "produce") { "--output" } else { "-o" };
        let command = format!("ringlog {} {} {option} {form}", answers.command, answers.arguments);
        succeeds(tour, &command.replace("{form}", form), answers.code)
    };
    let results = thread::scope(|scope| {
        FORMS.map(|form| scope.spawn(move || one(form))).map(|running| running.join().expect("no panic"))
    });
    let mut printed = Printed::default();
    for (text, result) in printed.iter_mut().zip(results) {
        *text = result?;
    }
    Ok(printed)
}

/// Stdout of a command line that ends with `code`.
fn succeeds(tour: &Tour, command: &str, code: i32) -> Result<String, String> {
    let data = tour.node.data_dir();
    let aimed = command.replace("BROKER", &tour.node.address()).replace("DATA", &data.display().to_string());
    let output = tour.shell(&aimed)?;
    if output.status.code() == Some(code) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{aimed}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Returns the name of the document.
fn judge_documents([_, wide, json, yaml, jsonl]: &Printed) -> Result<String, String> {
    let document: Value = serde_json::from_str(json).map_err(|error| format!("json: {error}"))?;
    let name = document["schema"].as_str().ok_or("json: it does not name its schema")?.to_owned();
    let description = Description::ask(&name)?;
    description.check(&document).map_err(|why| format!("json: {why}"))?;

    let rows = description.lines(&document)?;
    let same: Value = serde_saphyr::from_str(yaml).map_err(|error| format!("yaml: {error}"))?;
    description.check(&same).map_err(|why| format!("yaml: {why}"))?;
    if !are_alike(&same, &document) || description.lines(&same)?.len() != rows.len() {
        return Err(format!("yaml says other things than json:\n{yaml}\n{json}"));
    }

    let lines: Result<Vec<Value>, _> = jsonl.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|error| format!("jsonl: {error}"))?;
    for line in &lines {
        description.check_line(line).map_err(|why| format!("jsonl: {why}"))?;
    }
    let are_same = rows.len() == lines.len() && rows.iter().zip(&lines).all(|(row, line)| are_alike(row, line));
    if rows.is_empty() || !are_same {
        return Err(format!("jsonl says other things than json:\n{jsonl}\n{json}"));
    }

    for row in rows.iter().filter(|row| **row != document) {
        if let Some(subject) = subject(row).filter(|subject| !wide.contains(subject.as_str())) {
            return Err(format!("wide does not tell of {subject}:\n{wide}"));
        }
    }
    Ok(name)
}

/// Whether two documents have the same fields with values of the same kinds. The values are of another moment, so they may
/// differ, and be absent; lists may be longer.
fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).all(|(a, b)| are_alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.iter().all(|(name, field)| are_alike(field, &b[name]))
        }
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => true,
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => false,
    }
}

/// What a row is about: the first thing that it says, unless that is a number or differs from form to form.
fn subject(row: &Value) -> Option<String> {
    let text = row.as_object()?.values().next()?.as_str()?;
    let differs = FORMS.iter().any(|form| text.contains(&format!("-{form}"))) || text.contains(".json");
    (!differs).then(|| text.to_owned())
}

/// Every line of the table is in the wide one, which may say more in it. Numbers change meanwhile; of what is measured
/// anew, the remarks on it do too.
fn judge_tables([table, wide, ..]: &Printed, measures: bool) -> Result<(), String> {
    if table.trim().is_empty() {
        return Err("the table is empty".to_owned());
    }
    let words = |line: &str| -> Vec<String> {
        let line = FORMS.iter().fold(line.to_owned(), |line, form| line.replace(&format!("-{form}"), "-FORM"));
        plain(&line).split_whitespace().map(|word| word.trim_matches(',').to_owned()).collect()
    };
    let wide: Vec<Vec<String>> = wide.lines().map(words).collect();
    for line in table.lines().filter(|_| !measures) {
        let told = words(line);
        if !wide.iter().any(|known| told.iter().all(|word| known.contains(word))) {
            return Err(format!("wide does not have the line {line:?} of the table"));
        }
    }
    Ok(())
}
