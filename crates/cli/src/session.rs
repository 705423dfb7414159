//! How a command reaches the cluster: the arguments that every command shares, and the client they lead to.
//!
//! A setting has Kafka's client property name. What is named first here wins: an option (`-b`), `-X name=value`,
//! `--config-file`, the environment (`RINGLOG_BROKERS`), the profile's file.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use client::{Admin, Client, ClientConfig, ClientError};

use crate::failure::{Code, Failure};
use crate::units::parse_duration;

/// Where a node listens that was started without settings.
const BROKERS_DEFAULT: &str = "127.0.0.1:9092";

/// How long a command waits for the cluster unless told otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Longest wait for one TCP connection, so that a dead first address leaves time for the others.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Where it is looked for a profile that was not asked for.
const PROFILE_DEFAULT: &str = "default";

/// Which cluster, and how long to wait for it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// One or more nodes of the cluster, comma-separated [env: RINGLOG_BROKERS] [default: 127.0.0.1:9092]
    #[arg(short, long, visible_alias = "bootstrap-server", value_name = "HOST:PORT")]
    pub(crate) brokers: Option<String>,
    /// A client setting by Kafka's name, such as client.id=me. May be given many times
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    pub(crate) client_settings: Vec<String>,
    /// A Kafka client's properties file, such as kafka-topics.sh takes [env: RINGLOG_CONFIG_FILE]
    #[arg(long, visible_alias = "command-config", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Settings kept under a name: ~/.config/ringlog/NAME.properties, `default` if it exists [env: RINGLOG_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How long to wait for answers, such as 500ms, 5s, 2m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// A connected command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) admin: Admin,
    /// What `--timeout` says.
    pub(crate) timeout: Duration,
}

/// Client settings by Kafka's names. A command takes those that it knows.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    /// The value and where it was written.
    values: BTreeMap<String, (String, String)>,
}

impl Connect {
    /// Connects and does `work`, on this thread alone.
    pub(crate) fn run<T, W>(&self, work: impl FnOnce(Session) -> W) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        self.run_with(Properties::nothing_left, |session, ()| work(session))
    }

    /// As [`Connect::run`], for a command with client settings of its own: `take` takes them before the connection is
    /// made and hands them to `work`. It ends with [`Properties::nothing_left`].
    pub(crate) fn run_with<S, T, W>(
        &self,
        take: impl FnOnce(&mut Properties) -> Result<S, Failure>,
        work: impl FnOnce(Session, S) -> W,
    ) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        self.run_on(tokio::runtime::Builder::new_current_thread(), take, work)
    }

    /// As [`Connect::run_with`], with a thread for the network beside this one: `work` may block on a pipe meanwhile.
    pub(crate) fn run_streaming<S, T, W>(
        &self,
        take: impl FnOnce(&mut Properties) -> Result<S, Failure>,
        work: impl FnOnce(Session, S) -> W,
    ) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1);
        self.run_on(runtime, take, work)
    }

    fn run_on<S, T, W>(
        &self,
        mut runtime: tokio::runtime::Builder,
        take: impl FnOnce(&mut Properties) -> Result<S, Failure>,
        work: impl FnOnce(Session, S) -> W,
    ) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        let mut properties = self.properties()?;
        let (config, timeout) = client_config(&mut properties, self.timeout)?;
        let taken = take(&mut properties)?;
        let runtime = runtime
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Code::Failed, format!("cannot start the runtime: {error}")))?;
        let brokers = config.bootstrap.join(",");
        runtime.block_on(async {
            let client = match tokio::time::timeout(timeout, Client::connect(config)).await {
                Ok(connected) => connected?,
                Err(_) => return Err(no_answer(&brokers, timeout)),
            };
            let session = Session { admin: Admin::new(client.clone()), client, timeout };
            work(session, taken).await
        })
    }

    /// All settings, the stronger over the weaker.
    fn properties(&self) -> Result<Properties, Failure> {
        self.properties_from(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn properties_from(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Properties, Failure> {
        let mut properties = Properties::default();
        let profile = self.profile.clone().or_else(|| variable("RINGLOG_PROFILE"));
        if let Some(path) = profile_file(profile.as_deref(), variable)? {
            properties.read_file(&path)?;
        }
        if let Some(brokers) = variable("RINGLOG_BROKERS") {
            properties.set("bootstrap.servers", &brokers, "RINGLOG_BROKERS");
        }
        let file = self.config_file.clone().or_else(|| variable("RINGLOG_CONFIG_FILE").map(PathBuf::from));
        if let Some(path) = file {
            properties.read_file(&path)?;
        }
        for setting in &self.client_settings {
            let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
                let why = format!("-X {setting}: NAME=VALUE is meant, such as -X client.id=me");
                return Err(Failure::new(Code::Usage, why));
            };
            // librdkafka's names for the same.
            let name = match name.trim() {
                "bootstrap.server" | "metadata.broker.list" | "brokers" => "bootstrap.servers",
                name => name,
            };
            properties.set(name, value, "-X");
        }
        if let Some(brokers) = &self.brokers {
            properties.set("bootstrap.servers", brokers, "--brokers");
        }
        Ok(properties)
    }
}

/// The profile's file; `None` when none was asked for and there is no default.
fn profile_file(asked: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<PathBuf>, Failure> {
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|folder| folder.join("ringlog"));
    let Some(folder) = folder else {
        return match asked {
            Some(name) => {
                Err(Failure::new(Code::NotFound, format!("no profile {name}: neither HOME nor XDG_CONFIG_HOME is set")))
            }
            None => Ok(None),
        };
    };
    let file = folder.join(format!("{}.properties", asked.unwrap_or(PROFILE_DEFAULT)));
    match (file.exists(), asked) {
        (true, _) => Ok(Some(file)),
        (false, None) => Ok(None),
        (false, Some(name)) => Err(Failure::new(Code::NotFound, format!("there is no profile {name}"))
            .with_next(&format!("write bootstrap.servers=HOST:PORT into {}", file.display()))),
    }
}

impl Properties {
    fn set(&mut self, name: &str, value: &str, place: &str) {
        self.values.insert(name.trim().to_owned(), (value.trim().to_owned(), place.to_owned()));
    }

    /// A properties file, read as a node reads its own.
    fn read_file(&mut self, path: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
            Failure::new(code, format!("cannot read {}: {error}", path.display()))
        })?;
        let mut file = broker::config::RawConfig::new();
        file.read_properties(path, &text);
        for (name, raw) in file.iter() {
            self.set(name, &raw.value, &raw.origin.to_string());
        }
        Ok(())
    }

    /// The value of `name`, which counts as understood from now on.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some((value, place)) = self.values.remove(name) else { return Ok(None) };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(Failure::new(Code::Usage, format!("{name}={value} ({place}) cannot be read"))),
        }
    }

    /// A number of milliseconds.
    pub(crate) fn take_ms(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        Ok(self.take::<u64>(name)?.map(Duration::from_millis))
    }

    /// Fails for what `-X` says and nobody took. Files are shared by programs with other needs: what they hold beyond
    /// ours is left alone.
    pub(crate) fn nothing_left(&mut self) -> Result<(), Failure> {
        match self.values.iter().find(|(_, (_, place))| place == "-X") {
            None => Ok(()),
            Some((name, _)) => Err(Failure::new(Code::Usage, format!("-X {name}: no such setting for this command"))),
        }
    }
}

/// Takes the settings of the connection.
fn client_config(properties: &mut Properties, timeout: Option<Duration>) -> Result<(ClientConfig, Duration), Failure> {
    if let Some(protocol) = properties.take::<String>("security.protocol")?
        && !protocol.eq_ignore_ascii_case("PLAINTEXT")
    {
        let why =
            format!("security.protocol={protocol}: this client speaks PLAINTEXT only; TLS and SASL are not built yet");
        return Err(
            Failure::new(Code::Usage, why).with_next("connect to a PLAINTEXT listener, or leave the setting out")
        );
    }
    let brokers = properties.take::<String>("bootstrap.servers")?.unwrap_or_else(|| BROKERS_DEFAULT.to_owned());
    for address in brokers.split(',') {
        check_address(address.trim())?;
    }
    let mut config = ClientConfig::new(&brokers);
    if let Some(client_id) = properties.take("client.id")? {
        config.connection.client_id = client_id;
    }
    let api = properties.take_ms("default.api.timeout.ms")?;
    let request = properties.take_ms("request.timeout.ms")?;
    let whole = timeout.or(api).unwrap_or(TIMEOUT_DEFAULT);
    config.connection.request_timeout = timeout.or(request).unwrap_or(whole);
    let setup = properties.take_ms("socket.connection.setup.timeout.ms")?;
    config.connection.connect_timeout = setup.unwrap_or(CONNECT_TIMEOUT_MAX).min(whole);
    config.retry_timeout = whole;
    if let Some(age) = properties.take_ms("metadata.max.age.ms")? {
        config.metadata_age_max = age;
    }
    Ok((config, whole))
}

fn check_address(address: &str) -> Result<(), Failure> {
    let usable = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if usable {
        return Ok(());
    }
    Err(Failure::new(
        Code::Usage,
        format!("`{address}` is no address of a node: HOST:PORT is meant, such as 127.0.0.1:9092"),
    ))
}

fn no_answer(brokers: &str, after: Duration) -> Failure {
    let why = format!("no answer from {brokers} within {} ms", after.as_millis());
    let first = brokers.split(',').next().unwrap_or_default();
    Failure::new(Code::Unreachable, why)
        .with_next(&format!("ringlog doctor --from-client {first}, or a longer --timeout"))
}

impl Session {
    /// `check` again and again until it says yes, for `--wait`; `what` is named when the time is over.
    pub(crate) async fn wait_until<W>(&self, what: &str, mut check: impl FnMut() -> W) -> Result<(), Failure>
    where
        W: Future<Output = Result<bool, ClientError>>,
    {
        const PAUSE: Duration = Duration::from_millis(50);
        let deadline = tokio::time::Instant::now() + self.timeout;
        loop {
            match check().await {
                Ok(true) => return Ok(()),
                Err(error) if !error.is_retriable() => return Err(error.into()),
                Ok(false) | Err(_) if tokio::time::Instant::now() + PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(false) | Err(_) => {
                    let why = format!("still waiting after {} ms until {what}", self.timeout.as_millis());
                    return Err(Failure::new(Code::Unreachable, why)
                        .with_next("the change was taken; look again, or wait with a longer --timeout"));
                }
            }
        }
    }
}

/// The option `--yes` of commands that destroy or cannot be undone.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Consent {
    /// Do it without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

impl Consent {
    /// Asks on the terminal. `question` says what will happen and what is lost.
    pub(crate) fn ask(self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let why = format!("{question} This asks before it acts, and there is no terminal to ask on");
            return Err(
                Failure::new(Code::Usage, why).with_next("the same with --yes; --dry-run shows what would happen")
            );
        }
        // Where nobody can read the question the answer is no.
        let asked = write!(io::stderr(), "{question} Go on? [y/N] ").and_then(|()| io::stderr().flush());
        if asked.is_err() {
            return Err(Failure::new(Code::Failed, "nothing was changed"));
        }
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        match read.map(|_| answer.trim().to_lowercase()) {
            Ok(answer) if answer == "y" || answer == "yes" => Ok(()),
            _ => Err(Failure::new(Code::Failed, "nothing was changed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(settings: &[&str]) -> Connect {
        Connect { client_settings: settings.iter().map(|&setting| setting.to_owned()).collect(), ..Connect::default() }
    }

    fn config(connect: &Connect, variables: &[(&str, &str)]) -> Result<(ClientConfig, Duration), Failure> {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut properties = connect.properties_from(&variable)?;
        let config = client_config(&mut properties, connect.timeout)?;
        properties.nothing_left()?;
        Ok(config)
    }

    fn bootstrap(connect: &Connect, variables: &[(&str, &str)]) -> String {
        config(connect, variables).expect("right").0.bootstrap.join(",")
    }

    #[test]
    fn the_stronger_place_wins() {
        let folder = std::env::temp_dir().join(format!("ringlog-session-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("ringlog")).expect("made");
        let write = |name: &str, host: &str| {
            let path = folder.join(name);
            let text = format!("bootstrap.servers={host}:1\nclient.id={host}\nacks=all\n");
            std::fs::write(&path, text).expect("written");
            path
        };
        write("ringlog/default.properties", "profile");
        let home = ("XDG_CONFIG_HOME", folder.to_str().expect("UTF-8"));
        let mut connect = connect(&[]);
        assert_eq!(bootstrap(&connect, &[]), BROKERS_DEFAULT);
        assert_eq!(bootstrap(&connect, &[home]), "profile:1");
        let variables = [home, ("RINGLOG_BROKERS", "environment:1")];
        assert_eq!(bootstrap(&connect, &variables), "environment:1");
        connect.config_file = Some(write("file.properties", "file"));
        assert_eq!(bootstrap(&connect, &variables), "file:1");
        connect.client_settings.push("bootstrap.servers=x:1".to_owned());
        assert_eq!(bootstrap(&connect, &variables), "x:1");
        connect.brokers = Some("option:1, option:2".to_owned());
        let (config, _) = config(&connect, &variables).expect("right");
        assert_eq!(config.bootstrap, ["option:1", "option:2"]);
        assert_eq!(config.connection.client_id, "file", "settings from different places go together");
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn wrong_settings_are_usage_and_missing_files_not_found() {
        let code = |connect: &Connect| config(connect, &[]).expect_err("refused").code;
        assert_eq!(code(&connect(&["nonsense"])), Code::Usage);
        assert_eq!(code(&connect(&["request.timeout.ms=soon"])), Code::Usage);
        assert_eq!(code(&connect(&["acks=all"])), Code::Usage);
        assert_eq!(code(&connect(&["security.protocol=SSL"])), Code::Usage);
        assert_eq!(code(&connect(&["bootstrap.servers=nowhere"])), Code::Usage);
        assert!(config(&connect(&["security.protocol=plaintext"]), &[]).is_ok());
        let no_file = Connect { config_file: Some("/no/such/file".into()), ..Connect::default() };
        assert_eq!(code(&no_file), Code::NotFound);
        let no_profile = Connect { profile: Some("none".to_owned()), ..Connect::default() };
        let failure = config(&no_profile, &[("HOME", "/no/such/home")]).expect_err("missing");
        assert_eq!(failure.code, Code::NotFound);
        assert!(failure.message.contains("/no/such/home/.config/ringlog/none.properties"), "{}", failure.message);
    }

    #[test]
    fn one_timeout_bounds_everything() {
        let timeout = |millis| Some(Duration::from_millis(millis));
        let (config, whole) =
            config(&Connect { timeout: timeout(1500), ..connect(&["request.timeout.ms=9000"]) }, &[]).expect("right");
        assert_eq!(Some(whole), timeout(1500));
        assert_eq!(Some(config.retry_timeout), timeout(1500));
        assert_eq!(Some(config.connection.request_timeout), timeout(1500));
        assert_eq!(Some(config.connection.connect_timeout), timeout(1500));
    }
}
