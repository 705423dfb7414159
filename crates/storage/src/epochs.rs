//! Which leader epoch began at which offset (KIP-101, KIP-279), and Kafka's file for it.

use bytes::Bytes;
use types::{LeaderEpoch, Offset};

/// Where an epoch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Where the next one starts, or the log end.
    pub end_offset: Offset,
}

/// The epochs of a log, oldest first; epochs and starts both rise strictly.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
    /// Changed since it was last on disk.
    pub dirty: bool,
}

impl LeaderEpochs {
    /// Epoch `epoch` begins at `start`. An epoch that wrote nothing gives way to the next at the same offset.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.entries.last().is_some_and(|&(last, last_start)| last == epoch && last_start <= start) {
            return;
        }
        self.entries.retain(|&(known, known_start)| known < epoch && known_start < start);
        self.entries.push((epoch, start));
        self.dirty = true;
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|&(epoch, _)| epoch)
    }

    pub(crate) fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The epoch that `offset` was, or would be, written in.
    pub(crate) fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        Some(self.entries.get(after.checked_sub(1)?)?.0)
    }

    /// Forgets what began above `end`.
    pub(crate) fn truncate_end(&mut self, end: Offset) {
        let before = self.entries.len();
        self.entries.retain(|&(_, start)| start <= end);
        self.dirty |= before != self.entries.len();
    }

    /// Forgets what ended at or below `log_start`; the epoch that holds `log_start` now begins there.
    pub(crate) fn truncate_start(&mut self, log_start: Offset) {
        let held = self.entries.iter().rposition(|&(_, start)| start <= log_start);
        if let Some(held) = held
            && (0 < held || self.entries[held].1 < log_start)
        {
            self.entries.drain(..held);
            self.entries[0].1 = log_start;
            self.dirty = true;
        }
    }

    /// Kafka's answer to OffsetForLeaderEpoch; `None` when `asked` is newer than all known (or none is known).
    pub(crate) fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let next = self.entries.partition_point(|&(epoch, _)| epoch <= asked);
        match (next.checked_sub(1), self.entries.get(next)) {
            (Some(at), None) => {
                let (epoch, _) = self.entries[at];
                (epoch == asked).then_some(EpochEnd { epoch, end_offset: log_end })
            }
            (Some(at), Some(&(_, end_offset))) => Some(EpochEnd { epoch: self.entries[at].0, end_offset }),
            (None, Some(&(_, end_offset))) => Some(EpochEnd { epoch: asked, end_offset }),
            (None, None) => None,
        }
    }

    /// Kafka's `leader-epoch-checkpoint`:
    /// ```text
    /// 0           version
    /// 2           number of entries
    /// 0 0         epoch, start offset
    /// 3 1200
    /// ```
    pub(crate) fn encode(&self) -> Bytes {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        Bytes::from(text)
    }

    /// Reads Kafka's file. `None` if it is not whole. Nobody of us needs it: recovery knows the epochs from its own
    /// checkpoint and from the batches; it judges what `encode` writes.
    #[cfg(test)]
    pub(crate) fn decode(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        // A file cut inside its last number would otherwise read as a smaller one.
        let mut lines = text.strip_suffix('\n')?.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut epochs = Self::default();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let epoch = LeaderEpoch::from_wire(epoch.parse().ok()?)?;
            let start = Offset::from_wire(start.parse().ok()?)?;
            let rises = epochs.entries.last().is_none_or(|&(last, last_start)| last < epoch && last_start < start);
            if !rises {
                return None;
            }
            epochs.entries.push((epoch, start));
        }
        (epochs.entries.len() == count).then_some(epochs)
    }

    pub(crate) fn restore(entries: impl Iterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut epochs = Self::default();
        for (epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        epochs.dirty = false;
        epochs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::restore(entries.iter().map(|&(e, o)| (LeaderEpoch::new(e), Offset::new(o))))
    }

    fn end_of(epochs: &LeaderEpochs, asked: i32) -> Option<(i32, i64)> {
        let end = epochs.end_of(LeaderEpoch::new(asked), Offset::new(100))?;
        Some((end.epoch.value(), end.end_offset.value()))
    }

    #[test]
    fn end_of_an_epoch_is_the_start_of_the_next_or_the_log_end() {
        let epochs = epochs(&[(2, 0), (4, 30), (7, 60)]);
        assert_eq!(end_of(&epochs, 2), Some((2, 30)));
        assert_eq!(end_of(&epochs, 3), Some((2, 30)));
        assert_eq!(end_of(&epochs, 4), Some((4, 60)));
        assert_eq!(end_of(&epochs, 7), Some((7, 100)));
        assert_eq!(end_of(&epochs, 8), None);
        assert_eq!(end_of(&epochs, 1), Some((1, 0)));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_gives_way() {
        let mut epochs = epochs(&[(0, 0), (1, 10)]);
        epochs.assign(LeaderEpoch::new(2), Offset::new(10));
        assert_eq!(epochs.entries().len(), 2);
        assert_eq!(end_of(&epochs, 1), Some((0, 10)));
    }

    #[test]
    fn file_is_kafkas_and_every_cut_of_it_is_refused() {
        let whole = epochs(&[(0, 0), (3, 1200)]);
        let bytes = whole.encode();
        assert_eq!(&bytes[..], b"0\n2\n0 0\n3 1200\n");
        assert_eq!(LeaderEpochs::decode(&bytes), Some(whole));
        for cut in 0..bytes.len() {
            assert_eq!(LeaderEpochs::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn log_start_keeps_the_epoch_that_holds_it() {
        let mut epochs = epochs(&[(0, 0), (3, 40), (5, 60)]);
        epochs.truncate_start(Offset::new(50));
        assert_eq!(epochs.entries(), [(LeaderEpoch::new(3), Offset::new(50)), (LeaderEpoch::new(5), Offset::new(60))]);
    }
}
