//! Emits Rust for the messages of the tables: one module per message, with a struct each, and for every struct how it
//! is read and written in every version.

use std::fmt::Write as _;

use crate::schema::{Api, Field, Kind, Message, Struct, Type, Versions};

/// `KRaftVersionFeature` becomes `kraft_version_feature`.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, &letter) in letters.iter().enumerate() {
        let after_lower = index > 0 && !letters[index - 1].is_ascii_uppercase();
        let before_lower = letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && index > 0 && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn field_ident(field: &Field) -> String {
    match snake(&field.name).as_str() {
        "match" => "match_".to_owned(),
        "type" => "type_".to_owned(),
        name => name.to_owned(),
    }
}

/// A condition on the version `v` for `versions`, given that it lies in `reach`.
fn condition(versions: Versions, reach: Versions) -> String {
    let here = versions.intersect(reach);
    if here.is_empty() {
        return "false".to_owned();
    }
    match (here.min <= reach.min, here.max >= reach.max) {
        (true, true) => "true".to_owned(),
        (true, false) => format!("v <= {}", here.max),
        (false, true) => format!("v >= {}", here.min),
        (false, false) if here.min == here.max => format!("v == {}", here.min),
        (false, false) => format!("({}..={}).contains(&v)", here.min, here.max),
    }
}

struct Emitter<'m> {
    message: &'m Message,
}

impl Emitter<'_> {
    fn borrows(&self, kind: &Type) -> bool {
        match kind {
            Type::String | Type::Bytes | Type::Records => true,
            Type::Array(element) => self.borrows(element),
            Type::Struct(name) => self.struct_borrows(self.message.find(name)),
            _ => false,
        }
    }

    fn struct_borrows(&self, each: &Struct) -> bool {
        self.fields(each).iter().any(|field| self.borrows(&field.kind))
    }

    /// The fields that some version has.
    fn fields<'s>(&self, each: &'s Struct) -> Vec<&'s Field> {
        each.fields.iter().filter(|field| !field.versions.intersect(each.reach).is_empty()).collect()
    }

    fn has_tags(&self, each: &Struct) -> bool {
        !self.message.flexible.intersect(each.reach).is_empty()
    }

    fn nullable(&self, field: &Field, each: &Struct) -> bool {
        !matches!(field.kind, Type::Records) && !field.nullable.intersect(each.reach).is_empty()
    }

    fn rust_type(&self, kind: &Type, lifetime: &str) -> String {
        match kind {
            Type::Bool => "bool".to_owned(),
            Type::Int8 => "i8".to_owned(),
            Type::Int16 => "i16".to_owned(),
            Type::Uint16 => "u16".to_owned(),
            Type::Int32 => "i32".to_owned(),
            Type::Int64 => "i64".to_owned(),
            Type::Float64 => "f64".to_owned(),
            Type::Uuid => "TopicId".to_owned(),
            Type::String => format!("Cow<{lifetime}, str>"),
            Type::Bytes => format!("Cow<{lifetime}, [u8]>"),
            Type::Records => format!("Records<{lifetime}>"),
            Type::Array(element) => format!("Vec<{}>", self.rust_type(element, lifetime)),
            Type::Struct(name) if self.borrows(kind) => format!("{name}<{lifetime}>"),
            Type::Struct(name) => name.clone(),
        }
    }

    fn field_type(&self, field: &Field, each: &Struct) -> String {
        let inner = self.rust_type(&field.kind, "'a");
        if self.nullable(field, each) { format!("Option<{inner}>") } else { inner }
    }

    /// The default as an expression, and whether `Default::default()` says the same.
    fn default(&self, field: &Field, each: &Struct) -> (String, bool) {
        if self.nullable(field, each) {
            return match field.default.as_deref() {
                Some("null") => ("None".to_owned(), true),
                None => ("Some(Default::default())".to_owned(), false),
                Some(other) => panic!("{}: a nullable field with default {other}", field.name),
            };
        }
        match (&field.kind, field.default.as_deref()) {
            (Type::Bool, Some(value @ ("true" | "false"))) => (value.to_owned(), value == "false"),
            (Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64, Some(value)) => {
                let number = match value.strip_prefix("0x") {
                    Some(digits) => i64::from_str_radix(digits, 16).expect("a hexadecimal default"),
                    None => value.parse().expect("a decimal default"),
                };
                (number.to_string(), number == 0)
            }
            (Type::Bool, None) => ("false".to_owned(), true),
            (Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64, None) => ("0".to_owned(), true),
            (_, None | Some("null")) => ("Default::default()".to_owned(), true),
            (_, Some(other)) => panic!("{}: no idea what default {other} means", field.name),
        }
    }

    /// Whether `self.field` is its default, as an expression.
    fn is_default(&self, field: &Field, each: &Struct) -> String {
        let value = format!("self.{}", field_ident(field));
        if self.nullable(field, each) {
            return match (field.default.as_deref(), &field.kind) {
                (Some("null"), _) => format!("{value}.is_none()"),
                (_, Type::Struct(_)) => format!("{value} == Some(Default::default())"),
                _ => format!("{value}.as_ref().is_some_and(|value| value.is_empty())"),
            };
        }
        match &field.kind {
            Type::Bool if self.default(field, each).1 => format!("!{value}"),
            Type::Bool => value,
            Type::String | Type::Bytes | Type::Array(_) => format!("{value}.is_empty()"),
            Type::Uuid => format!("{value}.is_zero()"),
            Type::Float64 => format!("{value} == 0.0"),
            Type::Struct(name) => format!("{value} == {name}::default()"),
            Type::Records => format!("{value} == Records::Null"),
            _ => format!("{value} == {}", self.default(field, each).0),
        }
    }

    fn read_plain(&self, kind: &Type, flexible: &str, name: &str) -> String {
        match kind {
            Type::Bool => format!("r.bool({name:?})"),
            Type::Int8 => format!("r.int8({name:?})"),
            Type::Int16 => format!("r.int16({name:?})"),
            Type::Uint16 => format!("r.uint16({name:?})"),
            Type::Int32 => format!("r.int32({name:?})"),
            Type::Int64 => format!("r.int64({name:?})"),
            Type::Float64 => format!("r.float64({name:?})"),
            Type::Uuid => format!("r.uuid({name:?})"),
            Type::String => format!("r.string({flexible}, {name:?})"),
            Type::Bytes => format!("r.bytes({flexible}, {name:?})"),
            Type::Records => unreachable!("records are read as nullable"),
            Type::Array(element) => {
                let bytes_min = self.message.element_bytes_min(element);
                let read = self.read_plain(element, flexible, name);
                format!("r.array({flexible}, {bytes_min}, {name:?}, |r| {read})")
            }
            Type::Struct(struct_name) => format!("{struct_name}::read(r, v)"),
        }
    }

    fn read(&self, field: &Field, each: &Struct, flexible: &str) -> String {
        let name = &field.name;
        let null_allowed = condition(field.nullable, field.versions.intersect(each.reach));
        match &field.kind {
            Type::Records => format!("r.records({flexible}, {null_allowed}, {name:?})?"),
            kind if !self.nullable(field, each) => format!("{}?", self.read_plain(kind, flexible, name)),
            Type::String => format!("r.string_nullable({flexible}, {null_allowed}, {name:?})?"),
            Type::Bytes => format!("r.bytes_nullable({flexible}, {null_allowed}, {name:?})?"),
            Type::Array(element) => {
                let bytes_min = self.message.element_bytes_min(element);
                let read = self.read_plain(element, flexible, name);
                format!("r.array_nullable({flexible}, {null_allowed}, {bytes_min}, {name:?}, |r| {read})?")
            }
            Type::Struct(struct_name) => {
                format!("r.struct_nullable({null_allowed}, {name:?}, |r| {struct_name}::read(r, v))?")
            }
            other => panic!("{name}: a nullable {other:?}"),
        }
    }

    /// Writes `value`, an expression of the type itself for numbers and of a reference for the rest. Ends in `?;`.
    fn write_plain(&self, kind: &Type, flexible: &str, value: &str, name: &str) -> String {
        match kind {
            Type::Bool => format!("w.bool({value});"),
            Type::Int8 => format!("w.int8({value});"),
            Type::Int16 => format!("w.int16({value});"),
            Type::Uint16 => format!("w.uint16({value});"),
            Type::Int32 => format!("w.int32({value});"),
            Type::Int64 => format!("w.int64({value});"),
            Type::Float64 => format!("w.float64({value});"),
            Type::Uuid => format!("w.uuid({value});"),
            Type::String => format!("w.string({flexible}, &{value}, {name:?})?;"),
            Type::Bytes => format!("w.bytes({flexible}, &{value}, {name:?})?;"),
            Type::Records => unreachable!("records are written as nullable"),
            Type::Array(element) => {
                format!("w.array({flexible}, &{value}, {name:?}, {})?;", self.write_element(element, flexible, name))
            }
            Type::Struct(_) => format!("{value}.write(w, v)?;"),
        }
    }

    fn write_element(&self, element: &Type, flexible: &str, name: &str) -> String {
        match element {
            Type::Struct(_) => "|w, each| each.write(w, v)".to_owned(),
            Type::String => format!("|w, each| w.string({flexible}, each, {name:?})"),
            Type::Bytes => format!("|w, each| w.bytes({flexible}, each, {name:?})"),
            number => {
                let write = self.write_plain(number, flexible, "*each", name);
                format!("|w, each| {{ {write} Ok(()) }}")
            }
        }
    }

    fn write(&self, field: &Field, each: &Struct, flexible: &str) -> String {
        let name = &field.name;
        let value = format!("self.{}", field_ident(field));
        let null_allowed = condition(field.nullable, field.versions.intersect(each.reach));
        match &field.kind {
            Type::Records => format!("w.records({flexible}, {null_allowed}, &{value}, {name:?})?;"),
            kind if !self.nullable(field, each) => self.write_plain(kind, flexible, &value, name),
            Type::String => {
                format!("w.string_nullable({flexible}, {null_allowed}, {value}.as_deref(), {name:?})?;")
            }
            Type::Bytes => format!("w.bytes_nullable({flexible}, {null_allowed}, {value}.as_deref(), {name:?})?;"),
            Type::Array(element) => {
                let write = self.write_element(element, flexible, name);
                format!("w.array_nullable({flexible}, {null_allowed}, {value}.as_deref(), {name:?}, {write})?;")
            }
            Type::Struct(_) => {
                format!("w.struct_nullable({null_allowed}, {value}.as_ref(), {name:?}, |w, each| each.write(w, v))?;")
            }
            other => panic!("{name}: a nullable {other:?}"),
        }
    }

    fn owned(&self, kind: &Type, value: &str) -> String {
        match kind {
            Type::String | Type::Bytes => format!("Cow::Owned({value}.into_owned())"),
            Type::Records | Type::Struct(_) => format!("{value}.into_owned()"),
            Type::Array(element) => {
                format!("{value}.into_iter().map(|each| {}).collect()", self.owned(element, "each"))
            }
            _ => value.to_owned(),
        }
    }

    fn emit_struct(&self, each: &Struct, out: &mut String) {
        let name = &each.name;
        let fields = self.fields(each);
        let tags = self.has_tags(each);
        let borrows = self.struct_borrows(each);
        let natural = fields.iter().all(|field| self.default(field, each).1);
        let lifetime = if borrows { "<'a>" } else { "" };
        let derive = if natural { ", Default" } else { "" };
        let is_message = name == &self.message.name;
        let doc = if is_message { "The whole message." } else { "A part of the message." };
        writeln!(out, "/// {doc}\n#[derive(Debug, Clone, PartialEq{derive})]\npub struct {name}{lifetime} {{").unwrap();
        for field in &fields {
            writeln!(
                out,
                "/// {}\npub {}: {},",
                self.doc(field, each),
                field_ident(field),
                self.field_type(field, each)
            )
            .unwrap();
        }
        if tags {
            writeln!(out, "/// Tagged fields that the schema does not name.\npub tags: Tags,").unwrap();
        }
        writeln!(out, "}}").unwrap();

        let anonymous = if borrows { "<'_>" } else { "" };
        if !natural {
            writeln!(out, "impl Default for {name}{anonymous} {{ fn default() -> Self {{ Self {{").unwrap();
            for field in &fields {
                writeln!(out, "{}: {},", field_ident(field), self.default(field, each).0).unwrap();
            }
            if tags {
                writeln!(out, "tags: Tags::NONE,").unwrap();
            }
            writeln!(out, "}} }} }}").unwrap();
        }

        let generics = if borrows { "<'a>" } else { "" };
        writeln!(out, "impl{generics} {name}{lifetime} {{").unwrap();
        self.emit_read(each, &fields, tags, borrows, out);
        self.emit_write(each, &fields, tags, out);
        self.emit_errors(each, &fields, out);
        if borrows {
            writeln!(
                out,
                "/// The same without a borrow.\n#[must_use]\npub fn into_owned(self) -> {name}<'static> {{ {name} {{"
            )
            .unwrap();
            for field in &fields {
                let ident = field_ident(field);
                let value = format!("self.{ident}");
                let owned = if !self.borrows(&field.kind) {
                    value
                } else if self.nullable(field, each) {
                    format!("{value}.map(|value| {})", self.owned(&field.kind, "value"))
                } else {
                    self.owned(&field.kind, &value)
                };
                writeln!(out, "{ident}: {owned},").unwrap();
            }
            if tags {
                writeln!(out, "tags: self.tags,").unwrap();
            }
            writeln!(out, "}} }}").unwrap();
        }
        writeln!(out, "}}").unwrap();
    }

    fn doc(&self, field: &Field, each: &Struct) -> String {
        let here = field.versions.intersect(each.reach);
        let mut doc = format!("`{}`", field.name);
        match (here.min == self.message.valid.min, here.max == self.message.valid.max) {
            (true, true) => doc += ", every version",
            (false, true) => write!(doc, ", versions {} and up", here.min).unwrap(),
            _ if here.min == here.max => write!(doc, ", version {} only", here.min).unwrap(),
            _ => write!(doc, ", versions {} to {}", here.min, here.max).unwrap(),
        }
        if self.nullable(field, each) {
            let null = field.nullable.intersect(here);
            if null.min == here.min {
                doc += "; nullable"
            } else {
                write!(doc, "; nullable from {}", null.min).unwrap()
            }
        }
        if let Some(tag) = field.tag {
            write!(doc, "; tag {tag}").unwrap();
        }
        if let Some(default) = &field.default {
            write!(doc, "; default {default}").unwrap();
        }
        if field.ignorable && here != self.message.valid {
            doc += "; dropped where absent";
        }
        doc + "."
    }

    fn emit_read(&self, each: &Struct, fields: &[&Field], tags: bool, borrows: bool, out: &mut String) {
        let reach = each.reach;
        let flexible = condition(self.message.flexible, reach);
        let (reader, generics) = if borrows { ("Reader<'a>", "") } else { ("Reader<'_>", "") };
        let mut body = String::new();
        for field in fields {
            let ident = field_ident(field);
            let present = condition(field.versions, reach);
            let default = self.default(field, each).0;
            let kind = self.field_type(field, each);
            if field.tag.is_some() {
                writeln!(body, "let mut {ident}: {kind} = {default};").unwrap();
            } else if present == "true" {
                writeln!(body, "let {ident} = {};", self.read(field, each, "flexible")).unwrap();
            } else {
                let read = self.read(field, each, "flexible");
                writeln!(body, "let {ident}: {kind} = if {present} {{ {read} }} else {{ {default} }};").unwrap();
            }
        }
        if tags {
            let known: Vec<_> = fields.iter().filter(|field| field.tag.is_some()).collect();
            let mut arms = String::new();
            for field in &known {
                let present = condition(field.versions, reach);
                let guard = if present == "true" { String::new() } else { format!(" if {present}") };
                let tag = field.tag.unwrap();
                writeln!(arms, "{tag}{guard} => {} = {},", field_ident(field), self.read(field, each, "true")).unwrap();
            }
            let closure = if known.is_empty() {
                "|_, _| Ok(false)".to_owned()
            } else {
                format!("|r, tag| {{ match tag {{ {arms} _ => return Ok(false), }} Ok(true) }}")
            };
            match flexible.as_str() {
                "true" => writeln!(body, "let tags = r.tags({closure})?;").unwrap(),
                _ => writeln!(body, "let tags = if flexible {{ r.tags({closure})? }} else {{ Tags::NONE }};").unwrap(),
            }
        }
        let mut head = String::new();
        if uses(&body, "flexible") {
            writeln!(head, "let flexible = {flexible};").unwrap();
        }
        let v = if uses(&body, "v") || uses(&head, "v") { "v" } else { "_v" };
        let r = if fields.is_empty() && !tags { "_r" } else { "r" };
        let mut names: Vec<String> = fields.iter().map(|field| field_ident(field)).collect();
        if tags {
            names.push("tags".to_owned());
        }
        writeln!(
            out,
            "pub(crate) fn read{generics}({r}: &mut {reader}, {v}: i16) -> Result<Self, DecodeError> {{\n{head}{body}Ok(Self {{ {} }})\n}}",
            names.join(", ")
        )
        .unwrap();
    }

    fn emit_write(&self, each: &Struct, fields: &[&Field], tags: bool, out: &mut String) {
        let reach = each.reach;
        let flexible = condition(self.message.flexible, reach);
        let mut body = String::new();
        for field in fields {
            let present = condition(field.versions, reach);
            let name = &field.name;
            let absent = format!("w.absent({}, {name:?})?;", self.is_default(field, each));
            let write = if field.tag.is_some() { String::new() } else { self.write(field, each, "flexible") };
            match (present.as_str(), field.ignorable, field.tag.is_some()) {
                ("true", _, true) => {}
                ("true", _, false) => writeln!(body, "{write}").unwrap(),
                (_, true, true) => {}
                (_, false, true) => writeln!(body, "if !({present}) {{ {absent} }}").unwrap(),
                (_, true, false) => writeln!(body, "if {present} {{ {write} }}").unwrap(),
                (_, false, false) => writeln!(body, "if {present} {{ {write} }} else {{ {absent} }}").unwrap(),
            }
        }
        if tags {
            let mut known: Vec<_> = fields.iter().filter(|field| field.tag.is_some()).collect();
            known.sort_by_key(|field| field.tag);
            let (mut decide, mut count, mut write) = (String::new(), vec!["0".to_owned()], String::new());
            for field in known {
                let tag = field.tag.unwrap();
                let present = condition(field.versions, reach);
                let set = format!("!({})", self.is_default(field, each));
                let set = if present == "true" { set } else { format!("{present} && {set}") };
                writeln!(decide, "let tag_{tag} = {set};").unwrap();
                count.push(format!("u32::from(tag_{tag})"));
                let value = self.write(field, each, "true");
                writeln!(write, "if tag_{tag} {{ w.tag({tag}, |w| {{ {value} Ok(()) }})?; }}").unwrap();
            }
            if count.len() > 1 {
                count.remove(0);
            }
            let all = format!(
                "{decide}w.tag_count({}, &self.tags);\n{write}w.tags_unknown(&self.tags);\n",
                count.join(" + ")
            );
            match flexible.as_str() {
                "true" => body += &all,
                _ => writeln!(body, "if flexible {{\n{all}}}").unwrap(),
            }
        }
        let mut head = String::new();
        if uses(&body, "flexible") {
            writeln!(head, "let flexible = {flexible};").unwrap();
        }
        let v = if uses(&body, "v") || uses(&head, "v") { "v" } else { "_v" };
        let w = if body.is_empty() { "_w" } else { "w" };
        writeln!(
            out,
            "pub(crate) fn write(&self, {w}: &mut Writer, {v}: i16) -> Result<(), EncodeError> {{\n{head}{body}Ok(())\n}}"
        )
        .unwrap();
    }

    /// Whether a struct of a response, or one inside it, says that something failed.
    fn has_errors(&self, each: &Struct) -> bool {
        matches!(self.message.kind, Kind::Response { .. })
            && self.fields(each).iter().any(|field| is_error_code(field) || self.nested_errors(&field.kind))
    }

    fn nested_errors(&self, kind: &Type) -> bool {
        match kind {
            Type::Array(element) => self.nested_errors(element),
            Type::Struct(name) => self.has_errors(self.message.find(name)),
            _ => false,
        }
    }

    /// How the error codes of a response are found, each with the message beside it.
    fn emit_errors(&self, each: &Struct, fields: &[&Field], out: &mut String) {
        if !self.has_errors(each) {
            return;
        }
        let message = fields.iter().find(|field| field.name == "ErrorMessage" && field.kind == Type::String);
        let message = match message {
            Some(field) if self.nullable(field, each) => format!("self.{}.as_deref()", field_ident(field)),
            Some(field) => format!("Some(&*self.{})", field_ident(field)),
            None => "None".to_owned(),
        };
        let mut body = String::new();
        for field in fields {
            let value = format!("self.{}", field_ident(field));
            let visit = match &field.kind {
                _ if is_error_code(field) => {
                    let here = match condition(field.versions, each.reach).as_str() {
                        "true" => String::new(),
                        present => format!("{present} && "),
                    };
                    writeln!(body, "if {here}{value} != 0 {{ each({value}, {message}); }}").unwrap();
                    continue;
                }
                kind if !self.nested_errors(kind) => continue,
                Type::Array(_) if self.nullable(field, each) => {
                    format!("for part in {value}.iter().flatten() {{ part.errors(v, each); }}")
                }
                Type::Array(_) => format!("for part in &{value} {{ part.errors(v, each); }}"),
                _ if self.nullable(field, each) => {
                    format!("if let Some(part) = &{value} {{ part.errors(v, each); }}")
                }
                _ => format!("{value}.errors(v, each);"),
            };
            match condition(field.versions, each.reach).as_str() {
                "true" => writeln!(body, "{visit}").unwrap(),
                present => writeln!(body, "if {present} {{ {visit} }}").unwrap(),
            }
        }
        let v = if uses(&body, "v") { "v" } else { "_v" };
        writeln!(out, "pub(crate) fn errors(&self, {v}: i16, each: &mut dyn FnMut(i16, Option<&str>)) {{\n{body}}}")
            .unwrap();
    }
}

fn is_error_code(field: &Field) -> bool {
    field.kind == Type::Int16 && field.name.ends_with("ErrorCode")
}

fn borrows_anything(message: &Message) -> bool {
    Emitter { message }.struct_borrows(&message.structs[0])
}

/// Whether `code` holds `word` as an identifier, outside string literals.
fn uses(code: &str, word: &str) -> bool {
    code.split('"')
        .step_by(2)
        .any(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|identifier| identifier == word))
}

/// One module: the message's structs and the traits that make it one.
fn emit_message(message: &Message, answer: Option<&Message>, out: &mut String) {
    let emitter = Emitter { message };
    let name = &message.name;
    let Versions { min, max } = message.valid;
    let flexible = if message.flexible.is_empty() {
        "never in the flexible form".to_owned()
    } else {
        format!("flexible from {}", message.flexible.min)
    };
    let what = match message.kind {
        Kind::Request { key } => format!("request of API {key}"),
        Kind::Response { key } => format!("response of API {key}"),
        Kind::Data => "bytes inside other messages or records".to_owned(),
        Kind::Metadata { key } => format!("metadata record {key}"),
        Kind::CoordinatorKey { key } => format!("key of group record {key}"),
        Kind::CoordinatorValue { key } => format!("value of group record {key}"),
    };
    writeln!(out, "/// `{name}`: {what}, versions {min} to {max}, {flexible}.\npub mod {} {{", snake(name)).unwrap();
    writeln!(
        out,
        "#![allow(unused_imports, clippy::nonminimal_bool, clippy::bool_comparison, clippy::overly_complex_bool_expr, clippy::redundant_closure, \
         reason = \"generated: what one message needs another does not\")]\nuse super::prelude::*;"
    )
    .unwrap();
    for each in &message.structs {
        emitter.emit_struct(each, out);
    }
    let borrows = emitter.struct_borrows(&message.structs[0]);
    let (this, owned, into_owned) = if borrows {
        (format!("{name}<'a>"), format!("{name}<'static>"), format!("{name}::into_owned(self)"))
    } else {
        (name.clone(), name.clone(), "self".to_owned())
    };
    let flexible_from =
        if message.flexible.is_empty() { "None".to_owned() } else { format!("Some({})", message.flexible.min) };
    writeln!(
        out,
        "impl<'a> Message<'a> for {this} {{
            const NAME: &'static str = {name:?};
            const VERSION_MIN: i16 = {min};
            const VERSION_MAX: i16 = {max};
            const FLEXIBLE_FROM: Option<i16> = {flexible_from};
            type Owned = {owned};
            fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {{
                r.enter({name:?}, version);
                if !({min}..={max}).contains(&version) {{
                    return Err(r.error(\"(version)\", DecodeFault::UnknownVersion));
                }}
                Self::read(r, version)
            }}
            fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{
                w.enter({name:?}, version);
                if !({min}..={max}).contains(&version) {{
                    return Err(w.error(\"(version)\", EncodeFault::UnknownVersion));
                }}
                self.write(w, version)
            }}
            fn into_owned(self) -> {owned} {{ {into_owned} }}
        }}"
    )
    .unwrap();
    match message.kind {
        Kind::Request { .. } => {
            let api = name.strip_suffix("Request").unwrap();
            let answer = answer.expect("a request has a response");
            let answer_lifetime = if borrows_anything(answer) { "<'static>" } else { "" };
            writeln!(
                out,
                "impl<'a> Request<'a> for {this} {{
                    const API_KEY: ApiKey = ApiKey::{api};
                    type Response = super::{}::{}{answer_lifetime};
                }}",
                snake(&answer.name),
                answer.name
            )
            .unwrap();
        }
        Kind::Response { .. } => {
            let api = name.strip_suffix("Response").unwrap();
            let errors = if emitter.has_errors(&message.structs[0]) {
                "fn errors(&self, version: i16, each: &mut dyn FnMut(i16, Option<&str>)) { Self::errors(self, version, each); }"
            } else {
                "fn errors(&self, _version: i16, _each: &mut dyn FnMut(i16, Option<&str>)) {}"
            };
            writeln!(
                out,
                "impl<'a> Response<'a> for {this} {{ const API_KEY: ApiKey = ApiKey::{api}; {errors} }}
                impl OwnedResponse for {owned} {{
                    fn decode_owned(bytes: &[u8], version: i16) -> Result<Self, DecodeError> {{
                        Ok(Message::into_owned({name}::from_bytes(bytes, version)?))
                    }}
                }}"
            )
            .unwrap();
        }
        _ => {}
    }
    writeln!(out, "}}").unwrap();
}

/// A table for tests: how to decode and encode again each message.
fn emit_recode(messages: &[&Message], out: &mut String) {
    writeln!(out, "#[cfg(test)]\n#[allow(unused_qualifications, reason = \"in scope at one place of two\")]\npub(crate) const RECODE: &[crate::recode::Recode] = &[").unwrap();
    for message in messages {
        let (name, Versions { min, max }) = (&message.name, message.valid);
        writeln!(
            out,
            "crate::recode::Recode {{ name: {name:?}, versions: {min}..={max}, run: |bytes, version| crate::recode::run::<{}::{name}{}>(bytes, version) }},",
            snake(name),
            if borrows_anything(message) { "<'_>" } else { "" }
        )
        .unwrap();
    }
    writeln!(out, "];").unwrap();
}

pub fn emit_apis(apis: &[Api]) -> String {
    let mut out = String::new();
    let mut all = Vec::new();
    for api in apis {
        emit_message(&api.request, Some(&api.response), &mut out);
        emit_message(&api.response, None, &mut out);
        all.extend([&api.request, &api.response]);
    }
    emit_recode(&all, &mut out);
    out
}

pub fn emit_api_table(apis: &[Api]) -> String {
    let mut out = String::new();
    writeln!(
        out,
        "/// The APIs that a Kafka 4.3.1 broker serves, by their key on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[expect(missing_docs, reason = \"Kafka's own names, explained by the protocol guide\")]
        pub enum ApiKey {{"
    )
    .unwrap();
    for api in apis {
        writeln!(out, "{} = {},", api.name, api.key).unwrap();
    }
    writeln!(out, "}}\npub(crate) const TABLE: &[Api] = &[").unwrap();
    for api in apis {
        let Versions { min, max } = api.request.valid;
        let served = if api.unstable { max - 1 } else { max };
        let flexible = match api.request.flexible {
            versions if versions.is_empty() => "None".to_owned(),
            versions => format!("Some({})", versions.min),
        };
        writeln!(
            out,
            "Api {{ key: ApiKey::{0}, name: {0:?}, version_min: {min}, version_max: {served}, version_max_decoded: {max}, flexible_from: {flexible} }},",
            api.name
        )
        .unwrap();
    }
    writeln!(out, "];").unwrap();
    out
}

fn emit_enum(messages: &[&Message], name: &str, suffix: &str, doc: &str, out: &mut String) {
    let variants: Vec<(String, String, i16, Versions)> = messages
        .iter()
        .map(|message| {
            let key = match message.kind {
                Kind::Metadata { key } | Kind::CoordinatorKey { key } | Kind::CoordinatorValue { key } => key,
                _ => unreachable!("a record has a key"),
            };
            let lifetime = if borrows_anything(message) { "<'a>" } else { "" };
            let kind = format!("{}::{}{lifetime}", snake(&message.name), message.name);
            (message.name.strip_suffix(suffix).unwrap().to_owned(), kind, key, message.valid)
        })
        .collect();
    writeln!(out, "/// {doc}\n#[derive(Debug, Clone, PartialEq)]\npub enum {name}<'a> {{").unwrap();
    for (variant, kind, key, _) in &variants {
        writeln!(out, "/// Type {key}.\n{variant}({kind}),").unwrap();
    }
    writeln!(out, "}}\nimpl<'a> {name}<'a> {{").unwrap();
    writeln!(
        out,
        "/// The number that says which record this is.\n#[must_use]\npub fn kind(&self) -> i16 {{ match self {{"
    )
    .unwrap();
    for (variant, _, key, _) in &variants {
        writeln!(out, "Self::{variant}(_) => {key},").unwrap();
    }
    writeln!(
        out,
        "}} }}\n/// The newest version of this record.\n#[must_use]\npub fn version_max(&self) -> i16 {{ match self {{"
    )
    .unwrap();
    for (variant, _, _, versions) in &variants {
        writeln!(out, "Self::{variant}(_) => {},", versions.max).unwrap();
    }
    writeln!(
        out,
        "}} }}\nfn read(r: &mut Reader<'a>, kind: i16, version: i16) -> Result<Self, DecodeError> {{ match kind {{"
    )
    .unwrap();
    for (variant, _, key, _) in &variants {
        writeln!(out, "{key} => Message::decode(r, version).map(Self::{variant}),").unwrap();
    }
    writeln!(out, "_ => Err(r.error(\"(type)\", DecodeFault::UnknownType)), }} }}").unwrap();
    writeln!(out, "fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{ match self {{").unwrap();
    for (variant, ..) in &variants {
        writeln!(out, "Self::{variant}(record) => record.encode(w, version),").unwrap();
    }
    writeln!(out, "}} }}\n/// The same without a borrow.\n#[must_use]\npub fn into_owned(self) -> {name}<'static> {{ match self {{").unwrap();
    for (variant, kind, ..) in &variants {
        let owned = if kind.ends_with('>') { "record.into_owned()" } else { "record" };
        writeln!(out, "Self::{variant}(record) => {name}::{variant}({owned}),").unwrap();
    }
    writeln!(out, "}} }} }}").unwrap();
    for (variant, kind, ..) in &variants {
        writeln!(
            out,
            "impl<'a> From<{kind}> for {name}<'a> {{ fn from(record: {kind}) -> Self {{ Self::{variant}(record) }} }}"
        )
        .unwrap();
    }
}

pub fn emit_records(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        emit_message(message, None, &mut out);
    }
    let of = |wanted: fn(&Kind) -> bool| messages.iter().filter(|each| wanted(&each.kind)).collect::<Vec<_>>();
    emit_enum(
        &of(|kind| matches!(kind, Kind::Metadata { .. })),
        "MetadataRecord",
        "Record",
        "A record of the metadata log.",
        &mut out,
    );
    emit_enum(
        &of(|kind| matches!(kind, Kind::CoordinatorKey { .. })),
        "GroupRecordKey",
        "Key",
        "The key of a record in `__consumer_offsets`.",
        &mut out,
    );
    emit_enum(
        &of(|kind| matches!(kind, Kind::CoordinatorValue { .. })),
        "GroupRecordValue",
        "Value",
        "The value of a record in `__consumer_offsets`.",
        &mut out,
    );
    emit_recode(&messages.iter().collect::<Vec<_>>(), &mut out);
    out
}
