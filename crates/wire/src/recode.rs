//! Tests over every message in every version. Bytes are made up from the tables under `schemas/` by an interpreter
//! that shares no code with the generated decoders, decoded, encoded again, and compared; three judges look at the same
//! bytes: our own codec, the `kafka-protocol` crate, and (where a Java and Kafka's jars are found) Kafka itself.
//!
//! Not checked here: that a field's name means what its user thinks (the goldens in `golden.rs` do that for some), and
//! defaults of absent fields.

use std::ops::RangeInclusive;

use crate::{Message, Reader, Writer};

/// A message and how to recode it.
pub(crate) struct Recode {
    pub(crate) name: &'static str,
    pub(crate) versions: RangeInclusive<i16>,
    pub(crate) run: for<'a> fn(&'a [u8], i16) -> Result<Vec<u8>, String>,
}

/// Decodes all of `bytes` and encodes the result.
pub(crate) fn run<'a, M: Message<'a>>(bytes: &'a [u8], version: i16) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version).map_err(|error| error.to_string())?;
    reader.finish().map_err(|error| error.to_string())?;
    let mut writer = Writer::new();
    writer.source = bytes.to_vec();
    message.encode(&mut writer, version).map_err(|error| error.to_string())?;
    Ok(writer.into_bytes().to_vec())
}

#[expect(dead_code, reason = "the build script's parser; the tests need a part of it")]
#[path = "../build/schema.rs"]
mod schema;

mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use kafka_protocol::messages::{ApiKey as OracleKey, RequestKind, ResponseKind};

    use super::schema::{self, Field, Kind, Message as Schema, Struct, Type};
    use super::*;

    /// xorshift64*: the same numbers in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() >> 33) as usize % end
        }

        fn one_in(&mut self, n: usize) -> bool {
            self.below(n) == 0
        }
    }

    fn put_varint(out: &mut Vec<u8>, mut value: usize) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    /// Makes up the bytes of one message in one version.
    struct Composer<'s> {
        schema: &'s Schema,
        version: i16,
        random: Random,
    }

    impl Composer<'_> {
        fn compose(schema: &Schema, version: i16, seed: u64) -> Vec<u8> {
            let random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ schema.name.len() as u64);
            let mut out = Vec::new();
            Composer { schema, version, random }.structure(&schema.structs[0], &mut out);
            out
        }

        fn flexible(&self) -> bool {
            self.schema.flexible.contains(self.version)
        }

        fn structure(&mut self, each: &Struct, out: &mut Vec<u8>) {
            let present: Vec<&Field> =
                each.fields.iter().filter(|field| field.versions.contains(self.version)).collect();
            for field in present.iter().filter(|field| field.tag.is_none()) {
                self.field(field, out);
            }
            if !self.flexible() {
                return;
            }
            let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
            for field in present.iter().filter(|field| field.tag.is_some()) {
                if self.random.one_in(2) {
                    let mut value = Vec::new();
                    self.tagged_value(field, &mut value);
                    tagged.push((field.tag.unwrap(), value));
                }
            }
            tagged.sort();
            if self.random.one_in(4) {
                tagged.push((12_345, vec![7; self.random.below(4)]));
            }
            put_varint(out, tagged.len());
            for (tag, value) in tagged {
                put_varint(out, tag as usize);
                put_varint(out, value.len());
                out.extend(value);
            }
        }

        fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
            let null_allowed = field.nullable.contains(self.version);
            if null_allowed && self.random.one_in(4) {
                return self.null(&field.kind, out);
            }
            if null_allowed && matches!(field.kind, Type::Struct(_)) {
                out.push(1);
            }
            self.value(&field.kind, 0, out);
        }

        /// Never the default: a tagged field with its default is not written.
        fn tagged_value(&mut self, field: &Field, out: &mut Vec<u8>) {
            if field.nullable.contains(self.version) && matches!(field.kind, Type::Struct(_)) {
                out.push(1);
            }
            match field.kind {
                Type::Bool => out.push(u8::from(field.default.as_deref() != Some("true"))),
                _ => self.value(&field.kind, 1, out),
            }
        }

        fn null(&self, kind: &Type, out: &mut Vec<u8>) {
            match kind {
                Type::Struct(_) => out.push(0xff),
                _ if self.flexible() => out.push(0),
                Type::String => out.extend([0xff; 2]),
                _ => out.extend([0xff; 4]),
            }
        }

        fn length(&self, length: usize, width: usize, out: &mut Vec<u8>) {
            if self.flexible() {
                put_varint(out, length + 1);
            } else {
                out.extend(&(length as u32).to_be_bytes()[4 - width..]);
            }
        }

        fn value(&mut self, kind: &Type, length_min: usize, out: &mut Vec<u8>) {
            let random = self.random.next() | 1 << 32;
            match kind {
                Type::Bool => out.push((random >> 40) as u8 & 1),
                Type::Int8 => out.push((random >> 40) as u8 | 1),
                Type::Int16 | Type::Uint16 => out.extend(&random.to_be_bytes()[..2]),
                Type::Int32 => out.extend(&random.to_be_bytes()[..4]),
                Type::Int64 => out.extend(random.to_be_bytes()),
                Type::Float64 => out.extend(f64::from(random as i32).to_be_bytes()),
                Type::Uuid => out.extend((u128::from(random) << 64 | 5).to_be_bytes()),
                Type::String => {
                    let long = if self.random.one_in(8) { 150 } else { 0 };
                    let text: String = ["a", "é", "€", "😀", "-", "z"][self.random.below(6)]
                        .repeat(length_min + long + self.random.below(5));
                    self.length(text.len(), 2, out);
                    out.extend(text.as_bytes());
                }
                Type::Bytes | Type::Records => {
                    let most = if self.random.one_in(4) { 300 } else { 9 };
                    let length = length_min + self.random.below(most);
                    self.length(length, 4, out);
                    let byte = self.random.next() as u8;
                    out.extend((0..length).map(|index| byte.wrapping_add(index as u8)));
                }
                Type::Array(element) => {
                    let count = length_min + self.random.below(3);
                    self.length(count, 4, out);
                    for _ in 0..count {
                        self.value(element, 0, out);
                    }
                }
                Type::Struct(name) => {
                    let schema = self.schema;
                    self.structure(schema.find(name), out);
                }
            }
        }
    }

    fn schemas() -> Vec<Schema> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder.join("api")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut all = Vec::new();
        for file in files {
            let api = schema::parse_api(&read(&file));
            all.extend([api.request, api.response]);
        }
        for file in ["metadata-records.txt", "group-records.txt", "control-records.txt", "consumer-protocol.txt"] {
            all.extend(schema::parse_messages(&read(&folder.join(file))));
        }
        all
    }

    /// Every message with its table.
    fn subjects() -> Vec<(Schema, &'static Recode)> {
        let recodes: Vec<&Recode> = crate::RECODE.iter().chain(crate::records::RECODE).collect();
        let schemas = schemas();
        assert_eq!(schemas.len(), recodes.len());
        let named = |schema: &Schema| *recodes.iter().find(|recode| recode.name == schema.name).unwrap();
        schemas.into_iter().map(|schema| (schema.clone(), named(&schema))).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_message_in_every_version_is_encoded_as_it_was_decoded() {
        for (schema, recode) in subjects() {
            for version in recode.versions.clone() {
                for seed in 0..12 {
                    let bytes = Composer::compose(&schema, version, seed);
                    let again = (recode.run)(&bytes, version)
                        .unwrap_or_else(|error| panic!("{error}\nseed {seed}: {}", hex(&bytes)));
                    assert_eq!(hex(&again), hex(&bytes), "{} version {version} seed {seed}", recode.name);
                }
            }
        }
    }

    #[test]
    fn a_message_cut_at_any_byte_is_an_error() {
        for (schema, recode) in subjects() {
            for version in recode.versions.clone() {
                let bytes = Composer::compose(&schema, version, 3);
                for cut in 0..bytes.len() {
                    assert!((recode.run)(&bytes[..cut], version).is_err(), "{} {version} at {cut}", recode.name);
                }
                let mut longer = bytes.clone();
                longer.push(0);
                assert!((recode.run)(&longer, version).is_err(), "{} {version}: a trailing byte", recode.name);
            }
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let mut random = Random(42);
        for (schema, recode) in subjects() {
            for version in recode.versions.clone() {
                let mut bytes = Composer::compose(&schema, version, 4);
                for _ in 0..40 {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = random.below(bytes.len());
                    bytes[at] = if random.one_in(3) { 0xff } else { random.next() as u8 };
                    let _ = (recode.run)(&bytes, version);
                }
                let noise: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
                let _ = (recode.run)(&noise, version);
            }
            for unknown in [*recode.versions.start() - 1, *recode.versions.end() + 1] {
                assert!((recode.run)(&Composer::compose(&schema, *recode.versions.end(), 1), unknown).is_err());
            }
        }
    }

    /// Messages that `kafka-protocol` 0.18 claims to know and refuses; like those it does not know at all, they are
    /// judged by Kafka itself alone.
    const ORACLE_REFUSES: [(&str, i16); 3] =
        [("OffsetCommitRequest", 10), ("OffsetFetchRequest", 10), ("InitProducerIdRequest", 6)];

    /// What `kafka-protocol` 0.18 makes of the bytes of a request or response; `None` where it stops earlier.
    fn oracle(schema: &Schema, version: i16, bytes: &[u8]) -> Option<Result<Vec<u8>, String>> {
        let (Kind::Request { key } | Kind::Response { key }) = schema.kind else { return None };
        let api = OracleKey::try_from(key).ok()?;
        let range = api.valid_versions();
        let refused = ORACLE_REFUSES.contains(&(schema.name.as_str(), version));
        if refused || version < range.min || range.max < version {
            return None;
        }
        let mut input = bytes::Bytes::copy_from_slice(bytes);
        let mut output = bytes::BytesMut::new();
        let outcome =
            match schema.kind {
                Kind::Request { .. } => RequestKind::decode(api, &mut input, version)
                    .and_then(|message| message.encode(&mut output, version)),
                _ => ResponseKind::decode(api, &mut input, version)
                    .and_then(|message| message.encode(&mut output, version)),
            };
        Some(match outcome {
            Ok(()) if !input.is_empty() => Err(format!("{} bytes left over", input.len())),
            Ok(()) => Ok(output.to_vec()),
            Err(error) => Err(error.to_string()),
        })
    }

    #[test]
    fn a_second_codec_reads_and_writes_the_same_bytes() {
        let (mut compared, mut beyond) = (0, Vec::new());
        let mut differences = Vec::new();
        for (schema, recode) in subjects() {
            for version in recode.versions.clone() {
                for seed in 20..24 {
                    let bytes = Composer::compose(&schema, version, seed);
                    match oracle(&schema, version, &bytes) {
                        Some(Ok(again)) if again == bytes => compared += 1,
                        Some(Ok(again)) => {
                            differences.push(format!("{} {version}: {}\n{}", recode.name, hex(&bytes), hex(&again)))
                        }
                        Some(Err(error)) => differences.push(format!("{} {version}: {error}", recode.name)),
                        None if seed == 20 => beyond.push(format!("{} {version}", recode.name)),
                        None => {}
                    }
                }
            }
        }
        println!("compared {compared}; not known to the second codec: {}", beyond.join(", "));
        assert!(
            differences.is_empty(),
            "{} differences, first:\n{}",
            differences.len(),
            differences[..differences.len().min(40)].join("\n")
        );
    }

    /// Kafka's jars, from RINGLOG_KAFKA_JARS (a folder) or the local Maven repository.
    fn kafka_jars() -> Option<String> {
        let modules = ["kafka-clients", "kafka-metadata", "kafka-group-coordinator", "kafka-server-common"];
        let found: Option<Vec<String>> = modules
            .iter()
            .map(|module| {
                let jar = format!("{module}-4.3.1.jar");
                let path = match std::env::var_os("RINGLOG_KAFKA_JARS") {
                    Some(folder) => PathBuf::from(folder).join(jar),
                    None => PathBuf::from(std::env::var_os("HOME")?)
                        .join(".m2/repository/org/apache/kafka")
                        .join(module)
                        .join("4.3.1")
                        .join(jar),
                };
                path.exists().then(|| path.display().to_string())
            })
            .collect();
        found.map(|jars| jars.join(":"))
    }

    /// Skipped, with a word, where there is no Java or no jars of Kafka 4.3.1.
    #[test]
    fn kafka_reads_and_writes_the_same_bytes() {
        let Some(jars) = kafka_jars() else {
            println!("skipped: no jars of Kafka 4.3.1 (set RINGLOG_KAFKA_JARS to a folder that has them)");
            return;
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/Recode.java");
        let java = Command::new("java")
            .args(["-cp", &jars])
            .arg(source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let Ok(mut java) = java else {
            println!("skipped: no java");
            return;
        };
        let mut lines = String::new();
        let mut count = 0;
        for (schema, recode) in subjects() {
            for version in recode.versions.clone() {
                for seed in 40..44 {
                    let bytes = Composer::compose(&schema, version, seed);
                    lines += &format!("{} {version} {}\n", recode.name, hex(&bytes));
                    count += 1;
                }
            }
        }
        let mut stdin = java.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = java.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.trim(), format!("{count} messages agree"));
    }
}
