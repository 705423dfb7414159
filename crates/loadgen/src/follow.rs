//! One stretch of a run at one rate: starts the threads, follows them until everything is answered and read, and puts
//! what they counted together.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use client::{Admin, Client, OffsetAt};
use tokio::time::{sleep, timeout};
use types::TopicPartition;
use types::limits::LOAD_LAG_SERIES_MAX;

use crate::clock::{SECOND_NS, now_ns};
use crate::consumers::{ConsumerThread, Group, Readers, Share};
use crate::intervals::Intervals;
use crate::options::RunOptions;
use crate::outcome::{
    Backlog, Cold, Count, Generator, Lag, LagSeen, Latencies, Outcome, PartitionLag, Quantiles, SelfCheck, Window,
    latencies,
};
use crate::preflight::cpus_of;
use crate::producer::Producer;
use crate::run::{Progress, RunError, identify, leaders_of};
use crate::shared::{Connected, Leaders, Shared, Topic, Wanted};
use crate::tally::{Tick, Totals, merge};
use crate::watch::{self, BrokerProcess, Sample};
use crate::worker::{Produced, Worker};
use crate::workload::{Load, Membership, Workload};

/// How often the coordinator looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long groups may take to share out their partitions before the load begins.
const SETTLE: Duration = Duration::from_secs(60);
/// How long unanswered requests are waited for after the end; after an interruption.
const DRAIN: Duration = Duration::from_secs(30);
const DRAIN_INTERRUPTED: Duration = Duration::from_secs(3);
/// How long readers may make no progress at the end before they are given up.
const STUCK: Duration = Duration::from_secs(10);
/// A lag of this much time's messages is none.
const NO_LAG_S: f64 = 0.2;
/// A generator that is later than this measures itself.
const SLIP_P999_US_MAX: u64 = 1000;
const CONNECT: Duration = Duration::from_secs(5);

/// What the stretches of a run have in common.
pub(crate) struct Ground<'a> {
    pub(crate) client: Client,
    pub(crate) admin: Admin,
    pub(crate) options: &'a RunOptions,
    pub(crate) topics: Vec<Topic>,
    pub(crate) leaders: Leaders,
    pub(crate) produce_version: i16,
}

/// Threads, and the ends of their channels.
struct Threads {
    producers: Vec<JoinHandle<std::io::Result<Produced>>>,
    consumers: Vec<JoinHandle<std::io::Result<Totals>>>,
    connected: Vec<Sender<Connected>>,
    wanted: Receiver<Wanted>,
    ticks: Receiver<Tick>,
}

/// Seen from outside at a second's end.
#[derive(Clone, Copy)]
struct Seen {
    lag: Option<LagSeen>,
    broker_cores: Option<f64>,
    broker_rss_bytes: Option<u64>,
    generator_cores: f64,
}

/// Looks at the edges of the measured time.
struct Edge {
    at_ns: u64,
    brokers: Vec<Option<Sample>>,
    threads: BTreeMap<u64, Duration>,
    cpu: Duration,
}

impl Edge {
    fn now(options: &RunOptions) -> Self {
        Self {
            at_ns: now_ns(),
            brokers: options.brokers.iter().map(BrokerProcess::look_closely).collect(),
            threads: watch::own_threads(),
            cpu: watch::own_cpu(),
        }
    }
}

/// Runs `workload` (whose mode is not a sweep) on topics that are there.
pub(crate) async fn stretch(
    ground: &Ground<'_>,
    workload: &Workload,
    run: u32,
    step: Option<(usize, f64)>,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Outcome, RunError> {
    let mut outcome = Outcome::new(workload.clone());
    let shared = Arc::new(Shared::new(
        workload.clone(),
        run,
        ground.topics.clone(),
        ground.leaders.clone(),
        ground.produce_version,
        ground.options.keep_samples,
    ));
    let places: Vec<TopicPartition> = shared.partitions().collect();
    let starts = starts(ground, &places, OffsetAt::Latest).await?;
    let firsts = match workload.consumers.cold_readers {
        0 => vec![0; places.len()],
        _ => self::starts(ground, &places, OffsetAt::Earliest).await?,
    };
    let groups = (0..workload.consumers.groups).map(|_| Group::at(&starts)).collect();
    let readers = Arc::new(Readers { groups, cold: Group::at(&firsts), ..Readers::waiting() });
    let member_ids: Vec<String> =
        (0..workload.consumers.groups).map(|group| format!("bench-{run:08x}-{group}")).collect();
    if workload.consumers.membership == Membership::Group {
        let offsets: BTreeMap<_, _> =
            places.iter().cloned().zip(starts.iter().map(|start| types::Offset::new(*start))).collect();
        for id in &member_ids {
            ground.admin.set_group_offsets(id, &offsets).await?;
        }
    }
    let mut threads = start_threads(ground, &shared, &readers, &places, (&starts, &firsts), &member_ids).await?;
    if !matches!(workload.load, Load::Backlog { .. }) {
        readers.go.store(true, Ordering::Relaxed);
        let settled = timeout(SETTLE, async {
            while !readers.groups.iter().all(Group::is_settled) && !ground.options.stop.load(Ordering::Relaxed) {
                sleep(LOOK).await;
            }
        });
        if settled.await.is_err() {
            readers.stop.store(true, Ordering::Relaxed);
            shared.give_up.store(true, Ordering::Relaxed);
            let what = format!("consumers have not shared out the partitions within {} s", SETTLE.as_secs());
            return Err(RunError::Unready(what));
        }
    }
    let start_ns = now_ns() + 100_000_000;
    let measure_ns = start_ns + workload.warmup.as_nanos() as u64;
    shared.marks.begin(start_ns, measure_ns, measure_ns + workload.duration.as_nanos() as u64);

    ground.options.brokers.iter().for_each(BrokerProcess::begin);
    let mut follow = Follow::new(ground, Arc::clone(&shared), Arc::clone(&readers), step);
    let ended = follow.until_answered(&mut threads, progress).await;
    ground.options.load.on_load_over();
    let ended = match ended {
        Ok(()) => follow.until_read(&places, &mut threads, progress).await,
        Err(error) => Err(error),
    };
    let ended_ns = now_ns();
    readers.stop.store(true, Ordering::Relaxed);
    shared.give_up.store(true, Ordering::Relaxed);
    ended?;
    follow.finish(threads, &places, ended_ns, &mut outcome).await?;
    Ok(outcome)
}

/// Where the log of each place begins or ends.
pub(crate) async fn starts(ground: &Ground<'_>, places: &[TopicPartition], at: OffsetAt) -> Result<Vec<i64>, RunError> {
    if !ground.client.any().await?.versions().contains_key(&wire::ApiKey::ListOffsets.code()) {
        // `floor` does not know it, and nobody reads from it.
        return Ok(vec![0; places.len()]);
    }
    let found = ground.admin.list_offsets(places, at).await?;
    Ok(places.iter().map(|place| found.get(place).map_or(0, |found| found.offset.value())).collect())
}

async fn connect(address: &str) -> Option<TcpStream> {
    let socket = timeout(CONNECT, tokio::net::TcpStream::connect(address)).await.ok()?.ok()?;
    socket.into_std().ok()
}

async fn start_threads(
    ground: &Ground<'_>,
    shared: &Arc<Shared>,
    readers: &Arc<Readers>,
    places: &[TopicPartition],
    (starts, firsts): (&[i64], &[i64]),
    member_ids: &[String],
) -> Result<Threads, RunError> {
    let workload = &shared.workload;
    let options = ground.options;
    let cpus = if options.cpus.is_empty() { cpus_of(0).len().max(1) } else { options.cpus.len() };
    let half = (cpus / 2).max(1);
    let producer_threads = options.producer_threads.unwrap_or(half).clamp(1, workload.producers.count as usize);
    let (wanted, wanted_end) = mpsc::channel();
    let (ticks, ticks_end) = mpsc::channel();
    let mut next_cpu = options.cpus.iter().copied().cycle();
    let mut threads = Threads {
        producers: Vec::new(),
        consumers: Vec::new(),
        connected: Vec::new(),
        wanted: wanted_end,
        ticks: ticks_end,
    };
    // Every stretch begins its sequences at 0, so it needs producers of its own.
    let identities = match workload.producers.idempotence {
        true => identify(&ground.client, workload.producers.count).await?,
        false => Vec::new(),
    };
    for thread in 0..producer_threads {
        let ids = (thread as u32..workload.producers.count).step_by(producer_threads);
        let mut producers = Vec::new();
        for id in ids {
            let identity = identities.get(id as usize).copied();
            let mut producer = Producer::new(id, Arc::clone(shared), identity);
            for node in producer.nodes() {
                let address = &ground.leaders.nodes[usize::from(node)];
                let Some(socket) = connect(address).await else {
                    return Err(RunError::Unready(format!("producer {id} cannot connect to {address}")));
                };
                producer.on_connected(node, Some(socket));
            }
            producers.push(producer);
        }
        let (connected, connected_end) = mpsc::channel();
        threads.connected.push(connected);
        let worker = Worker {
            thread,
            cpu: next_cpu.next(),
            shared: Arc::clone(shared),
            producers,
            connected: connected_end,
            wanted: wanted.clone(),
            ticks: ticks.clone(),
        };
        let named = std::thread::Builder::new().name(format!("produce-{thread}"));
        threads.producers.push(named.spawn(move || worker.run())?);
    }
    let mut shares = shares_of(workload, places, starts, firsts, member_ids);
    if !shares.is_empty() {
        let consumer_threads = options.consumer_threads.unwrap_or(half).clamp(1, shares.len());
        let mut config = ground.client.config().clone();
        config.connection.client_id = "ringlog-bench".to_owned();
        for thread in 0..consumer_threads {
            // Shares go round, so that the members of one group are on different threads.
            let own = (0..shares.len().div_ceil(consumer_threads - thread)).filter_map(|_| shares.pop()).collect();
            let consumers = ConsumerThread {
                cpu: next_cpu.next(),
                shared: Arc::clone(shared),
                readers: Arc::clone(readers),
                config: config.clone(),
                shares: own,
                ticks: ticks.clone(),
            };
            let named = std::thread::Builder::new().name(format!("consume-{thread}"));
            threads.consumers.push(named.spawn(move || consumers.run())?);
        }
    }
    Ok(threads)
}

fn shares_of(
    workload: &Workload,
    places: &[TopicPartition],
    starts: &[i64],
    firsts: &[i64],
    member_ids: &[String],
) -> Vec<Share> {
    let wanted = &workload.consumers;
    let part = |starts: &[i64], consumer: u32, of: u32| -> Vec<(TopicPartition, i64)> {
        let all = places.iter().cloned().zip(starts.iter().copied());
        all.skip(consumer as usize).step_by(of as usize).collect()
    };
    let mut shares = Vec::new();
    for consumer in 0..wanted.per_group {
        for (group, id) in member_ids.iter().enumerate() {
            shares.push(match wanted.membership {
                Membership::Group => Share::Member { group, id: id.clone() },
                Membership::Assigned => Share::Assigned { group, partitions: part(starts, consumer, wanted.per_group) },
            });
        }
    }
    shares.extend(
        (0..wanted.cold_readers)
            .map(|consumer| Share::Cold { partitions: part(firsts, consumer, wanted.cold_readers) }),
    );
    shares
}

/// By partition: the sequences acked of each producer.
type AckedOf = HashMap<usize, Vec<(u32, Intervals)>>;

/// Follows the threads of a stretch.
struct Follow<'a> {
    ground: &'a Ground<'a>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    step: Option<(usize, f64)>,
    ticks: BTreeMap<u64, Tick>,
    seen: BTreeMap<u64, Seen>,
    windows: Vec<Window>,
    partitions: Vec<PartitionLag>,
    lag: Lag,
    /// Messages unread at each look within the measured time, and when in seconds.
    lag_points: Vec<(f64, f64)>,
    first: Option<Edge>,
    last: Option<Edge>,
    /// At the last second's end: brokers' CPU, own CPU.
    cpu_before: (Duration, Duration, u64),
    looked_second: Option<u64>,
    partial: Option<String>,
    refreshing: Option<tokio::task::JoinHandle<Option<Leaders>>>,
    /// Produce and end-to-end latencies before and during a backlog's drain or a cold read.
    before: (Latencies, Latencies),
    during: (Latencies, Latencies),
    backlog: Option<Phase>,
    cold: Option<Phase>,
    cold_read: Count,
    check_complete: bool,
    /// What readers were given up before: reader, partition, offsets to the log's end.
    out_of_reach: Vec<(String, usize, u64)>,
}

/// A drain or a cold read under way.
struct Phase {
    began_ns: u64,
    bytes: u64,
    ended_ns: Option<u64>,
}

impl<'a> Follow<'a> {
    fn new(ground: &'a Ground<'a>, shared: Arc<Shared>, readers: Arc<Readers>, step: Option<(usize, f64)>) -> Self {
        let partitions = shared.partitions().map(|at| PartitionLag {
            at,
            messages_max: 0,
            messages_end: 0,
            seconds_max: 0.0,
            series: Vec::new(),
        });
        Self {
            partitions: partitions.collect(),
            ground,
            shared,
            readers,
            step,
            ticks: BTreeMap::new(),
            seen: BTreeMap::new(),
            windows: Vec::new(),
            lag: Lag::default(),
            lag_points: Vec::new(),
            first: None,
            last: None,
            cpu_before: (Duration::ZERO, Duration::ZERO, 0),
            looked_second: None,
            partial: None,
            refreshing: None,
            before: (latencies(), latencies()),
            during: (latencies(), latencies()),
            backlog: None,
            cold: None,
            cold_read: Count::default(),
            check_complete: false,
            out_of_reach: Vec::new(),
        }
    }

    /// Until every producer is done.
    async fn until_answered(
        &mut self,
        threads: &mut Threads,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), RunError> {
        while !threads.producers.iter().all(JoinHandle::is_finished) {
            self.look(threads, progress).await;
            let now = now_ns();
            let marks = &self.shared.marks;
            if self.ground.options.stop.load(Ordering::Relaxed) && self.partial.is_none() {
                self.partial = Some("interrupted".to_owned());
                marks.end_at(now);
            }
            let drain = if self.partial.is_some() { DRAIN_INTERRUPTED } else { DRAIN };
            if marks.end_ns().saturating_add(drain.as_nanos() as u64) < now {
                self.shared.give_up.store(true, Ordering::Relaxed);
            }
            // Not later than the next mark, so that the edges of the measured time are where they should be.
            let next = [marks.measure_ns(), marks.end_ns()].into_iter().filter(|mark| now < *mark).min();
            sleep(next.map_or(LOOK, |mark| LOOK.min(Duration::from_nanos(mark - now)))).await;
        }
        self.look(threads, progress).await;
        if self.last.is_none() {
            self.last = Some(Edge::now(self.ground.options));
        }
        Ok(())
    }

    /// Who reads, and whether it should have read everything by the end: a group should, and cold readers once they have
    /// caught up with it.
    fn who_reads(&self) -> impl Iterator<Item = (String, &Group, bool)> {
        let groups = self.readers.groups.iter().enumerate();
        let cold = (0 < self.shared.workload.consumers.cold_readers).then(|| {
            let caught_up = self.cold.as_ref().is_some_and(|phase| phase.ended_ns.is_some());
            ("cold readers".to_owned(), &self.readers.cold, caught_up)
        });
        groups.map(|(number, group)| (format!("group {number}"), group, true)).chain(cold)
    }

    /// Until all who should have read everything, or make no progress.
    async fn until_read(
        &mut self,
        places: &[TopicPartition],
        threads: &mut Threads,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), RunError> {
        if !self.who_reads().any(|(_, _, to_the_end)| to_the_end) {
            return Ok(());
        }
        self.readers.go.store(true, Ordering::Relaxed);
        let ends = starts(self.ground, places, OffsetAt::Latest).await?;
        let (mut least, mut progress_ns) = (u64::MAX, now_ns());
        loop {
            let unread = self.unread_before(&ends);
            let sum = unread.iter().map(|(_, _, offsets)| offsets).sum();
            if sum == 0 {
                self.check_complete = true;
                break;
            }
            let now = now_ns();
            if sum < least {
                (least, progress_ns) = (sum, now);
            }
            let patience_ns = |patience: Duration| progress_ns + patience.as_nanos() as u64;
            if self.ground.options.stop.load(Ordering::Relaxed) {
                let overdue_ns = self.shared.marks.end_ns() + 2 * DRAIN_INTERRUPTED.as_nanos() as u64 + SECOND_NS;
                if patience_ns(DRAIN_INTERRUPTED).min(overdue_ns) < now {
                    self.partial.get_or_insert_with(|| "interrupted before everything was read".to_owned());
                    break;
                }
            } else if patience_ns(STUCK) < now {
                self.out_of_reach = unread;
                break;
            }
            self.look(threads, progress).await;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// By reader and partition: the offsets that it has not come to.
    fn unread_before(&self, ends: &[i64]) -> Vec<(String, usize, u64)> {
        let mut unread = Vec::new();
        for (reader, group, _) in self.who_reads().filter(|(_, _, to_the_end)| *to_the_end) {
            for (number, end) in ends.iter().enumerate() {
                let left = end.saturating_sub(group.reading(number).next);
                if 0 < left {
                    unread.push((reader.clone(), number, left as u64));
                }
            }
        }
        unread
    }

    async fn look(&mut self, threads: &mut Threads, progress: &mut dyn FnMut(&Progress<'_>)) {
        let now = now_ns();
        while let Ok(tick) = threads.ticks.try_recv() {
            match self.ticks.get_mut(&tick.second) {
                Some(known) => known.merge(&tick),
                None => drop(self.ticks.insert(tick.second, tick)),
            }
        }
        while let Ok(wanted) = threads.wanted.try_recv() {
            let address = self.shared.leaders().nodes[usize::from(wanted.node)].clone();
            let connected = threads.connected[wanted.thread].clone();
            tokio::spawn(async move {
                let socket = connect(&address).await;
                if socket.is_none() {
                    sleep(Duration::from_millis(200)).await;
                }
                // Its thread may have ended meanwhile.
                let _ = connected.send(Connected { producer: wanted.producer, node: wanted.node, socket });
            });
        }
        self.refresh_leaders().await;
        let marks = &self.shared.marks;
        let start_ns = marks.start_ns();
        if marks.end_ns() <= now {
            self.ground.options.load.on_load_over();
        } else if start_ns <= now {
            self.ground.options.load.on_load();
        }
        // What a broker used that is ended by a fault is known up to here.
        self.ground.options.brokers.iter().for_each(|broker| drop(broker.look()));
        if self.first.is_none() && marks.measure_ns() <= now {
            self.first = Some(Edge::now(self.ground.options));
        }
        if self.last.is_none() && marks.end_ns() <= now {
            self.last = Some(Edge::now(self.ground.options));
        }
        let second = now.saturating_sub(start_ns) / SECOND_NS;
        if start_ns <= now && self.looked_second != Some(second) {
            self.looked_second = Some(second);
            self.look_each_second(second, now);
        }
        self.look_at_phases(now);
        // A second is over for all once every thread has had time to say so.
        while let Some(entry) = self.ticks.first_entry() {
            let end_ns = start_ns.saturating_add((entry.key() + 1) * SECOND_NS);
            if now < end_ns.saturating_add(300_000_000) {
                break;
            }
            let tick = entry.remove();
            self.close_window(tick, SECOND_NS, progress);
        }
    }

    async fn refresh_leaders(&mut self) {
        if let Some(refreshing) = self.refreshing.take_if(|refreshing| refreshing.is_finished()) {
            if let Ok(Some(leaders)) = refreshing.await {
                self.shared.set_leaders(leaders);
            }
        } else if self.refreshing.is_none() && self.shared.leaders_stale.swap(false, Ordering::Relaxed) {
            let (client, topics) = (self.ground.client.clone(), self.shared.topics.clone());
            let known = self.shared.leaders().nodes.clone();
            self.refreshing = Some(tokio::spawn(async move {
                sleep(Duration::from_millis(100)).await;
                leaders_of(&client, &topics, known).await.ok()
            }));
        }
    }

    fn look_each_second(&mut self, second: u64, now: u64) {
        let options = self.ground.options;
        let (mut brokers, mut rss, mut known) = (Duration::ZERO, 0, false);
        for sample in options.brokers.iter().filter_map(BrokerProcess::look) {
            known = true;
            brokers += sample.cpu;
            rss += sample.rss_bytes;
        }
        let own = watch::own_cpu();
        let (brokers_before, own_before, before_ns) = self.cpu_before;
        self.cpu_before = (brokers, own, now);
        let lag = self.look_at_lag(second, now);
        if second == 0 {
            return;
        }
        let elapsed_s = (now - before_ns) as f64 / SECOND_NS as f64;
        let cores = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / elapsed_s;
        let seen = Seen {
            lag,
            broker_cores: known.then(|| cores(brokers, brokers_before)),
            broker_rss_bytes: known.then_some(rss),
            generator_cores: cores(own, own_before),
        };
        self.seen.insert(second - 1, seen);
    }

    /// `None` without readers.
    fn look_at_lag(&mut self, second: u64, now: u64) -> Option<LagSeen> {
        if self.readers.groups.is_empty() {
            return None;
        }
        let cold = (0 < self.shared.workload.consumers.cold_readers).then_some(&self.readers.cold);
        let measured = self.shared.marks.measures(now);
        let mut seen = Vec::with_capacity(self.partitions.len());
        let (mut total, mut oldest_s) = (0, 0.0_f64);
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            let acked = &self.shared.acked[number];
            let end = acked.end.load(Ordering::Relaxed);
            let (mut messages, mut age_s) = (0, 0.0_f64);
            let mut settled = cold.map_or(i64::MAX, |cold| cold.reading(number).settled_below());
            for group in &self.readers.groups {
                let reading = group.reading(number);
                settled = settled.min(reading.settled_below());
                let unread = end.max(reading.high_watermark).saturating_sub(reading.next).max(0) as u64;
                total += unread;
                messages = messages.max(unread);
                if 0 < unread {
                    let since = acked.unread_since_ns(reading.next, reading.last_due_ns);
                    age_s = age_s.max(now.saturating_sub(since) as f64 / SECOND_NS as f64);
                }
            }
            acked.on_read_below(settled);
            oldest_s = oldest_s.max(age_s);
            seen.push(LagSeen { messages, seconds: age_s });
            if measured {
                partition.messages_max = partition.messages_max.max(messages);
                partition.messages_end = messages;
                partition.seconds_max = partition.seconds_max.max(age_s);
            }
        }
        if 0 < second {
            for number in furthest_behind(&seen) {
                self.partitions[number].series.push((second, seen[number]));
            }
        }
        if measured {
            self.lag.messages_max = self.lag.messages_max.max(total);
            self.lag.messages_end = total;
            self.lag.seconds_max = self.lag.seconds_max.max(oldest_s);
            self.lag_points.push((now as f64 / SECOND_NS as f64, total as f64));
        }
        Some(LagSeen { messages: total, seconds: oldest_s })
    }

    /// Messages that the slowest group, or the cold readers, have not read.
    fn unread(&self, groups: &[&Group]) -> u64 {
        let of = |group: &Group| -> u64 {
            let partition = |(number, acked): (usize, &crate::shared::Acked)| {
                let next = group.reading(number).next;
                acked.end.load(Ordering::Relaxed).saturating_sub(next).max(0) as u64
            };
            self.shared.acked.iter().enumerate().map(partition).sum()
        };
        groups.iter().map(|group| of(group)).max().unwrap_or(0)
    }

    fn look_at_phases(&mut self, now: u64) {
        let workload = &self.shared.workload;
        let marks = &self.shared.marks;
        if now < marks.start_ns() {
            return;
        }
        let groups: Vec<&Group> = self.readers.groups.iter().collect();
        let no_lag = |rate: f64| (rate * NO_LAG_S).max(1.0) as u64;
        if let Load::Backlog { rate, bytes } = workload.load {
            let unread = self.unread(&groups);
            let unread_bytes = (unread as f64 * workload.messages.size_bytes_mean()) as u64;
            match &mut self.backlog {
                None if bytes <= unread_bytes => {
                    self.readers.go.store(true, Ordering::Relaxed);
                    self.backlog = Some(Phase { began_ns: now, bytes: unread_bytes, ended_ns: None });
                }
                Some(phase) if phase.ended_ns.is_none() && unread <= no_lag(rate.messages_per_s) => {
                    phase.ended_ns = Some(now);
                    // One more second shows the tail as it is afterwards.
                    marks.end_at(now + SECOND_NS);
                }
                _ => {}
            }
        }
        if 0 < workload.consumers.cold_readers {
            let begin_ns = marks.measure_ns().saturating_add(workload.duration.as_nanos() as u64 / 3);
            let unread = self.unread(&[&self.readers.cold]);
            let rate = workload.load.rate().map_or(1.0, |rate| rate.messages_per_s);
            match &mut self.cold {
                None if begin_ns <= now => {
                    self.readers.go_cold.store(true, Ordering::Relaxed);
                    self.cold = Some(Phase { began_ns: now, bytes: 0, ended_ns: None });
                }
                Some(phase) if phase.ended_ns.is_none() && unread <= no_lag(rate) => phase.ended_ns = Some(now),
                _ => {}
            }
        }
    }

    /// `lasted_ns` is a second, of the last window what there was of it.
    fn close_window(&mut self, tick: Tick, lasted_ns: u64, progress: &mut dyn FnMut(&Progress<'_>)) {
        let marks = &self.shared.marks;
        let start_ns = marks.start_ns();
        let from_ns = start_ns + tick.second * SECOND_NS;
        let seen = self.seen.remove(&tick.second);
        let seconds = lasted_ns as f64 / SECOND_NS as f64;
        let window = Window {
            at_s: tick.second as f64 + seconds,
            seconds,
            measured: marks.measure_ns() <= from_ns && from_ns + lasted_ns <= marks.end_ns(),
            offered: tick.offered,
            acked: tick.acked,
            consumed: tick.consumed,
            produce: Quantiles::of_some(&tick.produce),
            end_to_end: Quantiles::of_some(&tick.end_to_end),
            lag: seen.and_then(|seen| seen.lag),
            broker_cores: seen.and_then(|seen| seen.broker_cores),
            broker_rss_bytes: seen.and_then(|seen| seen.broker_rss_bytes),
            generator_cores: seen.map(|seen| seen.generator_cores),
            errors: tick.errors,
        };
        self.cold_read.add(tick.cold);
        if let Some(phase) = self.backlog.as_ref().or(self.cold.as_ref()) {
            // Seconds that a phase began or ended in are its own: a short one lies within one or two of them.
            let during =
                phase.began_ns < from_ns + lasted_ns && phase.ended_ns.is_none_or(|ended_ns| from_ns < ended_ns);
            if during {
                merge(&mut self.during.0, &tick.produce);
                merge(&mut self.during.1, &tick.end_to_end);
            }
        } else if matches!(self.shared.workload.load, Load::Backlog { .. }) || window.measured {
            merge(&mut self.before.0, &tick.produce);
            merge(&mut self.before.1, &tick.end_to_end);
        }
        let total = self.shared.workload.warmup + self.shared.workload.duration;
        let phase = match () {
            () if marks.end_ns() <= from_ns => "draining",
            () if self.backlog.is_some() => "catching up",
            () if matches!(self.shared.workload.load, Load::Backlog { .. }) => "building a backlog",
            () if from_ns < marks.measure_ns() => "warming up",
            () => "measuring",
        };
        progress(&Progress { window: &window, total, phase, step: self.step });
        self.windows.push(window);
    }

    async fn finish(
        mut self,
        threads: Threads,
        places: &[TopicPartition],
        ended_ns: u64,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let mut totals = Totals::new();
        let mut acked = AckedOf::new();
        let (producer_threads, consumer_threads) = (threads.producers.len() as u32, threads.consumers.len() as u32);
        for thread in threads.producers {
            let produced = thread.join().map_err(|_| RunError::Unready("a producing thread panicked".to_owned()))??;
            totals.merge(produced.totals);
            for ((partition, producer), sequences) in produced.acked {
                acked.entry(partition).or_default().push((producer, sequences));
            }
        }
        // Threads end at different moments: their runtimes must not be waited for on this one.
        let consumers = tokio::task::spawn_blocking(move || {
            threads.consumers.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        for thread in consumers.await.map_err(|_| RunError::Unready("a task panicked".to_owned()))? {
            totals.merge(thread.map_err(|_| RunError::Unready("a consuming thread panicked".to_owned()))??);
        }
        while let Ok(tick) = threads.ticks.try_recv() {
            match self.ticks.get_mut(&tick.second) {
                Some(known) => known.merge(&tick),
                None => drop(self.ticks.insert(tick.second, tick)),
            }
        }
        while let Some((second, tick)) = self.ticks.pop_first() {
            let from_ns = self.shared.marks.start_ns().saturating_add(second * SECOND_NS);
            let lasted_ns = ended_ns.saturating_sub(from_ns).min(SECOND_NS);
            // A thread that ended a moment after the others may have begun a second in which nothing happened.
            if 0 < lasted_ns {
                self.close_window(tick, lasted_ns, &mut |_| {});
            }
        }
        let marks = &self.shared.marks;
        let measured_ns = marks.end_ns().saturating_sub(marks.measure_ns());
        outcome.measured = Duration::from_nanos(measured_ns);
        outcome.partial = self.partial.take();
        outcome.check = self.check(&acked, places);
        outcome.lag = (!self.readers.groups.is_empty()).then(|| {
            let growth_per_s = slope(&self.lag_points);
            Lag { growth_per_s, partitions: std::mem::take(&mut self.partitions), ..self.lag.clone() }
        });
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            let pairs = self.ground.options.brokers.iter().zip(first.brokers.iter().zip(&last.brokers));
            let used = pairs.filter_map(|(broker, (from, to))| Some(broker.between(from.as_ref()?, to.as_ref()?)));
            outcome.brokers = used.collect();
            outcome.generator = generator(first, last, self.ground.options, &totals);
        }
        outcome.generator.producer_threads = producer_threads;
        outcome.generator.consumer_threads = consumer_threads;
        let quantiles = |latencies: &Latencies| Quantiles::of(latencies);
        let lasted = |phase: &Phase| phase.ended_ns.map(|ended_ns| Duration::from_nanos(ended_ns - phase.began_ns));
        outcome.backlog = self.backlog.as_ref().map(|phase| Backlog {
            bytes: phase.bytes,
            build: Duration::from_nanos(phase.began_ns - marks.start_ns()),
            drain: lasted(phase),
            produce_before: quantiles(&self.before.0),
            produce_during: quantiles(&self.during.0),
        });
        outcome.cold = self.cold.as_ref().map(|phase| Cold {
            began_at_s: (phase.began_ns - marks.start_ns()) as f64 / SECOND_NS as f64,
            read: self.cold_read,
            caught_up: lasted(phase),
            produce_before: quantiles(&self.before.0),
            produce_during: quantiles(&self.during.0),
            end_to_end_before: quantiles(&self.before.1),
            end_to_end_during: quantiles(&self.during.1),
        });
        outcome.series = self.windows;
        outcome.offered = totals.offered;
        outcome.acked = totals.acked;
        outcome.consumed = totals.consumed;
        outcome.produce = totals.produce;
        outcome.service = totals.service;
        outcome.slip = totals.slip;
        outcome.end_to_end = totals.end_to_end;
        outcome.batches = totals.batches;
        outcome.errors = totals.errors;
        outcome.errors_warmup = totals.errors_warmup;
        outcome.samples = totals.samples;
        Ok(())
    }

    fn check(&self, acked: &AckedOf, places: &[TopicPartition]) -> SelfCheck {
        let mut check = SelfCheck { complete: self.check_complete, ..SelfCheck::default() };
        for (reader, readings, to_the_end) in self.who_reads() {
            for (number, place) in places.iter().enumerate() {
                let reading = readings.reading(number);
                let found = &reading.found;
                check.duplicated += found.duplicated;
                check.reordered += found.reordered;
                check.corrupt += found.corrupt;
                check.reread += found.reread;
                check.examples.extend(found.examples.iter().map(|example| format!("{place}, {reader}: {example}")));
            }
            let mut lost_of: BTreeMap<usize, u64> = BTreeMap::new();
            for (number, acked_here) in self.shared.acked.iter().enumerate() {
                let reading = readings.reading(number);
                let expired = acked_here.with_unread(|unread| reading.expired(unread));
                let none = Intervals::default();
                for (producer, acked) in acked.get(&number).into_iter().flatten() {
                    let seen = reading.seen.get(producer).unwrap_or(&none);
                    // Whoever stopped early has not lost what lies behind what it read last.
                    let due = if check.complete && to_the_end { acked.clone() } else { acked.below(seen.end()) };
                    let missing = due.missing_in(seen);
                    let lost = due.missing_in(&seen.with(expired.get(producer).unwrap_or(&none)));
                    check.expired += missing - lost;
                    *lost_of.entry(number).or_default() += lost;
                }
            }
            for (number, lost) in lost_of {
                check.lost += lost;
                if 0 < lost {
                    check
                        .examples
                        .push(format!("{}, {reader}: lost: {lost} messages acked and never read", places[number]));
                }
            }
        }
        for (reader, number, offsets) in &self.out_of_reach {
            check.unread += offsets;
            check.examples.push(format!(
                "{}, {reader}: the last {offsets} offsets were not read, and {} s brought it no further",
                places[*number],
                STUCK.as_secs()
            ));
        }
        check.examples.truncate(20);
        check
    }
}

fn generator(first: &Edge, last: &Edge, options: &RunOptions, totals: &Totals) -> Generator {
    let elapsed_s = (last.at_ns - first.at_ns).max(1) as f64 / SECOND_NS as f64;
    let cpu = last.cpu.saturating_sub(first.cpu);
    let busy = |(id, cpu): (&u64, &Duration)| {
        cpu.saturating_sub(first.threads.get(id).copied().unwrap_or_default()).as_secs_f64() / elapsed_s
    };
    let busiest_thread = last.threads.iter().map(busy).fold(0.0, f64::max);
    let cpus = if options.cpus.is_empty() { cpus_of(0).len() } else { options.cpus.len() }.max(1);
    let busy = cpu.as_secs_f64() / elapsed_s / cpus as f64;
    let slip_p999_us = totals.slip.value_at_quantile(0.999);
    let mut generator =
        Generator { cpu, cpus: cpus as u32, busiest_thread, busy, slip_p999_us, ..Generator::default() };
    let mut reasons = Vec::new();
    if generator.is_thread_busy() {
        reasons.push(format!("a thread of it was busy {:.0} % of the time", busiest_thread * 100.0));
    }
    if generator.is_busy() {
        reasons.push(format!("its CPUs were busy {:.0} % of the time", busy * 100.0));
    }
    if SLIP_P999_US_MAX < slip_p999_us {
        reasons.push(format!("it was {:.1} ms late at p99.9", slip_p999_us as f64 / 1000.0));
    }
    generator.bound = (!reasons.is_empty()).then(|| reasons.join(", "));
    generator
}

/// The numbers of the partitions that are furthest behind, [`LOAD_LAG_SERIES_MAX`] at most.
fn furthest_behind(seen: &[LagSeen]) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..seen.len()).collect();
    if LOAD_LAG_SERIES_MAX < numbers.len() {
        // Ages are not negative, so that their bits are in their order.
        let by_lag = |number: &usize| std::cmp::Reverse((seen[*number].messages, seen[*number].seconds.to_bits()));
        numbers.select_nth_unstable_by_key(LOAD_LAG_SERIES_MAX, by_lag);
        numbers.truncate(LOAD_LAG_SERIES_MAX);
    }
    numbers
}

/// Of the line through the points that lies nearest to them all.
/// One point has none.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    if points.len() < 2 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    Some(points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_partitions_those_furthest_behind_are_kept() {
        let lag = |messages| LagSeen { messages, seconds: 0.5 };
        assert_eq!(furthest_behind(&[lag(0), lag(7)]), [0, 1]);
        let seen: Vec<LagSeen> = (0..3000).map(|number| lag(number * 7919 % 3000)).collect();
        let mut kept = furthest_behind(&seen);
        kept.sort_by_key(|number| seen[*number].messages);
        let messages: Vec<u64> = kept.iter().map(|number| seen[*number].messages).collect();
        assert_eq!(messages, (2900..3000).collect::<Vec<u64>>());
    }

    #[test]
    fn the_slope_is_the_growth() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 3.0), (2.0, 9.0), (3.0, 3.0)]), Some(0.0));
    }
}
