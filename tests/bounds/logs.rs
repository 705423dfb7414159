//! Many logs, logs under other settings, logs after a kill, and a damaged one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use batch::{BatchBuilder, Codec};
use tests::content::{CODECS, Row, batch_of, producer, read_all, same, write, write_all};
use tests::node::{Node, ringlog_path};
use tests::plain_client::PlainClient;
use types::{LeaderEpoch, Offset, Timestamp};

use crate::{Verdict, mib, node, start_and_greet};

const PARTITIONS: i32 = 4;

pub fn nine_thousand_partitions_start_serve_and_stop() -> Result<Verdict, String> {
    const TOPICS: i32 = 90;
    const PER_TOPIC: i32 = 100;
    let mut node = node("many-partitions", &[])?;
    let begun = Instant::now();
    for topic in 0..TOPICS {
        PlainClient::connect(&node.address())?.create_topic(&format!("many-{topic}"), PER_TOPIC, &[])?;
    }
    println!("  created in {:.1} s, {:.1} MiB", begun.elapsed().as_secs_f64(), mib(node.resident_bytes()?));
    // One in nine has records, and so files.
    let serve = |node: &Node, seed: i64| -> Result<(), String> {
        let address = node.address();
        for topic in (0..TOPICS).step_by(3) {
            for partition in (0..PER_TOPIC).step_by(3) {
                write(&address, &format!("many-{topic}"), partition, &batch_of(Codec::None, seed, 1, 100, None))?;
            }
        }
        Ok(())
    };
    serve(&node, 1)?;
    let stopped = node.stop()?;
    let (started, _) = start_and_greet(&mut node)?;
    println!(
        "  with 9,000 partitions: stop {:.1} s, start {:.1} s, {:.1} MiB, {} descriptors",
        stopped.as_secs_f64(),
        started.as_secs_f64(),
        mib(node.resident_bytes()?),
        node.descriptors()?
    );
    serve(&node, 2)?;
    let rows = read_all(&node.address(), "many-87", 99, 0)?;
    if rows.iter().map(|row| row.offset).ne([0, 1]) {
        return Err(format!("expected a record of each run, found {rows:?}"));
    }
    let descriptors = node.descriptors()?;
    println!("  after writing to 1,020 of them: {:.1} MiB, {descriptors} descriptors", mib(node.resident_bytes()?));
    if 6_000 < descriptors {
        return Err(format!("{descriptors} descriptors are open"));
    }
    let stopped = node.stop()?;
    if Duration::from_secs(20) < stopped || Duration::from_secs(20) < started {
        return Err(format!("started in {started:?}, stopped in {stopped:?}"));
    }
    Ok(Verdict::Held)
}

/// The same history for whoever asks.
fn history(node: &Node, topic: &str, chapter: i64) -> Result<(), String> {
    for partition in 0..PARTITIONS {
        for (at, codec) in CODECS.into_iter().enumerate() {
            let seed = chapter * 10 + at as i64;
            let sequence = (chapter * 5 + at as i64) as i32 * 10;
            let idempotent = batch_of(codec, seed, 10, 50, producer(500 + i64::from(partition), sequence));
            write(&node.address(), topic, partition, &idempotent)?;
            write(&node.address(), topic, partition, &batch_of(Codec::None, seed, 10, 40_000, None))?;
        }
    }
    Ok(())
}

fn everything(node: &Node, topic: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for partition in 0..PARTITIONS {
        rows.extend(read_all(&node.address(), topic, partition, 0)?);
    }
    Ok(rows)
}

pub fn any_number_of_shards_has_the_same_records() -> Result<Verdict, String> {
    const TOPIC: &str = "shards";
    let mut changing = node("shards-changing", &["ringlog.shards=1"])?;
    let mut fixed = node("shards-fixed", &["ringlog.shards=2"])?;
    for node in [&changing, &fixed] {
        PlainClient::connect(&node.address())?.create_topic(TOPIC, PARTITIONS, &[])?;
    }
    for (chapter, shards) in [(0, 1), (1, 4), (2, 1)] {
        if chapter != 0 {
            changing.stop()?;
            changing.set_overrides(&[&format!("ringlog.shards={shards}")]);
            changing.start()?;
        }
        history(&changing, TOPIC, chapter)?;
        history(&fixed, TOPIC, chapter)?;
        let what = format!("{shards} shards, chapter {chapter}");
        same(&what, &everything(&fixed, TOPIC)?, &everything(&changing, TOPIC)?)?;
    }
    // A kill in between changes nothing either.
    changing.kill_now();
    changing.set_overrides(&["ringlog.shards=4"]);
    changing.start()?;
    same("4 shards after a kill", &everything(&fixed, TOPIC)?, &everything(&changing, TOPIC)?)?;
    fixed.stop()?;
    changing.stop()?;
    Ok(Verdict::Held)
}

pub fn any_size_of_segments_has_the_same_records() -> Result<Verdict, String> {
    let node = node("segments", &[])?;
    let mut client = PlainClient::connect(&node.address())?;
    client.create_topic("small", PARTITIONS, &[("segment.bytes", "1048576"), ("index.interval.bytes", "100")])?;
    client.create_topic("large", PARTITIONS, &[])?;
    for chapter in 0..2 {
        history(&node, "small", chapter)?;
        history(&node, "large", chapter)?;
    }
    let logs = |topic: &str| {
        fs::read_dir(node.data_dir().join(format!("{topic}-0"))).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".log")).count()
        })
    };
    if logs("small") < 2 || logs("large") != 1 {
        return Err(format!("{} and {} segments: nothing is compared", logs("small"), logs("large")));
    }
    let large = everything(&node, "large")?;
    same("small segments against large", &large, &everything(&node, "small")?)?;
    // From every tenth offset on, too: the index look-ups differ.
    for from in (0..large.last().map_or(0, |row| row.offset)).step_by(10) {
        let read = |topic| read_all(&node.address(), topic, 0, from);
        same(&format!("from offset {from}"), &read("large")?, &read("small")?)?;
    }
    Ok(Verdict::Held)
}

/// Starts the node; returns the bytes that it read to recover, by what it says: `(2.0 KiB read)`.
fn start_recovering(node: &mut Node) -> Result<u64, String> {
    let (_, said) = start_and_greet(node)?;
    let line = said.lines().find(|line| line.trim_start().starts_with("partitions ")).ok_or("no partitions line")?;
    let Some((_, rest)) = line.split_once("unclean stop (") else { return Ok(0) };
    let mut words = rest.split(' ');
    let number: f64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| line.to_owned())?;
    let unit = match words.next() {
        Some("B" | "bytes") => 1.0,
        Some("KiB") => 1024.0,
        Some("MiB") => 1024.0 * 1024.0,
        Some("GiB") => 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("unit {other:?}: {line}")),
    };
    Ok((number * unit) as u64)
}

/// Small records are copied into a reply, large ones sent from the file: neither may differ, nor be missing, because the page
/// cache has lost them.
pub fn a_cold_log_is_read_from_disk_as_it_is() -> Result<Verdict, String> {
    let mut node = node("cold", &["num.partitions=1"])?;
    PlainClient::connect(&node.address())?.create_topic("cold", 1, &[])?;
    for (seed, bytes) in (0..).zip([100, 60_000, 5_000, 40_000].into_iter().cycle().take(40)) {
        write(&node.address(), "cold", 0, &batch_of(Codec::None, seed, 1, bytes, None))?;
    }
    node.stop()?;
    node.start()?;
    let path = node.data_dir().join("cold-0/00000000000000000000.log");
    let written = fs::read(&path).map_err(|e| e.to_string())?;
    let file = fs::File::open(&path).map_err(|e| e.to_string())?;
    if !leave_cache(&file)? {
        return Ok(Verdict::Skipped("this file system keeps its files in memory".to_owned()));
    }
    let read_aheads = || node.metric("ringlog_log_ring_read_aheads_total");
    let mut client = PlainClient::connect(&node.address())?;
    // Of one byte a batch comes all the same, and no more than one; a mebibyte is many.
    for bytes_max in [1, 1 << 20] {
        let before = read_aheads()?;
        let (mut at, mut read) = (0, Vec::new());
        while read.len() < written.len() {
            leave_cache(&file)?;
            let bytes = client.fetch("cold", 0, at, bytes_max)?.bytes;
            let mut rest = &bytes[..];
            while let Ok(Some(size)) = batch::BatchView::peek_size(rest) {
                let Some((whole, after)) = rest.split_at_checked(size) else { break };
                at = batch::check(whole).map_err(|e| e.to_string())?.last_offset().value() + 1;
                read.extend_from_slice(whole);
                rest = after;
            }
            if bytes.is_empty() {
                return Err(format!("nothing comes at {at}: {} of {} bytes", read.len(), written.len()));
            }
        }
        if read != written {
            return Err(format!("with {bytes_max} bytes a fetch the reader has other bytes than the log"));
        }
        let ahead = read_aheads()? - before;
        if ahead < 1.0 {
            return Err(format!("with {bytes_max} bytes a fetch nothing was read ahead"));
        }
    }
    Ok(Verdict::Held)
}

/// Drops what the page cache holds of it; false where that is all there is.
fn leave_cache(file: &fs::File) -> Result<bool, String> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

    file.sync_all().map_err(|e| e.to_string())?;
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(|e| e.to_string())?;
    Ok(fstatfs(file).map_err(|e| e.to_string())?.filesystem_type() != TMPFS_MAGIC)
}

pub fn a_kill_is_recovered_from_the_recovery_point() -> Result<Verdict, String> {
    const TOPIC: &str = "recovery-point";
    const BATCHES: i64 = 120;
    let mut node = node("recovery-point", &[])?;
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 1, &[])?;
    for at in 0..BATCHES {
        write(&address, TOPIC, 0, &batch_of(Codec::None, at, 5, 190_000, None))?;
    }
    let written: u64 = fs::metadata(node.data_dir().join(format!("{TOPIC}-0/{:020}.log", 0))).map_or(0, |m| m.len());
    // The recovery point moves 64 MiB behind the writer, when the disk has them.
    std::thread::sleep(Duration::from_secs(3));
    node.kill_now();
    let read = start_recovering(&mut node)?;
    println!("  {:.1} MiB written, {:.1} MiB read after the kill", mib(written), mib(read));
    let rows = read_all(&node.address(), TOPIC, 0, 0)?;
    if rows.len() as i64 != BATCHES * 5 {
        return Err(format!("{} of {} records", rows.len(), BATCHES * 5));
    }
    if read == 0 || written < read + (48 << 20) {
        return Err(format!("{read} of {written} bytes were read"));
    }
    // Nothing is read after a clean stop.
    node.stop()?;
    match start_recovering(&mut node)? {
        0 => Ok(Verdict::Held),
        read => Err(format!("{read} bytes were read after a clean stop")),
    }
}

fn repair(folder: &Path, arguments: &[&str]) -> Result<(i32, String), String> {
    let output = Command::new(ringlog_path())
        .args(["log", "repair"])
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text))
}

pub fn a_damaged_log_stays_offline_until_repaired() -> Result<Verdict, String> {
    const TOPIC: &str = "damaged";
    const ACCEPT: &[&str] = &["--accept-loss"];
    let mut node = node("damaged", &[])?;
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 2, &[])?;
    write_all(&address, TOPIC, 0, 900)?;
    write_all(&address, TOPIC, 1, 901)?;
    let rows = [read_all(&address, TOPIC, 0, 0)?, read_all(&address, TOPIC, 1, 0)?];
    let folder = node.data_dir().join(format!("{TOPIC}-0"));
    let (code, said) = repair(&folder, ACCEPT)?;
    if code != 1 || !said.contains("in use by another process") {
        return Err(format!("repair under a running node: exit {code}: {said}"));
    }
    node.stop()?;
    // The disk has lost the end of one log, and turned a bit in the other.
    let log = folder.join(format!("{:020}.log", 0));
    let bytes = fs::metadata(&log).map_err(|e| e.to_string())?.len() * 9 / 10;
    fs::File::options().write(true).open(&log).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
    let flipped = node.data_dir().join(format!("{TOPIC}-1"));
    let log_flipped = flipped.join(format!("{:020}.log", 0));
    let mut content = fs::read(&log_flipped).map_err(|e| e.to_string())?;
    let at = content.len() * 9 / 10;
    content[at] ^= 0x40;
    fs::write(&log_flipped, content).map_err(|e| e.to_string())?;

    let (_, said) = start_and_greet(&mut node)?;
    if !said.contains("1 OFFLINE") || PlainClient::connect(&address)?.fetch(TOPIC, 0, 0, 1 << 20)?.error != 56 {
        return Err(format!("a log shorter than it was is not refused with KAFKA_STORAGE_ERROR: {said}"));
    }
    node.stop()?;
    let (code, said) = repair(&folder, &[])?;
    if code != 6 || !said.contains("would be lost") || fs::metadata(&log).map_or(0, |now| now.len()) != bytes {
        return Err(format!("a look without --accept-loss: exit {code}: {said}"));
    }
    for folder in [&folder, &flipped] {
        let (code, said) = repair(folder, ACCEPT)?;
        if code != 0 || !said.contains("repaired") || !said.contains("cut") {
            return Err(format!("repair: exit {code}: {said}"));
        }
    }
    node.start()?;
    for (partition, rows) in (0..).zip(&rows) {
        let left = read_all(&address, TOPIC, partition, 0)?;
        let kept = left.len();
        if kept == 0 || rows.len() <= kept {
            return Err(format!("{kept} of {} records are left", rows.len()));
        }
        same("before the damage", &rows[..kept], &left)?;
        let next = write(&address, TOPIC, partition, &batch_of(Codec::None, 77, 3, 10, None))?;
        if next != kept as i64 {
            return Err(format!("the next record got offset {next}, not {kept}"));
        }
    }
    node.stop()?;
    let (code, said) = repair(&folder, ACCEPT)?;
    if code != 0 || !said.contains("without loss") {
        return Err(format!("repair of a whole log: exit {code}: {said}"));
    }
    Ok(Verdict::Held)
}

/// `ringlog log adopt` into the node with this data folder.
fn adopt(source: &Path, data: &Path, arguments: &[&str]) -> Result<(i32, String), String> {
    let output = Command::new(ringlog_path())
        .args(["log", "adopt"])
        .arg(source)
        .args(["--override", &format!("log.dirs={}", data.display())])
        .args(arguments)
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text))
}

fn refuses((code, said): (i32, String), why: &str) -> Result<(), String> {
    if code == 1 && said.contains(why) { Ok(()) } else { Err(format!("expected `{why}`: exit {code}: {said}")) }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| e.to_string())?;
    for entry in fs::read_dir(from).map_err(|e| e.to_string())?.flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).map_err(|e| e.to_string())?;
    }
    Ok(())
}

pub fn foreign_folders_are_adopted_unless_they_clash() -> Result<Verdict, String> {
    const TOPIC: &str = "foreign";
    let mut theirs = node("adopt-theirs", &[])?;
    let mut ours = node("adopt-ours", &[])?;
    for node in [&theirs, &ours] {
        PlainClient::connect(&node.address())?.create_topic("both-have-it", 1, &[])?;
    }
    PlainClient::connect(&theirs.address())?.create_topic(TOPIC, 2, &[])?;
    write_all(&theirs.address(), TOPIC, 0, 700)?;
    write_all(&theirs.address(), TOPIC, 1, 701)?;
    write_all(&theirs.address(), "both-have-it", 0, 702)?;
    let rows = [read_all(&theirs.address(), TOPIC, 0, 0)?, read_all(&theirs.address(), TOPIC, 1, 0)?];
    let (source, data) = (theirs.data_dir(), ours.data_dir());

    refuses(adopt(&source, &data, &[])?, "in use by another process")?;
    ours.stop()?;
    refuses(adopt(&source, &data, &[])?, "was not stopped cleanly")?;
    theirs.stop()?;
    refuses(adopt(&source, &data, &[])?, "and this node's topic both-have-it has")?;
    let (code, said) = adopt(&source, &data, &["--topic", TOPIC, "--dry-run"])?;
    if code != 0 || !said.contains("2 partitions") || data.join(format!("{TOPIC}-0")).exists() {
        return Err(format!("one topic, looked at: exit {code}: {said}"));
    }

    // Folders alone, as somebody would copy them: one of two, then one without its id, then with records of transactions.
    let part = source.with_file_name("part");
    let name = |partition: i32| format!("{TOPIC}-{partition}");
    copy_folder(&source.join(name(1)), &part.join(name(1)))?;
    refuses(adopt(&part, &data, &[])?, "Partition 0 of topic 'foreign' is missing")?;
    copy_folder(&source.join(name(0)), &part.join(name(0)))?;
    let metadata = part.join(name(0)).join("partition.metadata");
    let id = fs::read(&metadata).map_err(|e| e.to_string())?;
    fs::remove_file(&metadata).map_err(|e| e.to_string())?;
    refuses(adopt(&part, &data, &[])?, "has no partition.metadata")?;
    let odd = part.join("odd-0");
    fs::create_dir_all(&odd).map_err(|e| e.to_string())?;
    fs::write(odd.join("partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw\n")
        .and_then(|()| fs::write(&metadata, id))
        .and_then(|()| fs::write(odd.join(format!("{:020}.log", 0)), transactional()))
        .map_err(|e| e.to_string())?;
    refuses(adopt(&part, &data, &[])?, "written in transactions")?;
    fs::remove_dir_all(&odd).map_err(|e| e.to_string())?;

    // As after an adoption that was interrupted: a folder is there, and no topic has it.
    copy_folder(&part.join(name(0)), &data.join(name(0)))?;
    refuses(adopt(&part, &data, &[])?, "If an adoption was interrupted")?;
    fs::remove_dir_all(part.join(name(0))).map_err(|e| e.to_string())?;
    let (code, said) = adopt(&data, &data, &[])?;
    if code != 0 || !said.contains("1 partitions") {
        return Err(format!("in place: exit {code}: {said}"));
    }
    let (code, said) = adopt(&part, &data, &["--move"])?;
    if code != 0 || part.join(name(1)).exists() {
        return Err(format!("the rest, moved: exit {code}: {said}"));
    }
    ours.start()?;
    for (partition, rows) in (0..).zip(&rows) {
        same("adopted", rows, &read_all(&ours.address(), TOPIC, partition, 0)?)?;
    }
    if PlainClient::connect(&ours.address())?.init_producer_id()? < 702 {
        return Err("a new producer got an id that adopted records have".to_owned());
    }
    Ok(Verdict::Held)
}

fn transactional() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None).transactional();
    if let Some(producer) = producer(1, 0) {
        builder = builder.producer(producer);
    }
    builder.append(Timestamp::from_millis(1), None, Some(b"maybe"), &[]);
    builder.build(Offset::ZERO, LeaderEpoch::ZERO).to_vec()
}
