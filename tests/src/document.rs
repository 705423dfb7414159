//! Documents that commands print with `-o json`, held against what `ringlog generate schema` says of them.

use std::process::Command;

use serde_json::{Map, Value};

use crate::node::ringlog_path;

/// The description of a document, as a JSON Schema. It is held to stricter than the standard is: a field that it does not
/// name is a fault, and so is a keyword that is not understood here, so that no rule is passed over.
pub struct Description(Value);

impl Description {
    /// What `ringlog generate schema NAME` prints.
    ///
    /// # Errors
    /// There is no such document, or what is printed is no JSON.
    pub fn ask(name: &str) -> Result<Self, String> {
        let text = generate_schema(&[name])?;
        serde_json::from_str(&text).map(Self).map_err(|error| format!("the schema of {name}: {error}"))
    }

    /// Whether a document is as described.
    ///
    /// # Errors
    /// The first place where it is not.
    pub fn check(&self, document: &Value) -> Result<(), String> {
        self.holds(&self.0, document, "")
    }

    /// What `jsonl` prints of a document, one a line.
    ///
    /// # Errors
    /// It lacks the field whose elements that are.
    pub fn lines(&self, document: &Value) -> Result<Vec<Value>, String> {
        match self.0["x-jsonl"].as_str() {
            None => Ok(vec![document.clone()]),
            Some(field) => document[field].as_array().cloned().ok_or_else(|| format!("no list {field} in {document}")),
        }
    }

    /// Whether a line of `jsonl` is as described.
    ///
    /// # Errors
    /// The first place where it is not.
    pub fn check_line(&self, line: &Value) -> Result<(), String> {
        match self.0["x-jsonl"].as_str() {
            None => self.check(line),
            Some(field) => self.holds(&self.0["properties"][field]["items"], line, field),
        }
    }

    fn holds(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Some(rules) = schema.as_object() else { return Err(format!("{at}: {schema} is no description")) };
        for (keyword, rule) in rules {
            self.obeys(rules, keyword, rule, value, at)?;
        }
        Ok(())
    }

    fn obeys(
        &self,
        rules: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let wrong = || Err(format!("{at}: {value} breaks {keyword} {rule}"));
        let ways = || rule.as_array().into_iter().flatten().filter(|way| self.holds(way, value, at).is_ok()).count();
        let ok = match keyword {
            // Words for people, what is looked up, and how large a number can get: `minimum` says what matters of that.
            "$schema" | "title" | "description" | "$defs" | "x-jsonl" | "format" => true,
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).unwrap_or_default();
                let Some(meant) = self.0.pointer(path) else { return wrong() };
                return self.holds(meant, value, at);
            }
            "type" => match rule {
                Value::String(kind) => is_of(kind, value),
                Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(|kind| is_of(kind, value)),
                _ => false,
            },
            "const" => rule == value,
            "minimum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|least| least <= number)),
            "maximum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|most| number <= most)),
            "anyOf" => 0 < ways(),
            "oneOf" => ways() == 1,
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                value.as_object().is_none_or(|object| names.into_iter().all(|name| object.contains_key(name)))
            }
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    self.holds(rule, element, &format!("{at}/{index}"))?;
                }
                true
            }
            "properties" | "additionalProperties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    let Some(described) =
                        rules.get("properties").and_then(|named| named.get(name)).or(rules.get("additionalProperties"))
                    else {
                        return Err(format!("{at}/{name}: the schema does not name it"));
                    };
                    self.holds(described, field, &format!("{at}/{name}"))?;
                }
                true
            }
            _ => return Err(format!("{at}: {keyword} is no keyword that is understood here")),
        };
        if ok { Ok(()) } else { wrong() }
    }
}

/// The names of all documents there are.
///
/// # Errors
/// The binary does not say.
pub fn names() -> Result<Vec<String>, String> {
    Ok(generate_schema(&[])?.lines().map(str::to_owned).collect())
}

fn generate_schema(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(ringlog_path());
    let output = command.args(["generate", "schema"]).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("generate schema {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_as_described_is_found() {
        let description = Description(json!({
            "type": "object",
            "x-jsonl": "rows",
            "properties": {
                "kind": { "oneOf": [{ "const": "a" }, { "const": "b" }] },
                "rows": { "type": "array", "items": { "$ref": "#/$defs/Row" } },
                "more": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "required": ["kind", "rows"],
            "$defs": { "Row": { "type": "object", "properties": { "n": { "type": ["integer", "null"], "minimum": 0 } } } },
        }));
        let good = json!({ "kind": "a", "rows": [{ "n": 1 }, { "n": null }, {}], "more": { "x": "y" } });
        assert_eq!(description.check(&good), Ok(()));
        assert_eq!(description.lines(&good).unwrap().len(), 3);
        assert_eq!(description.check_line(&json!({ "n": 1 })), Ok(()));
        for (wrong, at) in [
            (json!({ "rows": [] }), "required"),
            (json!({ "kind": "c", "rows": [] }), "/kind"),
            (json!({ "kind": "a", "rows": [{ "n": -1 }] }), "/rows/0/n"),
            (json!({ "kind": "a", "rows": [{ "n": 1.5 }] }), "/rows/0/n"),
            (json!({ "kind": "a", "rows": [{ "m": 1 }] }), "/rows/0/m"),
            (json!({ "kind": "a", "rows": [], "more": { "x": 1 } }), "/more/x"),
            (json!([]), "type"),
        ] {
            let fault = description.check(&wrong).expect_err("wrong");
            assert!(fault.contains(at), "{fault}");
        }
        assert!(Description(json!({ "pattern": "x" })).check(&json!("x")).is_err(), "a rule that is not understood");
    }
}
