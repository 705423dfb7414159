//! `ringlog bench net`: the network without a broker in the way.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use loadgen::limits::Network;
use loadgen::limits::net::{Plan, measure, serve};
use schemars::JsonSchema;
use serde::Serialize;

use super::LimitsFile;
use crate::failure::{Code, Failure};
use crate::output::{Answer, Format, Section, print};
use crate::units::{bytes, count, now_ms, parse_duration, rfc3339};

const AFTER_HELP: &str = "\
Examples:
  ringlog bench net                                      loopback
  ringlog bench net --serve 0.0.0.0:9650                 on one machine, until Ctrl-C or --time
  ringlog bench net --connect 10.0.0.2:9650              on the other

The server takes part with whoever can reach it, so name an address that only your machines can reach.";

/// The arguments of `bench net`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchNet {
    /// Answer other machines on this address
    #[arg(long, value_name = "ADDRESS", conflicts_with = "connect")]
    serve: Option<SocketAddr>,
    /// Measure the way to a machine that serves: host:port
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<String>,
    /// Connections that share each transfer
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Time for everything; of a server, until it ends (an hour unless told)
    #[arg(long, value_parser = parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    file: LimitsFile,
    #[command(flatten)]
    format: Format,
}

impl BenchNet {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if let Some(address) = self.serve {
            return self.serve(address);
        }
        let time = self.time.unwrap_or(Duration::from_secs(9));
        if time < Duration::from_millis(100) || Duration::from_secs(180) < time {
            return Err(Failure::new(Code::Usage, "--time is 100ms to 3m"));
        }
        self.file.read()?;
        let peer = self.connect.as_deref().map(resolve).transpose()?;
        let plan = Plan { peer, connections: self.connections, budget: time };
        let network = measure(&plan, rfc3339(now_ms()), &mut |what| tell!("{what}"))
            .map_err(|error| Failure::new(Code::Unreachable, error.to_string()))?;
        self.file.update(|limits| limits.put_network(network.clone()))?;
        print(&NetworkLimits::of(&network, self.file.limits.display().to_string()), self.format.output)
    }

    fn serve(&self, address: SocketAddr) -> Result<(), Failure> {
        let failed = |error| Failure::new(Code::Failed, format!("{address}: {error}"));
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let time = self.time.unwrap_or(Duration::from_secs(3600));
        tell!("serving on {address}; measure from another machine: ringlog bench net --connect {address}");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (ended, end) = std::sync::mpsc::channel::<()>();
            let stop = &stop;
            scope.spawn(move || {
                // Woken early when the server fails.
                let _ = end.recv_timeout(time);
                stop.store(true, Ordering::Relaxed);
            });
            let served = serve(&listener, stop);
            drop(ended);
            served
        })
        .map_err(failed)
    }
}

fn resolve(peer: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: String| Failure::new(Code::Usage, format!("--connect {peer}: {why}; give host:port"));
    peer.to_socket_addrs()
        .map_err(|error| wrong(error.to_string()))?
        .next()
        .ok_or_else(|| wrong("no address".to_owned()))
}

/// What the way to a peer can carry.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NetworkLimits {
    /// Where it is kept.
    limits_file: String,
    /// `loopback`, or the address that was connected to.
    peer: String,
    /// Connections that shared each transfer.
    connections: u32,
    /// To the peer.
    sent_bytes_per_s: u64,
    /// From the peer.
    received_bytes_per_s: u64,
    /// Round trips of 128 bytes that were measured.
    round_trips: u64,
    /// Half of them were faster.
    round_trip_p50_us: u64,
    /// One in a hundred was slower.
    round_trip_p99_us: u64,
    /// The slowest.
    round_trip_max_us: u64,
}

impl NetworkLimits {
    fn of(network: &Network, limits_file: String) -> Self {
        Self {
            limits_file,
            peer: network.peer.clone(),
            connections: network.connections,
            sent_bytes_per_s: network.sent.bytes_per_s,
            received_bytes_per_s: network.received.bytes_per_s,
            round_trips: network.round_trip.samples,
            round_trip_p50_us: network.round_trip.p50_us,
            round_trip_p99_us: network.round_trip.p99_us,
            round_trip_max_us: network.round_trip.max_us,
        }
    }
}

impl Answer for NetworkLimits {
    const SCHEMA: &'static str = "bench.net";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let trip = format!("p50 {} us, p99 {} us", count(self.round_trip_p50_us), count(self.round_trip_p99_us));
        let more = format!(", max {} us, {} samples", count(self.round_trip_max_us), count(self.round_trips));
        vec![Section::facts([
            ("peer", self.peer.clone()),
            ("sent", format!("{}/s over {} connections", bytes(self.sent_bytes_per_s), self.connections)),
            ("received", format!("{}/s", bytes(self.received_bytes_per_s))),
            ("round trip of 128 B", if wide { trip + &more } else { trip }),
        ])]
    }
}
