//! `ringlog console-consumer` and `ringlog console-producer`: Kafka's tools by their own flags, so that run-books keep
//! working. What they print and read has the shape of Kafka 4.3.1's; they end with our exit codes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{ConsumerConfig, FetchedRecord, GroupConfig, Partitioner, ProducerConfig, TimestampType};
use regex::Regex;
use types::Offset;

use crate::consume::print::{Form, Printer};
use crate::consume::range::{From, Range, Until};
use crate::consume::{self, read};
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::produce::input::{ConsoleLine, Shape, Source};
use crate::produce::{self, send};
use crate::session::{Connect, Properties, Session};

/// Kafka's name of the only formatter there is here.
const FORMATTER: &str = "org.apache.kafka.tools.consumer.DefaultMessageFormatter";

/// Kafka's name of the only reader there is here.
const READER: &str = "org.apache.kafka.tools.LineMessageReader";

/// How Kafka's tools name the cluster.
#[derive(Args, Clone)]
struct Cluster {
    /// One or more nodes of the cluster, comma-separated
    #[arg(long, visible_alias = "broker-list", value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// A client setting
    #[arg(long, visible_aliases = ["consumer-property", "producer-property"], value_name = "NAME=VALUE")]
    command_property: Vec<String>,
    /// A file of client settings
    #[arg(long, visible_aliases = ["consumer.config", "producer.config"], value_name = "FILE")]
    command_config: Option<PathBuf>,
}

impl Cluster {
    /// `more` settings are weaker than those given by name.
    fn connect(&self, more: Vec<String>) -> Connect {
        let settings = more.into_iter().chain(self.command_property.clone()).collect();
        Connect {
            brokers: self.bootstrap_server.clone(),
            client_settings: settings,
            config_file: self.command_config.clone(),
            ..Connect::default()
        }
    }
}

/// `NAME=VALUE` texts over those of a file.
fn read_properties(file: Option<&PathBuf>, texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(Code::Failed, format!("cannot read {}: {error}", path.display())))?;
        let mut raw = broker::config::RawConfig::new();
        raw.read_properties(path, &text);
        properties.extend(raw.iter().map(|(name, value)| (name.to_owned(), value.value.clone())));
    }
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::new(Code::Usage, format!("`{text}`: NAME=VALUE is meant")));
        };
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}

fn is_true(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

const CONSUMER_EXAMPLES: &str = "\
Examples:
  ringlog console-consumer --topic orders --from-beginning --max-messages 10   the first ten there are
  ringlog console-consumer --topic orders --from-beginning --timeout-ms 1000 --formatter-property print.key=true   keys too";

/// As kafka-console-consumer.sh: print the records of topics.
#[derive(Args)]
#[command(after_help = CONSUMER_EXAMPLES)]
pub(crate) struct ConsoleConsumer {
    /// The topic
    #[arg(long, required_unless_present = "include", add = ArgValueCompleter::new(live_names::topics))]
    topic: Option<String>,
    /// Topics by a regular expression that matches their whole names
    #[arg(long, conflicts_with_all = ["topic", "partition"])]
    include: Option<String>,
    /// One partition, from its end on unless --offset says otherwise
    #[arg(long, conflicts_with = "group")]
    partition: Option<i32>,
    /// Where to begin in the partition: a number, earliest or latest
    #[arg(long, requires = "partition", conflicts_with = "from_beginning")]
    offset: Option<String>,
    /// Begin at the oldest record where the group has committed nothing
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N")]
    max_messages: Option<i64>,
    /// End after so many milliseconds without a record
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<i64>,
    /// The group; without one nothing is committed
    #[arg(long, add = ArgValueCompleter::new(live_names::groups))]
    group: Option<String>,
    /// read_committed or read_uncommitted
    #[arg(long, value_name = "LEVEL", default_value = "read_uncommitted")]
    isolation_level: String,
    /// A setting of the printing: print.key, print.offset, key.separator, null.literal, ...
    #[arg(long, visible_alias = "property", value_name = "NAME=VALUE")]
    formatter_property: Vec<String>,
    /// A file of such settings
    #[arg(long, value_name = "FILE")]
    formatter_config: Option<PathBuf>,
    /// Kafka's class for printing; only the default is known
    #[arg(long, value_name = "CLASS", default_value = FORMATTER)]
    formatter: String,
    /// Go on behind a record that cannot be printed; there are none here
    #[arg(long)]
    skip_message_on_error: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl ConsoleConsumer {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let usage = |why: String| Failure::new(Code::Usage, why);
        if self.formatter != FORMATTER && self.formatter != "kafka.tools.DefaultMessageFormatter" {
            let why = format!("--formatter {}: a Java class; {FORMATTER} is built in", self.formatter);
            return Err(usage(why).with_next("ringlog consume --format prints records in any form"));
        }
        let format = ConsoleFormat::new(&read_properties(self.formatter_config.as_ref(), &self.formatter_property)?)?;
        let from = match (&self.offset, self.from_beginning) {
            (None, true) => From::Beginning,
            (None, false) => From::End,
            (Some(offset), _) => match offset.to_lowercase().as_str() {
                "earliest" => From::Beginning,
                "latest" => From::End,
                number => {
                    let wrong = || usage(format!("--offset {offset}: a number from 0 on, earliest or latest"));
                    From::At(number.parse().ok().and_then(Offset::from_wire).ok_or_else(wrong)?)
                }
            },
        };
        let include = match &self.include {
            Some(pattern) => Some(
                Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|error| usage(format!("--include {pattern}: {error}")))?,
            ),
            None => None,
        };
        let plan = read::Plan {
            topics: self.topic.iter().cloned().collect(),
            partitions: self.partition.map(|partition| vec![partition]),
            range: Range { from: self.partition.map(|_| from), until: Until::Never },
            exit: false,
            start_default: from,
            group: self.group.as_deref().map(GroupConfig::new),
            count: self.max_messages.and_then(|count| u64::try_from(count).ok()),
            idle_max: self.timeout_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            fetch: ConsumerConfig::default(),
            quiet: false,
            timeout: Duration::MAX,
        };
        let take = |properties: &mut Properties| {
            let mut plan = plan;
            consume::take_settings(properties, &mut plan)?;
            Ok(plan)
        };
        let isolation = format!("isolation.level={}", self.isolation_level);
        self.cluster.connect(vec![isolation]).run_streaming(take, |session, mut plan| async move {
            if let Some(include) = &include {
                plan.topics = matching(&session, include).await?;
            }
            let mut printer = Printer::new(Form::Console(format));
            let outcome = read::run(session.client, &plan, &mut printer).await;
            tell!("Processed a total of {} messages", printer.records);
            outcome.map(drop)
        })
    }
}

async fn matching(session: &Session, include: &Regex) -> Result<Vec<String>, Failure> {
    let topics = session.client.topics().await?;
    let names: Vec<String> = topics
        .iter()
        .filter(|topic| !topic.internal && include.is_match(&topic.name))
        .map(|topic| topic.name.to_string())
        .collect();
    if names.is_empty() {
        return Err(Failure::new(Code::NotFound, format!("no topic matches {include}")).with_next("ringlog topic list"));
    }
    Ok(names)
}

/// What Kafka's `DefaultMessageFormatter` prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConsoleFormat {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
}

impl ConsoleFormat {
    fn new(properties: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let mut format = Self {
            timestamp: false,
            partition: false,
            offset: false,
            delivery: false,
            epoch: false,
            headers: false,
            key: false,
            value: true,
            key_separator: "\t".to_owned(),
            line_separator: "\n".to_owned(),
            headers_separator: ",".to_owned(),
            null_literal: "null".to_owned(),
        };
        for (name, value) in properties {
            match name.as_str() {
                "print.timestamp" => format.timestamp = is_true(value),
                "print.partition" => format.partition = is_true(value),
                "print.offset" => format.offset = is_true(value),
                "print.delivery" => format.delivery = is_true(value),
                "print.epoch" => format.epoch = is_true(value),
                "print.headers" => format.headers = is_true(value),
                "print.key" => format.key = is_true(value),
                "print.value" => format.value = is_true(value),
                "key.separator" => format.key_separator.clone_from(value),
                "line.separator" => format.line_separator.clone_from(value),
                "headers.separator" => format.headers_separator.clone_from(value),
                "null.literal" => format.null_literal.clone_from(value),
                // Text is printed as it is, which is what this one does.
                name if name.ends_with(".deserializer")
                    && value == "org.apache.kafka.common.serialization.StringDeserializer" => {}
                name if name.contains("deserializer") => {
                    let why =
                        format!("{name}={value}: Java's deserializers do not run here; bytes are printed as they are");
                    return Err(Failure::new(Code::Usage, why).with_next("ringlog consume -J shows any bytes"));
                }
                // Kafka passes over what its formatter does not know.
                _ => {}
            }
        }
        Ok(format)
    }

    /// Appends a record.
    pub(crate) fn write(&self, out: &mut Vec<u8>, seen: &FetchedRecord<'_>) {
        let record = &seen.record;
        let mut columns: Vec<Vec<u8>> = Vec::with_capacity(8);
        if self.timestamp {
            let kind = match seen.batch.timestamp_type {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            columns.push(format!("{kind}:{}", record.timestamp.millis()).into_bytes());
        }
        if self.partition {
            columns.push(format!("Partition:{}", seen.at.partition).into_bytes());
        }
        if self.offset {
            columns.push(format!("Offset:{}", seen.offset).into_bytes());
        }
        if self.delivery {
            // Only share groups count deliveries.
            columns.push(b"Delivery:NOT_PRESENT".to_vec());
        }
        if self.epoch {
            // Kafka's tool drops the epoch on the way to its formatter; `consume -f %e` prints it.
            columns.push(b"Epoch:NOT_PRESENT".to_vec());
        }
        if self.headers {
            let mut column = Vec::new();
            for (index, header) in record.headers().enumerate() {
                if 0 < index {
                    column.extend_from_slice(self.headers_separator.as_bytes());
                }
                column.extend_from_slice(header.key);
                column.push(b':');
                column.extend_from_slice(self.or_null(header.value));
            }
            columns.push(if record.header_count() == 0 { b"NO_HEADERS".to_vec() } else { column });
        }
        for (wanted, part) in [(self.key, record.key), (self.value, record.value)] {
            if wanted {
                columns.push(self.or_null(part).to_vec());
            }
        }
        for (index, column) in columns.iter().enumerate() {
            if 0 < index {
                out.extend_from_slice(self.key_separator.as_bytes());
            }
            out.extend_from_slice(column);
        }
        if !columns.is_empty() {
            out.extend_from_slice(self.line_separator.as_bytes());
        }
    }

    fn or_null<'a>(&'a self, part: Option<&'a [u8]>) -> &'a [u8] {
        part.unwrap_or(self.null_literal.as_bytes())
    }
}

const PRODUCER_EXAMPLES: &str = "\
Examples:
  echo hello | ringlog console-producer --topic orders   a record for each line
  echo alice:12 | ringlog console-producer --topic orders --reader-property parse.key=true --reader-property key.separator=:   key and value";

/// As kafka-console-producer.sh: send a record for each line of stdin.
#[derive(Args)]
#[command(after_help = PRODUCER_EXAMPLES)]
pub(crate) struct ConsoleProducer {
    /// The topic
    #[arg(long, add = ArgValueCompleter::new(live_names::topics))]
    topic: String,
    /// Wait for each record before the next is sent
    #[arg(long)]
    sync: bool,
    /// none, gzip, snappy, lz4 or zstd; gzip without a value
    #[arg(long, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// Bytes of a batch
    #[arg(long, visible_alias = "max-partition-memory-bytes", value_name = "BYTES")]
    batch_size: Option<u64>,
    /// How long a batch waits for more records, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    timeout: u64,
    /// The acks of each request: 0, 1, -1 or all
    #[arg(long, value_name = "ACKS", default_value = "-1")]
    request_required_acks: String,
    /// How long an answer is waited for
    #[arg(long, value_name = "MS")]
    request_timeout_ms: Option<u64>,
    /// Bytes of records that may wait to be sent
    #[arg(long, value_name = "BYTES")]
    max_memory_bytes: Option<u64>,
    /// A setting of the reading: parse.key, key.separator, parse.headers, null.marker, ...
    #[arg(long, visible_alias = "property", value_name = "NAME=VALUE")]
    reader_property: Vec<String>,
    /// A file of such settings
    #[arg(long, value_name = "FILE")]
    reader_config: Option<PathBuf>,
    /// Kafka's class for reading; only the default is known
    #[arg(long, value_name = "CLASS", default_value = READER)]
    line_reader: String,
    /// Taken and without effect here: sending is tried until the delivery timeout
    #[arg(long, value_name = "N", visible_aliases = ["retry-backoff-ms", "metadata-expiry-ms", "max-block-ms", "socket-buffer-size"])]
    message_send_max_retries: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
}

impl ConsoleProducer {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.line_reader != READER {
            let why = format!("--line-reader {}: a Java class; {READER} is built in", self.line_reader);
            return Err(Failure::new(Code::Usage, why).with_next("ringlog produce -J reads records as JSON"));
        }
        let line = ConsoleLine::new(&read_properties(self.reader_config.as_ref(), &self.reader_property)?)?;
        let plan = send::Plan {
            topic: self.topic.clone(),
            partition: None,
            source: Source::Stdin,
            cut: send::Cut::At(b"\n".to_vec()),
            shape: Shape::Console(line),
            key: None,
            headers: Vec::new(),
            count: None,
            rate: None,
            config: ProducerConfig { partitioner: Partitioner::Murmur2, ..ProducerConfig::default() },
            one_by_one: self.sync,
            tee: false,
            dry_run: false,
            quiet: false,
            prompt: console_prompt(),
        };
        let take = |properties: &mut Properties| {
            let mut plan = plan;
            produce::take_settings(properties, &mut plan.config, false, false)?;
            properties.nothing_left()?;
            Ok(plan)
        };
        self.cluster
            .connect(self.settings())
            .run_streaming(take, |session, plan| async move { send::run(session.client, &plan).await?.verdict() })
    }

    /// The flags as the settings they stand for.
    fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("acks={}", self.request_required_acks)];
        // One record at a time gains nothing from waiting for a second.
        settings.push(format!("linger.ms={}", if self.sync { 0 } else { self.timeout }));
        if let Some(codec) = &self.compression_codec {
            settings.push(format!("compression.type={codec}"));
        }
        let numbers = [
            ("batch.size", self.batch_size),
            ("request.timeout.ms", self.request_timeout_ms),
            ("buffer.memory", self.max_memory_bytes),
        ];
        settings.extend(numbers.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))));
        settings
    }
}

/// Kafka's prompt, where a person types.
fn console_prompt() -> Option<&'static str> {
    use std::io::IsTerminal;
    (std::io::stdin().is_terminal() && std::io::stdout().is_terminal()).then_some(">")
}

impl ConsoleLine {
    fn new(properties: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let mut line = Self::default();
        for (name, value) in properties {
            match name.as_str() {
                "parse.key" => line.parse_key = is_true(value),
                "key.separator" => line.key_separator.clone_from(value),
                "parse.headers" => line.parse_headers = is_true(value),
                "headers.delimiter" => line.headers_delimiter.clone_from(value),
                "headers.separator" => line.headers_separator.clone_from(value),
                "headers.key.separator" => line.headers_key_separator.clone_from(value),
                "ignore.error" => line.ignore_error = is_true(value),
                "null.marker" => line.null_marker = Some(value.clone()),
                _ => {}
            }
        }
        line.check().map_err(|why| Failure::new(Code::Usage, why))?;
        Ok(line)
    }

    /// Kafka's rules: no two separators that a reader could not tell apart.
    fn check(&self) -> Result<(), String> {
        let separators = [
            ("key.separator", &self.key_separator),
            ("headers.delimiter", &self.headers_delimiter),
            ("headers.separator", &self.headers_separator),
            ("headers.key.separator", &self.headers_key_separator),
        ];
        for (index, (name, value)) in separators.iter().enumerate() {
            if value.is_empty() {
                return Err(format!("{name} must not be empty"));
            }
            if self.null_marker.as_ref() == Some(value) {
                return Err(format!("null.marker and {name} may not be equal"));
            }
            // The key's separator stands in another part of the line than those of the headers.
            let mut later = separators.iter().skip(index + 1).filter(|_| 0 < index);
            if let Some((other, _)) = later.find(|(_, other)| other == value) {
                return Err(format!("{name} and {other} may not be equal"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::print::tests::{SAMPLE, with_sample};

    fn printed(properties: &[(&str, &str)]) -> String {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let format = ConsoleFormat::new(&properties).expect("right");
        let mut out = Vec::new();
        with_sample(&SAMPLE, |seen| format.write(&mut out, seen));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn records_are_printed_as_kafkas_formatter_prints_them() {
        assert_eq!(printed(&[]), "value\n");
        assert_eq!(printed(&[("print.key", "true"), ("key.separator", "=")]), "key=value\n");
        assert_eq!(printed(&[("print.value", "false"), ("print.key", " TRUE ")]), "key\n");
        assert_eq!(printed(&[("print.value", "false")]), "");
        let all = ["timestamp", "partition", "offset", "epoch", "headers", "key"].map(|name| format!("print.{name}"));
        let all: Vec<(&str, &str)> = all.iter().map(|name| (name.as_str(), "true")).collect();
        assert_eq!(
            printed(&all),
            "CreateTime:1500\tPartition:2\tOffset:41\tEpoch:NOT_PRESENT\tsource:web,empty:null\tkey\tvalue\n"
        );
    }

    #[test]
    fn separators_that_cannot_be_told_apart_are_refused() {
        let read = |properties: &[(&str, &str)]| {
            let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            ConsoleLine::new(&properties).map(drop).map_err(|failure| failure.message)
        };
        assert_eq!(read(&[("parse.headers", "true"), ("parse.key", "true")]), Ok(()));
        assert_eq!(
            read(&[("headers.separator", "\t")]),
            Err("headers.delimiter and headers.separator may not be equal".to_owned())
        );
        assert_eq!(
            read(&[("headers.separator", ":")]),
            Err("headers.separator and headers.key.separator may not be equal".to_owned())
        );
        assert_eq!(read(&[("null.marker", "\t")]), Err("null.marker and key.separator may not be equal".to_owned()));
    }
}
