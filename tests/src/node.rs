//! A node in a process of its own: Ringlog's release binary, or Apache Kafka to prove the judges against.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{clients_dir, root};

/// How long a node may take until its port answers. Kafka takes about ten seconds on two busy cores.
const START_SECONDS_MAX: u64 = 60;

/// Who is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// The binary of this workspace.
    Ringlog,
    /// Apache Kafka 4.3.1, by `tests/reference/kafka.sh`.
    Kafka,
}

/// A node with its own folder and port, which stays the same over restarts. Killed when dropped.
pub struct Node {
    peer: Peer,
    dir: PathBuf,
    port: u16,
    overrides: Vec<String>,
    child: Option<Child>,
    starts: u32,
}

impl Node {
    /// A node that is not started yet. An existing `dir` is emptied first.
    pub fn new(peer: Peer, dir: &Path, overrides: &[&str]) -> std::io::Result<Node> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let overrides = overrides.iter().map(|&o| o.to_owned()).collect();
        Ok(Node { peer, dir: dir.to_path_buf(), port: free_ports()?, overrides, child: None, starts: 0 })
    }

    /// Who it is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its HTTP listener is; only Ringlog has one.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.port + 1)
    }

    /// The folder that holds the partitions' folders.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The node's own output, all starts one after another.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Replaces the settings; they hold from the next start on.
    pub fn set_overrides(&mut self, overrides: &[&str]) {
        self.overrides = overrides.iter().map(|&o| o.to_owned()).collect();
    }

    /// Bytes of memory that the process has on it now.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        let pid = self.pid().ok_or("the node is not running")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("VmRSS: {line}"))?;
        Ok(kib * 1024)
    }

    /// Descriptors that the process has open now.
    pub fn descriptors(&self) -> Result<usize, String> {
        let pid = self.pid().ok_or("the node is not running")?;
        Ok(fs::read_dir(format!("/proc/{pid}/fd")).map_err(|e| e.to_string())?.count())
    }

    /// The sum of the samples that `/metrics` has of this name, or of this name with these labels; 0 without any.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let mut socket = TcpStream::connect(self.http_address()).map_err(|e| e.to_string())?;
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
        let mut page = String::new();
        socket.read_to_string(&mut page).map_err(|e| e.to_string())?;
        let of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse::<f64>().map_err(|_| format!("no number: {line}"))
        };
        page.lines().filter(|line| of(line)).map(value).sum()
    }

    /// Starts the process without waiting for its port.
    pub fn spawn(&mut self) -> Result<(), String> {
        assert!(self.child.is_none(), "the node is running");
        self.starts += 1;
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = match self.peer {
            Peer::Ringlog => self.ringlog(),
            Peer::Kafka => self.kafka(),
        };
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.child = Some(child.map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?);
        Ok(())
    }

    fn ringlog(&self) -> Command {
        let mut command = Command::new(ringlog_path());
        command.arg("serve");
        let own = [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port),
            format!("log.dirs={}", self.data_dir().display()),
            format!("ringlog.http.listener={}", self.http_address()),
        ];
        for setting in own.iter().chain(&self.overrides) {
            command.arg("--override").arg(setting);
        }
        command
    }

    fn kafka(&self) -> Command {
        let mut command = Command::new(root().join("tests/reference/kafka.sh"));
        command.env("TEST_CLIENTS", clients_dir()).arg(self.port.to_string()).arg(&self.dir).args(&self.overrides);
        command
    }

    /// Waits until the port takes connections.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while Instant::now() < deadline {
            let child = self.child.as_mut().ok_or("the node was not started")?;
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                self.child = None;
                return Err(format!("the node ended at once ({status}): {}", self.log_tail()));
            }
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("no answer on {address} within {START_SECONDS_MAX} s: {}", self.log_tail()))
    }

    /// Starts the process and waits until its port takes connections.
    pub fn start(&mut self) -> Result<(), String> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Ends the process at once, as a crash of the process would (SIGKILL).
    pub fn kill_now(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop (SIGTERM) and waits for it. Returns how long it took.
    pub fn stop(&mut self) -> Result<Duration, String> {
        let mut child = self.child.take().ok_or("the node is not running")?;
        let begun = Instant::now();
        let pid = i32::try_from(child.id()).map_err(|e| e.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|e| e.to_string())?;
        while begun.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                // A JVM that was asked to stop reports the signal as 143.
                let clean = status.success() || (self.peer == Peer::Kafka && status.code() == Some(143));
                return if clean {
                    Ok(begun.elapsed())
                } else {
                    Err(format!("stopped with {status}: {}", self.log_tail()))
                };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("did not stop within {START_SECONDS_MAX} s of SIGTERM"))
    }

    /// Whether the process still runs; a node that ended by itself is remembered as ended.
    pub fn is_running(&mut self) -> bool {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => true,
            Some(_) => {
                self.child = None;
                false
            }
            None => false,
        }
    }

    /// The last lines of the node's own output.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// The binary under test: `TEST_BIN`, else the workspace's release build. (`RINGLOG_*` names are settings of the node, so
/// the tests keep to `TEST_*`.)
pub fn ringlog_path() -> PathBuf {
    if let Some(path) = std::env::var_os("TEST_BIN") {
        return PathBuf::from(path);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/ringlog")
}

/// Two ports in a row that are free now.
fn free_ports() -> std::io::Result<u16> {
    for _ in 0..50 {
        let first = TcpListener::bind(("127.0.0.1", 0))?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::Error::other("no two free ports in a row"))
}
