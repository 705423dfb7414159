//! The high watermark and the rules of `min.insync.replicas`.

use types::Offset;

/// Fewer replicas are in sync than `min.insync.replicas` asks for.
///
/// Before an append with acks=all this is answered as `NOT_ENOUGH_REPLICAS`: nothing was written. After it, as
/// `NOT_ENOUGH_REPLICAS_AFTER_APPEND`: the batch stays in the log and may still be committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotEnoughReplicas {
    /// How many replicas are in sync.
    pub in_sync: u32,
    /// How many must be: the smaller of the setting and the replication factor.
    pub required: u32,
}

/// A partition as its leader counts it. Lives on: the partition's home shard, from the moment the shard leads the
/// partition until it stops to.
///
/// The in-sync replicas are this node alone, so the high watermark is the end of its own log; it moves only while the
/// effective minimum of in-sync replicas is met, and never backwards.
///
/// "Log end" here is the end that *counts*: the written one, or the durable one in a topic that fsyncs before it acks.
#[derive(Clone, Debug)]
pub struct Leader {
    log_end: Offset,
    high_watermark: Offset,
    replication_factor: u32,
    min_insync_replicas: u32,
}

/// This node alone.
const IN_SYNC: u32 = 1;

impl Leader {
    /// Leads a partition whose log ends at `log_end`, of `replication_factor` replicas (at least 1), under
    /// `min.insync.replicas` as configured (at least 1).
    ///
    /// With this node as the only one in sync, all that the log holds is committed at once.
    #[must_use]
    pub fn new(log_end: Offset, replication_factor: u32, min_insync_replicas: u32) -> Self {
        assert!(replication_factor > 0);
        assert!(min_insync_replicas > 0);
        let mut leader = Self { log_end, high_watermark: log_end, replication_factor, min_insync_replicas };
        leader.advance();
        leader
    }

    /// Everything below is committed: consumers see it and acks=all has been or may be answered.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of the leader's log, as far as it counts.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// How many replicas must be in sync: the smaller of the setting and the replication factor, so that a setting
    /// above the number of replicas asks for all of them and not for the impossible.
    #[must_use]
    pub fn min_insync_effective(&self) -> u32 {
        self.min_insync_replicas.min(self.replication_factor)
    }

    /// Asked before an append with acks=all, and again before its reply.
    ///
    /// # Errors
    /// When too few replicas are in sync.
    pub fn check_in_sync(&self) -> Result<(), NotEnoughReplicas> {
        let required = self.min_insync_effective();
        if IN_SYNC < required { Err(NotEnoughReplicas { in_sync: IN_SYNC, required }) } else { Ok(()) }
    }

    /// The log grew to `log_end`. Returns the high watermark if it moved.
    pub fn on_log_end(&mut self, log_end: Offset) -> Option<Offset> {
        assert!(self.log_end <= log_end, "the log of a leader only grows; a cut goes through on_log_cut");
        self.log_end = log_end;
        self.advance()
    }

    /// A failed append was cut off: the log ends at `log_end`. Nothing committed is ever cut.
    pub fn on_log_cut(&mut self, log_end: Offset) {
        assert!(self.high_watermark <= log_end, "a committed offset was cut");
        self.log_end = log_end;
    }

    /// `min.insync.replicas` was set anew (at least 1). Returns the high watermark if that let it move.
    pub fn on_min_insync_replicas(&mut self, min_insync_replicas: u32) -> Option<Offset> {
        assert!(min_insync_replicas > 0);
        self.min_insync_replicas = min_insync_replicas;
        self.advance()
    }

    fn advance(&mut self) -> Option<Offset> {
        if self.check_in_sync().is_err() || self.log_end <= self.high_watermark {
            return None;
        }
        self.high_watermark = self.log_end;
        Some(self.high_watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Offset {
        Offset::new(offset)
    }

    #[test]
    fn high_watermark_follows_the_only_replica() {
        let mut leader = Leader::new(at(7), 1, 1);
        assert_eq!(leader.high_watermark(), at(7));
        assert_eq!(leader.on_log_end(at(9)), Some(at(9)));
        assert_eq!(leader.on_log_end(at(9)), None);
    }

    #[test]
    fn minimum_above_the_replication_factor_asks_for_all_replicas() {
        let leader = Leader::new(at(0), 1, 3);
        assert_eq!(leader.min_insync_effective(), 1);
        assert_eq!(leader.check_in_sync(), Ok(()));
    }

    #[test]
    fn high_watermark_stands_still_below_the_minimum() {
        let mut leader = Leader::new(at(4), 3, 2);
        assert_eq!(leader.check_in_sync(), Err(NotEnoughReplicas { in_sync: 1, required: 2 }));
        assert_eq!(leader.on_log_end(at(6)), None);
        assert_eq!(leader.high_watermark(), at(4));
        assert_eq!(leader.on_min_insync_replicas(1), Some(at(6)));
    }

    #[test]
    fn cut_of_a_failed_append_leaves_the_high_watermark() {
        let mut leader = Leader::new(at(4), 3, 2);
        leader.on_log_end(at(6));
        leader.on_log_cut(at(5));
        assert_eq!((leader.log_end(), leader.high_watermark()), (at(5), at(4)));
    }
}
