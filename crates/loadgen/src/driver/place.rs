//! Where a started node's data lies, made before and removed after, whatever happens in between.
//!
//! Mounts live in a mount namespace of this process ([`private_mounts`]): they go with the last process in it, so not
//! even `kill -9` leaves one behind. A loop device is detached right after it was mounted; the kernel keeps it for as
//! long as the mount lives.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::spec::Place;

/// Size of an image file: enough for the logs that workloads retain on a laptop.
const IMAGE_BYTES: u64 = 6 << 30;

/// Room that must be left beside an image.
const ROOM_BYTES_MIN: u64 = 2 << 30;

/// XFS refuses to be smaller.
const IMAGE_BYTES_MIN: u64 = 512 << 20;

/// Why there is no such place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// It cannot be had here, and everything else can go on.
    Unavailable(String),
    /// It should have worked.
    Failed(String),
}

/// Folders for a node's data; removed when dropped.
#[derive(Debug)]
pub struct Prepared {
    /// One folder for each log directory of each node.
    pub dirs: Vec<PathBuf>,
    mounted: Option<PathBuf>,
    image: Option<PathBuf>,
}

/// Moves this process into a mount namespace of its own. Before the first thread is started: threads inherit it.
///
/// # Errors
/// Not permitted.
pub fn private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted from here on stays in here; what the machine mounts is still seen.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    Ok(())
}

impl Prepared {
    /// Makes a place with the given name under `work`.
    ///
    /// # Errors
    /// Mounting needs root and the file system's tools; directories must be there and writable.
    pub fn make(place: &Place, work: &Path, name: &str) -> Result<Self, PlaceError> {
        let home = work.join(name);
        let failed = |what: String| move |error: io::Error| PlaceError::Failed(format!("{what}: {error}"));
        let mut prepared = Self { dirs: Vec::new(), mounted: None, image: None };
        if let Place::Directories(given) = place {
            for dir in given {
                let own = own_folder(dir).map_err(failed(format!("cannot make a folder in {}", dir.display())))?;
                prepared.dirs.push(own);
            }
            return Ok(prepared);
        }
        fs::create_dir_all(&home).map_err(failed(format!("cannot make {}", home.display())))?;
        prepared.dirs.push(home.clone());
        match place {
            Place::Here | Place::Directories(_) => {}
            Place::Tmpfs => prepared.mount_tmpfs(&home)?,
            Place::Ext4 => prepared.mount_image(&home, "ext4", &["-q", "-F"])?,
            Place::Xfs => prepared.mount_image(&home, "xfs", &["-q", "-f"])?,
        }
        Ok(prepared)
    }

    fn mount_tmpfs(&mut self, home: &Path) -> Result<(), PlaceError> {
        let half = memory_available_bytes().unwrap_or(IMAGE_BYTES) / 2;
        let options = format!("size={}", half.min(IMAGE_BYTES));
        mount(Some("tmpfs"), home, Some("tmpfs"), MsFlags::MS_NOATIME, Some(options.as_str()))
            .map_err(|error| refused("tmpfs", error))?;
        self.mounted = Some(home.to_path_buf());
        Ok(())
    }

    fn mount_image(&mut self, home: &Path, kind: &str, mkfs_options: &[&str]) -> Result<(), PlaceError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(PlaceError::Unavailable(format!("a loop-mounted {kind} needs root")));
        }
        let image = home.with_extension(format!("{kind}.img"));
        let room = nix::sys::statvfs::statvfs(home)
            .map(|stat| stat.blocks_available() * stat.fragment_size())
            .map_err(|error| PlaceError::Failed(format!("cannot see the room in {}: {error}", home.display())))?;
        let bytes = IMAGE_BYTES.min(room.saturating_sub(ROOM_BYTES_MIN));
        if bytes < IMAGE_BYTES_MIN {
            return Err(PlaceError::Unavailable(format!(
                "an image for {kind} needs {} MiB in {}, where {} MiB are free",
                (IMAGE_BYTES_MIN + ROOM_BYTES_MIN) >> 20,
                home.display(),
                room >> 20
            )));
        }
        self.image = Some(image.clone());
        let made = File::create(&image).and_then(|file| {
            // Blocks are given out now, so that no run pays for it.
            nix::fcntl::posix_fallocate(&file, 0, bytes as i64)
                .or_else(|_| file.set_len(bytes).map_err(|_| nix::Error::EIO))?;
            Ok(())
        });
        made.map_err(|error| PlaceError::Failed(format!("cannot make {}: {error}", image.display())))?;
        run(&format!("mkfs.{kind}"), mkfs_options, &image)?;
        // Direct I/O to the image: its pages are not cached twice.
        let device = run("losetup", &["--find", "--show", "--direct-io=on"], &image)
            .or_else(|_| run("losetup", &["--find", "--show"], &image))?;
        let device = PathBuf::from(device.trim());
        let mounted = mount(Some(&device), home, Some(kind), MsFlags::MS_NOATIME, None::<&str>);
        let detached = run("losetup", &["--detach"], &device);
        mounted.map_err(|error| refused(kind, error))?;
        self.mounted = Some(home.to_path_buf());
        detached.map(|_| ())
    }
}

/// Where everything lies that this process makes in a directory.
#[must_use]
pub fn ours_in(directory: &Path) -> PathBuf {
    directory.join(format!("ringlog-bench-{}", std::process::id()))
}

/// A folder in `given` that nobody else has: several targets of one session may lie in the same directory, and so may what
/// a session left that was killed.
fn own_folder(given: &Path) -> io::Result<PathBuf> {
    let ours = ours_in(given);
    fs::create_dir_all(&ours)?;
    let mut number = 1;
    loop {
        let own = ours.join(number.to_string());
        match fs::create_dir(&own) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| own),
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(point) = &self.mounted {
            // Lazily, if a process that was just ended still holds a file.
            let done = umount2(point, MntFlags::empty()).or_else(|_| umount2(point, MntFlags::MNT_DETACH));
            if let Err(error) = done {
                tell!("cannot unmount {}: {error}", point.display());
            }
        }
        for dir in &self.dirs {
            if let Err(error) = fs::remove_dir_all(dir) {
                tell!("cannot remove {}: {error}", dir.display());
            }
            if let Some(ours) =
                dir.parent().filter(|parent| parent.parent().is_some_and(|given| ours_in(given) == *parent))
            {
                // Unless another target has its folder there.
                let _ = fs::remove_dir(ours);
            }
        }
        if let Some(image) = &self.image {
            // It may not have been made.
            let _ = fs::remove_file(image);
        }
    }
}

/// Takes away all that lies in a folder, mounts included, whoever still writes there: for a process that ends at once. What
/// cannot be taken away stays.
pub fn discard(folder: &Path) {
    // Nearly none is a mount; of one that is, what it hid comes to light.
    let _ = umount2(folder, MntFlags::MNT_DETACH);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => discard(&entry.path()),
            _ => drop(fs::remove_file(entry.path())),
        }
    }
    let _ = fs::remove_dir(folder);
}

fn refused(kind: &str, error: nix::Error) -> PlaceError {
    match error {
        nix::Error::EPERM | nix::Error::EACCES => PlaceError::Unavailable(format!("mounting {kind} needs root")),
        nix::Error::ENODEV => PlaceError::Unavailable(format!("this kernel has no {kind}")),
        error => PlaceError::Failed(format!("cannot mount {kind}: {error}")),
    }
}

fn run(program: &str, options: &[&str], last: &Path) -> Result<String, PlaceError> {
    let output = Command::new(program).args(options).arg(last).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let package = if program == "mkfs.xfs" { " (package xfsprogs)" } else { "" };
            PlaceError::Unavailable(format!("no `{program}` on this machine{package}"))
        }
        _ => PlaceError::Failed(format!("{program}: {error}")),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(PlaceError::Failed(format!("{program} failed ({}): {said}", output.status)))
}

fn memory_available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ringlog-place-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder for the test");
        dir
    }

    #[test]
    fn a_place_is_gone_when_it_is_dropped() {
        let work = work("here");
        let prepared = Prepared::make(&Place::Here, &work, "node").expect("a folder");
        fs::write(prepared.dirs[0].join("data"), b"x").expect("written");
        drop(prepared);
        assert!(fs::read_dir(&work).expect("listed").next().is_none());
        fs::remove_dir(&work).expect("removed");
    }

    #[test]
    fn what_is_discarded_is_gone_and_what_it_points_to_stays() {
        let work = work("discard");
        let (inner, other) = (work.join("gone/deep/deeper"), work.join("kept"));
        fs::create_dir_all(&inner).expect("made");
        fs::create_dir_all(&other).expect("made");
        fs::write(inner.join("data"), b"x").expect("written");
        fs::write(other.join("data"), b"x").expect("written");
        std::os::unix::fs::symlink(&other, work.join("gone/link")).expect("linked");
        discard(&work.join("gone"));
        assert!(!work.join("gone").exists());
        assert!(other.join("data").exists());
        fs::remove_dir_all(&work).expect("removed");
    }

    #[test]
    fn each_given_directory_gets_a_folder_of_its_own() {
        let work = work("given");
        let given = vec![work.join("a"), work.join("b")];
        let prepared = Prepared::make(&Place::Directories(given.clone()), &work, "one").expect("folders");
        assert_eq!(prepared.dirs.len(), 2);
        assert!(prepared.dirs.iter().all(|dir| dir.is_dir()));
        // Another target in the same directories has neither the first one's folders nor takes them away.
        let other = Prepared::make(&Place::Directories(given.clone()), &work, "two").expect("folders");
        assert!(other.dirs.iter().all(|dir| dir.is_dir() && !prepared.dirs.contains(dir)), "{other:?}");
        drop(other);
        assert!(prepared.dirs.iter().all(|dir| dir.is_dir()));
        drop(prepared);
        // What was given stays, and nothing in it.
        assert!(given.iter().all(|dir| fs::read_dir(dir).expect("listed").next().is_none()));
        assert!(given.iter().all(|dir| dir.is_dir()));
        fs::remove_dir_all(&work).expect("removed");
    }
}
