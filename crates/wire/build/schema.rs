//! Parses the message tables under `schemas/`. Their format is described in `scripts/derive-schemas.py`.

/// Versions from `min` to `max`; `max` is `None` for an open range (`3+`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Self = Self { min: 1, max: 0 };

    pub fn parse(text: &str) -> Self {
        let number = |digits: &str| digits.parse::<i16>().unwrap_or_else(|_| panic!("not a version range: {text}"));
        if text == "none" {
            Self::NONE
        } else if let Some(min) = text.strip_suffix('+') {
            Self { min: number(min), max: i16::MAX }
        } else if let Some((min, max)) = text.split_once('-') {
            Self { min: number(min), max: number(max) }
        } else {
            Self { min: number(text), max: number(text) }
        }
    }

    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub fn intersect(self, other: Self) -> Self {
        let both = Self { min: self.min.max(other.min), max: self.max.min(other.max) };
        if both.is_empty() { Self::NONE } else { both }
    }

    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { min: self.min.min(other.min), max: self.max.max(other.max) },
        }
    }

    pub fn iter(self) -> impl Iterator<Item = i16> {
        assert!(self.is_empty() || self.max < i16::MAX, "an open range has no end");
        self.min..=self.max
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Self {
        if let Some(element) = text.strip_prefix("[]") {
            return Self::Array(Box::new(Self::parse(element)));
        }
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Self::Struct(name.to_owned()),
            other => panic!("an unknown type: {other}"),
        }
    }

    /// The struct this is, or is an array of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub kind: Type,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub default: Option<String>,
    pub ignorable: bool,
}

#[derive(Debug, Clone)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
    /// The versions in which anything holds one.
    pub reach: Versions,
}

/// What a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Request { key: i16 },
    Response { key: i16 },
    Data,
    Metadata { key: i16 },
    CoordinatorKey { key: i16 },
    CoordinatorValue { key: i16 },
}

#[derive(Debug, Clone)]
pub struct Message {
    pub kind: Kind,
    pub name: String,
    pub valid: Versions,
    pub flexible: Versions,
    /// The message itself first, then the structs in it, in order of appearance.
    pub structs: Vec<Struct>,
}

impl Message {
    pub fn find(&self, name: &str) -> &Struct {
        self.structs.iter().find(|each| each.name == name).unwrap_or_else(|| panic!("{}: no struct {name}", self.name))
    }

    /// The least bytes that a value takes on the wire in `version`.
    pub fn bytes_min(&self, kind: &Type, version: i16, flexible: bool) -> usize {
        match kind {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String if !flexible => 2,
            Type::Bytes | Type::Records | Type::Array(_) if !flexible => 4,
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => 1,
            Type::Struct(name) => {
                let fields = self.find(name).fields.iter();
                let present = fields.filter(|field| field.versions.contains(version) && field.tag.is_none());
                let own: usize = present
                    .map(|field| {
                        let null = field.nullable.contains(version) && matches!(field.kind, Type::Struct(_));
                        if null { 1 } else { self.bytes_min(&field.kind, version, flexible) }
                    })
                    .sum();
                own + usize::from(flexible)
            }
        }
    }

    /// The same over all versions in which the struct is reachable.
    pub fn element_bytes_min(&self, kind: &Type) -> usize {
        let reach = kind.struct_name().map_or(self.valid, |name| self.find(name).reach);
        reach.iter().map(|version| self.bytes_min(kind, version, self.flexible.contains(version))).min().unwrap_or(1)
    }
}

#[derive(Debug, Clone)]
pub struct Api {
    pub key: i16,
    pub name: String,
    /// The newest version is not served.
    pub unstable: bool,
    pub request: Message,
    pub response: Message,
}

struct Line<'a> {
    depth: usize,
    words: Vec<&'a str>,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let used = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    used.map(|line| Line {
        depth: (line.len() - line.trim_start().len()) / 2,
        words: line.split_whitespace().collect(),
    })
    .collect()
}

pub fn parse_api(text: &str) -> Api {
    let lines = lines(text);
    let head = &lines[0].words;
    assert_eq!(head[0], "api", "an API's table begins with `api <key> <name>`");
    let (key, name) = (head[1].parse().expect("an API key"), head[2].to_owned());
    let mut messages: Vec<Message> = blocks(&lines[1..])
        .into_iter()
        .map(|block| {
            let words = &block[0].words;
            let kind = match words[0] {
                "request" => Kind::Request { key },
                "response" => Kind::Response { key },
                other => panic!("{name}: {other} instead of request or response"),
            };
            let suffix = if words[0] == "request" { "Request" } else { "Response" };
            parse_message(kind, format!("{name}{suffix}"), &words[1..], &block[1..])
        })
        .collect();
    assert_eq!(messages.len(), 2, "{name}: a request and a response");
    let response = messages.pop().expect("two messages");
    let request = messages.pop().expect("two messages");
    Api { key, name, unstable: head.contains(&"unstable"), request, response }
}

pub fn parse_messages(text: &str) -> Vec<Message> {
    let lines = lines(text);
    let parse = |block: &[Line<'_>]| {
        let words = &block[0].words;
        let key = || words[1].parse().expect("a record's key");
        let (kind, rest) = match words[0] {
            "data" => (Kind::Data, &words[1..]),
            "metadata" => (Kind::Metadata { key: key() }, &words[2..]),
            "coordinator-key" => (Kind::CoordinatorKey { key: key() }, &words[2..]),
            "coordinator-value" => (Kind::CoordinatorValue { key: key() }, &words[2..]),
            other => panic!("an unknown kind of message: {other}"),
        };
        parse_message(kind, rest[0].to_owned(), &rest[1..], &block[1..])
    };
    blocks(&lines).into_iter().map(parse).collect()
}

/// Cuts the lines into groups that begin at depth 0.
fn blocks<'l, 't>(lines: &'l [Line<'t>]) -> Vec<&'l [Line<'t>]> {
    let mut starts: Vec<usize> = (0..lines.len()).filter(|&index| lines[index].depth == 0).collect();
    starts.push(lines.len());
    starts.windows(2).map(|pair| &lines[pair[0]..pair[1]]).collect()
}

/// `head` is `<valid> flexible <versions>`.
fn parse_message(kind: Kind, name: String, head: &[&str], lines: &[Line<'_>]) -> Message {
    assert_eq!(head[1], "flexible", "{name}: <valid versions> flexible <versions>");
    let valid = Versions::parse(head[0]);
    let mut structs = vec![Struct { name: name.clone(), fields: Vec::new(), reach: valid }];
    // The struct that fields of each depth belong to.
    let mut owners = vec![0_usize];
    for line in lines {
        owners.truncate(line.depth);
        let owner = *owners.last().unwrap_or_else(|| panic!("{name}: a field that is indented too far"));
        if line.words[0] == "struct" {
            structs.push(Struct { name: line.words[1].to_owned(), fields: Vec::new(), reach: Versions::NONE });
            owners.push(structs.len() - 1);
            continue;
        }
        let field = parse_field(&line.words);
        // The next line may be a child: make room for the struct, dropped again below if it stays unused.
        let child = field.kind.struct_name().map(str::to_owned);
        structs[owner].fields.push(field);
        if let Some(child) = child {
            match structs.iter().position(|each| each.name == child) {
                Some(index) => owners.push(index),
                None => {
                    structs.push(Struct { name: child, fields: Vec::new(), reach: Versions::NONE });
                    owners.push(structs.len() - 1);
                }
            }
        }
    }
    // A struct used before its `struct` line exists twice, once without fields.
    let mut unique: Vec<Struct> = Vec::new();
    for each in structs {
        match unique.iter_mut().find(|known| known.name == each.name) {
            Some(known) => known.fields.extend(each.fields),
            None => unique.push(each),
        }
    }
    let mut message =
        Message { kind, name, valid, flexible: Versions::parse(head[2]).intersect(valid), structs: unique };
    spread_reach(&mut message);
    message
}

/// Finds for each struct the versions in which a message can hold one.
fn spread_reach(message: &mut Message) {
    loop {
        let mut changed = false;
        for parent in 0..message.structs.len() {
            for field in 0..message.structs[parent].fields.len() {
                let reach = message.structs[parent].reach;
                let field = &message.structs[parent].fields[field];
                let Some(name) = field.kind.struct_name().map(str::to_owned) else { continue };
                let here = field.versions.intersect(reach);
                let child = message.structs.iter_mut().find(|each| each.name == name).expect("a struct for each use");
                let hull = child.reach.hull(here);
                changed |= hull != child.reach;
                child.reach = hull;
            }
        }
        if !changed {
            return;
        }
    }
}

fn parse_field(words: &[&str]) -> Field {
    let mut field = Field {
        name: words[0].to_owned(),
        kind: Type::parse(words[1]),
        versions: Versions::parse(words[2]),
        nullable: Versions::NONE,
        tag: None,
        default: None,
        ignorable: false,
    };
    let mut rest = words[3..].iter();
    while let Some(&word) = rest.next() {
        let mut value = || *rest.next().unwrap_or_else(|| panic!("{}: {word} wants a value", field.name));
        match word {
            "nullable" => field.nullable = Versions::parse(value()),
            "tag" => field.tag = Some(value().parse().expect("a tag number")),
            "default" => field.default = Some(value().to_owned()),
            "ignorable" => field.ignorable = true,
            other => panic!("{}: an unknown attribute {other}", field.name),
        }
    }
    field
}
