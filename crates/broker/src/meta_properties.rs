//! `meta.properties` in each log directory, in Kafka's form: to which cluster and node the directory belongs, and its id.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use types::{DirectoryId, TopicId};

use crate::config::Config;
use crate::log_dirs::{DirLock, LogDir, LogDirError};

const FILE: &str = "meta.properties";

/// The log directories of a node, in the order of `log.dirs`.
pub(crate) type LogDirs = Arc<[Arc<LogDir>]>;

/// What a directory's `meta.properties` says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct MetaProperties {
    cluster_id: String,
    node_id: i32,
    directory_id: DirectoryId,
}

/// Takes all log directories of `config` for this node. New ones are marked as this cluster's; a new node makes up a
/// cluster of its own.
pub(crate) fn open_log_dirs(config: &Config) -> Result<(Arc<str>, LogDirs), LogDirError> {
    let mut known = Vec::new();
    for path in &config.log_dirs {
        let lock = DirLock::take(path)?;
        known.push((lock, read(path)?));
    }
    let mut cluster: Option<String> = None;
    for (path, (_, meta)) in config.log_dirs.iter().zip(&known) {
        let Some(meta) = meta else { continue };
        let foreign = |reason: String| LogDirError::Foreign { path: path.clone(), reason };
        if meta.node_id != config.node_id.value() {
            return Err(foreign(format!(
                "{FILE} says that it belongs to node {}, and this node's node.id is {}. Set node.id={0}, or use another \
                 directory",
                meta.node_id, config.node_id
            )));
        }
        match &cluster {
            Some(cluster) if *cluster != meta.cluster_id => {
                return Err(foreign(format!(
                    "{FILE} says that it belongs to cluster {}, and another of log.dirs to cluster {cluster}",
                    meta.cluster_id
                )));
            }
            _ => cluster = Some(meta.cluster_id.clone()),
        }
    }
    let cluster = match cluster {
        Some(cluster) => cluster,
        None => TopicId::from_random(random()?).to_string(),
    };
    let mut dirs = Vec::new();
    for (path, (lock, meta)) in config.log_dirs.iter().zip(known) {
        let id = match &meta {
            Some(meta) => meta.directory_id,
            None => DirectoryId::from_bytes(TopicId::from_random(random()?).bytes()),
        };
        let dir = LogDir::open(path, lock, id)?;
        if meta.is_none() {
            let text = format!("version=1\ncluster.id={cluster}\nnode.id={}\ndirectory.id={id}\n", config.node_id);
            shard::file::atomic_write_blocking(path, FILE, text.as_bytes()).map_err(|source| LogDirError::Io {
                path: path.clone(),
                what: "meta.properties cannot be written",
                source,
            })?;
        }
        dirs.push(Arc::new(dir));
    }
    Ok((Arc::from(cluster), dirs.into()))
}

fn read(dir: &Path) -> Result<Option<MetaProperties>, LogDirError> {
    let text = match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(LogDirError::Io { path: dir.to_owned(), what: "meta.properties cannot be read", source });
        }
    };
    parse(&text).map(Some).map_err(|reason| LogDirError::Foreign { path: dir.to_owned(), reason })
}

fn parse(text: &str) -> Result<MetaProperties, String> {
    let values: BTreeMap<&str, &str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let value = |name: &str| values.get(name).copied().ok_or_else(|| format!("{FILE} has no {name}"));
    if value("version")? != "1" {
        return Err(format!("{FILE} has version {}, and version 1 is understood", value("version")?));
    }
    Ok(MetaProperties {
        cluster_id: value("cluster.id")?.to_owned(),
        node_id: value("node.id")?.parse().map_err(|_| format!("{FILE} has no number as node.id"))?,
        directory_id: value("directory.id")
            .ok()
            .and_then(TopicId::parse)
            .map_or(DirectoryId::UNASSIGNED, |id| DirectoryId::from_bytes(id.bytes())),
    })
}

/// 16 bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; 16], LogDirError> {
    use std::io::Read;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| LogDirError::Io { path: "/dev/urandom".into(), what: "cannot be read", source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_is_understood() {
        let text = "#\n#Mon Nov 23 15:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n\
                    node.id=1\nversion=1\n";
        let meta = parse(text).expect("well-formed");
        assert_eq!((meta.cluster_id.as_str(), meta.node_id), ("MkU3OEVBNTcwNTJENDM2Qg", 1));
        assert!(parse("version=0\nbroker.id=1\n").is_err());
        assert!(parse("").is_err());
    }
}
