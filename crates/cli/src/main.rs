//! The binary `ringlog`: runs a node, administers a cluster, looks at the machine, reads logs offline.
//!
//! One file per noun. Data goes to stdout, everything else to stderr; what a person reads has units, what a program
//! reads (`-o json`) has integers, a schema and a version: `output` says how, `schemas` lists them. Commands that ask a
//! cluster reach it through `session`; why a command ends without success is a `failure` with an exit code.

#![deny(clippy::print_stderr, reason = "it panics where nobody reads; tell! does not")]

/// Tells whoever watches something, on stderr. A terminal that was closed and a reader that went away (`2>&1 | head`) are no
/// reason to end in the middle of what is under way.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod bench;
mod cluster;
mod config;
mod console;
mod consume;
mod debug;
mod doctor;
mod failure;
mod generate;
mod group;
mod last_words;
mod live_names;
mod load;
mod log;
mod log_queue;
mod logging;
mod output;
mod plan;
mod produce;
mod schemas;
mod scripts;
mod serve;
mod session;
mod stream;
mod topic;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  ringlog serve                                          a node, its data in ./ringlog-data
  ringlog serve server.properties --override node.id=2   Kafka's own file, one value changed
  ringlog doctor -o json                                 what this machine allows, for scripts
  ringlog config explain log.retention.hours             what a setting means, takes and does

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 unreachable or timed out, 5 done in part, 6 verdict not met \
(doctor, cluster health, group lag --warn, log verify, log repair, bench, plan --knee).";

#[derive(Parser)]
#[command(name = "ringlog", version, about = "A Kafka-compatible log node", after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT
    Serve(serve::Serve),
    /// Look at the machine: kernel, io_uring, limits, file systems, clock, room; each finding with its cure
    Doctor(doctor::Doctor),
    /// Make, list, describe, change and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Send records, read from stdin or files
    Produce(produce::Produce),
    /// Read records and print them
    Consume(consume::Consume),
    /// Nodes, health, metadata quorum and disks of a cluster
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Explain and check settings; read and change those of a cluster
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// List, describe, measure, seek and delete consumer groups
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// kafka-consumer-groups.sh's flags and output, for run-books; `group` tells more
    ConsumerGroups(Box<group::kafka::ConsumerGroups>),
    /// Read, check, adopt and repair partition folders while no node has them
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Measure a broker with a workload, and a machine's disk and network
    #[command(subcommand)]
    Bench(Box<bench::BenchCommand>),
    /// Size a cluster for a workload: brokers, partitions, disk, network, memory, and what binds
    Plan(plan::PlanCommand),
    /// Gather what somebody else needs to find a fault
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// As kafka-topics.sh: its flags, its output
    Topics(scripts::topics::Topics),
    /// As kafka-configs.sh: its flags, its output
    Configs(scripts::configs::Configs),
    /// As kafka-get-offsets.sh: its flags, its output
    GetOffsets(scripts::get_offsets::GetOffsets),
    /// Generate files: completions, schemas of the documents printed, Prometheus configuration and alerts, a dashboard
    #[command(subcommand)]
    Generate(generate::Generate),
    /// kafka-console-producer.sh by its own flags
    ConsoleProducer(console::ConsoleProducer),
    /// kafka-console-consumer.sh by its own flags
    ConsoleConsumer(console::ConsoleConsumer),
}

/// The command line. A number below zero is a value wherever one is due, never an option: what is wrong with it is for
/// the one who reads it to say.
fn command() -> clap::Command {
    fn numbers_are_values(command: clap::Command) -> clap::Command {
        let of_arg = |arg: clap::Arg| {
            let takes_values = arg.get_action().takes_values();
            if takes_values { arg.allow_negative_numbers(true) } else { arg }
        };
        command.mut_args(of_arg).mut_subcommands(numbers_are_values)
    }
    numbers_are_values(Cli::command())
}

fn main() -> ExitCode {
    // Ends here when a shell asks for completions (see `generate completions`).
    clap_complete::CompleteEnv::with_factory(command).complete();
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Topic(topic) => topic.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Config(config) => config.run(),
        Command::Group(group) => group.run(),
        Command::ConsumerGroups(groups) => groups.run(),
        Command::Log(log) => log.run(),
        Command::Bench(bench) => bench.run(),
        Command::Plan(plan) => plan.run(),
        Command::Debug(debug) => debug.run(),
        Command::Topics(topics) => topics.run(),
        Command::Configs(configs) => configs.run(),
        Command::GetOffsets(offsets) => offsets.run(),
        Command::Generate(generate) => generate.run(),
        Command::ConsoleProducer(producer) => producer.run(),
        Command::ConsoleConsumer(consumer) => consumer.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                tell!("ringlog: {}", failure.message);
            }
            failure.code.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_number_below_zero_is_a_value_and_not_an_option() {
        let refusal = |words: &[&str]| command().try_get_matches_from(words).expect_err("refused").to_string();
        for words in [
            &["ringlog", "consume", "-t", "orders", "-c", "-1"][..],
            &["ringlog", "topic", "add-partitions", "orders", "--add", "-1"],
        ] {
            let refusal = refusal(words);
            assert!(refusal.contains("invalid value '-1'"), "{refusal}");
        }
        assert!(command().try_get_matches_from(["ringlog", "group", "seek", "g", "--shift-by", "-5"]).is_ok());
    }

    #[test]
    fn overrides_may_be_given_many_times() {
        let cli = Cli::parse_from(["ringlog", "serve", "f.properties", "--override", "a=1", "--override", "b=2"]);
        let Command::Serve(serve) = cli.command else { panic!("serve") };
        assert_eq!(serve.source.overrides, ["a=1", "b=2"]);
    }
}
