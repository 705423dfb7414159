//! Installing the foreign clients, and running their programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::{clients_dir, root};

/// A feature that says nothing for this long has hung; no feature waits longer than this in all its steps.
const FEATURE_SECONDS_MAX: u64 = 150;

/// One client family, ready to run.
pub struct Client {
    /// Its name in MATRIX.md.
    pub name: &'static str,
    program: Vec<String>,
    envs: Vec<(&'static str, String)>,
}

/// Why a client is not there.
pub enum Missing {
    /// The machine lacks the runtime: skipped, and said.
    Runtime(String),
    /// The runtime is there, the client could not be made ready: a failure.
    Broken(String),
}

fn here() -> PathBuf {
    root().join("tests/conformance/clients")
}

/// Whether every one of `programs` is on the path.
fn lacks(programs: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
        .collect();
    if missing.is_empty() { None } else { Some(format!("no {} on this machine", missing.join(", "))) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let tail: Vec<&str> = text.lines().rev().take(8).collect();
    Err(format!("{command:?}: {}: {}", output.status, tail.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}

/// Runs `install` unless it has run before for the same lock files.
fn once(folder: &Path, locks: &[PathBuf], install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut wanted = String::new();
    for lock in locks {
        wanted += &fs::read_to_string(lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    }
    let mark = folder.join(".ready");
    if fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    install()?;
    fs::write(&mark, wanted).map_err(|e| e.to_string())
}

/// The Python interpreter with the three Python clients in it.
pub fn python() -> Result<String, Missing> {
    if let Some(reason) = lacks(&["python3"]) {
        return Err(Missing::Runtime(reason));
    }
    if run(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_err() {
        return Err(Missing::Runtime("python3 has no venv on this machine".to_owned()));
    }
    let folder = clients_dir().join("python");
    let lock = here().join("python/requirements.txt");
    let interpreter = folder.join("bin/python").display().to_string();
    once(&folder, std::slice::from_ref(&lock), || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(&lock))
    })
    .map_err(Missing::Broken)?;
    Ok(interpreter)
}

/// The class path of Apache Kafka's broker and tools, fetched once.
pub fn kafka_jars() -> Result<String, Missing> {
    if let Some(reason) = lacks(&["java", "mvn"]) {
        return Err(Missing::Runtime(reason));
    }
    let folder = clients_dir().join("reference");
    let pom = root().join("tests/reference/pom.xml");
    fetch_jars(&folder, &pom).map_err(Missing::Broken)?;
    Ok(format!("{}/*", folder.display()))
}

fn fetch_jars(folder: &Path, pom: &Path) -> Result<(), String> {
    once(folder, &[pom.to_path_buf()], || {
        let out = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "-f"]).arg(pom).args([
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            &out,
        ]))
    })
}

/// How to run one of the Java client's programs under `clients/java`, the Java client beside them.
pub fn java_program(class: &str) -> Result<Vec<String>, Missing> {
    if let Some(reason) = lacks(&["java", "javac", "mvn"]) {
        return Err(Missing::Runtime(reason));
    }
    let folder = clients_dir().join("java");
    let jars = folder.join("jars");
    fetch_jars(&jars, &here().join("java/pom.xml")).map_err(Missing::Broken)?;
    let classes = folder.join("classes");
    let sources = ["Judge", "Partitions"].map(|name| here().join(format!("java/src/main/java/{name}.java")));
    let jars = format!("{}/*", jars.display());
    once(&classes, &sources, || {
        run(Command::new("javac").args(["-encoding", "UTF-8", "-cp", &jars, "-d"]).arg(&classes).args(&sources))
    })
    .map_err(Missing::Broken)?;
    let path = format!("{}:{jars}", classes.display());
    let words = [
        "java",
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        &path,
        class,
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// Makes one client ready.
pub fn prepare(name: &'static str) -> Result<Client, Missing> {
    let broken = Missing::Broken;
    let mut envs = Vec::new();
    let program = match name {
        "librdkafka" | "kafka-python" | "aiokafka" => {
            let script = here().join(format!("python/judge_{}.py", name.replace('-', "_")));
            envs.push(("PYTHONDONTWRITEBYTECODE", "1".to_owned()));
            vec![python()?, script.display().to_string()]
        }
        "kafkajs" => {
            if let Some(reason) = lacks(&["node", "npm"]) {
                return Err(Missing::Runtime(reason));
            }
            let folder = clients_dir().join("kafkajs");
            let locks = [here().join("kafkajs/package.json"), here().join("kafkajs/package-lock.json")];
            once(&folder, &locks, || {
                for lock in &locks {
                    fs::copy(lock, folder.join(lock.file_name().unwrap_or_default())).map_err(|e| e.to_string())?;
                }
                run(Command::new("npm")
                    .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                    .current_dir(&folder))
            })
            .map_err(broken)?;
            envs.push(("NODE_PATH", folder.join("node_modules").display().to_string()));
            vec!["node".to_owned(), here().join("kafkajs/judge.js").display().to_string()]
        }
        "franz-go" => {
            if let Some(reason) = lacks(&["go"]) {
                return Err(Missing::Runtime(reason));
            }
            let folder = clients_dir().join("franz-go");
            let source = here().join("franz");
            let binary = folder.join("judge");
            let inputs = ["go.mod", "go.sum", "main.go"].map(|file| source.join(file));
            once(&folder, &inputs, || {
                run(Command::new("go")
                    .args(["build", "-mod=readonly", "-o"])
                    .arg(&binary)
                    .arg(".")
                    .current_dir(&source))
            })
            .map_err(broken)?;
            vec![binary.display().to_string()]
        }
        "java" => java_program("Judge")?,
        other => return Err(Missing::Broken(format!("no client is called {other}"))),
    };
    Ok(Client { name, program, envs })
}

impl Client {
    /// Runs `features` one after another; every one of them gets a verdict. The client's own output goes to `log`.
    pub fn judge(
        &self,
        bootstrap: &str,
        prefix: &str,
        features: &[String],
        log: &Path,
    ) -> BTreeMap<String, Result<(), String>> {
        let mut verdicts = BTreeMap::new();
        let mut left: Vec<String> = features.to_vec();
        while !left.is_empty() {
            let before = left.len();
            // A second process must not meet the topics of the first.
            let prefix =
                if verdicts.is_empty() { prefix.to_owned() } else { format!("{prefix}-again{}", verdicts.len()) };
            let end = self.run_until_silent(bootstrap, &prefix, &mut left, &mut verdicts, log);
            if left.len() == before || end.is_err() {
                // It said nothing about the feature it was in: that one is judged by how the program ended.
                let feature = left.remove(0);
                let why = end.err().unwrap_or_else(|| "the program ended without a verdict".to_owned());
                verdicts.insert(name_of(&feature).to_owned(), Err(why));
            }
        }
        verdicts
    }

    fn run_until_silent(
        &self,
        bootstrap: &str,
        prefix: &str,
        left: &mut Vec<String>,
        verdicts: &mut BTreeMap<String, Result<(), String>>,
        log: &Path,
    ) -> Result<(), String> {
        let errors = File::options().create(true).append(true).open(log).map_err(|e| e.to_string())?;
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).arg(bootstrap).arg(prefix).args(&*left);
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("{command:?}: {e}"))?;
        let output = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let end = loop {
            match lines.recv_timeout(Duration::from_secs(FEATURE_SECONDS_MAX)) {
                Ok(line) => {
                    let Some((verdict, rest)) = line.split_once(' ') else { continue };
                    let (feature, why) = rest.split_once(' ').unwrap_or((rest, ""));
                    if left.first().is_none_or(|next| name_of(next) != feature) {
                        continue;
                    }
                    let result = match verdict {
                        "PASS" => Ok(()),
                        "FAIL" => Err(why.to_owned()),
                        _ => continue,
                    };
                    verdicts.insert(feature.to_owned(), result);
                    left.remove(0);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    break Err(format!("no verdict within {FEATURE_SECONDS_MAX} s"));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            }
        };
        if end.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        // A child of the killed program may still hold the pipe; the reader then ends with the process.
        if end.is_ok() {
            let _ = reader.join();
        }
        match end {
            Ok(()) if !left.is_empty() => {
                Err(format!("the program ended ({status}) in the middle, see {}", log.display()))
            }
            other => other,
        }
    }
}

/// `interop-read=java:gzip` is the feature `interop-read` with an argument.
pub fn name_of(argument: &str) -> &str {
    argument.split('=').next().unwrap_or(argument)
}
