//! A disk that fills up: a small ext4 on a loop device, which only root can make.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use batch::Codec;
use tests::content::{batch_of, read_all, write};
use tests::node::Node;
use tests::plain_client::PlainClient;
use tests::scratch_dir;

use crate::{Verdict, node};

const DISK_BYTES: u64 = 96 << 20;
const BALLAST_BYTES: usize = 24 << 20;
const HEALS_WITHIN: Duration = Duration::from_secs(20);
const KAFKA_STORAGE_ERROR: i16 = 56;
const TOPIC: &str = "full";

/// A mounted file system of its own; unmounted when dropped.
struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// `Err`: this machine or this user cannot have one.
    fn new(name: &str) -> Result<Self, String> {
        let folder = scratch_dir("bounds").join(name);
        let mount = folder.join("mount");
        // A run that was killed may have left one.
        let _ = Command::new("umount").arg(&mount).output();
        fs::create_dir_all(&mount).map_err(|e| e.to_string())?;
        let image = folder.join("image");
        let file = File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(DISK_BYTES).map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &mount]))?;
        Ok(Self { mount })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("no {what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Writes until refused. Returns how many batches were acked.
fn write_until_full(address: &str, next: &mut i64) -> Result<i16, String> {
    let mut client = PlainClient::connect(address)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        client.send_produce(TOPIC, 0, &batch_of(Codec::None, *next, 2, 200_000, None))?;
        let acked = client.receive_produce()?;
        if acked.error != 0 {
            return Ok(acked.error);
        }
        if acked.base_offset != *next * 2 {
            return Err(format!("batch {next} got offset {}", acked.base_offset));
        }
        *next += 1;
    }
    Err("the disk does not fill up".to_owned())
}

fn holds(address: &str, batches: i64) -> Result<(), String> {
    let rows = read_all(address, TOPIC, 0, 0)?;
    let expected = batches * 2;
    if rows.len() as i64 != expected || rows.iter().zip(0..).any(|(row, at)| row.offset != at) {
        return Err(format!("{} records, and {expected} were acked", rows.len()));
    }
    Ok(())
}

fn fill_and_heal(node: &mut Node, mount: &Path) -> Result<(), String> {
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 1, &[])?;
    write(&address, TOPIC, 0, &batch_of(Codec::None, 0, 2, 200_000, None))?;
    let mut batches = 1;
    for round in 0..2 {
        let ballast = mount.join("ballast");
        if round == 0 {
            fs::write(&ballast, vec![7; BALLAST_BYTES]).map_err(|e| e.to_string())?;
        }
        let error = write_until_full(&address, &mut batches)?;
        if error != KAFKA_STORAGE_ERROR {
            return Err(format!("a full disk is answered with error code {error}"));
        }
        // Reading goes on.
        holds(&address, batches)?;
        if round == 0 {
            fs::remove_file(&ballast).map_err(|e| e.to_string())?;
        } else {
            break;
        }
        let begun = Instant::now();
        loop {
            let mut client = PlainClient::connect(&address)?;
            client.send_produce(TOPIC, 0, &batch_of(Codec::None, batches, 2, 200_000, None))?;
            let acked = client.receive_produce()?;
            if acked.error == 0 {
                if acked.base_offset != batches * 2 {
                    return Err(format!("after healing, offset {} instead of {}", acked.base_offset, batches * 2));
                }
                batches += 1;
                break;
            }
            if HEALS_WITHIN < begun.elapsed() {
                return Err(format!("still error code {} {HEALS_WITHIN:?} after space was freed", acked.error));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("  {batches} batches, healed after {:.1} s", begun.elapsed().as_secs_f64());
    }
    // Stopped and started on a full disk: nothing is lost, and it serves.
    node.stop()?;
    node.start()?;
    holds(&node.address(), batches)?;
    node.stop()?;
    Ok(())
}

fn on_small_disk(name: &str, reserve: &str) -> Result<Verdict, String> {
    let disk = match SmallDisk::new(name) {
        Ok(disk) => disk,
        Err(why) => return Ok(Verdict::Skipped(format!("no small file system of its own here ({why})"))),
    };
    let dirs = format!("log.dirs={}", disk.mount.join("data").display());
    let reserve = format!("ringlog.disk.reserve.bytes={reserve}");
    let mut node = node(&format!("{name}-node"), &[&dirs, &reserve])?;
    let result = fill_and_heal(&mut node, &disk.mount);
    let result = result.map_err(|why| format!("{why} (node: {})", node.log_tail()));
    drop(node);
    result.map(|()| Verdict::Held)
}

pub fn a_full_disk_refuses_and_heals() -> Result<Verdict, String> {
    on_small_disk("disk-reserve", "16777216")
}

/// Without a reserve the file system itself says no, in the middle of an append.
pub fn a_disk_at_its_last_byte_refuses_and_heals() -> Result<Verdict, String> {
    on_small_disk("disk-last-byte", "0")
}
