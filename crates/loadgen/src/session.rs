//! One workload file against one or more targets, repeated in turn, into a results folder.
//!
//! All targets are brought up first and stay up, so that A B A B ... costs no starts in between and whatever drifts on
//! the machine meets all alike. The folder is written again after every run: whatever happens later, there is something
//! to look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::compare::{compare, interleaved};
use crate::driver::fault::{self, inject};
use crate::driver::{self, Running, StartError, System, TargetSpec, Tools};
use crate::limits::Limits;
use crate::machine::{Machine, commit, version_of};
use crate::options::RunOptions;
use crate::outcome::{Ceiling, Latencies, Outcome, latencies};
use crate::reached::Beside;
use crate::results::{make_folder, write};
use crate::run::RunError;
use crate::suite::{Cell, Fault};
use crate::summary::{
    Latency, Run, SCHEMA, SCHEMA_VERSION, SeriesLine, Summary, TargetSummary, WorkloadSummary, rfc3339, series,
};
use crate::watch::BrokerProcess;
use crate::workload::{Load, Rate, Workload};

/// What a session is to do.
#[derive(Clone, Debug)]
pub struct Session {
    /// What results are filed under.
    pub name: String,
    /// The question that they answer.
    pub question: Option<String>,
    /// The workload's file, every override applied.
    pub toml: String,
    /// What it asks for; of a matrix every combination of it.
    pub cells: Vec<Cell>,
    /// What happens to the first node of each target meanwhile.
    pub faults: Vec<Fault>,
    /// Who is measured, with each cell.
    pub targets: Vec<TargetSpec>,
    /// Runs of each.
    pub repeats: u32,
    /// What targets are made of.
    pub tools: Tools,
    /// How each run is driven; where to is filled in for each target.
    pub options: RunOptions,
    /// How long a target in a virtual machine of its own (Kafka) is driven at most before anything counts.
    pub warmup_max: Duration,
    /// What this machine can do, as `ringlog bench disk` and `bench net` wrote it.
    pub limits: PathBuf,
    /// Where results folders go.
    pub results: PathBuf,
    /// What makes these results again.
    pub command: String,
    /// Version of this binary.
    pub version: String,
}

/// What a session left.
#[derive(Debug)]
pub struct Done {
    /// The folder.
    pub folder: PathBuf,
    /// What came out.
    pub summary: Summary,
    /// The outcomes in the order of the runs, with the place of the target and the run.
    pub outcomes: Vec<(u32, u32, Outcome)>,
    cells: usize,
}

/// Why a session ended before it had all results.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Failed {
    /// In words, with the target's name.
    pub reason: String,
    /// What kind of reason it is, for an exit code.
    pub cause: Cause,
}

/// See [`Failed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// No node answered: the same may succeed later.
    Unreachable,
    /// What was named is not there.
    Missing,
    /// All else.
    Other,
}

impl Failed {
    fn of(self, label: &str) -> Self {
        Self { reason: format!("{label}: {}", self.reason), ..self }
    }
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self { reason, cause: Cause::Other }
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        let cause = match &error {
            error if error.is_unreachable() => Cause::Unreachable,
            RunError::Missing(_) => Cause::Missing,
            _ => Cause::Other,
        };
        Self { reason: error.to_string(), cause }
    }
}

/// Runs a workload against what the options name: [`crate::run()`], unless a test stands in for it.
pub type Drive<'a> = dyn FnMut(&str, &Workload, &RunOptions) -> Result<Outcome, Failed> + 'a;

/// One window of a warm-up.
const WARMUP_WINDOW: Duration = Duration::from_secs(5);

/// CPU a request of the last windows may differ by this share of the smallest to count as stable.
const WARMUP_SHARE_MAX: f64 = 0.1;

/// Windows that have to agree.
const WARMUP_WINDOWS: usize = 3;

impl Session {
    /// Does it. `told` gets a line for whatever happens that a person would want to know meanwhile.
    ///
    /// # Errors
    /// A target that should run does not, a run cannot begin, or the folder cannot be written. What was measured before
    /// is in the folder.
    pub fn run(&self, drive: &mut Drive<'_>, told: &mut dyn FnMut(&str)) -> Result<Done, Failed> {
        let began = SystemTime::now();
        let commit = commit();
        let fail = |error: std::io::Error| error.to_string();
        let mut summary = self.summary(began, commit.as_ref());
        let limits = Limits::read(&self.limits).map_err(fail)?;
        for (index, spec) in self.targets.iter().enumerate() {
            let nodes = if spec.is_started_here() { spec.nodes as usize } else { 0 };
            fault::check(&self.faults, nodes).map_err(|reason| format!("{}: {reason}", self.label(index)))?;
            let existing = self.cells.iter().find_map(|cell| cell.workload.topics.existing.as_ref());
            if let Some(name) = existing.filter(|_| spec.durability.is_some() || spec.replication_factor.is_some()) {
                let reason = format!("topic {name} is there already, and has its own durability and copies");
                return Err(Failed::from(reason).of(&self.label(index)));
            }
        }
        let mut running = Vec::new();
        for (index, spec) in self.targets.iter().enumerate() {
            if self.is_stopped() {
                break;
            }
            let rows = index * self.cells.len()..(index + 1) * self.cells.len();
            running.push(self.bring_up(spec, &self.label(index), &mut summary.targets[rows], drive, told)?);
        }
        let folder =
            make_folder(&self.results, began, commit.as_ref().map(|(id, _)| id.as_str()), &self.name).map_err(fail)?;
        let mut done = Done { folder, summary, outcomes: Vec::new(), cells: self.cells.len() };
        let mut lines: Vec<SeriesLine> = Vec::new();
        let mut failed = None;
        // The generator's own ceiling, by cell: it depends neither on who is measured nor on the run, so the first is for all.
        let mut ceilings: Vec<Option<Ceiling>> = vec![None; self.cells.len()];
        // Cell by cell, so that the targets of a cell are measured close to each other.
        let turns: Vec<(usize, u32, usize)> = (0..self.cells.len())
            .flat_map(|cell| {
                let turns = interleaved(self.targets.len(), self.repeats).into_iter().enumerate();
                turns.map(move |(place, target)| (cell, (place / self.targets.len()) as u32, target))
            })
            .collect();
        for (place, (cell, run, target)) in turns.iter().copied().enumerate() {
            let row = target * self.cells.len() + cell;
            if self.is_stopped() {
                done.summary.interrupted = Some(format!("stopped after {place} of {} runs", turns.len()));
                break;
            }
            let Some(up) = &mut running[target] else { continue };
            let label = done.summary.targets[row].label.clone();
            told(&format!("{label}: run {} of {}", run + 1, self.repeats));
            let workload = up.spec.workload(&self.cells[cell].workload);
            let mut options = self.options_for(up);
            if ceilings[cell].is_some() {
                options.floor = None;
            }
            let outcome = up
                .check_alive()
                .map_err(Failed::from)
                .and_then(|()| self.drive_with_faults(up, &label, &workload, &options, drive));
            let mut outcome = match outcome {
                Ok(outcome) => outcome,
                Err(_) if self.is_stopped() => {
                    done.summary.interrupted = Some(format!("stopped after {place} of {} runs", turns.len()));
                    break;
                }
                Err(why) => {
                    let why = why.of(&label);
                    done.summary.interrupted = Some(why.reason.clone());
                    failed = Some(why);
                    break;
                }
            };
            if outcome.partial.is_some() && self.is_stopped() {
                done.summary.interrupted = Some(format!("stopped within run {} of {}", place + 1, turns.len()));
            }
            match (ceilings[cell], &outcome.generator.ceiling) {
                (Some(known), _) => outcome.generator.ceiling = Some(Ok(known)),
                (None, Some(Ok(measured))) => ceilings[cell] = Some(*measured),
                (None, _) => {}
            }
            let beside = Beside {
                limits: limits.as_ref(),
                file: &self.limits,
                work: &self.tools.work,
                spec: &up.spec,
                dirs: up.nodes.iter().flat_map(|node| &node.dirs).map(PathBuf::as_path).collect(),
            };
            // Of a topic that was there, these are known now.
            done.summary.targets[row].replication_factor = u32::from(outcome.workload.topics.replication_factor);
            done.summary.targets[row].durability = outcome.workload.topics.durability.word().to_owned();
            done.summary.targets[row].runs.push(Run::of(&outcome, beside.rows(&outcome)));
            lines.extend(series(&outcome, row as u32, run));
            done.outcomes.push((row as u32, run, outcome));
            done.write(&lines).map_err(fail)?;
        }
        drop(running);
        done.write(&lines).map_err(fail)?;
        match failed {
            None => Ok(done),
            Some(why) if done.outcomes.is_empty() => {
                // Nothing was measured: a folder would say nothing that the error does not.
                let _ = std::fs::remove_dir_all(&done.folder);
                Err(why)
            }
            Some(why) => {
                let reason = format!("{}. What was measured before is in {}", why.reason, done.folder.display());
                Err(Failed { reason, ..why })
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    fn summary(&self, began: SystemTime, commit: Option<&(String, bool)>) -> Summary {
        let mut machine = Machine::look();
        if self.targets.iter().any(|spec| spec.system == System::Kafka)
            && let Some(java) = version_of(Path::new("java"), "-version")
        {
            machine.versions.insert("java".to_owned(), java);
        }
        Summary {
            schema: SCHEMA.to_owned(),
            schema_version: SCHEMA_VERSION,
            created_at: rfc3339(began),
            ringlog_version: self.version.clone(),
            commit: commit.map(|(id, _)| id.clone()),
            commit_is_dirty: commit.is_some_and(|(_, is_dirty)| *is_dirty),
            command: self.command.clone(),
            workload: WorkloadSummary {
                name: self.name.clone(),
                question: self.question.clone(),
                tier: self.cells.first().and_then(|cell| cell.workload.targets.tier.clone()),
                mode: self.cells.first().map_or("open", |cell| cell.workload.load.word()).to_owned(),
                toml: self.toml.clone(),
            },
            machine,
            generator_cpus: self.options.cpus.clone(),
            targets: self
                .targets
                .iter()
                .enumerate()
                .flat_map(|(index, spec)| self.cells.iter().map(move |cell| (index, spec, cell)))
                .map(|(index, spec, cell)| row(&self.label(index), spec, cell))
                .collect(),
            comparisons: Vec::new(),
            interrupted: None,
        }
    }

    /// What a target is called: what sets it apart, and a number if that is nothing.
    fn label(&self, index: usize) -> String {
        let label = self.targets[index].label();
        match self.targets[..index].iter().filter(|spec| spec.label() == label).count() {
            0 => label,
            before => format!("{label} ({})", before + 1),
        }
    }

    /// Drives one run, and meanwhile does to the nodes what the faults say.
    fn drive_with_faults(
        &self,
        up: &mut Running,
        label: &str,
        workload: &Workload,
        options: &RunOptions,
        drive: &mut Drive<'_>,
    ) -> Result<Outcome, Failed> {
        if self.faults.is_empty() {
            return drive(label, workload, options);
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let nodes = &mut up.nodes;
            let injected = scope.spawn(|| inject(nodes, &options.brokers, &self.faults, &options.load, &over));
            let outcome = drive(label, workload, options);
            over.store(true, Ordering::Relaxed);
            let faults = injected.join().map_err(|_| "the thread that injects faults panicked".to_owned())?;
            Ok(Outcome { faults: faults?, ..outcome? })
        })
    }

    /// `None`: it cannot be had here, and the reason stands in its empty cell.
    fn bring_up(
        &self,
        spec: &TargetSpec,
        label: &str,
        rows: &mut [TargetSummary],
        drive: &mut Drive<'_>,
        told: &mut dyn FnMut(&str),
    ) -> Result<Option<Running>, Failed> {
        if spec.is_started_here() {
            told(&format!("{label}: starting"));
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let mut running = match runtime.block_on(driver::start(spec, &self.tools, &self.options.stop)) {
            Ok(running) => running,
            Err(StartError::Skipped(reason)) => {
                told(&format!("{label}: SKIPPED, {reason}"));
                rows.iter_mut().for_each(|row| row.empty = Some(reason.clone()));
                return Ok(None);
            }
            Err(StartError::Failed(reason)) => return Err(Failed::from(reason).of(label)),
            Err(StartError::Unreachable(reason)) => {
                return Err(Failed { reason, cause: Cause::Unreachable }.of(label));
            }
            Err(StartError::Stopped) => return Ok(None),
        };
        let mut notes = Vec::new();
        for name in &running.unknown_settings {
            let note = format!("{name} is no setting that it knows, and had no effect");
            told(&format!("{label}: {note}"));
            notes.push(note);
        }
        if spec.system == System::Kafka && !self.warmup_max.is_zero() {
            notes.push(self.warm_up(&mut running, label, drive, told)?);
        }
        for row in rows {
            row.version = running.version.clone();
            row.storage = running.storage.clone();
            row.config = running.config.clone();
            row.notes.extend(notes.clone());
        }
        Ok(Some(running))
    }

    /// Drives a target until its CPU a request no longer falls: its compiler has seen all there is to see.
    fn warm_up(
        &self,
        running: &mut Running,
        label: &str,
        drive: &mut Drive<'_>,
        told: &mut dyn FnMut(&str),
    ) -> Result<String, Failed> {
        told(&format!("{label}: warming up, {} s at most", self.warmup_max.as_secs()));
        // The ceiling is of the generator; one look at it is enough, in a run that counts.
        let options = RunOptions { floor: None, ..self.options_for(running) };
        let began = Instant::now();
        let mut cpu_us = vec![Vec::new(); self.cells.len()];
        // What one cell asks of the broker warms up little of what another one does.
        for place in (0..self.cells.len()).cycle() {
            if self.warmup_max <= began.elapsed() || self.is_stopped() {
                break;
            }
            running.check_alive()?;
            let workload = warmup_workload(&running.spec.workload(&self.cells[place].workload));
            let outcome = drive(label, &workload, &options)?;
            let cpu: Duration = outcome.brokers.iter().map(|broker| broker.cpu).sum();
            cpu_us[place].push(cpu.as_micros() as f64 / outcome.batches.requests.max(1) as f64);
            if cpu_us.iter().all(|cell| is_stable(cell)) {
                return Ok(format!(
                    "warmed up for {} s, until its CPU a request was stable within 10 %",
                    began.elapsed().as_secs()
                ));
            }
        }
        Ok(format!("warmed up for {} s; its CPU a request was not stable yet", began.elapsed().as_secs()))
    }

    fn options_for(&self, running: &Running) -> RunOptions {
        RunOptions {
            bootstrap: running.bootstrap.clone(),
            // Of a broker that runs already the caller may know the processes.
            brokers: match running.nodes.is_empty() {
                true => self.options.brokers.clone(),
                false => {
                    let nodes = running.nodes.iter();
                    nodes.map(|node| BrokerProcess::new(node.pid() as i32, node.http.clone())).collect()
                }
            },
            stop: Arc::clone(&self.options.stop),
            load: Arc::default(),
            ..self.options.clone()
        }
    }
}

impl Done {
    fn write(&mut self, lines: &[SeriesLine]) -> std::io::Result<()> {
        for (index, target) in self.summary.targets.iter_mut().enumerate() {
            let merged = |of: fn(&Outcome) -> &Latencies| {
                let mut all = latencies();
                for (_, _, outcome) in self.outcomes.iter().filter(|(target, _, _)| *target == index as u32) {
                    // Both grow as needed, so nothing is out of range.
                    let _ = all.add(of(outcome));
                }
                Latency::of(&all)
            };
            target.produce_latency = merged(|outcome| &outcome.produce);
            target.end_to_end_latency = merged(|outcome| &outcome.end_to_end);
        }
        // Within each cell: the first target against each other.
        let cell = |cell: usize| self.summary.targets.iter().skip(cell).step_by(self.cells);
        let compared = (0..self.cells).flat_map(|number| {
            let first = cell(number).next().filter(|first| first.empty.is_none());
            let others = cell(number).skip(1).filter(|other| other.empty.is_none());
            first.into_iter().flat_map(move |first| others.clone().flat_map(move |other| compare(first, other)))
        });
        self.summary.comparisons = compared.collect();
        let outcomes: Vec<_> = self.outcomes.iter().map(|(target, run, outcome)| (*target, *run, outcome)).collect();
        write(&self.folder, &self.summary, lines, &outcomes)
    }

    /// Whether every verdict is met and every check passed.
    #[must_use]
    pub fn is_met(&self) -> bool {
        let runs = || self.summary.targets.iter().flat_map(|target| &target.runs);
        runs().all(|run| run.check.passed() && run.verdict.as_ref().is_none_or(|verdict| verdict.is_met))
    }
}

/// A row of the summary: a target with a cell.
fn row(label: &str, spec: &TargetSpec, cell: &Cell) -> TargetSummary {
    let topics = spec.workload(&cell.workload).topics;
    TargetSummary {
        // Without a matrix the cell has no label of its own.
        label: if cell.label.is_empty() { label.to_owned() } else { format!("{label} {}", cell.label) },
        system: match spec.system {
            System::Broker(_) => "broker",
            System::Ringlog => "ringlog",
            System::Kafka => "kafka",
        }
        .to_owned(),
        version: None,
        nodes: spec.nodes,
        replication_factor: u32::from(topics.replication_factor),
        durability: topics.durability.word().to_owned(),
        storage: None,
        cpus: spec.cpus.clone(),
        config: BTreeMap::new(),
        empty: None,
        notes: Vec::new(),
        produce_latency: None,
        end_to_end_latency: None,
        runs: Vec::new(),
    }
}

/// The same load, as a short run at a plain rate.
fn warmup_workload(workload: &Workload) -> Workload {
    let mut workload = workload.clone();
    workload.warmup = Duration::ZERO;
    workload.duration = WARMUP_WINDOW;
    workload.consumers.cold_readers = 0;
    workload.load = match workload.load {
        Load::Sweep(sweep) => {
            let middle = (sweep.rate_min * sweep.rate_max).sqrt();
            Load::Open(Rate { messages_per_s: middle, arrivals: sweep.arrivals })
        }
        Load::Backlog { rate, .. } | Load::Soak(rate) => Load::Open(rate),
        load @ (Load::Open(_) | Load::Closed { .. } | Load::Maximum) => load,
    };
    workload
}

fn is_stable(cpu_us: &[f64]) -> bool {
    let Some(last) = cpu_us.len().checked_sub(WARMUP_WINDOWS).map(|from| &cpu_us[from..]) else { return false };
    let low = last.iter().copied().fold(f64::INFINITY, f64::min);
    let high = last.iter().copied().fold(0.0, f64::max);
    high - low <= low * WARMUP_SHARE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Results, sample};
    use crate::suite::{FaultKind, Suite};

    fn session(name: &str, targets: &[&str], repeats: u32) -> Session {
        let under = std::env::temp_dir().join(format!("ringlog-session-{name}-{}", std::process::id()));
        Session {
            name: "sample".to_owned(),
            question: None,
            toml: sample::TOML.to_owned(),
            cells: Suite::parse(sample::TOML, Path::new(".")).expect("right").cells,
            faults: Vec::new(),
            targets: targets.iter().map(|target| target.parse().expect("a target")).collect(),
            repeats,
            tools: Tools { ringlog: "/no/such/binary".into(), kafka: None, work: under.join("work") },
            options: RunOptions::default(),
            warmup_max: Duration::ZERO,
            limits: under.join("no-limits.json"),
            results: under.join("results"),
            command: "ringlog bench run".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_target_that_cannot_be_had_leaves_an_empty_cell_and_a_page() {
        let session = session("empty", &["ringlog:nodes=3,rf=3"], 2);
        let mut said = Vec::new();
        let done = session
            .run(&mut |_, _, _| Err("nothing is driven".to_owned().into()), &mut |line| said.push(line.to_owned()))
            .expect("done");
        assert!(said.iter().any(|line| line.contains("SKIPPED") && line.contains("one node")), "{said:?}");
        let read = Results::read(&done.folder).expect("readable");
        let target = &read.summary.targets[0];
        assert_eq!((target.runs.len(), target.replication_factor), (0, 3));
        assert!(target.empty.as_ref().is_some_and(|reason| reason.contains("one node")));
        std::fs::remove_dir_all(session.results.parent().expect("a parent")).expect("removed");
    }

    #[test]
    fn faults_that_a_target_cannot_have_are_refused_before_anything_starts() {
        let fault = |node| Fault { at: Duration::ZERO, kind: FaultKind::Kill, down: Duration::ZERO, node };
        for (target, node, says) in [("127.0.0.1:1", 1, "starts itself"), ("kafka:nodes=3", 4, "there are 3")] {
            let session = Session { faults: vec![fault(node)], ..session("faults", &[target], 1) };
            let error = session.run(&mut |_, _, _| Err(String::new().into()), &mut |_| {}).expect_err("no such node");
            assert!(error.reason.contains(says), "{error}");
            assert!(!session.tools.work.exists());
        }
    }

    #[test]
    fn targets_that_nothing_sets_apart_are_numbered() {
        let session = session("labels", &["ringlog:cpus=0", "kafka", "ringlog:cpus=1", "ringlog"], 1);
        let summary = session.summary(SystemTime::UNIX_EPOCH, None);
        let labels: Vec<&str> = summary.targets.iter().map(|target| target.label.as_str()).collect();
        assert_eq!(labels, ["ringlog", "kafka", "ringlog (2)", "ringlog (3)"]);
    }

    #[test]
    fn a_target_that_should_run_and_does_not_is_an_error_that_names_it() {
        let session = session("fails", &["ringlog"], 1);
        let error = session.run(&mut |_, _, _| Err(String::new().into()), &mut |_| {}).expect_err("no binary");
        assert!(error.reason.starts_with("ringlog: "), "{error}");
        assert!(!session.results.exists());
        std::fs::remove_dir_all(session.results.parent().expect("a parent")).expect("removed");
    }

    #[test]
    fn a_session_that_is_stopped_starts_nothing_more() {
        let session = session("stopped", &["ringlog", "ringlog:cpus=0"], 1);
        session.options.stop.store(true, Ordering::Relaxed);
        // No binary is there: a start would fail.
        let done = session.run(&mut |_, _, _| panic!("driven"), &mut |_| panic!("started")).expect("done");
        assert_eq!(done.summary.interrupted.as_deref(), Some("stopped after 0 of 2 runs"));
        std::fs::remove_dir_all(session.results.parent().expect("a parent")).expect("removed");
    }

    #[test]
    fn a_broker_that_does_not_answer_is_unreachable_and_named_once() {
        let session = session("nobody", &["127.0.0.1:1"], 1);
        let error = session.run(&mut |_, _, _| panic!("driven"), &mut |_| {}).expect_err("nobody listens");
        assert_eq!(error.cause, Cause::Unreachable, "{error}");
        assert!(error.reason.starts_with("127.0.0.1:1: no answer within 5 s: cannot connect"), "{error}");
        assert!(!session.results.exists());
    }

    #[test]
    fn a_topic_that_is_there_is_called_what_it_is() {
        let text = "name = \"t\"\n[topics]\nname = \"orders\"\n[load]\nrate = 1";
        let cells = Suite::parse(text, Path::new(".")).expect("right").cells;
        let session = Session { cells: cells.clone(), ..session("existing", &["ringlog:durability=durable"], 1) };
        let error = session.run(&mut |_, _, _| panic!("driven"), &mut |_| {}).expect_err("it has its own");
        assert!(error.reason.contains("topic orders is there already"), "{error}");
    }

    #[test]
    fn cpu_is_stable_when_three_windows_agree() {
        assert!(!is_stable(&[100.0, 100.0]));
        assert!(!is_stable(&[300.0, 120.0, 100.0]));
        assert!(is_stable(&[300.0, 120.0, 105.0, 101.0, 100.0]));
    }

    #[test]
    fn a_warm_up_keeps_the_load_and_not_what_takes_long() {
        let text = "name = \"t\"\n[load]\nmode = \"backlog\"\nrate = 10\nbacklog_bytes = 1000";
        let workload = warmup_workload(&Workload::parse(text, Path::new(".")).expect("right"));
        assert_eq!(workload.load.rate().map(|rate| rate.messages_per_s), Some(10.0));
        assert_eq!((workload.load.word(), workload.duration), ("open", WARMUP_WINDOW));
    }
}
