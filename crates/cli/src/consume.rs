//! `ringlog consume`: records to stdout, with kcat's letters.

pub(crate) mod document;
pub(crate) mod print;
pub(crate) mod range;
pub(crate) mod read;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{Client, ConsumerConfig, GroupConfig, Isolation};
use types::{Timestamp, TopicPartition};

use self::print::{Form, Printer};
use self::range::{From, Until};
use self::read::{End, Plan};
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::Output;
use crate::session::{Connect, Properties};
use crate::stream::escape::unescape;
use crate::stream::template::{LETTERS, Template};
use crate::units::{duration, now_ms, parse_duration};

const EXAMPLES: &str = "\
Examples:
  ringlog consume -t orders -e   all records there are, one value a line
  ringlog consume -t orders -o -5 -e -f '%p %o %k %s\\n'   the last five of each partition, with place and key
  ringlog consume -t orders -o @-1h:end -J   those of the last hour, as JSON
  ringlog consume -t orders -g billing -c 10   ten as a member of the group billing, committed at the end";

/// Read records and print them.
#[derive(Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\nLetters of --format:\n{LETTERS}"))]
pub(crate) struct Consume {
    /// The topic; may be given many times
    #[arg(short, long = "topic", value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topics: Vec<String>,
    /// More topics, as kcat takes them behind -G GROUP
    #[arg(value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    more_topics: Vec<String>,
    /// Only these partitions (`0,2`); -1 means all
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',', allow_hyphen_values = true)]
    partitions: Vec<i32>,
    /// Where to begin, and where to end: beginning, end, stored, N, -N, +N, s@TIME, e@TIME, FROM:UNTIL, @TIME:TIME
    #[arg(short = 'o', long = "offset", value_name = "PLACE", allow_hyphen_values = true)]
    offsets: Vec<String>,
    /// End after so many records
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// End where the log ends now, if not before by -o
    #[arg(short, long)]
    exit: bool,
    /// Join this group; its committed offsets say where to begin, and what was printed is committed
    #[arg(short, long, visible_short_alias = 'G', value_name = "GROUP", add = ArgValueCompleter::new(live_names::groups))]
    group: Option<String>,
    /// See no record of a transaction that is open or was aborted
    #[arg(long)]
    read_committed: bool,
    /// End after so long without a record
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle: Option<Duration>,
    #[command(flatten)]
    print: Print,
    #[command(flatten)]
    connect: Connect,
}

/// How records are printed.
#[derive(Args)]
#[command(next_help_heading = "Output")]
struct Print {
    /// Print each record so; --help lists the letters
    #[arg(short, long, value_name = "FORMAT", conflicts_with_all = ["json", "output"])]
    format: Option<String>,
    /// One JSON object a line, as kcat prints them; bytes that are not UTF-8 are {"base64":".."}
    #[arg(short = 'J', long, conflicts_with = "output")]
    json: bool,
    /// What ends a record
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n")]
    delimiter: String,
    /// Print the key too, and this behind it
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_delimiter: Option<String>,
    /// Print null keys and values as NULL, not as nothing
    #[arg(short = 'Z', long)]
    null: bool,
    /// The records as a table, or as one document, or one JSON object a line
    #[arg(long, value_name = "FORM", value_enum)]
    output: Option<Output>,
    /// Say nothing on stderr but failures
    #[arg(short, long)]
    quiet: bool,
}

impl Consume {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let usage = |why: String| Failure::new(Code::Usage, why);
        let topics: Vec<String> = self.topics.iter().chain(&self.more_topics).cloned().collect();
        if topics.is_empty() {
            return Err(usage("which topic? -t TOPIC".to_owned()).with_next("ringlog topic list"));
        }
        let mut range = range::parse(&self.offsets, Timestamp::from_millis(now_ms())).map_err(usage)?;
        if self.exit && range.until == Until::Never {
            range.until = Until::End;
        }
        if range.from == Some(From::Stored) && self.group.is_none() {
            return Err(usage("-o stored needs the group that has stored: -g GROUP".to_owned()));
        }
        let every = self.partitions.is_empty() || self.partitions == [-1];
        let mut plan = Plan {
            topics,
            partitions: (!every).then(|| self.partitions.clone()),
            range,
            exit: self.exit,
            start_default: From::Beginning,
            group: self.group.as_deref().map(GroupConfig::new),
            count: self.count,
            idle_max: self.idle,
            fetch: ConsumerConfig {
                isolation: if self.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
                ..ConsumerConfig::default()
            },
            quiet: self.print.quiet,
            timeout: Duration::ZERO,
        };
        let form = self.print.form()?;
        let take = |properties: &mut Properties| {
            take_settings(properties, &mut plan)?;
            Ok(plan)
        };
        self.connect.run_streaming(take, |session, mut plan| async move {
            plan.timeout = session.timeout;
            let form = match form {
                Form::Kcat(_) => Form::Kcat(leaders(&session.client, &plan).await?),
                form => form,
            };
            let mut printer = Printer::new(form);
            let began = Instant::now();
            let end = read::run(session.client, &plan, &mut printer).await?;
            let dead = plan.count.is_some_and(|wanted| printer.records < wanted) && end == End::Idle;
            if !plan.quiet && (io::stderr().is_terminal() && !io::stdout().is_terminal() || dead) {
                let took = duration(began.elapsed());
                tell!("ringlog: {} in {took}", read::records(printer.records));
            }
            Ok(())
        })
    }
}

impl Print {
    fn form(&self) -> Result<Form, Failure> {
        let read = |text: &str| unescape(text).map_err(|why| Failure::new(Code::Usage, format!("`{text}`: {why}")));
        if let Some(format) = &self.format {
            let template = Template::parse(format, self.null).map_err(|why| Failure::new(Code::Usage, why))?;
            return Ok(Form::Template(template));
        }
        if self.json {
            return Ok(Form::Kcat(BTreeMap::new()));
        }
        let padded = io::stdout().is_terminal();
        Ok(match self.output {
            Some(Output::Table) => Form::Table { wide: false, padded },
            Some(Output::Wide) => Form::Table { wide: true, padded },
            Some(Output::Json) => Form::Json,
            Some(Output::Yaml) => Form::Yaml,
            Some(Output::Jsonl) => Form::JsonLines,
            None => {
                let key_delimiter = self.key_delimiter.as_deref().map(read).transpose()?;
                Form::Template(Template::delimited(read(&self.delimiter)?, key_delimiter, self.null))
            }
        })
    }
}

/// The consumer's settings by Kafka's names.
///
/// # Errors
/// One cannot be read.
pub(crate) fn take_settings(properties: &mut Properties, plan: &mut Plan) -> Result<(), Failure> {
    let usage = |why: String| Failure::new(Code::Usage, why);
    if let Some(level) = properties.take::<String>("isolation.level")? {
        plan.fetch.isolation = match level.as_str() {
            "read_committed" => Isolation::ReadCommitted,
            "read_uncommitted" => Isolation::ReadUncommitted,
            _ => return Err(usage(format!("isolation.level={level}: read_committed or read_uncommitted"))),
        };
    }
    if let Some(reset) = properties.take::<String>("auto.offset.reset")? {
        plan.start_default = match reset.as_str() {
            "earliest" | "beginning" | "smallest" => From::Beginning,
            "latest" | "end" | "largest" => From::End,
            _ => return Err(usage(format!("auto.offset.reset={reset}: earliest or latest"))),
        };
    }
    if let Some(bytes) = properties.take("fetch.min.bytes")? {
        plan.fetch.fetch_bytes_min = bytes;
    }
    if let Some(bytes) = properties.take("fetch.max.bytes")? {
        plan.fetch.fetch_bytes_max = bytes;
    }
    if let Some(bytes) = properties.take("max.partition.fetch.bytes")? {
        plan.fetch.partition_bytes_max = bytes;
    }
    if let Some(wait) = properties.take_ms("fetch.max.wait.ms")? {
        plan.fetch.fetch_wait = wait;
    }
    if let Some(id) = properties.take::<String>("group.id")? {
        plan.group.get_or_insert_with(|| GroupConfig::new(&id));
    }
    let instance = properties.take::<String>("group.instance.id")?;
    let session = properties.take_ms("session.timeout.ms")?;
    let heartbeat = properties.take_ms("heartbeat.interval.ms")?;
    let rebalance = properties.take_ms("max.poll.interval.ms")?;
    if let Some(group) = &mut plan.group {
        group.instance_id = instance;
        group.session_timeout = session.unwrap_or(group.session_timeout);
        group.heartbeat_interval = heartbeat.unwrap_or(group.heartbeat_interval);
        group.rebalance_timeout = rebalance.unwrap_or(group.rebalance_timeout);
    }
    properties.nothing_left()
}

/// Who leads what, for kcat's `broker`.
async fn leaders(client: &Client, plan: &Plan) -> Result<BTreeMap<TopicPartition, i32>, Failure> {
    let mut leaders = BTreeMap::new();
    for name in &plan.topics {
        let topic = client.topic(name, false).await?;
        for partition in &topic.partitions {
            if let Some(leader) = partition.leader {
                leaders.insert(TopicPartition::new(topic.name.clone(), partition.index), leader.value());
            }
        }
    }
    Ok(leaders)
}
