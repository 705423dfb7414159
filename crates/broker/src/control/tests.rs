//! The control thread's state, driven by hand on real files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quorum::controller::{Command, Reply};
use quorum::image::MetadataImage;
use quorum::topics::{Layout, NewTopic, TopicRef};
use tokio::sync::oneshot;
use types::NodeId;

use super::metadata_log::fault_injection::{FAIL_WRITES, STEPS_LEFT};
use super::{ControlCall, ControlSpec, ControlThread, WorkFault};
use crate::config::{Config, Dynamic, RawConfig};
use crate::mail::Mail;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringlog-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn metadata(&self) -> PathBuf {
        self.0.join("__cluster_metadata-0")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start_with(folder: &Folder, overrides: &[&str]) -> Result<ControlThread, String> {
    let mut raw = RawConfig::new();
    raw.read_override(&format!("log.dirs={}", folder.0.display())).expect("an override");
    for line in overrides {
        raw.read_override(line).expect("an override");
    }
    let config = Arc::new(Config::prove(raw, Dynamic::NONE).expect("a config"));
    let (cluster_id, log_dirs) = crate::meta_properties::open_log_dirs(&config).map_err(|error| error.to_string())?;
    let (_receivers, mailboxes) = shard::mailboxes::<Mail>(1).expect("mailboxes");
    let endpoints = config.advertised.clone();
    let spec = ControlSpec { config, log_dirs, cluster_id, endpoints, mailboxes, shards: 0 };
    ControlThread::start(spec).map(|(thread, _)| thread).map_err(|error| error.to_string())
}

fn start(folder: &Folder) -> ControlThread {
    start_with(folder, &[]).expect("started")
}

fn create(name: &str) -> Command {
    let topic = NewTopic { name: name.into(), layout: Layout::default_layout(), configs: vec![] };
    Command::CreateTopics { topics: vec![topic], validate_only: false }
}

fn names(image: &MetadataImage) -> Vec<String> {
    image.topics().map(|topic| topic.name.to_string()).collect()
}

/// One call, worked through. `None`: the caller is told to try again.
fn call(thread: &mut ControlThread, command: Command) -> Option<Reply> {
    let (reply, mut answer) = oneshot::channel();
    thread.submit(ControlCall { command, reply });
    work(thread);
    answer.try_recv().ok()
}

fn work(thread: &mut ControlThread) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    if let Err(WorkFault::Log(fault)) = runtime.block_on(thread.work()) {
        thread.on_log_fault(&fault);
    }
}

/// The files of the snapshots, oldest first.
fn snapshots(folder: &Folder) -> Vec<PathBuf> {
    let mut snapshots: Vec<PathBuf> = std::fs::read_dir(folder.metadata())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "checkpoint"))
        .filter(|path| path.file_name().is_some_and(|name| name != "ringlog.checkpoint"))
        .collect();
    snapshots.sort();
    snapshots
}

fn stop(mut thread: ControlThread) {
    thread.log.close(shard::clock::read()).expect("closed");
}

#[test]
fn metadata_survives_clean_stop_and_death() {
    let folder = Folder::new();
    let mut thread = start(&folder);
    assert!(matches!(call(&mut thread, create("a")), Some(Reply::TopicsCreated(results)) if results[0].1.is_ok()));
    stop(thread);
    let mut thread = start(&folder);
    assert_eq!(names(thread.node.image()), ["a"]);
    call(&mut thread, create("b"));
    // Not closed: the process dies here.
    drop(thread);
    let mut thread = start(&folder);
    assert_eq!(names(thread.node.image()), ["a", "b"]);
    let epochs: Vec<i32> = thread.node.image().topics().map(|topic| topic.partitions[0].leader_epoch.value()).collect();
    assert_eq!(epochs, [2, 1], "one more for every registration");
    call(&mut thread, Command::DeleteTopics { topics: vec![TopicRef::Name("a".into())] });
    drop(thread);
    assert_eq!(names(start(&folder).node.image()), ["b"]);
}

#[test]
fn torn_tail_is_cut_wherever_it_tears() {
    let folder = Folder::new();
    let mut thread = start(&folder);
    call(&mut thread, create("a"));
    drop(thread);
    let log = folder.metadata().join("00000000000000000000.log");
    let kept = std::fs::metadata(&log).expect("a log").len();
    let mut thread = start(&folder);
    call(&mut thread, create("b"));
    drop(thread);
    let bytes = std::fs::read(&log).expect("a log");
    for cut in (kept..bytes.len() as u64).step_by(17) {
        let copy = Folder::new();
        std::fs::create_dir_all(copy.metadata()).expect("a folder");
        std::fs::copy(folder.0.join("meta.properties"), copy.0.join("meta.properties")).expect("copied");
        let state = folder.metadata().join("quorum-state");
        std::fs::copy(state, copy.metadata().join("quorum-state")).expect("copied");
        let to = copy.metadata().join("00000000000000000000.log");
        std::fs::write(to, &bytes[..cut as usize]).expect("written");
        let thread = start(&copy);
        assert!(names(thread.node.image()).starts_with(&["a".to_owned()]), "cut at {cut}");
        assert!(2 < thread.node.status().epoch.value(), "an epoch of its own");
    }
}

const TOPICS_TOLD: usize = 16;

/// What a node does in this test: it starts on a log with records, makes topics, takes snapshots, trims, and stops. Returns
/// the topics that it was told are there.
fn live_and_die(folder: &Folder, overrides: &[&str]) -> Vec<String> {
    let Ok(mut thread) = start_with(folder, overrides) else { return Vec::new() };
    let mut told = Vec::new();
    for round in 0..TOPICS_TOLD {
        let name = format!("told-{round}");
        if matches!(call(&mut thread, create(&name)), Some(Reply::TopicsCreated(results)) if results[0].1.is_ok()) {
            told.push(name);
        }
    }
    // A dead process does not close its log either.
    drop(thread.log.close(shard::clock::read()));
    told
}

#[test]
fn a_process_that_dies_at_any_step_leaves_a_log_that_the_next_one_takes_up() {
    let overrides = ["metadata.log.max.record.bytes.between.snapshots=600"];
    let first = Folder::new();
    stop(start_with(&first, &overrides).expect("started"));
    for steps in 0.. {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.metadata()).expect("a folder");
        for dir in [PathBuf::new(), PathBuf::from("__cluster_metadata-0")] {
            for entry in std::fs::read_dir(first.0.join(&dir)).expect("a folder").map(|entry| entry.expect("an entry"))
            {
                if entry.file_type().expect("a type").is_file() {
                    std::fs::copy(entry.path(), folder.0.join(&dir).join(entry.file_name())).expect("copied");
                }
            }
        }
        STEPS_LEFT.set(Some(steps));
        let told = live_and_die(&folder, &overrides);
        let was_killed = STEPS_LEFT.replace(None) == Some(0);
        let thread =
            start_with(&folder, &overrides).unwrap_or_else(|error| panic!("dead after {steps} steps: {error}"));
        let there = names(thread.node.image());
        assert!(
            told.iter().all(|name| there.contains(name)),
            "dead after {steps} steps: {told:?} told, {there:?} there"
        );
        if !was_killed {
            assert_eq!(there.len(), TOPICS_TOLD);
            assert_eq!(snapshots(&folder).len(), 2, "trims are among the steps");
            assert!(50 < steps, "only {steps} steps");
            return;
        }
    }
}

/// Two nodes on one name: the folder was deleted and made again under the first. Its files are opened by name, so its next
/// checkpoint would tell the second's log how long it has to be.
#[test]
fn a_node_whose_folder_was_replaced_leaves_the_new_one_alone() {
    let folder = Folder::new();
    let mut first = start(&folder);
    for round in 0..20 {
        call(&mut first, create(&format!("first-{round}")));
    }
    std::fs::remove_dir_all(&folder.0).expect("ours");
    let mut second = start(&folder);
    call(&mut second, create("second"));
    let files = || -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(folder.metadata()).expect("a folder");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
    };
    let before = files();
    assert_eq!(call(&mut first, create("lost")), None);
    assert!(first.log.is_poisoned());
    assert!(first.log_dir.as_ref().expect("a log dir").is_poisoned());
    drop(first.log.close(shard::clock::read()));
    drop(first);
    assert!(before == files(), "the first node wrote to the second's folder");
    drop(second);
    assert_eq!(names(start(&folder).node.image()), ["second"]);
}

#[test]
fn a_log_shorter_than_its_checkpoint_says_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let mut thread = start(&folder);
    call(&mut thread, create("a"));
    stop(thread);
    let log = folder.metadata().join("00000000000000000000.log");
    let bytes = std::fs::read(&log).expect("a log");
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&log, &bytes[..cut]).expect("written");
        let refusal = start_with(&folder, &[]).map(drop).expect_err("synced records are gone");
        let expected = format!("at byte {cut}: expected {} bytes, found the end of the file", bytes.len());
        assert!(refusal.contains(&expected), "{refusal}");
        assert!(refusal.contains("restore the folder from a backup"), "{refusal}");
    }
    std::fs::write(&log, &bytes).expect("written");
    assert_eq!(names(start(&folder).node.image()), ["a"]);
}

#[test]
fn a_metadata_directory_of_its_own_is_locked_too() {
    let (first, second, metadata) = (Folder::new(), Folder::new(), Folder::new());
    let apart = format!("metadata.log.dir={}", metadata.0.display());
    let thread = start_with(&first, &[&apart]).expect("started");
    let refusal = start_with(&second, &[&apart]).map(drop).expect_err("another node has it");
    assert!(refusal.contains("in use by another process"), "{refusal}");
    drop(thread);
    start_with(&first, &[&apart]).map(drop).expect("free again");
}

#[test]
fn full_disk_refuses_and_heals_without_a_restart() {
    let folder = Folder::new();
    let mut thread = start(&folder);
    call(&mut thread, create("before"));
    FAIL_WRITES.set(Some(ENOSPC));
    assert_eq!(call(&mut thread, create("lost")), None);
    assert!(!thread.log.is_poisoned());
    assert!(thread.start_over());
    work(&mut thread);
    assert_eq!(call(&mut thread, create("lost-too")), None, "still full");
    FAIL_WRITES.set(None);
    assert!(thread.start_over());
    work(&mut thread);
    assert!(matches!(call(&mut thread, create("after")), Some(Reply::TopicsCreated(results)) if results[0].1.is_ok()));
    let live = names(thread.node.image());
    assert_eq!(live, ["after", "before"]);
    drop(thread);
    assert_eq!(names(start(&folder).node.image()), live);
}

#[test]
fn broken_disk_ends_decisions_until_a_restart() {
    let folder = Folder::new();
    let mut thread = start(&folder);
    call(&mut thread, create("before"));
    FAIL_WRITES.set(Some(EIO));
    assert_eq!(call(&mut thread, create("lost")), None);
    FAIL_WRITES.set(None);
    assert!(thread.log.is_poisoned());
    assert!(thread.log_dir.as_ref().expect("a log dir").is_poisoned());
    assert_eq!(call(&mut thread, create("refused")), None);
    drop(thread);
    assert_eq!(names(start(&folder).node.image()), ["before"]);
}

#[test]
fn snapshots_trim_the_log_and_a_damaged_one_is_survived() {
    let folder = Folder::new();
    let overrides = ["metadata.log.segment.bytes=8388608", "metadata.log.max.record.bytes.between.snapshots=2000"];
    let mut thread = start_with(&folder, &overrides).expect("started");
    for round in 0..40 {
        call(&mut thread, create(&format!("topic-{round}")));
    }
    let before = names(thread.node.image());
    stop(thread);
    let snapshots = snapshots(&folder);
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let thread = start_with(&folder, &overrides).expect("started");
    assert_eq!(names(thread.node.image()), before);
    assert_eq!(thread.node.image().broker(NodeId::new(1)).map(|broker| broker.node), Some(NodeId::new(1)));
    drop(thread);
    let newest = snapshots.last().expect("two");
    let mut bytes = std::fs::read(newest).expect("a snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(newest, bytes).expect("written");
    let thread = start_with(&folder, &overrides).expect("started from the snapshot before");
    assert_eq!(names(thread.node.image()), before);
}

#[test]
fn unreadable_vote_is_refused() {
    let folder = Folder::new();
    drop(start(&folder));
    std::fs::write(folder.metadata().join("quorum-state"), "{}").expect("written");
    let refusal = start_with(&folder, &[]).map(drop).expect_err("a voter must not forget");
    assert!(refusal.contains("quorum-state"), "{refusal}");
}
