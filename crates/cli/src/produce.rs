//! `ringlog produce`: records from stdin or files, with kcat's letters.

pub(crate) mod input;
pub(crate) mod send;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{Acks, Codec, Partitioner, ProducerConfig};
use schemars::JsonSchema;
use serde::Serialize;
use types::PartitionIndex;

use self::input::{Shape, Source};
use self::send::{Cut, Plan, Report};
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::{Answer, Output, Section, print};
use crate::session::{Connect, Properties};
use crate::stream::escape::unescape;
use crate::stream::template::{LETTERS, Template};
use crate::units::{count, duration};

/// Uncompressed bytes of a batch. Larger than the Java client's 16 KiB: a pipe fills batches at once, and larger ones
/// cost less each.
const BATCH_BYTES: usize = 128 * 1024;

const EXAMPLES: &str = "\
Examples:
  seq 1 1000 | ringlog produce -t orders -z lz4   a record for each line
  echo 'alice:12' | ringlog produce -t orders -K :   key and value
  ringlog consume -t orders -e -f '%k;%s\\n' | ringlog produce -t orders-too -f '%k;%s'   what -f prints, read again
  ringlog produce -t orders -k logo logo.png   a whole file as one record
  ringlog consume -t orders -e -J | ringlog produce -t copy -J   a copy with keys, headers, times and any bytes";

/// Send records read from stdin or files.
#[derive(Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\nLetters of --format:\n{LETTERS}"))]
pub(crate) struct Produce {
    /// The topic
    #[arg(short, long, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topic: String,
    /// Files to send: each is one record, or with -l each line of them
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read records from the files line by line
    #[arg(short, long, requires = "files")]
    lines: bool,
    /// Always this partition; -1 means the partitioner decides
    #[arg(short, long, value_name = "N", allow_hyphen_values = true)]
    partition: Option<i32>,
    /// Who decides the partition: murmur2 (the Java clients' default), crc32 or consistent_random (librdkafka's
    /// default), consistent, round_robin, sticky, or a number
    #[arg(long, value_name = "NAME", default_value = "murmur2", value_parser = parse_partitioner)]
    partitioner: Partitioner,
    /// The key of records that bring none
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// A header for every record; without `=` its value is null. May be given many times
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// End after so many records
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// End where the input ends, as always: kcat's letter
    #[arg(short, long)]
    exit: bool,
    /// Refused with the reason: kcat's letter for where to read
    #[arg(short, value_name = "PLACE", hide = true, allow_hyphen_values = true)]
    offset: Option<String>,
    /// Send at most so many records a second
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd
    #[arg(short = 'z', long, value_name = "CODEC", value_parser = parse_codec)]
    compression: Option<Codec>,
    /// When a record counts as sent: 0 at once, 1 when the leader has it, all when every in-sync replica has it
    #[arg(long, value_name = "ACKS", value_parser = parse_acks)]
    acks: Option<Acks>,
    /// Send nothing; say how many records would go to which partition
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    connect: Connect,
}

/// How the input is read.
#[derive(Args)]
#[command(next_help_heading = "Input")]
struct Input {
    /// What ends a record
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n")]
    delimiter: String,
    /// What separates the key from the value; a record without it has no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_delimiter: Option<String>,
    /// Empty keys and values are null: `k:` with -K : is a tombstone
    #[arg(short = 'Z', long)]
    null: bool,
    /// How a record stands in the input, by the letters of `consume --format`: '%k;%s'. What ends it is -D's
    #[arg(short, long, value_name = "FORMAT", conflicts_with_all = ["json", "key_delimiter"])]
    format: Option<String>,
    /// Each line is a JSON object as `consume -J` and `consume --output jsonl` print them
    #[arg(short = 'J', long, conflicts_with_all = ["key_delimiter", "null"])]
    json: bool,
}

/// What is said.
#[derive(Args)]
#[command(next_help_heading = "Output")]
struct Print {
    /// Print on stdout too what is sent
    #[arg(short = 'T', long, conflicts_with = "output")]
    tee: bool,
    /// Print what was sent where, on stdout
    #[arg(long, value_name = "FORM", value_enum)]
    output: Option<Output>,
    /// Say nothing on stderr but failures
    #[arg(short, long)]
    quiet: bool,
}

/// What was sent where.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Produced {
    /// The topic.
    topic: String,
    /// Nothing was sent: this is what would have been.
    dry_run: bool,
    /// Records that were sent.
    records: u64,
    /// Records that were not.
    records_failed: u64,
    /// Bytes read.
    input_bytes: u64,
    /// The partitions that got any.
    partitions: Vec<ProducedPartition>,
}

/// What was sent to one partition.
#[derive(Serialize, JsonSchema)]
struct ProducedPartition {
    /// The topic.
    topic: String,
    /// The partition; null: whichever the partitioner happens to be filling (dry runs only).
    partition: Option<i32>,
    /// Records.
    records: u64,
    /// The first one's offset; null where the node does not say (acks=0, dry runs).
    offset_first: Option<i64>,
    /// The last one's offset.
    offset_last: Option<i64>,
}

impl Answer for Produced {
    const SCHEMA: &'static str = "produce";
    const LINES: &'static str = "partitions";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let shown = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let row = |each: &ProducedPartition| {
            let partition = each.partition.map_or_else(|| "any".to_owned(), |partition| partition.to_string());
            let mut cells =
                vec![partition, each.records.to_string(), shown(each.offset_first), shown(each.offset_last)];
            if wide {
                cells.insert(0, each.topic.clone());
            }
            cells
        };
        let mut heads = vec!["partition", "records", "first offset", "last offset"];
        if wide {
            heads.insert(0, "topic");
        }
        vec![Section::rows(&heads, self.partitions.iter().map(row))]
    }
}

impl Produce {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let plan = self.plan()?;
        let take = |properties: &mut Properties| {
            let mut plan = plan;
            take_settings(properties, &mut plan.config, self.acks.is_some(), self.compression.is_some())?;
            properties.nothing_left()?;
            Ok(plan)
        };
        self.connect.run_streaming(take, |session, plan| async move {
            let began = Instant::now();
            let report = send::run(session.client, &plan).await?;
            self.tell(&plan, &report, began.elapsed())?;
            report.verdict()
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let usage = |why: String| Failure::new(Code::Usage, why);
        if self.offset.is_some() {
            return Err(usage("-o says where consume begins; what is produced goes behind the last record".to_owned())
                .with_next("-p chooses the partition, --output the form of the answer"));
        }
        let read = |text: &str| unescape(text).map_err(|why| usage(format!("`{text}`: {why}")));
        let delimiter = read(&self.input.delimiter)?;
        let key_delimiter = self.input.key_delimiter.as_deref().map(read).transpose()?;
        if delimiter.is_empty() || key_delimiter.as_ref().is_some_and(Vec::is_empty) {
            return Err(usage("a delimiter must not be empty".to_owned()));
        }
        let record_end = delimiter.clone();
        let (source, cut) = match (self.files.is_empty(), self.lines) {
            (true, _) => (Source::Stdin, Cut::At(delimiter)),
            (false, true) => (Source::Files(self.files.clone()), Cut::At(delimiter)),
            (false, false) => (Source::Files(self.files.clone()), Cut::Files(self.files.clone())),
        };
        let nulls = self.input.null;
        let shape = match &self.input.format {
            _ if self.input.json => Shape::Json,
            Some(format) => {
                let pattern = Template::parse(format, nulls).and_then(|template| template.into_pattern(&record_end));
                Shape::Pattern(pattern.map_err(usage)?)
            }
            None => Shape::Delimited { key_delimiter, nulls },
        };
        let partition = match self.partition {
            None | Some(-1) => None,
            Some(number) => {
                let wrong = || usage(format!("-p {number}: a partition is a number from 0 on, or -1 for any"));
                Some(PartitionIndex::from_wire(number).ok_or_else(wrong)?)
            }
        };
        let headers = self.headers.iter().map(|header| match header.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(Bytes::from(value.to_owned()))),
            None => (header.clone(), None),
        });
        let acks = self.acks.unwrap_or_default();
        Ok(Plan {
            topic: self.topic.clone(),
            partition,
            source,
            cut,
            shape,
            key: self.key.clone().map(Bytes::from),
            headers: headers.collect(),
            count: self.count,
            rate: self.rate,
            config: ProducerConfig {
                acks,
                idempotent: acks == Acks::All,
                codec: self.compression.unwrap_or(Codec::None),
                batch_bytes: BATCH_BYTES,
                partitioner: self.partitioner,
                ..ProducerConfig::default()
            },
            one_by_one: false,
            tee: self.print.tee,
            dry_run: self.dry_run,
            quiet: self.print.quiet,
            prompt: None,
        })
    }

    fn tell(&self, plan: &Plan, report: &Report, took: Duration) -> Result<(), Failure> {
        let answer = Produced::new(plan, report);
        if let Some(output) = self.print.output.or(plan.dry_run.then_some(Output::Table)) {
            return print(&answer, output);
        }
        if !plan.quiet && io::stderr().is_terminal() {
            let (records, partitions) = (count(answer.records), answer.partitions.len());
            let to = match (&answer.partitions[..], plan.partition) {
                ([only], _) => format!(
                    "{}-{}{}",
                    plan.topic,
                    only.partition.unwrap_or_default(),
                    match (only.offset_first, only.offset_last) {
                        (Some(first), Some(last)) if first < last => format!(", offsets {first} to {last}"),
                        (Some(first), _) => format!(", offset {first}"),
                        _ => String::new(),
                    }
                ),
                _ => format!("{partitions} partitions of {}", plan.topic),
            };
            tell!("ringlog: {records} sent to {to} in {}", duration(took));
        }
        Ok(())
    }
}

impl Produced {
    fn new(plan: &Plan, report: &Report) -> Self {
        let partition = |(partition, tally): (&Option<i32>, &send::Tally)| ProducedPartition {
            topic: plan.topic.clone(),
            partition: *partition,
            records: tally.records,
            offset_first: tally.offset_first,
            offset_last: tally.offset_last,
        };
        Self {
            topic: plan.topic.clone(),
            dry_run: plan.dry_run,
            records: report.delivered,
            records_failed: report.failed,
            input_bytes: report.bytes,
            partitions: report.partitions.iter().map(partition).collect(),
        }
    }
}

/// The producer's settings by Kafka's names, and librdkafka's for compression; what an option said (`acks`, `codec`)
/// stays.
///
/// # Errors
/// One cannot be read, or they contradict each other.
pub(crate) fn take_settings(
    properties: &mut Properties,
    config: &mut ProducerConfig,
    has_acks: bool,
    has_codec: bool,
) -> Result<(), Failure> {
    let usage = |name: &str, value: &str, why: String| Failure::new(Code::Usage, format!("{name}={value}: {why}"));
    if let Some(acks) = properties.take::<String>("acks")?.filter(|_| !has_acks) {
        config.acks = parse_acks(&acks).map_err(|why| usage("acks", &acks, why))?;
        config.idempotent = config.acks == Acks::All;
    }
    for name in ["compression.type", "compression.codec"] {
        if let Some(codec) = properties.take::<String>(name)?.filter(|_| !has_codec) {
            config.codec = parse_codec(&codec).map_err(|why| usage(name, &codec, why))?;
        }
    }
    if let Some(level) = properties.take("compression.level")? {
        config.codec_level = Some(level);
    }
    if let Some(idempotent) = properties.take::<bool>("enable.idempotence")? {
        if idempotent && config.acks != Acks::All {
            return Err(usage("enable.idempotence", "true", "needs acks=all".to_owned()));
        }
        config.idempotent = idempotent;
    }
    if let Some(linger) = properties.take_ms("linger.ms")? {
        config.linger = linger;
    }
    let above_zero = |name: &str, value: Option<usize>| match value {
        Some(0) => Err(usage(name, "0", "must be above zero".to_owned())),
        value => Ok(value),
    };
    if let Some(bytes) = above_zero("batch.size", properties.take("batch.size")?)? {
        config.batch_bytes = bytes;
    }
    if let Some(bytes) = above_zero("max.request.size", properties.take("max.request.size")?)? {
        config.request_bytes_max = bytes;
    }
    if let Some(bytes) = above_zero("buffer.memory", properties.take("buffer.memory")?)? {
        config.buffer_bytes_max = bytes;
    }
    let in_flight = "max.in.flight.requests.per.connection";
    if let Some(requests) = above_zero(in_flight, properties.take(in_flight)?)? {
        config.requests_in_flight_max = requests;
    }
    if let Some(timeout) = properties.take_ms("delivery.timeout.ms")? {
        config.delivery_timeout = timeout;
    }
    if let Some(partitioner) = properties.take::<String>("partitioner")? {
        config.partitioner = parse_partitioner(&partitioner).map_err(|why| usage("partitioner", &partitioner, why))?;
    }
    Ok(())
}

fn parse_partitioner(text: &str) -> Result<Partitioner, String> {
    Partitioner::from_name(text).ok_or_else(|| {
        "murmur2, crc32 (or consistent_random), consistent, round_robin, sticky, or a partition's number".to_owned()
    })
}

fn parse_codec(text: &str) -> Result<Codec, String> {
    Codec::from_name(text).ok_or_else(|| "none, gzip, snappy, lz4 or zstd".to_owned())
}

fn parse_acks(text: &str) -> Result<Acks, String> {
    Acks::from_name(text).ok_or_else(|| "0, 1 or all".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if 0.0 < rate && rate.is_finite() => Ok(rate),
        _ => Err("a number of records above zero".to_owned()),
    }
}
