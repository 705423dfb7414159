//! How the node goes down, what that does to the disk, and how it comes up again.

use std::collections::BTreeMap;

use replica::{Leader, Parked};
use storage::{Effect, FileName, LastStop, PartitionLog, RecoverFault, RecoveryHints, SegmentFileKind, recover};
use types::{LeaderEpoch, Offset};

use super::{MS, Up, World, partition};
use crate::client::Client;
use crate::disk::{Disk, Writer};
use crate::effects::Work;
use crate::faults::Fault;
use crate::history::{History, Seen, Stop};
use crate::invariants;
use crate::violation::{Checked, violation};

/// Where a batch holds its leader epoch.
const EPOCH_BYTES: std::ops::Range<u64> = 12..16;

impl World {
    /// Kills the process or the power, if the seed has drawn that. Returns whether it did.
    pub(super) fn crash(&mut self) -> Checked<bool> {
        let kinds: Vec<Fault> =
            [Fault::ProcessKill, Fault::PowerLoss].into_iter().filter(|&fault| self.drawn.may(fault)).collect();
        if kinds.is_empty() {
            return Ok(false);
        }
        let fault = kinds[self.rng.index(kinds.len())];
        let up = self.up();
        let (busy, recovering) = (!up.work.is_empty(), !up.ready);
        if recovering && !self.drawn.may(Fault::CrashInRecovery) {
            return Ok(false);
        }
        if recovering {
            self.tally.count(Fault::CrashInRecovery, busy);
        }
        self.tally.count(fault, busy);
        self.go_down(if fault == Fault::ProcessKill { Stop::ProcessKill } else { Stop::PowerLoss })?;
        Ok(true)
    }

    pub(super) fn go_down(&mut self, stop: Stop) -> Checked {
        self.trace.numbers(&[10, stop as u64]);
        let up = self.up.take().expect("the node is up");
        let offsets = up.log.offsets();
        if let Some(job) = &up.compaction
            && stop != Stop::Clean
        {
            // The maintenance thread is stopped somewhere.
            let (seen, budget) = (self.disk.clone(), self.rng.index(20));
            let _ = job.run(&seen, &mut Writer::new(&mut self.disk, budget));
        }
        for work in &up.work {
            self.abandon(work);
        }
        if stop == Stop::PowerLoss {
            self.lose_power();
        }
        // A log directory in which something failed is opened again as after a loss of power: the host syncs what is
        // dirty and throws away what the cache holds and the disk may not. Without that, bytes of a failed
        // fsync are recovered from the cache, batches behind them are synced and acked, and a later loss of power takes both.
        let stop = if up.log.poisoned().is_some() { Stop::PowerLoss } else { stop };
        if up.log.poisoned().is_some() {
            self.disk.sync_all();
            self.disk.drop_clean_cache();
        }
        let lost_power = stop == Stop::PowerLoss && !self.durable();
        for client in &mut self.clients {
            client.on_disconnected(lost_power);
        }
        for attempt in &mut self.attempts {
            attempt.awaited = false;
        }
        self.see(&Seen::Stopped { stop, offsets })?;
        if self.faults_on && self.drawn.may(Fault::BitRot) && stop != Stop::Clean && self.rng.chance(300) {
            return self.rot(stop, offsets.log_start);
        }
        self.come_up(stop)
    }

    /// The power goes. A bit flipped in a leader epoch lies outside every checksum of Kafka's format, so nothing can see
    /// it: such flips are taken back.
    fn lose_power(&mut self) {
        for (name, position, bit) in self.disk.lose_power(&mut self.rng) {
            let Some(FileName::Segment(file)) = FileName::parse(&name) else { continue };
            let in_epoch = self.lies.iter().any(|lies| {
                let epoch = lies.start + EPOCH_BYTES.start..lies.start + EPOCH_BYTES.end;
                lies.segment == file.segment.base_offset() && epoch.contains(&position)
            });
            if let (true, SegmentFileKind::Log, Some(inode)) = (in_epoch, file.kind, self.disk.open(&name)) {
                self.disk.flip(inode, position, bit);
            }
        }
    }

    fn abandon(&mut self, work: &Work) {
        let written = work.abandon(&mut self.disk, &mut self.rng);
        if let Effect::Write { file, position, .. } = &work.effect {
            self.note_batches(file, *position, &written);
        }
    }

    /// What the host tells recovery: it keeps saying that power was lost until a log has said `Ready`.
    fn last_stop(&mut self, stop: Stop) -> LastStop {
        self.power_lost |= stop == Stop::PowerLoss;
        if self.power_lost { LastStop::PowerLost } else { LastStop::ProcessDied }
    }

    fn come_up(&mut self, stop: Stop) -> Checked {
        let last_stop = self.last_stop(stop);
        if stop == Stop::PowerLoss && self.rng.chance(500) {
            self.now.monotonic_ns = self.rng.below(5_000 * MS);
        }
        self.disk.take_reads();
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let config = self.drawn.config.clone();
        let recovered = recover(&self.disk, partition(), config, &hints, self.now, &mut |_| {});
        let recovered =
            recovered.map_err(|fault| violation("what_was_not_broken_opens", format!("after {stop:?}: {fault}")))?;
        self.trace.line("recovered", &recovered.report);
        let reads = self.disk.take_reads();
        let mut settled: BTreeMap<Offset, u64> = BTreeMap::new();
        for lies in &self.lies {
            if lies.last_offset < self.recovery_point {
                let bytes = settled.entry(lies.segment).or_default();
                *bytes = lies.end.max(*bytes);
            }
        }
        let (offsets, clean) = (recovered.log.offsets(), recovered.report.clean);
        // An index that was not whole is made again from its log, which is then read from its beginning.
        for name in &recovered.report.indexes_rebuilt {
            if let FileName::Segment(file) = name {
                settled.remove(&file.segment.base_offset());
            }
        }
        let recovery_point = self.recovery_point;
        self.trace.numbers(&[11, offsets.written.value() as u64]);
        self.see(&Seen::Opened { stop, offsets, clean, reads: &reads, settled: &settled, recovery_point })?;
        self.lies.retain(|lies| lies.last_offset < offsets.written);
        self.bring_up(recovered.log)
    }

    pub(super) fn bring_up(&mut self, log: PartitionLog) -> Checked {
        let offsets = log.offsets();
        self.up = Some(Up {
            leader: Leader::new(offsets.visible, 1, 1),
            log,
            parked: Parked::new(),
            epoch: self.epoch_last,
            work: Vec::new(),
            ready: false,
            open: false,
            needs_epoch: true,
            closing: false,
            closed: false,
            compaction: None,
        });
        self.pump()?;
        self.open_if_settled()
    }

    /// As on registration: a new leader epoch before the first append. What is in the log is read first, so that from
    /// here on every batch is known to be in or not.
    pub(super) fn open_if_settled(&mut self) -> Checked {
        let up = self.up();
        let offsets = up.log.offsets();
        if up.open || !up.ready || offsets.visible < offsets.written || up.log.poisoned().is_some() {
            return Ok(());
        }
        self.read_whole()?;
        self.up().open = true;
        self.new_epoch()
    }

    pub(super) fn open_again(&mut self) -> Checked {
        self.come_up(Stop::ProcessKill)
    }

    /// Bytes on the platter change while the node is down: below the recovery point that must be told, never cut.
    fn rot(&mut self, stop: Stop, log_start: Offset) -> Checked {
        let settled: Vec<(Offset, u64, Offset)> = self
            .lies
            .iter()
            .filter(|lies| log_start <= lies.last_offset && lies.last_offset < self.recovery_point)
            .map(|lies| (lies.segment, lies.end, lies.last_offset))
            .collect();
        if settled.is_empty() {
            return self.come_up(stop);
        }
        let (segment, end, last_offset) = settled[self.rng.index(settled.len())];
        let name = FileName::log(storage::SegmentId::new(segment)).to_string();
        let Some(inode) = self.disk.open(&name) else { return self.come_up(stop) };
        self.tally.count(Fault::BitRot, true);
        let cut = self.rng.chance(400);
        if cut {
            // A file that has lost its end, as after a file system's repair.
            self.disk.truncate(inode, end - 1);
            self.disk.sync(inode, self.disk.mark());
        } else {
            self.disk.flip(inode, end - 1 - self.rng.below(40), self.rng.below(8) as u32);
        }
        let last_stop = self.last_stop(stop);
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let config = self.drawn.config.clone();
        let recovered = recover(&self.disk, partition(), config.clone(), &hints, self.now, &mut |_| {});
        self.trace.numbers(&[12, u64::from(recovered.is_ok())]);
        match recovered {
            Err(RecoverFault::Corrupt { .. }) => {}
            Err(fault @ RecoverFault::Io { .. }) => {
                return Err(violation("rot_is_told", format!("{name} cut: {cut}: {fault}")));
            }
            Ok(_) if cut => {
                return Err(violation(
                    "rot_is_told",
                    format!("{name} lost its end below the recovery point, unnoticed"),
                ));
            }
            Ok(recovered) if recovered.log.offsets().written <= last_offset => {
                let offsets = recovered.log.offsets();
                return Err(violation(
                    "rot_below_the_recovery_point_is_never_cut",
                    format!("{last_offset} from {offsets:?}"),
                ));
            }
            Ok(_) => {}
        }
        // What the operator may do about it opens the log, with what came before the damage.
        let hints = RecoveryHints { accept_loss: true, ..hints };
        let recovered = recover(&self.disk, partition(), config, &hints, self.now, &mut |_| {});
        let recovered = recovered.map_err(|fault| violation("accepted_loss_opens", fault.to_string()))?;
        self.trace.line("repaired", &recovered.report);
        // Nothing that follows could be judged: the run goes on with another disk.
        self.start_over()
    }

    fn start_over(&mut self) -> Checked {
        self.disk = Disk::default();
        self.history = History::default();
        self.invariants = invariants::all(&self.scenario);
        self.attempts.clear();
        self.lies.clear();
        self.recovery_point = Offset::ZERO;
        self.power_lost = false;
        self.epoch_last = LeaderEpoch::ZERO;
        for (id, client) in self.clients.iter_mut().enumerate() {
            *client = Client::new(id as i64, false);
        }
        let log = PartitionLog::create(partition(), self.drawn.config.clone(), self.now);
        self.bring_up(log)
    }
}
