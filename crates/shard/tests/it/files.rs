//! Files: what a shard does to them without blocking, and the helper threads.

use std::io;
use std::sync::Arc;

use shard::{AppendBackend, FileDir, HelperSpec, LogFile, Maintenance, OpenMode, ShardEvent, Writeback, file};
use types::io::Dir;

use crate::{TestDir, on_shard};

#[test]
fn files_are_made_renamed_and_removed() {
    on_shard(AppendBackend::Ring, |_| async {
        let dir = TestDir::new();
        let nested = dir.path("a/b");
        file::create_dir_all(&nested).await.expect("made");
        file::create_dir_all(&nested).await.expect("there already");
        let log = LogFile::open(nested.join("0.log"), OpenMode::CreateNew).await.expect("new");
        log.write_at_blocking(3, b"xyz").expect("written");
        assert_eq!(log.size_bytes().expect("known"), 6);
        let taken = LogFile::open(nested.join("0.log"), OpenMode::CreateNew).await.expect_err("there already");
        assert_eq!(taken.raw_os_error(), Some(libc::EEXIST));
        file::rename(nested.join("0.log"), nested.join("0.log.deleted")).await.expect("renamed");
        file::sync_dir(&nested).await.expect("synced");
        let missing = LogFile::open(nested.join("0.log"), OpenMode::ReadWrite).await.expect_err("renamed");
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        let mut bytes = [1; 8];
        assert_eq!(log.read_at(0, &mut bytes).expect("open files survive a rename"), 6);
        assert_eq!(&bytes[..6], b"\0\0\0xyz");
        file::remove_file(nested.join("0.log.deleted")).await.expect("removed");
        let missing = file::remove_file(nested.join("0.log.deleted")).await.expect_err("removed");
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    });
}

#[test]
fn atomic_write_replaces_and_leaves_nothing_else() {
    on_shard(AppendBackend::Ring, |_| async {
        let dir = TestDir::new();
        for contents in ["first, and longer", "second", ""] {
            file::atomic_write(&dir.0, "checkpoint", contents).await.expect("written");
            assert_eq!(std::fs::read_to_string(dir.path("checkpoint")).expect("there"), contents);
        }
        file::atomic_write_blocking(&dir.0, "checkpoint", b"third").expect("written");
        assert_eq!(std::fs::read_to_string(dir.path("checkpoint")).expect("there"), "third");
        assert_eq!(std::fs::read_dir(&dir.0).expect("there").count(), 1);
        let error = file::atomic_write(&dir.path("missing"), "checkpoint", "x").await.expect_err("no directory");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    });
}

#[test]
fn directory_lists_files_and_reads_them() {
    let dir = TestDir::new();
    std::fs::write(dir.path("a"), b"hello").expect("written");
    std::fs::write(dir.path("b"), b"").expect("written");
    std::fs::create_dir(dir.path("c")).expect("made");
    let files = FileDir::new(&dir.0);
    let mut entries = files.list().expect("listed");
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    let entries: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect();
    assert_eq!(entries, [("a", 5), ("b", 0)]);
    let mut buffer = [0; 10];
    assert_eq!(files.read_at("a", 1, &mut buffer).expect("read"), 4);
    assert_eq!(&buffer[..4], b"ello");
    assert_eq!(files.read_at("a", 9, &mut buffer).expect("beyond"), 0);
    assert_eq!(files.read_at("b", 0, &mut buffer).expect("empty"), 0);
    assert_eq!(files.read_at("z", 0, &mut buffer).expect_err("missing").kind(), io::ErrorKind::NotFound);
}

#[test]
fn writeback_thread_syncs_and_mails_the_completion() {
    let (good, bad) = on_shard(AppendBackend::Ring, |runtime| async move {
        let dir = TestDir::new();
        let (sent, mut arrived) = tokio::sync::mpsc::unbounded_channel();
        runtime
            .on_event(move |event| {
                if let ShardEvent::Completion(completion) = event {
                    drop(sent.send(completion));
                }
            })
            .expect("first handler");
        let writeback = Writeback::spawn(HelperSpec { name: "writeback".into(), cpus: vec![] }).expect("a thread");
        let log = Arc::new(LogFile::open_blocking(dir.path("log"), OpenMode::Create).expect("new"));
        log.write_at_blocking(0, &[1; 100_000]).expect("written");
        writeback.start_range(log.clone(), 0, 100_000).expect("room");
        writeback.sync(log, 41, runtime.completer()).expect("room");
        let good = arrived.recv().await.expect("a completion");
        let special = Arc::new(LogFile::open_blocking("/dev/null", OpenMode::ReadWrite).expect("there"));
        writeback.sync(special, 42, runtime.completer()).expect("room");
        (good, arrived.recv().await.expect("a completion"))
    });
    assert_eq!((good.token, good.result.expect("synced")), (41, 0));
    assert_eq!((bad.token, bad.result.expect_err("cannot be synced").raw_os_error()), (42, Some(libc::EINVAL)));
}

#[test]
fn maintenance_thread_runs_jobs_in_order_and_answers() {
    on_shard(AppendBackend::Ring, |_| async {
        let dir = TestDir::new();
        let maintenance =
            Maintenance::spawn(HelperSpec { name: "maintenance".into(), cpus: vec![0] }).expect("a thread");
        let log = Arc::new(LogFile::open_blocking(dir.path("log"), OpenMode::Create).expect("new"));
        let (first, second) = (log.clone(), log.clone());
        maintenance.post(move || first.truncate_blocking(5000).expect("extended")).expect("room");
        let cut = maintenance.run(move || second.truncate_blocking(100)).await.expect("room");
        cut.expect("cut");
        assert_eq!(log.size_bytes().expect("known"), 100);
        let third = log.clone();
        maintenance.post(move || third.truncate_blocking(7).expect("cut")).expect("room");
        maintenance.clone().finish();
        maintenance.finish();
        assert_eq!(log.size_bytes().expect("known"), 7);
    });
}
