//! The benchmark suite against real nodes: every file of bench-configs/ for a few seconds, the self-check on, and what its
//! results folder says. `cargo test -p tests --test bench -- [NAME]...`
//!
//! What is judged is what a reader relies on: that messages flowed and readers read to the end, that every target of the tier
//! has a measured value and a verdict, that a run has what its kind of load is for, that the page shows the numbers of
//! summary.json and has a line for each target in each curve. Not judged: speed.

mod folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use folder::Folder;
use loadgen::limits::{Disk, Latency, Limits, Network, SyncStep, Transfer};
use loadgen::machine::Storage;
use tests::node::{Node, Peer, ringlog_path};
use tests::tally::Tally;
use tests::{root, scratch_dir};

/// Seconds counted of each run, and before.
const DURATION: &str = "2s";
const WARMUP: &str = "500ms";

/// How long one command may take: the workload with 10,000 partitions makes them first.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(150);

fn main() {
    let mut tally = Tally::new("bench");
    if let Err(why) = run(&mut tally) {
        tally.fail("bench", &why);
    }
    std::process::exit(tally.close());
}

fn run(tally: &mut Tally) -> Result<(), String> {
    let scratch = scratch_dir("bench");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(|e| e.to_string())?;
    }
    fs::create_dir_all(&scratch).map_err(|e| e.to_string())?;
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("bench-configs"))
        .map_err(|e| format!("bench-configs: {e}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err("bench-configs holds no workload".to_owned());
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |what: &str| wanted.is_empty() || wanted.iter().any(|name| what.contains(name));
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let what = format!("{name}: flows, is checked, and gets its verdict");
        if is_wanted(&what) {
            tally.judge(&what, workload(&scratch, &name, file));
        }
    }
    for (what, test) in TESTS.iter().filter(|(what, _)| is_wanted(what)) {
        tally.judge(what, test(&scratch));
    }
    for kind in ["ext4", "xfs"] {
        let what = format!("a node on an {kind} of the bench's own is measured there, and nothing of it stays");
        match is_wanted(&what).then(|| cannot_mount(kind)) {
            None => {}
            Some(Some(why)) => tally.skip(&what, &why, 1),
            Some(None) => tally.judge(&what, on_file_system(&scratch, kind)),
        }
    }
    Ok(())
}

type Test = fn(&Path) -> Result<(), String>;

const TESTS: &[(&str, Test)] = &[
    ("a comparison of five runs each has a verdict, and diff and report read it", comparison),
    ("a setting that a node does not know is said, and only that", unknown_setting),
    ("what a restarted broker used is what both of its processes used", restarted),
    ("a restart that comes after the end is missed, and said to be", restarted_too_late),
    ("Ctrl-C leaves a partial report that says so", interrupted),
    ("mounts, images and processes are gone after Ctrl-C", nothing_stays),
];

/// One node for a file: what runs on it is Ringlog, one copy, whatever targets the file names itself.
fn workload(scratch: &Path, name: &str, file: &Path) -> Result<(), String> {
    let results = scratch.join(name);
    let text = for_seconds(file)?;
    let copy = scratch.join(file.file_name().unwrap_or_default());
    fs::write(&copy, &text).map_err(|e| e.to_string())?;
    // A backlog's run ends once it is drained.
    let duration = if text.contains("backlog_bytes") { "20s" } else { DURATION };
    let file = copy.display().to_string();
    let output = bench(scratch, &results, &["run", &file, "--target", "ringlog:rf=1"], duration)?;
    // 6: a verdict that is not met is an answer too.
    if !matches!(output.status.code(), Some(0 | 6)) {
        return Err(told(&output));
    }
    let folder = Folder::only(&results)?;
    let summary = &folder.summary;
    let targets = summary["targets"].as_array().ok_or("no targets")?;
    if targets.is_empty() {
        return Err("summary.json has no targets".to_owned());
    }
    for target in targets {
        let label = target["label"].as_str().unwrap_or_default();
        folder::check_target(target, &text).map_err(|why| format!("{label}: {why}"))?;
    }
    folder.check_page()?;
    folder.check_series()?;
    folder.check_histograms()
}

/// What would not happen before a run of seconds is over, a backlog of the file's own size and its faults, happens within it.
fn for_seconds(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let soon = |line: &str| match line.split_once(" = ").unwrap_or_default().0 {
        "backlog_bytes" => "backlog_bytes = 60_000_000".to_owned(),
        "at_s" => "at_s = 1".to_owned(),
        "down_s" => "down_s = 0.3".to_owned(),
        _ => line.to_owned(),
    };
    Ok(text.lines().map(soon).collect::<Vec<_>>().join("\n"))
}

fn comparison(scratch: &Path) -> Result<(), String> {
    let file = scratch.join("short.toml");
    let text = "name = \"short\"\nwarmup_s = 0\nduration_s = 1.2\n[load]\nrate = 500\n[topics]\npartitions = 2\n";
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let results = scratch.join("comparison");
    let (file, limits) = (file.display().to_string(), limits_file(scratch)?.display().to_string());
    let arguments =
        ["compare", "ringlog", "ringlog:ringlog.log.append.backend=inline", &file, "-o", "json", "--limits", &limits];
    let output = spawn(scratch, &results, &arguments, false)?;
    if !output.status.success() {
        return Err(told(&output));
    }
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("-o json: {e}"))?;
    let rows = printed["comparisons"].as_array().ok_or("no comparisons are printed")?;
    for row in rows {
        let verdict = row["verdict"].as_str().unwrap_or_default();
        if verdict.starts_with("no verdict") || row["p"].is_null() {
            return Err(format!("five runs each, and still: {row}"));
        }
    }
    let folder = Folder::only(&results)?;
    let runs: Vec<usize> = (0..2).map(|target| folder.runs(target).len()).collect();
    if runs != [5, 5] || rows.len() < 5 {
        return Err(format!("{runs:?} runs, {} comparisons", rows.len()));
    }
    // Taken in turn: the runs of A and B alternate in time.
    let starts = |target: usize| -> Vec<String> {
        folder.runs(target).iter().filter_map(|run| Some(run["started_at"].as_str()?.to_owned())).collect()
    };
    let (a, b) = (starts(0), starts(1));
    if !a.iter().zip(&b).all(|(a, b)| a <= b) || !b.iter().zip(a.iter().skip(1)).all(|(b, a)| b <= a) {
        return Err(format!("not taken in turn: {a:?} {b:?}"));
    }
    folder.check_page()?;
    let reached = folder.runs(0)[0]["limits"].as_array().map_or(0, Vec::len);
    if reached < 3 {
        return Err(format!("{reached} limits beside a run on a disk and a network that were measured"));
    }
    found_out(&folder)?;
    let path = folder.path.display().to_string();
    let diff = plain(&["bench", "diff", &path, &path, "--strict", "-o", "json"])?;
    let difference: serde_json::Value = serde_json::from_slice(&diff.stdout).map_err(|e| format!("diff: {e}"))?;
    let shown = difference["metrics"].as_array().map(Vec::len).unwrap_or_default();
    if !diff.status.success() || shown != 2 * rows.len() {
        return Err(format!("a folder differs from itself, or not everything is shown ({shown}): {}", told(&diff)));
    }
    let page = folder.path.join("again.html");
    let report = plain(&["bench", "report", &path, "--to", &page.display().to_string()])?;
    let again = fs::read(&page).map_err(|e| format!("{e}: {}", told(&report)))?;
    if again != fs::read(folder.path.join("report.html")).map_err(|e| e.to_string())? {
        return Err("the page drawn again is another one".to_owned());
    }
    let both = plain(&["bench", "report", &path, &path, "--to", &page.display().to_string()])?;
    if both.status.success() { Ok(()) } else { Err(told(&both)) }
}

/// A page that is not its summary's does not pass: the judge of pages is one.
fn found_out(folder: &Folder) -> Result<(), String> {
    for field in
        ["/produce_latency/p99_us", "/produce_latency/max_us", "/end_to_end_latency/p99_us", "/runs/0/limits/0/percent"]
    {
        let mut forged = folder.clone();
        let value = forged.summary.pointer_mut(&format!("/targets/1{field}")).ok_or_else(|| format!("no {field}"))?;
        *value = (value.as_u64().unwrap_or_default() * 2 + 100).into();
        if field.starts_with("/runs") {
            // Its share lies between those of its runs.
            for run in 1..5 {
                forged.summary["targets"][1]["runs"][run]["limits"][0]["percent"] = 1_000_000.into();
            }
        }
        if forged.check_page().is_ok() {
            return Err(format!("a page that says something else of {field} passes"));
        }
    }
    for mark in ["stroke=\"var(--series-1)\"", "ringlog.log.append.backend=inline</td>", "no targets"] {
        let forged = Folder { page: folder.page.replace(mark, ""), ..folder.clone() };
        if forged.page == folder.page || forged.check_page().is_ok() {
            return Err(format!("a page without `{mark}` passes"));
        }
    }
    Ok(())
}

/// What `bench disk` and `bench net` would have left: a disk of 100 MB a second under the work folder, and a loopback.
fn limits_file(scratch: &Path) -> Result<PathBuf, String> {
    let second = Transfer::new(100_000_000, Duration::from_secs(1));
    let measured_at = "2026-01-01T00:00:00Z".to_owned();
    let mut limits = Limits::of_this_machine();
    limits.disks.push(Disk {
        measured_at: measured_at.clone(),
        place: Storage::look(scratch),
        write: second,
        sync_by_size: vec![SyncStep {
            write_bytes: 4096,
            batch: 1,
            files: 1,
            syncs_per_s: 1000,
            writes_per_s: 1000,
            latency: Latency::default(),
        }],
        sync_by_batch: Vec::new(),
        sync_by_files: Vec::new(),
    });
    limits.networks.push(Network {
        measured_at,
        peer: "loopback".to_owned(),
        connections: 1,
        sent: second,
        received: second,
        round_trip: Latency::default(),
    });
    let path = scratch.join("limits.json");
    limits.write(&path).map_err(|e| e.to_string())?;
    Ok(path)
}

fn unknown_setting(scratch: &Path) -> Result<(), String> {
    let file = scratch.join("unknown.toml");
    fs::write(&file, "name = \"unknown\"\n[load]\nrate = 100\n").map_err(|e| e.to_string())?;
    let results = scratch.join("unknown");
    let target = "ringlog:ringlog.log.append.backend=inline,ringlog.log.append.backnd=inline";
    let output = bench(scratch, &results, &["run", &file.display().to_string(), "--target", target], DURATION)?;
    let folder = Folder::only(&results)?;
    let notes = &folder.summary["targets"][0]["notes"];
    let wanted = "ringlog.log.append.backnd is no setting that it knows, and had no effect";
    if notes.as_array().is_none_or(|notes| notes.len() != 1 || notes[0] != wanted) {
        return Err(format!("notes {notes}: {}", told(&output)));
    }
    let is_said = |text: &str| text.contains(wanted);
    match is_said(&folder.page) && is_said(&String::from_utf8_lossy(&output.stderr)) {
        true => Ok(()),
        false => Err(format!("not on the page, or not told meanwhile: {}", told(&output))),
    }
}

fn restarted(scratch: &Path) -> Result<(), String> {
    let file = scratch.join("restarted.toml");
    let text = "name = \"restarted\"\nwarmup_s = 0.5\nduration_s = 8\n[load]\nrate = 500\n\
                [[faults]]\nat_s = 3\nkind = \"restart\"\ndown_s = 0.2\n";
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let results = scratch.join("restarted");
    let output = spawn(scratch, &results, &["run", &file.display().to_string(), "--target", "ringlog"], false)?;
    if !output.status.success() {
        return Err(told(&output));
    }
    let folder = Folder::only(&results)?;
    let run = folder.runs(0).first().ok_or("no run")?;
    let broker = &run["broker"];
    let began_ms = run["faults"][0]["began_ms"].as_u64().unwrap_or_default();
    if !(3000..4000).contains(&began_ms) {
        return Err(format!("the restart was not 3 s into the load: {}", run["faults"]));
    }
    if broker["processes"] != 2 {
        return Err(format!("one process before the restart and one after it: {broker}"));
    }
    // Its CPU second by second adds up to its CPU: no second fell out, and none went backwards.
    let of_seconds =
        folder.measured_seconds()?.iter().filter_map(|line| line["broker_cpu_percent"].as_u64()).sum::<u64>();
    let (of_seconds, of_run) = (of_seconds * 10, broker["cpu_ms"].as_u64().unwrap_or_default());
    let close = of_run / 2 <= of_seconds + 100 && of_seconds <= of_run + of_run / 2 + 100;
    if close { Ok(()) } else { Err(format!("CPU of the run {of_run} ms, of its seconds {of_seconds} ms")) }
}

/// A node that is to be restarted after the end is not, and the run has not shown what it is for.
fn restarted_too_late(scratch: &Path) -> Result<(), String> {
    let file = scratch.join("restarted.toml").display().to_string();
    let results = scratch.join("too-late");
    let output = bench(scratch, &results, &["run", &file, "--target", "ringlog"], DURATION)?;
    let folder = Folder::only(&results)?;
    let run = folder.runs(0).first().ok_or("no run")?;
    if run["verdict"]["verdict"] != "not proven" || run["broker"]["processes"] != 1 || output.status.code() != Some(6) {
        return Err(format!("{} {}: {}", run["verdict"], run["broker"]["processes"], told(&output)));
    }
    let said = folder.page.contains("no restart of node 1: the load ended before 3 s");
    if said { Ok(()) } else { Err("the page does not say so".to_owned()) }
}

/// Ctrl-C in the middle: a partial report, said so everywhere, exit code 5.
fn interrupted(scratch: &Path) -> Result<(), String> {
    let mut node = Node::new(Peer::Ringlog, &scratch.join("node"), &[]).map_err(|e| e.to_string())?;
    node.start()?;
    let file = scratch.join("long.toml");
    let text = "name = \"long\"\nwarmup_s = 1\nduration_s = 60\n[load]\nrate = 500\n";
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let results = scratch.join("interrupted");
    let (address, file) = (node.address(), file.display().to_string());
    let output = spawn(scratch, &results, &["run", &file, "-b", &address], true)?;
    node.stop()?;
    if output.status.code() != Some(5) {
        return Err(format!("exit code 5 is expected: {}", told(&output)));
    }
    let folder = Folder::only(&results)?;
    let run = folder.runs(0).first().ok_or("no run")?;
    if run["partial"].is_null() || folder.summary["interrupted"].is_null() {
        return Err(format!("not said to be partial: {} {}", run["partial"], folder.summary["interrupted"]));
    }
    if run["acked_messages"].as_u64().unwrap_or_default() == 0 {
        return Err("what was measured before is lost".to_owned());
    }
    if folder.page.contains("do not count as they stand") { Ok(()) } else { Err("the page does not say so".to_owned()) }
}

/// The same with nodes and mounts of the bench's own.
fn nothing_stays(scratch: &Path) -> Result<(), String> {
    let file = scratch.join("long.toml").display().to_string();
    let results = scratch.join("stays");
    let work = scratch.join("stays-work");
    fs::create_dir_all(&work).map_err(|e| e.to_string())?;
    let before = loop_devices();
    let is_root = nix::unistd::geteuid().is_root();
    let target = if is_root { "ringlog:fs=tmpfs" } else { "ringlog" };
    let work_text = work.display().to_string();
    let output = spawn(scratch, &results, &["run", &file, "--target", target, "--work", &work_text], true)?;
    if output.status.code() != Some(5) {
        return Err(format!("exit code 5 is expected: {}", told(&output)));
    }
    let left: Vec<String> = fs::read_dir(&work)
        .map_err(|e| e.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path().display().to_string()))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
    if !left.is_empty() || mounts.contains(&work_text) || loop_devices() != before {
        return Err(format!("left behind: {left:?}"));
    }
    // A node of the bench has the work folder on its command line.
    let alive = fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("log.dirs={work_text}"))
    });
    if alive { Err("its node still runs".to_owned()) } else { Ok(()) }
}

/// Why this machine has no such file system to give, if it has not.
fn cannot_mount(kind: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("mounting takes root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices on this machine".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let missing = [format!("mkfs.{kind}"), "losetup".to_owned()].into_iter().find(|program| !is_there(program));
    missing.map(|program| format!("no {program} on this machine"))
}

/// The driver makes an image, mounts it, runs a node in it, and takes it all away again.
fn on_file_system(scratch: &Path, kind: &str) -> Result<(), String> {
    let file = scratch.join("durable.toml");
    let text =
        "name = \"durable\"\nwarmup_s = 0\nduration_s = 1.2\n[topics]\ndurability = \"durable\"\n[load]\nrate = 200\n";
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let (results, work) = (scratch.join(kind), scratch.join(format!("{kind}-work")));
    fs::create_dir_all(&work).map_err(|e| e.to_string())?;
    let before = loop_devices();
    let (file, target, work_text) =
        (file.display().to_string(), format!("ringlog:fs={kind}"), work.display().to_string());
    let output = spawn(scratch, &results, &["run", &file, "--target", &target, "--work", &work_text], false)?;
    if !output.status.success() {
        return Err(told(&output));
    }
    let folder = Folder::only(&results)?;
    let (storage, run) = (&folder.summary["targets"][0]["storage"], folder.runs(0).first().ok_or("no run")?);
    let is_loop = storage["device"].as_str().is_some_and(|device| device.starts_with("/dev/loop"));
    let is_within = storage["path"].as_str().is_some_and(|path| path.starts_with(&work_text));
    if storage["file_system"] != kind || !is_loop || !is_within {
        return Err(format!("not on an {kind} of its own: {storage}"));
    }
    let written = run["broker"]["disk_write_bytes_per_s"].as_u64().unwrap_or_default();
    if run["acked_messages"].as_u64().unwrap_or_default() == 0 || written == 0 || run["check"]["is_complete"] != true {
        return Err(format!("nothing was written and read there: {written} bytes a second, {}", run["check"]));
    }
    // Who may mount may count. The kernel sees each fsync of the node's through io_uring, and those of its small files.
    let per_s = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
    let limits = run["limits"].as_array().ok_or("no limits")?;
    let told = limits.iter().find(|limit| limit["limit"] == "disk_sync").map_or(0, |limit| per_s(&limit["used_per_s"]));
    let (calls, syncs) = (per_s(&run["broker"]["system_calls_per_s"]), per_s(&run["broker"]["file_syncs_per_s"]));
    if calls == 0 || told == 0 || syncs * 10 < told * 8 {
        return Err(format!("{calls} system calls and {syncs} syncs a second; the node counts {told} syncs"));
    }
    folder.check_page()?;
    let left = fs::read_dir(&work).map_err(|e| e.to_string())?.count();
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
    if left != 0 || mounts.contains(&work_text) || loop_devices() != before {
        return Err(format!("{left} left behind, {before} loop devices before and {} after", loop_devices()));
    }
    Ok(())
}

fn loop_devices() -> usize {
    let attached = |name: &str| Path::new("/sys/block").join(name).join("loop/backing_file").exists();
    let all = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    all.filter(|entry| entry.file_name().to_str().is_some_and(attached)).count()
}

fn bench(scratch: &Path, results: &Path, arguments: &[&str], duration: &str) -> Result<Output, String> {
    let mut all = arguments.to_vec();
    all.extend(["--duration", duration, "--warmup", WARMUP, "--kafka-warmup", "0"]);
    spawn(scratch, results, &all, false)
}

/// Runs `ringlog bench`, and interrupts it once it drives if asked to.
fn spawn(scratch: &Path, results: &Path, arguments: &[&str], interrupt: bool) -> Result<Output, String> {
    let mut command = Command::new(ringlog_path());
    command.arg("bench").args(arguments).arg("--results").arg(results);
    if !arguments.contains(&"--work") {
        command.arg("--work").arg(scratch);
    }
    let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
    let file = |path: &Path| fs::File::create(path).map_err(|e| e.to_string());
    command.stdin(Stdio::null()).stdout(file(&out)?).stderr(file(&err)?);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let mut interrupted = None;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        let driving = || fs::read_to_string(&err).is_ok_and(|text| text.contains("run 1 of"));
        if interrupt && interrupted.is_none() && driving() {
            std::thread::sleep(Duration::from_secs(4));
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).map_err(|e| e.to_string())?;
            interrupted = Some(());
        }
        if begun.elapsed() > COMMAND_TIME_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("`bench {}` is not done after {} s", arguments.join(" "), COMMAND_TIME_MAX.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let read = |path: &Path| fs::read(path).map_err(|e| e.to_string());
    Ok(Output { status, stdout: read(&out)?, stderr: read(&err)? })
}

fn plain(arguments: &[&str]) -> Result<Output, String> {
    Command::new(ringlog_path()).args(arguments).stdin(Stdio::null()).output().map_err(|e| e.to_string())
}

fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    format!("{}: {}", output.status, lines[lines.len().saturating_sub(12)..].join(" | "))
}
