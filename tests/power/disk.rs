//! A disk that can lose its power: what was not flushed to it is gone then.
//!
//! ```text
//!  ext4, mounted at mount/       page cache of the files                  ┐
//!  loop device                   page cache of the device, flushes passed │ gone at a cut
//!  nbdfuse: disk/nbd             a file whose fsync is a flush of NBD     │
//!  nbdkit, cache=writeback       written blocks, kept until a flush       ┘
//!  image                         what was flushed: what a real disk's plates hold
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::node::Node;

/// Sparse: only what is written takes room.
const DISK_BYTES: u64 = 2 << 30;

/// How long a part may take to come or to go.
const PART_SECONDS_MAX: u64 = 10;

/// CAP_SYS_ADMIN, without which even root mounts nothing.
const MAY_MOUNT: u64 = 1 << 21;

/// What a machine must have.
const PROGRAMS: &[&str] = &["nbdkit", "nbdfuse", "mkfs.ext4", "losetup", "mount", "umount"];

/// What is missing here for such a disk.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if capabilities & MAY_MOUNT == 0 {
        missing.push("the right to mount (root)".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !fs::metadata(device).is_ok_and(|found| found.file_type().is_char_device()) {
            missing.push(device.to_owned());
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not every root has these in the path.
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/sbin".into(), "/usr/sbin".into()]).collect();
    for program in PROGRAMS {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            missing.push((*program).to_owned());
        }
    }
    missing
}

/// Which falls first when the power goes: both are gone within a millisecond or two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// The machine: nothing more is written.
    Node,
    /// The disk: for a moment the node gets errors from it, and must ack nothing then.
    Disk,
}

/// The disk. Dropped, it takes all its parts away.
pub struct Disk {
    folder: PathBuf,
    server: Option<Child>,
    bridge: Option<Child>,
    /// `/dev/loopN`.
    device: Option<String>,
    mounted: bool,
    /// How often it was given power.
    powered: u32,
}

impl Disk {
    /// A new, empty disk, mounted. `folder` is emptied first.
    pub fn new(folder: &Path) -> Result<Disk, String> {
        let mut disk =
            Disk { folder: folder.to_path_buf(), server: None, bridge: None, device: None, mounted: false, powered: 0 };
        disk.clear_leftovers();
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        fs::create_dir_all(disk.mount_point()).map_err(|e| e.to_string())?;
        let image = File::create(disk.image()).map_err(|e| e.to_string())?;
        image.set_len(DISK_BYTES).map_err(|e| e.to_string())?;
        run(command("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image()))?;
        disk.plug_in()?;
        Ok(disk)
    }

    /// Where its file system is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.folder.join("mount")
    }

    fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// The image as the loop device sees it: through the cache.
    fn bridged(&self) -> PathBuf {
        self.folder.join("nbd")
    }

    /// Gives it power, and mounts it; the journal is replayed then.
    pub fn plug_in(&mut self) -> Result<(), String> {
        let _ = fs::remove_file(self.socket());
        let log = File::options().create(true).append(true).open(self.folder.join("nbd.log"));
        let log = log.map_err(|e| e.to_string())?;
        let errors = || log.try_clone().map(Stdio::from).map_err(|e| e.to_string());
        let mut server = command("nbdkit");
        // The cache lies there, in a file without a name.
        server.env("TMPDIR", &self.folder);
        server
            .args(["--foreground", "--exit-with-parent", "--filter=log", "--filter=cache", "--unix"])
            .arg(self.socket());
        server.arg("file").arg(self.image()).arg("cache=writeback");
        let requests = self.folder.join(format!("requests-{}", self.powered));
        self.powered += 1;
        server.arg(format!("logfile={}", requests.display()));
        self.server = Some(spawn(server.stdin(Stdio::null()).stdout(errors()?).stderr(errors()?))?);
        let socket = self.socket();
        self.wait_for("nbdkit's socket", || socket.exists())?;

        let bridged = self.bridged();
        File::create(&bridged).map_err(|e| e.to_string())?;
        let mut bridge = command("nbdfuse");
        bridge.arg(&bridged).arg("--unix").arg(self.socket());
        self.bridge = Some(spawn(bridge.stdin(Stdio::null()).stdout(errors()?).stderr(errors()?))?);
        self.wait_for("nbdfuse's file", || fs::metadata(&bridged).is_ok_and(|found| found.len() == DISK_BYTES))?;

        let device = output(command("losetup").args(["--find", "--show"]).arg(&bridged))?;
        self.device = Some(device.trim().to_owned());
        run(command("mount").args(["-t", "ext4", device.trim()]).arg(self.mount_point()))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power of the disk and of the node on it, and clears the dead parts away. Returns the moment of the cut.
    pub fn cut(&mut self, node: &mut Node, first: First) -> Result<Instant, String> {
        let at = Instant::now();
        match first {
            First::Node => {
                if let Some(pid) = node.pid() {
                    // Not waited for: it may hang in a write until the disk is gone.
                    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                }
                self.lose_power();
            }
            First::Disk => {
                self.lose_power();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        node.kill_now();
        self.unplug()?;
        Ok(at)
    }

    /// Only the disk, for a test without a node.
    pub fn cut_alone(&mut self) -> Result<(), String> {
        self.lose_power();
        self.unplug()
    }

    fn lose_power(&mut self) {
        for part in [self.server.take(), self.bridge.take()] {
            let Some(mut part) = part else { continue };
            let _ = part.kill();
            let _ = part.wait();
        }
    }

    /// Takes away what is left of a disk without power. The kernel drops what it could not write.
    fn unplug(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.mounted) {
            // What io_uring had under way holds files for a moment longer than the process lives.
            let deadline = Instant::now() + Duration::from_secs(PART_SECONDS_MAX);
            while let Err(why) = run(command("umount").arg(self.mount_point())) {
                if deadline < Instant::now() {
                    return Err(why);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let Some(device) = self.device.take() {
            run(command("losetup").arg("--detach").arg(&device))?;
        }
        run(command("umount").arg(self.bridged()))
    }

    /// The longest that a flush took since it was plugged in last. (The caches above it are not in this.)
    pub fn slowest_flush(&self) -> Duration {
        let requests = self.folder.join(format!("requests-{}", self.powered.saturating_sub(1)));
        let mut begun = BTreeMap::new();
        let mut slowest = Duration::ZERO;
        let text = fs::read_to_string(requests).unwrap_or_default();
        // `2026-01-31 17:00:04.025882 connection=1 Flush id=1 ...`, and `... ...Flush id=1 return=0` when it is over.
        for line in text.lines().filter(|line| line.contains("Flush")) {
            let words: Vec<&str> = line.split(' ').collect();
            let &[_, clock, connection, what, id, ..] = &words[..] else { continue };
            let Some(at) = since_midnight(clock) else { continue };
            if what == "Flush" {
                begun.insert((connection, id), at);
            } else if let Some(from) = begun.remove(&(connection, id)) {
                slowest = slowest.max(at.saturating_sub(from));
            }
        }
        slowest
    }

    fn wait_for(&mut self, what: &str, there: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(PART_SECONDS_MAX);
        while !there() {
            let ended = [&mut self.server, &mut self.bridge].into_iter().flatten().any(|part| {
                // Running: `Ok(None)`.
                !matches!(part.try_wait(), Ok(None))
            });
            if ended || deadline < Instant::now() {
                let log = fs::read_to_string(self.folder.join("nbd.log")).unwrap_or_default();
                return Err(format!("{what} does not come: {}", log.trim()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Takes away, without asking twice, whatever is there: after a failure, or what a killed run left.
    fn clear_leftovers(&mut self) {
        self.lose_power();
        let _ = command("umount").arg("--lazy").arg(self.mount_point()).output();
        let listed = output(command("losetup").args(["--noheadings", "--list", "--output", "NAME,BACK-FILE"]));
        for line in listed.unwrap_or_default().lines() {
            // `/dev/loop0 /.../nbd (deleted)`
            if let Some((device, file)) = line.split_once(char::is_whitespace)
                && file.trim().trim_end_matches("(deleted)").trim() == self.bridged().to_string_lossy()
            {
                let _ = command("losetup").arg("--detach").arg(device).output();
            }
        }
        let _ = command("umount").arg("--lazy").arg(self.bridged()).output();
        self.device = None;
        self.mounted = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.clear_leftovers();
        // The image is large, and worth nothing without the run.
        let _ = fs::remove_file(self.image());
    }
}

/// `17:00:04.025882`
fn since_midnight(clock: &str) -> Option<Duration> {
    let mut parts = clock.split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/sbin:/usr/sbin"));
    command
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))
}

fn output(command: &mut Command) -> Result<String, String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("no {what}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    output(command).map(drop)
}
