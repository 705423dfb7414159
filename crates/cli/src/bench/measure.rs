//! What `bench run` and `bench compare` share: from the command line to a session, and from its end to an exit code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use loadgen::driver::{Place, System, TargetSpec, Tools, place, process};
use loadgen::limits::FILE;
use loadgen::omb::Omb;
use loadgen::report::omb;
use loadgen::session::{Cause, Done, Failed, Session};
use loadgen::suite::Suite;
use loadgen::{RunOptions, WorkloadError};

use super::live::Live;
use super::rows::BenchResults;
use super::run::{floor_beside_us, stop_on_interrupt, table};
use crate::failure::{Code, Failure};
use crate::output::{Format, print, print_text};
use crate::units::parse_duration;

/// How targets are named, for the help of both commands.
pub(crate) const TARGETS_HELP: &str = "\
Targets:
  HOST:PORT                                   a broker that runs already; several addresses with + between them
  ringlog                                     a node that the bench starts, ends and cleans up
  ringlog:fs=xfs,cpus=0                       on an XFS in an image file (ext4, tmpfs, or /dir+/dir), pinned to CPU 0
  kafka:nodes=3,rf=3,durability=durable       Apache Kafka 4.3.1: three nodes, three copies, fsync before every reply
  ringlog:ringlog.log.append.backend=inline   a name with a dot is a setting of the node
Mounts need root, Kafka needs Java; what cannot be had is skipped aloud and leaves an empty, labelled cell.";

/// Arguments of everything that runs a workload.
#[derive(Args)]
pub(crate) struct Measure {
    /// Seconds counted, in place of what the workload says
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Workload")]
    duration: Option<Duration>,
    /// Seconds driven before anything counts, in place of what the workload says
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Workload")]
    warmup: Option<Duration>,
    /// The OpenMessaging Benchmark's driver file; the workload is then a YAML file of that tool
    #[arg(long, value_name = "DRIVER.yaml", help_heading = "Workload")]
    omb_driver: Option<PathBuf>,
    /// CPUs that this process keeps to, such as 2,3; threads that load are pinned to them in turn. Nodes that it starts
    /// do not inherit them
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Generator")]
    cpus: Vec<usize>,
    /// The `floor` binary that the generator's own ceiling is measured against; looked for beside this one
    #[arg(long, value_name = "PATH", help_heading = "Generator")]
    floor: Option<PathBuf>,
    /// Run although the preflight refuses
    #[arg(long, help_heading = "Generator")]
    force: bool,
    /// The `ringlog` binary that targets named `ringlog` run; this one by default
    #[arg(long, value_name = "PATH", help_heading = "Targets")]
    ringlog: Option<PathBuf>,
    /// Kafka's jars or its distribution; fetched by Maven into the user's cache if not given
    #[arg(long, value_name = "DIR", help_heading = "Targets")]
    kafka: Option<PathBuf>,
    /// How long Kafka is driven at most until its CPU a request is stable; 0 leaves it cold
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = parse_duration, help_heading = "Targets")]
    kafka_warmup: Duration,
    /// Folder for data and images of nodes that are started; emptied at the end
    #[arg(long, value_name = "DIR", help_heading = "Targets")]
    work: Option<PathBuf>,
    /// Where results folders go
    #[arg(long, value_name = "DIR", default_value = "results", help_heading = "Output")]
    results: PathBuf,
    /// Also write the last run's results as the OpenMessaging Benchmark does; one file for each target, numbered from
    /// the second on
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    omb_json: Option<PathBuf>,
    /// The file that keeps what `bench disk` and `bench net` measured
    #[arg(long, value_name = "FILE", default_value = FILE, help_heading = "Output")]
    limits: PathBuf,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What is run, and how often.
pub(crate) struct Plan {
    pub(crate) workload: PathBuf,
    pub(crate) targets: Vec<TargetSpec>,
    pub(crate) repeats: u32,
    /// Of brokers that run already.
    pub(crate) options: RunOptions,
}

/// Where a node listens that was started without settings.
const BROKER_DEFAULT: &str = "127.0.0.1:9092";

/// Runs of each target at most.
pub(crate) const REPEATS_MAX: u32 = 1000;

impl Measure {
    /// Runs a session, prints what came out, and fails as the verdict does.
    pub(crate) fn run(&self, plan: Plan) -> Result<(), Failure> {
        if plan.repeats == 0 || REPEATS_MAX < plan.repeats {
            return Err(Failure::new(Code::Usage, format!("--repeat {}: 1 to {REPEATS_MAX}", plan.repeats)));
        }
        // What cannot be written at the end is told before anything is measured.
        let folder = self.omb_json.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let said = format!("--omb-json: there is no folder {}", folder.display());
            return Err(Failure::new(Code::NotFound, said));
        }
        let suite = self.read_suite(&plan.workload)?;
        let targets = match (plan.targets, suite.targets) {
            (given, _) if !given.is_empty() => given,
            (_, named) if !named.is_empty() => named,
            _ => vec![TargetSpec::new(System::Broker(vec![BROKER_DEFAULT.to_owned()]))],
        };
        if !self.cpus.is_empty() {
            // Before the first thread, so that all of them keep to it: looking at brokers costs CPU as well.
            process::pin_this_process(&self.cpus).map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
        }
        if targets.iter().any(|target| target.place.is_mounted()) {
            // Before the first thread, so that all of them see the mounts. Without root each mount says so for itself.
            let _ = place::private_mounts();
        }
        let failed = |error: std::io::Error| Failure::new(Code::Failed, error.to_string());
        let under = self.work.clone().unwrap_or_else(std::env::temp_dir);
        let work = place::ours_in(&under);
        let given = targets.iter().flat_map(|target| match &target.place {
            Place::Directories(given) => given.as_slice(),
            _ => &[],
        });
        let left = given.map(|given| place::ours_in(given)).chain([work.clone()]).collect();
        let stop = Arc::new(AtomicBool::new(false));
        stop_on_interrupt(&stop, "ending the load; the outcome will be partial", left)?;
        let session = Session {
            name: suite.name,
            question: suite.question,
            toml: suite.toml,
            cells: suite.cells,
            faults: suite.faults,
            repeats: plan.repeats,
            tools: Tools {
                ringlog: match &self.ringlog {
                    Some(path) => path.clone(),
                    None => std::env::current_exe().map_err(failed)?,
                },
                kafka: self.kafka.clone(),
                work: work.clone(),
            },
            options: RunOptions {
                cpus: self.cpus.clone(),
                floor: self.floor.clone().or_else(floor_beside_us),
                force: self.force,
                stop,
                ..plan.options
            },
            targets,
            warmup_max: self.kafka_warmup,
            limits: self.limits.clone(),
            results: self.results.clone(),
            command: command_line(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut live = Live::new(!self.format.output.is_text());
        let done = session.run(
            &mut |_, workload, options| {
                let outcome = loadgen::run(workload, options, &mut |progress| live.show(progress));
                live.finish();
                outcome.map_err(Failed::from)
            },
            &mut |line| tell!("{line}"),
        );
        // Whatever happened, nothing of it stays; the nodes are gone by now.
        if work.exists()
            && let Err(error) = std::fs::remove_dir_all(&work)
        {
            tell!("ringlog: cannot remove {}: {error}", work.display());
        }
        let done = done.map_err(|why| {
            let code = match why.cause {
                Cause::Unreachable => Code::Unreachable,
                Cause::Missing => Code::NotFound,
                Cause::Other => Code::Failed,
            };
            Failure::new(code, why.reason)
        })?;
        self.print(&done)?;
        self.write_omb(&done)?;
        conclude(&done)
    }

    fn read_suite(&self, path: &Path) -> Result<Suite, Failure> {
        let wrong = |error: String| Failure::new(Code::Usage, format!("{}: {error}", path.display()));
        let (text, folder, targets) = match &self.omb_driver {
            Some(driver) => {
                let read = read_omb(path, driver).map_err(wrong)?;
                // Their payload files are named from the folder that the tool is started in.
                (read.toml, Path::new("."), omb_target(read.bootstrap.as_deref()))
            }
            None => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
                    Failure::new(code, format!("cannot read {}: {error}", path.display()))
                })?;
                (text, path.parent().unwrap_or(Path::new(".")), None)
            }
        };
        let told = |error: WorkloadError| wrong(error.to_string());
        let text = Suite::with_times(&text, self.warmup, self.duration).map_err(told)?;
        let mut suite = Suite::parse(&text, folder).map_err(told)?;
        suite.targets.extend(targets);
        Ok(suite)
    }

    fn write_omb(&self, done: &Done) -> Result<(), Failure> {
        let Some(first) = &self.omb_json else { return Ok(()) };
        for (index, target) in done.summary.targets.iter().enumerate() {
            let last = done.outcomes.iter().rfind(|(of, _, _)| *of == index as u32);
            let Some((_, _, outcome)) = last else { continue };
            let path = match index {
                0 => first.clone(),
                _ => first.with_extension(format!("{}.json", index + 1)),
            };
            let text = serde_json::to_string_pretty(&omb(&target.label, outcome));
            let text = text.map_err(|error| Failure::output(&error.into()))?;
            std::fs::write(&path, text + "\n")
                .map_err(|error| Failure::new(Code::Failed, format!("cannot write {}: {error}", path.display())))?;
        }
        Ok(())
    }

    fn print(&self, done: &Done) -> Result<(), Failure> {
        // One run is told in full; several are set side by side.
        if let ([(_, _, outcome)], true) = (done.outcomes.as_slice(), self.format.output.is_text()) {
            print_text(&table(outcome))?;
        }
        print(&BenchResults::of(&done.folder, &done.summary), self.format.output)
    }
}

/// Both files of the OpenMessaging Benchmark; what is not as they say is told.
fn read_omb(workload: &Path, driver: &Path) -> Result<Omb, String> {
    let read = loadgen::omb::read(workload, driver, Path::new(".")).map_err(|refused| refused.to_string())?;
    for warning in &read.warnings {
        tell!("{warning}");
    }
    Ok(read)
}

fn omb_target(bootstrap: Option<&str>) -> Option<TargetSpec> {
    let servers = bootstrap?.split(',').map(|server| server.trim().to_owned()).collect();
    Some(TargetSpec::new(System::Broker(servers)))
}

/// The exit code that a session deserves.
fn conclude(done: &Done) -> Result<(), Failure> {
    let runs = || done.summary.targets.iter().flat_map(|target| &target.runs);
    if runs().any(|run| !run.check.passed()) {
        let said = "the self-check failed: what was acked was not kept, or could not be read to its end";
        return Err(Failure::new(Code::VerdictNotMet, said));
    }
    if let Some(reason) = &done.summary.interrupted {
        return Err(Failure::new(Code::Partial, reason.clone()));
    }
    if let Some(reason) = runs().find_map(|run| run.partial.as_ref()) {
        return Err(Failure::new(Code::Partial, format!("a run is partial: {reason}")));
    }
    if done.outcomes.is_empty() {
        return Err(Failure::new(Code::Partial, "none of the targets can be had on this machine"));
    }
    if !done.is_met() {
        return Err(Failure::verdict());
    }
    // Without a target that says so, too: nothing was measured.
    match runs().find(|run| run.acked_messages == 0 && 0 < run.offered_messages) {
        Some(run) => Err(Failure::new(Code::Failed, format!("no message was acked: {}", said(&run.errors)))),
        None => Ok(()),
    }
}

fn said(errors: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = errors.iter().map(|(what, count)| format!("{count} x {what}")).collect();
    if all.is_empty() { "no error was told".to_owned() } else { all.join(", ") }
}

/// The command as it was given, for whoever wants the same again.
fn command_line() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("ringlog".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
