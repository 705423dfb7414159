//! How a target is named on a command line, in one word:
//!
//! ```text
//! 127.0.0.1:9092                              a broker that runs already; several addresses with `+` between them
//! ringlog                                     a node that the bench starts, ends and cleans up
//! ringlog:fs=xfs,durability=durable,cpus=0    on an XFS of its own, fsync before every reply, on CPU 0
//! ringlog:fs=/data/a+/data/b                  over given directories
//! kafka:nodes=3,rf=3                          Apache Kafka 4.3.1, three nodes, three copies
//! ringlog:ringlog.log.append.backend=inline   a name with a dot is a setting of the node
//! ```

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::workload::{Durability, Workload};

/// Who is measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum System {
    /// Runs already: `host:port` addresses. Nothing is known of its processes.
    Broker(Vec<String>),
    /// Ringlog, started here.
    Ringlog,
    /// Apache Kafka, started here.
    Kafka,
}

/// What a started node's data lies on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// The folder for work that the bench was given, whatever is mounted there.
    Here,
    /// A new ext4 in an image file.
    Ext4,
    /// A new XFS in an image file.
    Xfs,
    /// Memory.
    Tmpfs,
    /// Given directories; a folder of its own is made in each.
    Directories(Vec<PathBuf>),
}

impl Place {
    /// Whether it takes a mount, and so root.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs | Self::Tmpfs)
    }
}

/// A target as asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetSpec {
    /// Who.
    pub system: System,
    /// Where its data goes.
    pub place: Place,
    /// When it may ack, in place of what the workload says.
    pub durability: Option<Durability>,
    /// Copies of each partition, in place of what the workload says.
    pub replication_factor: Option<u16>,
    /// How many nodes.
    pub nodes: u32,
    /// CPUs that the nodes are pinned to; all of them if none is named.
    pub cpus: Vec<usize>,
    /// Further settings of the node, `name=value`.
    pub settings: Vec<(String, String)>,
}

/// How often the mode `interval` flushes when it is asked for here.
const INTERVAL: Duration = Duration::from_secs(1);

/// Nodes of a started cluster at most.
const NODES_MAX: u32 = 9;

impl TargetSpec {
    /// One node of a system with nothing special.
    #[must_use]
    pub fn new(system: System) -> Self {
        Self {
            system,
            place: Place::Here,
            durability: None,
            replication_factor: None,
            nodes: 1,
            cpus: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The workload as this target gets it. Durability is a setting of topics, so that brokers that run already have it
    /// too.
    #[must_use]
    pub fn workload(&self, workload: &Workload) -> Workload {
        let mut workload = workload.clone();
        if let Some(durability) = self.durability {
            workload.topics.set_durability(durability);
        }
        if let Some(factor) = self.replication_factor {
            workload.topics.replication_factor = factor;
        }
        workload
    }

    /// Whether the bench starts and ends it.
    #[must_use]
    pub fn is_started_here(&self) -> bool {
        !matches!(self.system, System::Broker(_))
    }

    /// Short and unique enough for a table and a chart's legend: only what differs from the plain case is said.
    #[must_use]
    pub fn label(&self) -> String {
        let mut words = vec![match &self.system {
            System::Broker(addresses) => addresses.join("+"),
            System::Ringlog => "ringlog".to_owned(),
            System::Kafka => "kafka".to_owned(),
        }];
        if self.nodes > 1 {
            words.push(format!("{} nodes", self.nodes));
        }
        match &self.place {
            Place::Here => {}
            Place::Ext4 => words.push("ext4".to_owned()),
            Place::Xfs => words.push("xfs".to_owned()),
            Place::Tmpfs => words.push("tmpfs".to_owned()),
            Place::Directories(dirs) => {
                let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                words.push(dirs.join("+"));
            }
        }
        words.extend(self.replication_factor.map(|factor| format!("RF {factor}")));
        words.extend(self.durability.map(|mode| mode.word().to_owned()));
        words.extend(self.settings.iter().map(|(name, value)| format!("{name}={value}")));
        words.join(" ")
    }
}

impl FromStr for TargetSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, options) = match text.split_once(':') {
            Some((head @ ("ringlog" | "kafka"), options)) => (head, options),
            _ => (text, ""),
        };
        let mut spec = Self::new(match head {
            "ringlog" => System::Ringlog,
            "kafka" => System::Kafka,
            _ => System::Broker(addresses(text)?),
        });
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (name, value) =
                option.split_once('=').ok_or_else(|| format!("`{option}` in target `{text}` is not NAME=VALUE"))?;
            spec.set(name, value).map_err(|reason| format!("`{option}` in target `{text}`: {reason}"))?;
        }
        Ok(spec)
    }
}

impl TargetSpec {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "fs" => {
                self.place = match value {
                    "ext4" => Place::Ext4,
                    "xfs" => Place::Xfs,
                    "tmpfs" => Place::Tmpfs,
                    paths if paths.starts_with(['/', '.']) => {
                        Place::Directories(paths.split('+').map(PathBuf::from).collect())
                    }
                    _ => {
                        return Err(
                            "a file system is ext4, xfs, tmpfs, or directories with `+` between them".to_owned()
                        );
                    }
                }
            }
            "durability" => {
                self.durability = Some(match value {
                    "replicated" => Durability::Replicated,
                    "interval" => Durability::Interval(INTERVAL),
                    "durable" => Durability::Durable,
                    _ => return Err("the modes are replicated, interval and durable".to_owned()),
                });
            }
            "rf" => {
                let factor = value.parse().ok().filter(|factor| (1..=NODES_MAX as u16).contains(factor));
                self.replication_factor =
                    Some(factor.ok_or_else(|| format!("a replication factor from 1 to {NODES_MAX} is expected"))?);
            }
            "nodes" => {
                self.nodes = value
                    .parse()
                    .ok()
                    .filter(|nodes| (1..=NODES_MAX).contains(nodes))
                    .ok_or_else(|| format!("a number of nodes from 1 to {NODES_MAX} is expected"))?;
            }
            "cpus" => self.cpus = parse_cpus(value)?,
            setting if setting.contains('.') => self.settings.push((setting.to_owned(), value.to_owned())),
            _ => {
                return Err(
                    "known are fs, durability, rf, nodes, cpus, and settings of the node (with a dot)".to_owned()
                );
            }
        }
        Ok(())
    }
}

fn addresses(text: &str) -> Result<Vec<String>, String> {
    text.split('+')
        .map(|address| {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            match port.map(str::parse::<u16>) {
                Some(Ok(_)) => Ok(address.to_owned()),
                _ => Err(format!(
                    "target `{text}` is neither `ringlog`, nor `kafka`, nor HOST:PORT. Examples: ringlog:fs=xfs  kafka:nodes=3  127.0.0.1:9092"
                )),
            }
        })
        .collect()
}

/// `0`, `0-3`, `0+2`: `,` already parts the options of a target.
///
/// # Errors
/// It is not such a list.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("`{text}` is not a list of CPUs such as 0, 0-3 or 0+2");
    let mut cpus = Vec::new();
    for part in text.split('+') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first > last || last >= CPUS_MAX {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// Bits in the kernel's fixed-size CPU set.
const CPUS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> String {
        text.parse::<TargetSpec>().map_or_else(|reason| reason, |spec| spec.label())
    }

    #[test]
    fn targets_are_read_and_labelled_by_what_sets_them_apart() {
        for (text, expected) in [
            ("ringlog", "ringlog"),
            ("ringlog:fs=xfs,durability=durable,cpus=0", "ringlog xfs durable"),
            ("kafka:nodes=3,rf=3,durability=interval", "kafka 3 nodes RF 3 interval"),
            ("ringlog:fs=/data/a+/data/b", "ringlog /data/a+/data/b"),
            ("ringlog:ringlog.log.append.backend=inline", "ringlog ringlog.log.append.backend=inline"),
            ("127.0.0.1:9092+broker2:9093", "127.0.0.1:9092+broker2:9093"),
        ] {
            assert_eq!(label(text), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_target_is_refused_with_the_way_to_write_it() {
        for (text, needle) in [
            ("rinlog", "neither `ringlog`"),
            ("host:port", "HOST:PORT"),
            (":9092", "HOST:PORT"),
            ("ringlog:fs=zfs", "ext4, xfs, tmpfs"),
            ("ringlog:durability=yes", "replicated, interval and durable"),
            ("kafka:nodes=0", "from 1 to 9"),
            ("kafka:rf=0", "from 1 to 9"),
            ("kafka:nodes", "NAME=VALUE"),
            ("kafka:color=red", "known are fs"),
            ("ringlog:cpus=3-1", "list of CPUs"),
            ("ringlog:cpus=99999", "list of CPUs"),
        ] {
            let refusal = label(text);
            assert!(refusal.contains(needle), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_target_changes_of_the_workload_what_it_names() {
        let text = "name = \"t\"\n[load]\nrate = 1\n[topics]\ndurability = \"durable\"";
        let asked = Workload::parse(text, std::path::Path::new(".")).expect("right");
        let with = |target: &str| target.parse::<TargetSpec>().expect("a target").workload(&asked).topics;
        assert_eq!(with("ringlog"), asked.topics);
        let interval = with("kafka:durability=interval,rf=3");
        assert_eq!((interval.durability.word(), interval.replication_factor), ("interval", 3));
        assert_eq!(interval.configs.get("flush.ms").map(String::as_str), Some("1000"));
        assert_eq!(interval.configs.get("flush.messages"), None);
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpus("0"), Ok(vec![0]));
        assert_eq!(parse_cpus("2+0-1+1"), Ok(vec![0, 1, 2]));
        assert!(parse_cpus("").is_err());
    }
}
