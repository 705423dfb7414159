//! What stands between a client here and a cluster: the name, the port, the protocol, and the addresses that the nodes
//! tell their clients to connect to, which is where most connections fail.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use broker::preflight::{Finding, Severity};
use client::{Client, ClientConfig, ClientError, Connection, ConnectionConfig, Node};

use crate::failure::{Code, Failure};
use crate::units;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries every step; ends at the first that makes the others impossible.
pub(super) fn look(address: &str) -> Result<Vec<Finding>, Failure> {
    if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(Failure::new(Code::Usage, format!("--from-client {address}: HOST:PORT is meant")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Failed, format!("cannot start the runtime: {error}")))?;
    let mut findings = Vec::new();
    let Some(resolved) = resolve("name", address, &mut findings) else { return Ok(findings) };
    runtime.block_on(async {
        let Some(nodes) = bootstrap(address, &mut findings).await else { return };
        for node in nodes {
            advertised(&node, &resolved, &mut findings).await;
        }
    });
    Ok(findings)
}

pub(super) fn summary(findings: &[Finding]) -> String {
    match findings.iter().filter(|finding| Severity::Warning <= finding.severity).count() {
        0 => "Clients here can use this cluster. Next: ringlog topic list".to_owned(),
        1 => "1 step is not well. Next: follow its cure".to_owned(),
        count => format!("{count} steps are not well. Next: follow their cures"),
    }
}

fn finding(check: &'static str, severity: Severity, found: String, cure: Option<&str>) -> Finding {
    Finding { check, severity, found, cure: cure.map(str::to_owned) }
}

/// The addresses behind a name.
fn resolve(check: &'static str, address: &str, findings: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    match address.to_socket_addrs().map(Iterator::collect::<Vec<_>>) {
        Ok(found) if !found.is_empty() => {
            let ips: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
            findings.push(finding(check, Severity::Ok, format!("{address} is {}", ips.join(", ")), None));
            Some(found)
        }
        failed => {
            let why = failed.err().map_or("it has no address".to_owned(), |error| error.to_string());
            let cure = "correct the name, or enter it into DNS or /etc/hosts of this machine";
            findings.push(finding(
                check,
                Severity::Refusal,
                format!("{address} cannot be resolved: {why}"),
                Some(cure),
            ));
            None
        }
    }
}

/// Connects to the address given and asks which nodes there are.
async fn bootstrap(address: &str, findings: &mut Vec<Finding>) -> Option<Vec<Node>> {
    let began = Instant::now();
    let connection = ConnectionConfig { connect_timeout: PATIENCE, request_timeout: PATIENCE, ..Default::default() };
    let config = ClientConfig { connection, retry_timeout: PATIENCE, ..ClientConfig::new(address) };
    let asked = async { Client::connect(config).await?.cluster().await };
    match asked.await {
        Ok(cluster) => {
            let took = units::duration(began.elapsed());
            let id = cluster.id.unwrap_or_else(|| "without an id".to_owned());
            let found =
                format!("{address} speaks Kafka's protocol: cluster {id}, {}, in {took}", nodes(cluster.nodes.len()));
            findings.push(finding("bootstrap", Severity::Ok, found, None));
            Some(cluster.nodes)
        }
        Err(error) => {
            findings.push(finding("bootstrap", Severity::Refusal, error.to_string(), Some(cure_of(&error))));
            None
        }
    }
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// Whether a node can be reached where it says that it can.
async fn advertised(node: &Node, bootstrap: &[SocketAddr], findings: &mut Vec<Finding>) {
    let check = "advertised";
    let Node { id, address, .. } = node;
    let mut resolved = Vec::new();
    let Some(found) = resolve(check, address, &mut resolved) else {
        let why = resolved.pop().map(|finding| finding.found).unwrap_or_default();
        let cure = "set advertised.listeners of the node to a name that its clients can resolve";
        findings.push(finding(check, Severity::Refusal, format!("node {id}: {why}"), Some(cure)));
        return;
    };
    let all = |addresses: &[SocketAddr], is: fn(&IpAddr) -> bool| addresses.iter().all(|address| is(&address.ip()));
    if all(&found, IpAddr::is_loopback) && !all(bootstrap, IpAddr::is_loopback) {
        let found = format!("node {id} tells its clients to connect to {address}, which is their own machine");
        let cure = "set advertised.listeners of the node to the address at which clients reach it";
        findings.push(finding(check, Severity::Refusal, found, Some(cure)));
        return;
    }
    let began = Instant::now();
    let config = ConnectionConfig { connect_timeout: PATIENCE, request_timeout: PATIENCE, ..Default::default() };
    match Connection::open(address, &config).await {
        Ok(_) => {
            let found = format!("node {id} is reached at {address} in {}", units::duration(began.elapsed()));
            findings.push(finding(check, Severity::Ok, found, None));
        }
        Err(error) => {
            let found = format!("node {id}: {error}");
            let cure = "set advertised.listeners of the node to an address that clients reach, or open the way to it";
            findings.push(finding(check, Severity::Refusal, found, Some(cure)));
        }
    }
}

fn cure_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::Connect { .. } => {
            "start the node (ringlog serve), correct the port, or open the way to it; a node listens only where its listeners setting says"
        }
        ClientError::Decode { .. } | ClientError::Disconnected { .. } | ClientError::NotKafka { .. } => {
            "give the port of a PLAINTEXT listener: this one speaks TLS, SASL or another protocol"
        }
        ClientError::Timeout { .. } => "something accepts the connection and does not answer: look at the node's log",
        _ => "look at the node's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_ends_with_its_own_cure() {
        let checks = |address: &str| {
            let findings = look(address).expect("looked");
            findings.iter().map(|finding| (finding.check, finding.severity)).collect::<Vec<_>>()
        };
        assert_eq!(checks("no-such-name.invalid:9092"), [("name", Severity::Refusal)]);
        assert_eq!(checks("127.0.0.1:1"), [("name", Severity::Ok), ("bootstrap", Severity::Refusal)]);
        assert_eq!(look("9092").expect_err("no address").code, Code::Usage);
        assert!(summary(&look("127.0.0.1:1").expect("looked")).starts_with("1 step is not well"));
    }
}
