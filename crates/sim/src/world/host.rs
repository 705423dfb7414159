//! The node's part: it takes the log's effects, ends them in any order, well or badly, and acts on its events.

use storage::{Effect, FileName, IoFault, LogEvent, SegmentFileKind};
use types::LeaderEpoch;

use super::{Lies, World};
use crate::effects::{Injector, Work};
use crate::history::{Fate, Found, Seen};
use crate::violation::{Checked, violation};

impl World {
    pub(super) fn pump(&mut self) -> Checked {
        loop {
            let mut idle = true;
            while let Some(effect) = self.up().log.poll_effect() {
                idle = false;
                self.begin(effect)?;
            }
            while let Some(event) = self.up().log.poll_event() {
                idle = false;
                self.on_event(event)?;
            }
            if idle {
                break;
            }
        }
        let durable = self.durable();
        let up = self.up.as_ref().expect("the node is up");
        let (offsets, high_watermark) = (up.log.offsets(), up.leader.high_watermark());
        self.recovery_point = up.log.recovery_point();
        self.see(&Seen::Marks { offsets, high_watermark, durable })
    }

    fn begin(&mut self, effect: Effect) -> Checked {
        self.trace.line("begin", &effect);
        self.trace.numbers(&[3, effect.op().0]);
        let work = Work::begin(&self.disk, effect);
        let work = work.map_err(|reason| violation("effects_name_files_that_exist", reason))?;
        self.up().work.push(work);
        Ok(())
    }

    fn on_event(&mut self, event: LogEvent) -> Checked {
        self.trace.line("event", &event);
        match event {
            LogEvent::Appended { tag, base_offset, last_offset, log_append_time } => {
                self.trace.numbers(&[4, tag, base_offset.value() as u64]);
                let attempt = self.answer(tag)?;
                let sent = attempt.sent;
                let placed = self
                    .history
                    .placed
                    .range_mut((base_offset, LeaderEpoch::ZERO)..)
                    .take_while(|((base, _), _)| *base == base_offset)
                    .filter(|(_, placed)| placed.sent == sent && placed.fate != Fate::Gone)
                    .last();
                match placed {
                    Some((_, placed)) if placed.last_offset == last_offset => {
                        placed.fate = Fate::InLog;
                        placed.log_append_time = log_append_time;
                    }
                    other => {
                        let detail = format!("{sent:?} appended at {base_offset}..={last_offset}, placed {other:?}");
                        return Err(violation("appended_where_placed", detail));
                    }
                }
                self.move_high_watermark()?;
                let up = self.up.as_mut().expect("the node is up");
                if self.history.sent(sent).acks_all && up.leader.high_watermark() <= last_offset {
                    up.parked.park(last_offset.plus(1), u64::MAX, (sent, base_offset));
                    return Ok(());
                }
                self.ack(sent, base_offset)
            }
            LogEvent::AppendFailed { tag, .. } => {
                self.trace.numbers(&[5, tag]);
                let attempt = self.answer(tag)?;
                for placed in self.history.placed.values_mut() {
                    if placed.sent == attempt.sent && placed.fate == Fate::InFlight {
                        placed.fate = Fate::Gone;
                    }
                }
                for client in &mut self.clients {
                    client.on_failed(attempt.sent);
                }
                self.up().needs_epoch = true;
                Ok(())
            }
            LogEvent::EndMoved { written, durable } => {
                self.trace.numbers(&[6, written.value() as u64, durable.value() as u64]);
                self.move_high_watermark()
            }
            LogEvent::StartMoved { log_start } => {
                self.trace.numbers(&[7, log_start.value() as u64]);
                self.see(&Seen::StartMoved { log_start })
            }
            LogEvent::Poisoned { .. } => {
                self.trace.numbers(&[8]);
                Ok(())
            }
            LogEvent::Ready => {
                self.up().ready = true;
                self.power_lost = false;
                Ok(())
            }
            LogEvent::Closed => {
                self.up().closed = true;
                Ok(())
            }
            LogEvent::BackgroundFailed { .. } => Ok(()),
        }
    }

    fn move_high_watermark(&mut self) -> Checked {
        let up = self.up.as_mut().expect("the node is up");
        let Some(high_watermark) = up.leader.on_log_end(up.log.offsets().visible) else { return Ok(()) };
        let mut leaving = Vec::new();
        up.parked.on_high_watermark(high_watermark, &mut leaving);
        for (sent, base_offset) in leaving {
            self.ack(sent, base_offset)?;
        }
        Ok(())
    }

    pub(super) fn end_one(&mut self) -> Checked {
        let index = {
            let (up, rng) = (self.up.as_mut().expect("the node is up"), &mut self.rng);
            rng.index(up.work.len())
        };
        let work = self.up().work.swap_remove(index);
        let result = self.finish(&work);
        let (now, op) = (self.now, work.effect.op());
        self.trace.numbers(&[9, op.0, u64::from(result.is_ok())]);
        self.trace.line("end", &(op, &result));
        self.up().log.on_done(now, op, result);
        self.pump()?;
        self.open_if_settled()
    }

    pub(super) fn injector(&mut self) -> Injector<'_> {
        Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on }
    }

    /// Does the operation on the disk, well or badly.
    fn finish(&mut self, work: &Work) -> Result<usize, IoFault> {
        let mut chance =
            Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on };
        let result = work.finish(&mut self.disk, &mut chance);
        if let (Effect::Write { file, position, .. }, Ok(written)) = (&work.effect, &result) {
            let bytes = work.bytes();
            if *written == bytes.len() {
                self.note_batches(file, *position, &bytes);
            }
        }
        result
    }

    pub(super) fn note_batches(&mut self, file: &FileName, position: u64, bytes: &[u8]) {
        let FileName::Segment(segment) = file else { return };
        if segment.kind != SegmentFileKind::Log {
            return;
        }
        let mut end = position;
        for batch in Found::split(bytes).unwrap_or_default() {
            let start = end;
            end += batch.bytes.len() as u64;
            let (segment, last_offset) = (segment.segment.base_offset(), batch.info.last_offset());
            self.lies.push(Lies { segment, start, end, last_offset });
        }
    }
}
