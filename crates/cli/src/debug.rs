//! `ringlog debug`: what somebody else needs to find a fault.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::failure::{Code, Failure};
use crate::output::print_text;
use crate::units::parse_duration;

/// The largest bundle taken: a node bounds what it tells, and this is well above it.
const BUNDLE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;

const BUNDLE_AFTER_HELP: &str = "\
Examples:
  ringlog debug bundle                                 of the node at 127.0.0.1:9644, into ringlog-bundle.json
  ringlog debug bundle --http node7:9644 --file n7.json
  ringlog debug bundle --file - | jq '.partitions_offline'";

/// What to do.
#[derive(Subcommand)]
pub(crate) enum DebugCommand {
    /// Fetch a node's debug bundle into a file: settings without secrets, metadata, metrics, state of each partition,
    /// findings about the machine, the last log lines; never records
    #[command(after_help = BUNDLE_AFTER_HELP)]
    Bundle(Bundle),
}

impl DebugCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Bundle(bundle) => bundle.run(),
        }
    }
}

/// The arguments of `debug bundle`.
#[derive(Args)]
pub(crate) struct Bundle {
    /// The node's HTTP listener (ringlog.http.listener)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9644")]
    http: String,
    /// Where to write it; `-` is stdout. A file that exists is left alone
    #[arg(long, value_name = "PATH", default_value = "ringlog-bundle.json")]
    file: PathBuf,
    /// How long to wait for the whole of it, such as 10s, 5m
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    timeout: Duration,
}

impl Bundle {
    fn run(&self) -> Result<(), Failure> {
        let to_stdout = self.file.as_os_str() == "-";
        if !to_stdout && self.file.exists() {
            let message = format!("{} exists already and is left alone", self.file.display());
            return Err(Failure::new(Code::Usage, message).with_next("name another file with --file"));
        }
        let body = get(&self.http, "/debug/bundle", self.timeout)?;
        if to_stdout {
            return print_text(&body);
        }
        let failed = |error: io::Error| {
            Failure::new(Code::Failed, format!("the bundle cannot be written to {}: {error}", self.file.display()))
        };
        File::create_new(&self.file).and_then(|mut file| file.write_all(body.as_bytes())).map_err(failed)?;
        tell!("{} bytes written to {}", body.len(), self.file.display());
        Ok(())
    }
}

/// What is left of the time; never nothing, which sockets do not take.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Reads up to the connection's end, however slowly it comes.
fn read_until(stream: &mut TcpStream, deadline: Instant, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut block = vec![0; READ_BYTES];
    while answer.len() < BUNDLE_BYTES_MAX {
        if deadline <= Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left(deadline)))?;
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => answer.extend_from_slice(&block[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The body of `path`, by HTTP/1.0: one answer, up to the connection's end, within `timeout`.
fn get(address: &str, path: &str, timeout: Duration) -> Result<String, Failure> {
    // As a browser's line has it.
    let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        let why = format!("--http {address}: HOST:PORT is meant, such as 127.0.0.1:9644");
        return Err(Failure::new(Code::Usage, why));
    }
    let deadline = Instant::now() + timeout;
    let unreachable = |error: io::Error| {
        Failure::new(Code::Unreachable, format!("no answer from {address}: {}", error.kind()))
            .with_next("check the node's ringlog.http.listener, and name it with --http HOST:PORT")
    };
    let mut addresses = address.to_socket_addrs().map_err(unreachable)?;
    let first = addresses.next().ok_or_else(|| unreachable(io::ErrorKind::AddrNotAvailable.into()))?;
    let mut stream = TcpStream::connect_timeout(&first, left(deadline)).map_err(unreachable)?;
    let mut answer = Vec::new();
    let asked = stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes());
    match asked.and_then(|()| read_until(&mut stream, deadline, &mut answer)) {
        // Closed on us: what that means shows below.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
        other => drop(other.map_err(unreachable)?),
    }
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(Failure::new(Code::Failed, format!("{address} does not answer as an HTTP server does"))
            .with_next("--http is the HTTP listener (9644), not the one for clients (9092)"));
    };
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("503") => Err(Failure::new(Code::Unreachable, format!("the node at {address} is still starting"))
            .with_next("try again once /health/ready answers 200")),
        status => {
            let status = status.unwrap_or("nothing");
            Err(Failure::new(Code::Failed, format!("{address} answered {status} to {path}: is it a Ringlog node?")))
        }
    }
}
