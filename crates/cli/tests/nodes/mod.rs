//! A node of the built binary, run for a test.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `serve` on a port that the kernel chooses.
pub const ANY_PORT: [&str; 2] = ["--override", "listeners=PLAINTEXT://127.0.0.1:0"];

/// How long a start or a stop may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of this test alone, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Tests run side by side, and two may have chosen the same name.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringlog-cli-{}-{number}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn ringlog(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    command.current_dir(&folder.0).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

pub fn run(folder: &Folder, arguments: &[&str]) -> (Output, String, String) {
    let output = ringlog(folder).args(arguments).output().expect("run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// A node that is killed if a test forgets it.
pub struct Running {
    child: Child,
    lines: Vec<String>,
    rest: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts `serve` on ports that the kernel chooses and reads until the greeting is over.
    pub fn start(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = ringlog(folder);
        command.arg("serve").args(arguments).args(["--override", "ringlog.http.listener=127.0.0.1:0"]);
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("spawned");
        let rest = BufReader::new(child.stderr.take().expect("piped"));
        let mut running = Self { child, lines: Vec::new(), rest };
        while !running.lines.last().is_some_and(|line| line.trim_start().starts_with("stop ")) {
            let mut line = String::new();
            let read = running.rest.read_line(&mut line).expect("readable");
            assert!(read > 0, "ended before it started:\n{}", running.greeting());
            running.lines.push(line);
        }
        running
    }

    pub fn greeting(&self) -> String {
        self.lines.concat()
    }

    /// The word after `before` in the greeting.
    pub fn word_after(&self, before: &str) -> String {
        let greeting = self.greeting();
        let (_, rest) = greeting.split_once(before).unwrap_or_else(|| panic!("{before} is missing:\n{greeting}"));
        rest.chars().take_while(|char| !char.is_whitespace() && !",/".contains(*char)).collect()
    }

    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.word_after("http://")).expect("connected");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// Sends a signal, `-STOP` say.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("run").success());
    }

    /// Sends SIGTERM, waits for the end, returns the exit code and what was logged meanwhile.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut log = String::new();
        self.rest.read_to_string(&mut log).expect("readable");
        (status.code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
