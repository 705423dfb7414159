//! A partition's folder in memory, and what every recovery of it must hold.

use std::collections::BTreeMap;
use std::io;

use storage::{LastStop, LogConfig, RecoveryHints};
use types::io::{Dir, DirEntry};
use types::{Now, PartitionIndex, Timestamp, TopicPartition};

/// File name to content.
pub struct Folder(pub BTreeMap<String, Vec<u8>>);

impl Dir for Folder {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        Ok(self.0.iter().map(|(name, bytes)| DirEntry { name: name.clone(), bytes: bytes.len() as u64 }).collect())
    }

    fn read_at(&self, name: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        let from = bytes.get(usize::try_from(position).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }
}

/// Recovers the folder in every way; a fault is an answer, a panic is not. What is recovered can be read to its end.
pub fn recover(folder: &Folder) {
    let now = Now { monotonic_ns: 1, wall: Timestamp::from_millis(1_700_000_000_000) };
    for last_stop in [LastStop::ProcessDied, LastStop::PowerLost] {
        for accept_loss in [false, true] {
            let partition = TopicPartition::new("fuzz", PartitionIndex::new(0));
            let hints = RecoveryHints { last_stop, accept_loss };
            let recovered = storage::recover(folder, partition, LogConfig::default(), &hints, now, &mut |_| {});
            let Ok(mut recovered) = recovered else { continue };
            let offsets = recovered.log.offsets();
            assert!(offsets.log_start <= offsets.written);
            assert!(offsets.durable <= offsets.written);
            while recovered.log.poll_effect().is_some() {}
            while recovered.log.poll_event().is_some() {}
        }
    }
}
