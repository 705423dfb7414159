//! A node's process: pinned, watched, and ended by its id.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to stop by itself.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// Lines of its output that are told when it ends unasked.
const TAIL_LINES: usize = 6;

/// A child process. Ended when dropped: SIGTERM, and SIGKILL to what does not heed it.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: Command,
    cpus: Vec<usize>,
    child: Child,
    log: PathBuf,
    /// When it was asked to stop.
    asked: Option<Instant>,
}

impl Process {
    /// Starts `command` on the given CPUs (all that this process had at first if none), its output in `log`.
    ///
    /// # Errors
    /// The program cannot be started; CPUs that this machine has not.
    pub fn start(name: &str, command: Command, cpus: &[usize], log: &Path) -> io::Result<Self> {
        let child = spawn(dying_with_us(&command), cpus, log)?;
        Ok(Self { name: name.to_owned(), command, cpus: cpus.to_vec(), child, log: log.to_path_buf(), asked: None })
    }

    /// Starts it again after it has ended. From here on it no longer ends by itself when we do: that is bound to the
    /// thread that starts a process, which may be a short one here.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.child = spawn(copy(&self.command), &self.cpus, &self.log)?;
        self.asked = None;
        Ok(())
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end between these lines; then there is nothing to signal.
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error that names why it ended, if it did.
    ///
    /// # Errors
    /// It has ended.
    pub fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}). Its last words: {}", self.name, self.log_tail())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
    }

    /// Asks it to end, once, and does not wait: nodes of a cluster go down together.
    pub fn ask_to_stop(&mut self) -> Instant {
        match self.asked {
            Some(asked) => asked,
            None => {
                self.signal(Signal::SIGTERM);
                *self.asked.insert(Instant::now())
            }
        }
    }

    /// Ends it: SIGTERM, and SIGKILL if it does not heed that.
    pub fn stop(&mut self) {
        let asked = self.ask_to_stop();
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > STOP_TIME_MAX {
                tell!("{} does not stop on SIGTERM: killed", self.name);
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The CPUs that this process had before it was pinned.
static CPUS_BEFORE: OnceLock<CpuSet> = OnceLock::new();

/// Pins this process. Before the first thread is started: threads inherit it. What [`Process::start`] starts does not.
///
/// # Errors
/// CPUs that this machine has not.
pub fn pin_this_process(cpus: &[usize]) -> io::Result<()> {
    let before = sched_getaffinity(Pid::from_raw(0))?;
    pin_this_thread(cpus)?;
    // Pinned a second time, it is still the first that others are not to inherit.
    CPUS_BEFORE.get_or_init(|| before);
    Ok(())
}

fn pin_this_thread(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    let pinned = cpus.iter().try_for_each(|cpu| set.set(*cpu)).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|error| {
        io::Error::other(format!(
            "cannot pin to CPUs {cpus:?}: {error}; has this machine, or its container, all of them?"
        ))
    })
}

/// The CPUs that this process had before it was pinned, but for these; all of them when these are all.
pub(crate) fn cpus_beside(cpus: &[usize]) -> io::Result<Vec<usize>> {
    let before = match CPUS_BEFORE.get() {
        Some(before) => *before,
        None => sched_getaffinity(Pid::from_raw(0))?,
    };
    let had: Vec<usize> = (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap_or(false)).collect();
    let beside: Vec<usize> = had.iter().copied().filter(|cpu| !cpus.contains(cpu)).collect();
    Ok(if beside.is_empty() { had } else { beside })
}

/// Starts a child on the given CPUs: a child inherits them from the thread that starts it. With none given it gets those
/// that this process had before it was pinned.
pub(crate) fn on_cpus<T>(cpus: &[usize], start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = sched_getaffinity(Pid::from_raw(0))?;
    match (cpus, CPUS_BEFORE.get()) {
        ([], None) => {}
        ([], Some(before)) => sched_setaffinity(Pid::from_raw(0), before)?,
        (cpus, _) => pin_this_thread(cpus)?,
    }
    let started = start();
    sched_setaffinity(Pid::from_raw(0), &own)?;
    started
}

/// Ports on the loopback that are free now.
///
/// # Errors
/// There are none.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held until the last one is found, so that none is given out twice.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// The first folder of `PATH` that has the program.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn spawn(mut command: Command, cpus: &[usize], log: &Path) -> io::Result<Child> {
    let output = File::options().create(true).append(true).open(log)?;
    // A group of its own: Ctrl-C at the terminal is for us, who end it in our own time.
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{program}: {error}"));
    on_cpus(cpus, || command.spawn().map_err(told))
}

/// Run by `setpriv`, where that is installed, the process is sent SIGTERM when we end without having ended it.
fn dying_with_us(command: &Command) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return copy(command) };
    let mut wrapped = Command::new(setpriv);
    wrapped.args(["--pdeathsig", "TERM"]).arg(command.get_program());
    copy_into(command, wrapped)
}

fn copy(command: &Command) -> Command {
    copy_into(command, Command::new(command.get_program()))
}

fn copy_into(command: &Command, mut to: Command) -> Command {
    to.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::cpus_of;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringlog-process-{name}-{}.log", std::process::id()))
    }

    fn is_there(pid: u32) -> bool {
        kill(Pid::from_raw(pid as i32), None).is_ok()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let log = log("dropped");
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut process = Process::start("sleep", command, &[], &log).expect("started");
        process.check_alive().expect("alive");
        let pid = process.pid();
        drop(process);
        assert!(!is_there(pid));
        fs::remove_file(log).expect("removed");
    }

    #[test]
    fn a_pinned_process_keeps_its_threads_together_and_not_what_it_starts() {
        let log = log("pinned");
        let before = cpus_of(0);
        let first = before[0];
        pin_this_process(&[first]).expect("it is one of ours");
        let of_a_thread = std::thread::spawn(|| cpus_of(0)).join().expect("it looked");
        let mut command = Command::new("sleep");
        command.arg("60");
        let started = |cpus: &[usize]| Process::start("sleep", copy(&command), cpus, &log).expect("started");
        let (wide, narrow) = (started(&[]), started(&[before[before.len() - 1]]));
        let found = [wide, narrow].map(|process| cpus_of(process.pid() as i32));
        assert_eq!((of_a_thread, cpus_of(0)), (vec![first], vec![first]));
        let others = if before.len() == 1 { before.clone() } else { before[1..].to_vec() };
        assert_eq!(cpus_beside(&[first]).expect("they were looked at before"), others);
        assert_eq!(cpus_beside(&before).expect("the same"), before);
        assert_eq!(found, [before.clone(), vec![before[before.len() - 1]]]);
        fs::remove_file(log).expect("removed");
        let error = pin_this_process(&[1023]).expect_err("no such CPU").to_string();
        assert!(error.contains("[1023]"), "{error}");
    }

    #[test]
    fn a_process_that_ends_unasked_is_reported_with_its_last_words() {
        let log = log("ended");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room; exit 3"]);
        let mut process = Process::start("node 1", command, &[], &log).expect("started");
        let begun = Instant::now();
        let told = loop {
            match process.check_alive() {
                Err(told) => break told,
                Ok(()) => assert!(begun.elapsed() < Duration::from_secs(30), "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(told.starts_with("node 1 ended (exit status: 3)") && told.ends_with("no room"), "{told}");
        fs::remove_file(log).expect("removed");
    }

    #[test]
    fn pinning_lasts_for_the_child_and_not_for_us() {
        let log = log("pinned");
        let before = sched_getaffinity(Pid::from_raw(0)).expect("mask");
        let cpu = (0..1024).find(|cpu| before.is_set(*cpu).unwrap_or(false)).expect("a CPU");
        let mut command = Command::new("sh");
        command.args(["-c", "grep Cpus_allowed_list /proc/self/status"]);
        let mut process = Process::start("sh", command, &[cpu], &log).expect("started");
        while process.check_alive().is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(process.log_tail().split_whitespace().last(), Some(cpu.to_string().as_str()));
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).expect("mask"), before);
        fs::remove_file(log).expect("removed");
    }

    #[test]
    fn a_process_that_ends_only_with_another_is_not_killed_when_both_were_asked() {
        let (log, flag) = (log("together"), log("together-flag"));
        let started = |on_term: &str| {
            let mut command = Command::new("sh");
            let script = format!("trap '{on_term}; exit' TERM; echo ready; while :; do sleep 0.02; done");
            command.args(["-c", &script]).env("FLAG", &flag);
            Process::start("sh", command, &[], &log).expect("started")
        };
        let mut waiting = started("while [ ! -e $FLAG ]; do sleep 0.02; done");
        let mut other = started("touch $FLAG");
        let begun = Instant::now();
        while fs::read_to_string(&log).expect("a log").lines().count() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "they do not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        let asked = [&mut waiting, &mut other].map(Process::ask_to_stop);
        waiting.stop();
        assert!(asked[0].elapsed() < STOP_TIME_MAX, "it was killed");
        other.stop();
        // Asking again does not start the time anew.
        assert_eq!([&mut waiting, &mut other].map(Process::ask_to_stop), asked);
        fs::remove_file(log).expect("removed");
        fs::remove_file(flag).expect("removed");
    }

    #[test]
    fn what_was_killed_can_be_started_again() {
        let log = log("again");
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut process = Process::start("sleep", command, &[], &log).expect("started");
        let first = process.pid();
        process.signal(Signal::SIGKILL);
        while process.check_alive().is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        process.start_again().expect("started again");
        process.check_alive().expect("alive");
        assert_ne!(process.pid(), first);
        drop(process);
        fs::remove_file(log).expect("removed");
    }

    #[test]
    fn free_ports_differ() {
        let mut ports = free_ports(6).expect("ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }
}
