//! Random histories against a model: effects complete in any order and may fail, the process dies or the power goes at
//! any moment. What was acked is there, at its offset, once; what is there is what was sent.

use std::collections::BTreeMap;

use batch::{BatchView, Producer};
use types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use crate::harness::*;
use crate::*;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What was sent as one batch, and what is known of it.
#[derive(Clone)]
struct Sent {
    value: Vec<u8>,
    records: usize,
    producer: Option<Producer>,
}

struct World {
    random: Random,
    host: Host,
    /// Effects handed out and not completed.
    flying: Vec<Effect>,
    /// Files whose name survives a power loss.
    named: Vec<String>,
    sent: BTreeMap<u64, Sent>,
    /// The next sequence of each producer.
    sequences: BTreeMap<i64, i32>,
    /// By base offset: the tag acked there, and whether it must survive a power loss.
    acked: BTreeMap<i64, u64>,
    durable: Offset,
    log_start: Offset,
    crashes: usize,
    lost: usize,
}

impl World {
    fn new(seed: u64, config: LogConfig) -> Self {
        Self {
            random: Random(seed),
            host: Host::new(config),
            flying: Vec::new(),
            named: Vec::new(),
            sent: BTreeMap::new(),
            sequences: BTreeMap::new(),
            acked: BTreeMap::new(),
            durable: Offset::ZERO,
            log_start: Offset::ZERO,
            crashes: 0,
            lost: 0,
        }
    }

    fn append(&mut self, tag: u64) {
        let records = 1 + self.random.below(3);
        let producer = (!self.random.one_in(3)).then(|| {
            let id = self.random.below(4) as i64;
            let sequence = self.sequences.get(&id).copied().unwrap_or(0);
            Producer {
                id: ProducerId::new(id),
                epoch: ProducerEpoch::ZERO,
                base_sequence: Some(Sequence::new(sequence)),
            }
        });
        let value_bytes = 8 + self.random.below(60);
        let value: Vec<u8> = tag.to_be_bytes().into_iter().cycle().take(value_bytes).collect();
        let sent = Sent { value, records, producer };
        if self.send(tag, &sent).is_ok() {
            if let Some(producer) = producer {
                self.sequences.insert(producer.id.value(), producer.base_sequence.unwrap().value() + records as i32);
            }
            self.sent.insert(tag, sent);
        }
    }

    fn send(&mut self, tag: u64, sent: &Sent) -> Result<Admission, AppendFault> {
        let record = (None, Some(sent.value.clone()));
        let batch = keyed(&vec![record; sent.records], self.host.now_ms as i64, sent.producer);
        self.host.append(batch, tag)
    }

    fn poll(&mut self) {
        while let Some(effect) = self.host.log.poll_effect() {
            self.flying.push(effect);
        }
        self.hear();
    }

    fn hear(&mut self) {
        for event in self.host.take_events() {
            match event {
                LogEvent::Appended { tag, base_offset, .. } => {
                    if let Some(other) = self.acked.insert(base_offset.value(), tag) {
                        let same = self.sent[&other].value == self.sent[&tag].value;
                        assert!(same, "offset {base_offset} was acked for two batches");
                    }
                }
                LogEvent::EndMoved { durable, .. } => self.durable = self.durable.max(durable),
                LogEvent::StartMoved { log_start } => self.log_start = log_start,
                LogEvent::AppendFailed { tag, .. } => {
                    // The producer begins again where it was: its later batches failed too.
                    if let Some(producer) = self.sent.get(&tag).and_then(|sent| sent.producer) {
                        let sequence = producer.base_sequence.unwrap().value();
                        let next = self.sequences.entry(producer.id.value()).or_insert(sequence);
                        *next = sequence.min(*next);
                    }
                }
                _ => {}
            }
        }
    }

    fn complete_one(&mut self, faults: bool) {
        if self.flying.is_empty() {
            return;
        }
        let at = self.random.below(self.flying.len());
        let effect = self.flying.swap_remove(at);
        let log_write = matches!(&effect, Effect::Write { file, .. } if file.to_string().ends_with(".log"));
        let result = if faults && self.random.one_in(40) && (log_write || matches!(effect, Effect::WriteFile { .. })) {
            if log_write {
                self.apply_part(&effect);
            }
            Err(IoFault::DISK_FULL)
        } else {
            self.run(&effect)
        };
        let now = self.host.now();
        self.host.log.on_done(now, effect.op(), result);
        self.hear();
        if let Some(epoch) = self.host.log.leader_epoch()
            && result.is_err()
        {
            self.host.log.set_leader_epoch(now, epoch.next()).unwrap();
        }
    }

    fn run(&mut self, effect: &Effect) -> Result<usize, IoFault> {
        let result = self.host.execute(effect);
        match effect {
            Effect::SyncDir { .. } => self.named = self.host.dir.files.keys().cloned().collect(),
            Effect::WriteFile { file, .. } => self.named.push(file.to_string()),
            Effect::Rename { from, to, .. } => {
                if let Some(content) = self.host.synced.remove(&from.to_string()) {
                    self.host.synced.insert(to.to_string(), content);
                }
                if self.named.contains(&from.to_string()) {
                    self.named.push(to.to_string());
                }
            }
            Effect::Create { file, .. } => {
                self.host.synced.remove(&file.to_string());
            }
            Effect::Truncate { file, .. } => {
                self.host.synced.insert(file.to_string(), self.host.dir.files[&file.to_string()].clone());
            }
            _ => {}
        }
        result
    }

    /// A write of which only a first part reached the page cache.
    fn apply_part(&mut self, effect: &Effect) {
        let Effect::Write { file, position, buffers, .. } = effect else { return };
        let bytes: Vec<u8> = buffers.iter().flatten().copied().collect();
        let part = self.random.below(bytes.len() + 1);
        let content = self.host.dir.files.get_mut(&file.to_string()).unwrap();
        content.truncate(*position as usize);
        content.extend_from_slice(&bytes[..part]);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        // What was in flight happened, did not, or in part.
        for effect in std::mem::take(&mut self.flying) {
            match self.random.below(3) {
                0 => {}
                1 if matches!(&effect, Effect::Write { file, .. } if file.to_string().ends_with(".log")) => {
                    self.apply_part(&effect);
                }
                _ => {
                    let _ = self.run(&effect);
                }
            }
        }
        let last_stop = if self.random.one_in(2) { LastStop::ProcessDied } else { LastStop::PowerLost };
        let mut dir = self.host.dir.clone();
        if last_stop == LastStop::PowerLost {
            self.lose_power(&mut dir);
        }
        let durable_mode = self.host.log.config().is_durable();
        let (again, report) = self
            .host
            .reopen_dir(dir, last_stop)
            .unwrap_or_else(|fault| panic!("{last_stop:?}: {fault}\n{:#?}", self.host.trace));
        let end = again.log.offsets().written;
        assert!(self.durable <= end, "{last_stop:?}: durable {} is cut to {end}: {report:?}", self.durable);
        assert!(self.log_start <= again.log.offsets().log_start);
        for (&base, tag) in &self.acked {
            let survives = last_stop == LastStop::ProcessDied || durable_mode || base < self.durable.value();
            let next = base + self.sent[tag].records as i64;
            assert!(!survives || next <= end.value(), "{last_stop:?}: acked {base}..{next} is gone, end {end}");
        }
        let before = self.acked.len();
        self.acked.retain(|&base, _| base < end.value());
        self.lost += before - self.acked.len();
        self.host = again;
        self.named = self.host.dir.files.keys().cloned().collect();
        self.host.synced = self.host.dir.files.clone();
        self.durable = self.host.log.offsets().durable;
        self.host.trace.clear();
        self.check();
        self.resume_producers();
    }

    /// Every file keeps what was synced; of the rest any page may be missing, and names not synced may be gone.
    fn lose_power(&mut self, dir: &mut MemDir) {
        let names: Vec<String> = dir.files.keys().cloned().collect();
        for name in names {
            if !self.named.contains(&name) && self.random.one_in(2) {
                dir.files.remove(&name);
                continue;
            }
            let synced = self.host.synced.get(&name).map_or(0, Vec::len);
            let content = dir.files.get_mut(&name).unwrap();
            if content.len() < synced {
                continue;
            }
            let kept = synced + self.random.below(content.len() - synced + 1);
            content.truncate(kept);
            for page in (synced..kept).step_by(64) {
                if self.random.one_in(4) {
                    let page_end = kept.min(page + 64);
                    content[page..page_end].fill(0);
                }
            }
        }
    }

    /// What is in the log is what was sent, whole and in the order of offsets.
    fn check(&mut self) {
        let records = self.host.read_all();
        let offsets = self.host.log.offsets();
        let mut expected = offsets.log_start.value();
        for (offset, value) in &records {
            assert_eq!(*offset, expected);
            expected += 1;
            let value = value.as_ref().unwrap();
            let tag = u64::from_be_bytes(value[..8].try_into().unwrap());
            assert_eq!(self.sent[&tag].value, *value);
            if let Some(acked) = self.acked.get(offset) {
                assert_eq!(self.sent[acked].value, *value, "offset {offset} holds another batch than was acked");
            }
        }
        assert_eq!(expected, offsets.visible.value(), "the log has no holes");
    }

    /// After a crash a producer sends its newest batch again: it must be told from a new one exactly when it is there.
    fn resume_producers(&mut self) {
        for id in self.sequences.keys().copied().collect::<Vec<_>>() {
            let known = self.host.log.describe_producers().into_iter().find(|info| info.id.value() == id);
            let next = known.and_then(|info| info.last_sequence).map_or(0, |last| last.value() + 1);
            let records = self.host.read_all();
            let last_sent = records.iter().rev().find_map(|(_, value)| {
                let tag = u64::from_be_bytes(value.as_ref().unwrap()[..8].try_into().unwrap());
                self.sent.get(&tag).filter(|sent| sent.producer.is_some_and(|producer| producer.id.value() == id))
            });
            if let Some(last) = last_sent {
                let last_sequence = last.producer.unwrap().base_sequence.unwrap().value() + last.records as i32;
                assert_eq!(next, last_sequence, "producer {id}: its window is not what the log holds");
                let again = last.clone();
                let answer = self.send(u64::MAX, &again);
                let fine = matches!(answer, Ok(Admission::Duplicate { .. } | Admission::AwaitsOriginal));
                assert!(fine, "a retry was taken for new: {answer:?}");
            }
            self.sequences.insert(id, next);
        }
    }

    fn turn(&mut self, tag: u64) {
        match self.random.below(20) {
            0..=7 => self.append(tag),
            8 if self.random.one_in(4) => {
                let visible = self.host.log.offsets().visible.value();
                let to = Offset::new(visible.min(self.random.below(visible as usize + 1) as i64));
                let now = self.host.now();
                self.host.log.delete_records(now, to).unwrap();
            }
            9 => {
                let (now, end) = (self.host.now(), self.host.log.offsets().visible);
                self.host.log.apply_retention(now, end);
            }
            10 => {
                self.host.now_ms += [1, 50, 1000, 30_000][self.random.below(4)];
                let now = self.host.now();
                self.host.log.on_tick(now);
            }
            11 if self.random.one_in(8) => self.crash(),
            12 => self.poll(),
            _ => {
                self.poll();
                self.complete_one(true);
            }
        }
    }
}

fn run(seed: u64, config: LogConfig) -> (usize, usize, i64) {
    let mut world = World::new(seed, config);
    for tag in 0..400 {
        world.turn(tag);
    }
    // Then everything heals, and the log goes on.
    loop {
        world.poll();
        if world.flying.is_empty() {
            break;
        }
        world.complete_one(false);
    }
    world.check();
    world.append(1000);
    world.host.settle();
    world.hear();
    world.check();
    let end = world.host.log.offsets().written.value();
    world.host.close();
    let (again, report) = world.host.reopen(LastStop::PowerLost).unwrap();
    assert_eq!(again.log.offsets().written.value(), end);
    assert_eq!(report.bytes_read, 0, "a clean stop is opened without reading");
    (world.crashes, world.lost, end)
}

fn configs() -> Vec<LogConfig> {
    let base = LogConfig { index_interval_bytes: 150, retention_ms: Some(20_000), ..LogConfig::default() };
    vec![
        LogConfig { segment_bytes: 700, ..base.clone() },
        LogConfig { segment_bytes: 100_000, ..base.clone() },
        LogConfig { segment_bytes: 1500, flush_messages: Some(1), ..base.clone() },
        LogConfig { segment_bytes: 1500, flush_messages: Some(6), flush_ms: Some(40), ..base },
    ]
}

#[test]
fn acked_batches_survive_any_history() {
    let (mut crashes, mut lost) = (0, 0);
    // `STORAGE_SEEDS=5000 cargo test -p storage random` for a longer run.
    let seeds = std::env::var("STORAGE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    for seed in 0..seeds {
        for (at, config) in configs().into_iter().enumerate() {
            let outcome = std::panic::catch_unwind(|| run(seed, config));
            match outcome {
                Ok((crashed, gone, _)) => {
                    crashes += crashed;
                    lost += gone;
                }
                Err(_) => panic!("seed {seed}, config {at}"),
            }
        }
    }
    // The histories are worth something: there are crashes, and power losses that do take what was not synced.
    assert!(200 < crashes, "{crashes}");
    assert!(20 < lost, "{lost}");
}

#[test]
fn small_and_large_segments_hold_the_same_records() {
    let mut seen = None;
    for segment_bytes in [300, 1000, 5000, 1_000_000] {
        let config = LogConfig { segment_bytes, index_interval_bytes: 100, ..LogConfig::default() };
        let mut world = World::new(7, config);
        for tag in 0..300 {
            world.append(tag);
            if tag % 4 == 0 {
                world.host.settle();
            }
        }
        world.host.settle();
        let records = world.host.read_all();
        let first = seen.get_or_insert_with(|| records.clone());
        assert_eq!(*first, records, "{segment_bytes}");
        for (name, content) in &world.host.dir.files {
            if name.ends_with(".log") {
                assert!(content.len() <= segment_bytes as usize);
                assert!(BatchView::parse(content).is_ok());
            }
        }
    }
}

#[test]
fn an_epoch_never_gives_an_offset_twice() {
    // The canary of the model: the same epoch again after a failed append must be refused.
    let mut world = World::new(3, LogConfig::default());
    world.host.fail = Some(("write 0".to_owned(), IoFault::DISK_FULL));
    world.append(0);
    world.host.settle();
    let now = world.host.now();
    assert!(world.host.log.set_leader_epoch(now, LeaderEpoch::ZERO).is_err());
    assert!(world.send(1, &Sent { value: vec![0; 8], records: 1, producer: None }).is_err());
}
