//! Incremental fetch sessions (KIP-227): what a consumer asked for and was last told, so that its next request names
//! only what changed, and our answer too.
//!
//! | request | session id | epoch | what happens |
//! |---|---|---|---|
//! | full | 0, or one to close | 0 | everything it names is answered; a session is made if there is room |
//! | sessionless | 0, or one to close | -1 | everything it names is answered; no session |
//! | incremental | id | the session's next | only partitions with something to tell are answered |
//!
//! An unknown id is `FETCH_SESSION_ID_NOT_FOUND`, another epoch `INVALID_FETCH_SESSION_EPOCH`, names where the session
//! has topic ids (or the reverse) `FETCH_SESSION_TOPIC_ID_ERROR`: clients then start anew with a full request.

use std::collections::{BTreeMap, BTreeSet};

use types::limits::{FETCH_SESSION_PARTITIONS_MAX, FETCH_SESSIONS_MAX};
use types::{ErrorCode, Offset};

/// The id of a session, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionId(i32);

impl SessionId {
    /// From a request; `None` for 0, "no session".
    #[must_use]
    pub const fn from_wire(id: i32) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The number for a reply.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.0
    }
}

/// Where a request stands in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionEpoch {
    /// 0: a full request that would like a session.
    Initial,
    /// -1: a full request that wants none.
    Final,
    /// The n-th request of a session, or a number that cannot be right.
    Next(i32),
}

impl SessionEpoch {
    /// From a request.
    #[must_use]
    pub const fn from_wire(epoch: i32) -> Self {
        match epoch {
            0 => Self::Initial,
            -1 => Self::Final,
            other => Self::Next(other),
        }
    }
}

/// 2^31-1 is followed by 1: 0 would mean a new session.
const fn epoch_after(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// How many sessions are kept, and when one may be pushed out.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Slots (`max.incremental.fetch.session.cache.slots`); [`FETCH_SESSIONS_MAX`] for a whole node.
    pub sessions_max: usize,
    /// A session idle for longer gives way to any other, and one younger is never pushed out for a more valuable one.
    /// Kafka: two minutes.
    pub eviction_ns: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { sessions_max: FETCH_SESSIONS_MAX, eviction_ns: 120_000_000_000 }
    }
}

/// What a fetch says about its session. `K` names a partition, `P` is what was asked of it (offset, bytes, epochs).
#[derive(Debug)]
pub struct FetchRequest<K, P> {
    /// The session it names.
    pub session: Option<SessionId>,
    /// Its place in the session.
    pub epoch: SessionEpoch,
    /// Whether partitions are named by topic id (version 13 and later).
    pub by_topic_id: bool,
    /// A follower's fetch: its session is never pushed out by a consumer's.
    pub privileged: bool,
    /// Partitions asked for, or asked for differently.
    pub wanted: Vec<(K, P)>,
    /// Partitions no longer asked for.
    pub forgotten: Vec<K>,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    Full { privileged: bool, by_topic_id: bool },
    Incremental { id: SessionId, epoch_expected: i32 },
}

/// A fetch being served: which partitions to read, in the order to read them.
#[derive(Debug)]
pub struct FetchContext<K, P> {
    kind: Kind,
    /// To read in this order: those served last come last, so that a small `max_bytes` starves nobody.
    pub partitions: Vec<(K, P)>,
}

impl<K, P> FetchContext<K, P> {
    /// Whether the reply names only partitions with something to tell. A full or sessionless one names them all.
    #[must_use]
    pub const fn is_incremental(&self) -> bool {
        matches!(self.kind, Kind::Incremental { .. })
    }
}

/// What is compared with the last reply to tell whether a partition has news.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Bytes of records in the reply.
    pub records_bytes: usize,
    /// Everything below is committed.
    pub high_watermark: Option<Offset>,
    /// Everything below is decided.
    pub last_stable: Option<Offset>,
    /// The first offset there is.
    pub log_start: Option<Offset>,
    /// The answer is an error: always told, and the partition again when the error has gone.
    pub failed: bool,
    /// A preferred replica or a diverging epoch is in it: always told.
    pub directed: bool,
}

/// How a reply's header is filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Responded {
    /// The session to name; `None` is written 0.
    pub session: Option<SessionId>,
    /// `InvalidFetchSessionEpoch` when another request overtook this one in its session: the reply then holds nothing.
    pub error: ErrorCode,
}

#[derive(Debug)]
struct CachedPartition<P> {
    wanted: P,
    /// Its place in the order of service.
    turn: u64,
    high_watermark: Option<Offset>,
    last_stable: Option<Offset>,
    log_start: Option<Offset>,
    told: bool,
}

/// What one consumer is known to want. Opaque: it only ever moves between tables, along with its connection.
#[derive(Debug)]
pub struct FetchSession<K, P> {
    id: SessionId,
    privileged: bool,
    by_topic_id: bool,
    epoch: i32,
    created_ns: u64,
    used_ns: u64,
    /// The partitions it had when it was last ranked for eviction.
    ranked_partitions: usize,
    partitions: BTreeMap<K, CachedPartition<P>>,
    order: BTreeMap<u64, K>,
    turns_total: u64,
}

impl<K: Ord + Clone, P: Clone> FetchSession<K, P> {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    fn add(&mut self, key: K, wanted: P) {
        match self.partitions.get_mut(&key) {
            Some(cached) => cached.wanted = wanted,
            None => {
                let turn = self.turns_total;
                self.turns_total += 1;
                self.order.insert(turn, key.clone());
                let cached = CachedPartition {
                    wanted,
                    turn,
                    high_watermark: None,
                    last_stable: None,
                    log_start: None,
                    told: false,
                };
                self.partitions.insert(key, cached);
            }
        }
    }

    fn forget(&mut self, key: &K) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.turn);
        }
    }

    /// Takes note of an answer; says whether it is news.
    fn note(&mut self, key: &K, answer: &Answer) -> bool {
        let Some(cached) = self.partitions.get_mut(key) else { return false };
        let is_news = answer.records_bytes > 0
            || answer.failed
            || answer.directed
            || !cached.told
            || cached.high_watermark != answer.high_watermark
            || cached.last_stable != answer.last_stable
            || cached.log_start != answer.log_start;
        cached.high_watermark = answer.high_watermark;
        cached.last_stable = answer.last_stable;
        cached.log_start = answer.log_start;
        cached.told = !answer.failed;
        is_news
    }

    fn move_to_back(&mut self, key: &K) {
        if let Some(cached) = self.partitions.get_mut(key) {
            self.order.remove(&cached.turn);
            cached.turn = self.turns_total;
            self.turns_total += 1;
            self.order.insert(cached.turn, key.clone());
        }
    }

    fn wanted_in_order(&self) -> Vec<(K, P)> {
        self.order
            .values()
            .filter_map(|key| self.partitions.get(key).map(|cached| (key.clone(), cached.wanted.clone())))
            .collect()
    }

    const fn rank(&self) -> Rank {
        Rank { privileged: self.privileged, partitions: self.ranked_partitions, id: self.id }
    }
}

/// Sessions by what they are worth: the least comes first and goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    privileged: bool,
    partitions: usize,
    id: SessionId,
}

/// The fetch sessions of one shard. A connection that moves to another shard takes its session along
/// ([`FetchSessions::take`], [`FetchSessions::adopt`]).
///
/// When all slots are taken, a new session takes the slot of, first, one that was idle for longer than the limit; else
/// of one worth less (a consumer's before a follower's, few partitions before many) that had its minimum of time; else
/// it is not made, which a client understands: session id 0.
///
/// Memory: at most `sessions_max` sessions of at most [`FETCH_SESSION_PARTITIONS_MAX`] partitions each.
#[derive(Debug)]
pub struct FetchSessions<K, P> {
    limits: SessionLimits,
    sessions: BTreeMap<SessionId, FetchSession<K, P>>,
    by_use: BTreeSet<(u64, SessionId)>,
    /// Those a follower's new session may push out: every consumer's, and followers' past their minimum of time.
    evictable_by_privileged: BTreeSet<Rank>,
    /// Those anyone's new session may push out: past their minimum of time.
    evictable_by_all: BTreeSet<Rank>,
    id_state: u64,
    evictions_total: u64,
}

impl<K: Ord + Clone, P: Clone> FetchSessions<K, P> {
    /// No sessions yet. `seed` makes ids hard to guess and unlike those of another shard or an earlier run.
    #[must_use]
    pub fn new(limits: SessionLimits, seed: u64) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            id_state: seed | 1,
            evictions_total: 0,
        }
    }

    /// Takes a request in and says what to read. An incremental one counts as used from here on: its epoch advances
    /// even if the reply never leaves.
    ///
    /// # Errors
    /// `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch` or `FetchSessionTopicIdError`: the whole reply's error.
    pub fn open(&mut self, now_ns: u64, request: FetchRequest<K, P>) -> Result<FetchContext<K, P>, ErrorCode> {
        let epoch = match request.epoch {
            SessionEpoch::Next(epoch) => epoch,
            SessionEpoch::Initial | SessionEpoch::Final => {
                if let Some(id) = request.session {
                    self.take(id);
                }
                let kind = if request.epoch == SessionEpoch::Final {
                    Kind::Sessionless
                } else {
                    Kind::Full { privileged: request.privileged, by_topic_id: request.by_topic_id }
                };
                return Ok(FetchContext { kind, partitions: request.wanted });
            }
        };
        let id = request.session.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_topic_id != request.by_topic_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if FETCH_SESSION_PARTITIONS_MAX < session.partitions.len() + request.wanted.len() {
            // Told that its session is gone, the client starts anew with all it wants, and is answered without one.
            self.take(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let wanted_alone = request.wanted.clone();
        for (key, wanted) in request.wanted {
            session.add(key, wanted);
        }
        for key in &request.forgotten {
            session.forget(key);
        }
        if session.partitions.is_empty() {
            self.take(id);
            return Ok(FetchContext { kind: Kind::Sessionless, partitions: wanted_alone });
        }
        session.epoch = epoch_after(epoch);
        let context = FetchContext {
            kind: Kind::Incremental { id, epoch_expected: session.epoch },
            partitions: session.wanted_in_order(),
        };
        self.touch(id, now_ns);
        Ok(context)
    }

    /// Completes a request: `answers` is left with what the reply has to name, and the session remembers it.
    /// `facts` reads an answer of the host's own kind.
    pub fn respond<A>(
        &mut self,
        now_ns: u64,
        context: FetchContext<K, P>,
        answers: &mut Vec<(K, A)>,
        facts: impl Fn(&A) -> Answer,
    ) -> Responded {
        match context.kind {
            Kind::Sessionless => Responded { session: None, error: ErrorCode::None },
            Kind::Full { privileged, by_topic_id } => {
                let session = self.create(now_ns, privileged, by_topic_id, context.partitions, |session| {
                    for (key, answer) in answers.iter() {
                        session.note(key, &facts(answer));
                    }
                });
                Responded { session, error: ErrorCode::None }
            }
            Kind::Incremental { id, epoch_expected } => {
                let Some(session) = self.sessions.get_mut(&id).filter(|session| session.epoch == epoch_expected) else {
                    answers.clear();
                    return Responded { session: Some(id), error: ErrorCode::InvalidFetchSessionEpoch };
                };
                answers.retain(|(key, answer)| {
                    let answer = facts(answer);
                    let is_news = session.note(key, &answer);
                    if is_news && answer.records_bytes > 0 {
                        session.move_to_back(key);
                    }
                    is_news
                });
                Responded { session: Some(id), error: ErrorCode::None }
            }
        }
    }

    /// Whether this shard holds the session.
    #[must_use]
    pub fn has_session(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Removes a session: it is closed, or moves away with its connection.
    pub fn take(&mut self, id: SessionId) -> Option<FetchSession<K, P>> {
        let session = self.sessions.remove(&id)?;
        self.unrank(&session);
        self.by_use.remove(&(session.used_ns, id));
        Some(session)
    }

    /// Takes in a session that came with its connection. Without room, or if its id is taken, it is dropped: its client
    /// starts anew.
    pub fn adopt(&mut self, now_ns: u64, mut session: FetchSession<K, P>) {
        let rank = Rank { privileged: session.privileged, partitions: session.partitions.len(), id: session.id };
        if self.sessions.contains_key(&session.id) || !self.make_room(now_ns, rank) {
            return;
        }
        let id = session.id;
        session.used_ns = now_ns;
        self.sessions.insert(id, session);
        self.touch(id, now_ns);
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Partitions in all sessions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.sessions.values().map(|session| session.partitions.len()).sum()
    }

    /// Sessions pushed out so far.
    #[must_use]
    pub const fn evictions_total(&self) -> u64 {
        self.evictions_total
    }

    fn create(
        &mut self,
        now_ns: u64,
        privileged: bool,
        by_topic_id: bool,
        wanted: Vec<(K, P)>,
        note_answers: impl FnOnce(&mut FetchSession<K, P>),
    ) -> Option<SessionId> {
        if wanted.len() > FETCH_SESSION_PARTITIONS_MAX {
            return None;
        }
        // Id 0 ranks below any real one: a newcomer of equal worth pushes nobody out.
        let rank = Rank { privileged, partitions: wanted.len(), id: SessionId(0) };
        if !self.make_room(now_ns, rank) {
            return None;
        }
        let id = self.new_id();
        let mut session = FetchSession {
            id,
            privileged,
            by_topic_id,
            epoch: 1,
            created_ns: now_ns,
            used_ns: now_ns,
            ranked_partitions: 0,
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
            turns_total: 0,
        };
        for (key, wanted) in wanted {
            session.add(key, wanted);
        }
        note_answers(&mut session);
        self.sessions.insert(id, session);
        self.touch(id, now_ns);
        Some(id)
    }

    fn make_room(&mut self, now_ns: u64, newcomer: Rank) -> bool {
        if self.sessions.len() < self.limits.sessions_max {
            return true;
        }
        let Some(&(used_ns, idle_longest)) = self.by_use.first() else { return false };
        let victim = if self.limits.eviction_ns < now_ns.saturating_sub(used_ns) {
            idle_longest
        } else {
            let evictable = if newcomer.privileged { &self.evictable_by_privileged } else { &self.evictable_by_all };
            match evictable.first() {
                Some(least) if *least <= newcomer => least.id,
                _ => return false,
            }
        };
        self.take(victim);
        self.evictions_total += 1;
        true
    }

    fn touch(&mut self, id: SessionId, now_ns: u64) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        self.unrank(&session);
        self.by_use.remove(&(session.used_ns, id));
        session.used_ns = now_ns;
        session.ranked_partitions = session.partitions.len();
        self.by_use.insert((now_ns, id));
        let had_its_time = self.limits.eviction_ns < now_ns.saturating_sub(session.created_ns);
        if !session.privileged || had_its_time {
            self.evictable_by_privileged.insert(session.rank());
        }
        if had_its_time {
            self.evictable_by_all.insert(session.rank());
        }
        self.sessions.insert(id, session);
    }

    fn unrank(&mut self, session: &FetchSession<K, P>) {
        self.evictable_by_privileged.remove(&session.rank());
        self.evictable_by_all.remove(&session.rank());
    }

    /// A splitmix64 step: ids need only be unlikely to be guessed or met again.
    fn new_id(&mut self) -> SessionId {
        loop {
            self.id_state = self.id_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.id_state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let id = SessionId(((mixed ^ (mixed >> 31)) >> 33) as i32);
            if id.0 > 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sessions = FetchSessions<&'static str, u32>;

    const EVICTION_NS: u64 = 100;

    fn sessions(sessions_max: usize) -> Sessions {
        FetchSessions::new(SessionLimits { sessions_max, eviction_ns: EVICTION_NS }, 42)
    }

    fn request(session: i32, epoch: i32, wanted: &[&'static str]) -> FetchRequest<&'static str, u32> {
        FetchRequest {
            session: SessionId::from_wire(session),
            epoch: SessionEpoch::from_wire(epoch),
            by_topic_id: true,
            privileged: false,
            wanted: wanted.iter().map(|&key| (key, 0)).collect(),
            forgotten: Vec::new(),
        }
    }

    fn quiet(high_watermark: i64) -> Answer {
        let end = Some(Offset::new(high_watermark));
        Answer { high_watermark: end, last_stable: end, log_start: Some(Offset::ZERO), ..Answer::default() }
    }

    fn data(high_watermark: i64) -> Answer {
        Answer { records_bytes: 10, ..quiet(high_watermark) }
    }

    /// Opens a request, answers each partition through `answer`, and returns what the reply names.
    fn fetch(
        sessions: &mut Sessions,
        now_ns: u64,
        request: FetchRequest<&'static str, u32>,
        answer: impl Fn(&str) -> Answer,
    ) -> Result<(Responded, Vec<&'static str>), ErrorCode> {
        let context = sessions.open(now_ns, request)?;
        let mut answers = context.partitions.iter().map(|(key, _)| (*key, answer(key))).collect();
        let responded = sessions.respond(now_ns, context, &mut answers, |answer| *answer);
        Ok((responded, answers.into_iter().map(|(key, _)| key).collect()))
    }

    fn full(sessions: &mut Sessions, now_ns: u64, wanted: &[&'static str]) -> i32 {
        let (responded, _) = fetch(sessions, now_ns, request(0, 0, wanted), |_| quiet(0)).unwrap();
        responded.session.map_or(0, SessionId::value)
    }

    #[test]
    fn full_fetch_names_everything_and_makes_a_session() {
        let mut sessions = sessions(2);
        let (responded, named) = fetch(&mut sessions, 0, request(0, 0, &["a", "b"]), |_| quiet(0)).unwrap();
        assert!(responded.session.is_some());
        assert_eq!(named, ["a", "b"]);
        assert_eq!((sessions.len(), sessions.partitions()), (1, 2));
    }

    #[test]
    fn incremental_reply_names_only_news() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a", "b", "c"]);
        type Table = (&'static str, fn(&str) -> Answer, &'static [&'static str]);
        let table: &[Table] = &[
            ("nothing new", |_| quiet(0), &[]),
            ("records", |key| if key == "b" { data(0) } else { quiet(0) }, &["b"]),
            ("high watermark moved", |key| quiet(i64::from(key == "a")), &["a"]),
            ("told once", |key| quiet(i64::from(key == "a")), &[]),
            (
                "an error",
                |key| {
                    if key == "c" { Answer { failed: true, ..Answer::default() } } else { quiet(i64::from(key == "a")) }
                },
                &["c"],
            ),
            ("the error is gone", |key| quiet(i64::from(key == "a")), &["c"]),
            ("a preferred replica", |key| Answer { directed: key == "a", ..quiet(i64::from(key == "a")) }, &["a"]),
            (
                "log start moved",
                |key| match key {
                    "a" => quiet(1),
                    "b" => Answer { log_start: Some(Offset::new(1)), ..quiet(0) },
                    _ => quiet(0),
                },
                &["b"],
            ),
        ];
        for (round, (what, answer, expected)) in table.iter().enumerate() {
            let (responded, named) = fetch(&mut sessions, 0, request(id, round as i32 + 1, &[]), answer).unwrap();
            assert_eq!((responded.session.map(SessionId::value), responded.error), (Some(id), ErrorCode::None));
            assert_eq!(named, *expected, "{what}");
        }
    }

    #[test]
    fn new_partition_of_a_session_is_named_even_when_empty() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let (_, named) = fetch(&mut sessions, 0, request(id, 1, &["b"]), |_| quiet(0)).unwrap();
        assert_eq!(named, ["b"]);
    }

    #[test]
    fn served_partitions_go_to_the_back() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a", "b", "c"]);
        let serve_a = |key: &str| if key == "a" { data(0) } else { quiet(0) };
        fetch(&mut sessions, 0, request(id, 1, &[]), serve_a).unwrap();
        let context = sessions.open(0, request(id, 2, &[])).unwrap();
        let order: Vec<_> = context.partitions.iter().map(|(key, _)| *key).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[test]
    fn errors_of_kip_227() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let unknown = fetch(&mut sessions, 0, request(id ^ 1, 1, &[]), |_| quiet(0));
        assert_eq!(unknown, Err(ErrorCode::FetchSessionIdNotFound));
        let none = fetch(&mut sessions, 0, request(0, 1, &[]), |_| quiet(0));
        assert_eq!(none, Err(ErrorCode::FetchSessionIdNotFound));
        let ahead = fetch(&mut sessions, 0, request(id, 2, &[]), |_| quiet(0));
        assert_eq!(ahead, Err(ErrorCode::InvalidFetchSessionEpoch));
        let by_name = FetchRequest { by_topic_id: false, ..request(id, 1, &[]) };
        assert_eq!(fetch(&mut sessions, 0, by_name, |_| quiet(0)), Err(ErrorCode::FetchSessionTopicIdError));
        assert!(fetch(&mut sessions, 0, request(id, 1, &[]), |_| quiet(0)).is_ok());
        let repeated = fetch(&mut sessions, 0, request(id, 1, &[]), |_| quiet(0));
        assert_eq!(repeated, Err(ErrorCode::InvalidFetchSessionEpoch));
    }

    #[test]
    fn overtaken_request_is_answered_with_an_epoch_error() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let slow = sessions.open(0, request(id, 1, &[])).unwrap();
        fetch(&mut sessions, 0, request(id, 2, &[]), |_| quiet(0)).unwrap();
        let mut answers = vec![("a", data(1))];
        let responded = sessions.respond(0, slow, &mut answers, |answer| *answer);
        assert_eq!(responded.error, ErrorCode::InvalidFetchSessionEpoch);
        assert!(answers.is_empty());
    }

    #[test]
    fn final_epoch_closes_the_session_and_makes_none() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let (responded, named) = fetch(&mut sessions, 0, request(id, -1, &["a"]), |_| quiet(0)).unwrap();
        assert_eq!((responded.session, named), (None, vec!["a"]));
        assert!(sessions.is_empty());
    }

    #[test]
    fn full_fetch_with_an_id_replaces_that_session() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let (responded, _) = fetch(&mut sessions, 0, request(id, 0, &["a"]), |_| quiet(0)).unwrap();
        assert_ne!(responded.session.map(SessionId::value), Some(id));
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn session_that_forgets_everything_ends() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a", "b"]);
        let forget = FetchRequest { forgotten: vec!["a", "b"], ..request(id, 1, &[]) };
        let (responded, named) = fetch(&mut sessions, 0, forget, |_| quiet(0)).unwrap();
        assert_eq!((responded.session, named.len(), sessions.len()), (None, 0, 0));
    }

    #[test]
    fn forgotten_partition_is_not_read() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a", "b"]);
        let forget = FetchRequest { forgotten: vec!["a"], ..request(id, 1, &[]) };
        let (_, named) = fetch(&mut sessions, 0, forget, |_| data(0)).unwrap();
        assert_eq!(named, ["b"]);
    }

    #[test]
    fn changed_wish_reaches_the_reader() {
        let mut sessions = sessions(2);
        let id = full(&mut sessions, 0, &["a"]);
        let moved = FetchRequest { wanted: vec![("a", 77)], ..request(id, 1, &[]) };
        let context = sessions.open(0, moved).unwrap();
        assert_eq!(context.partitions, [("a", 77)]);
    }

    #[test]
    fn full_table_refuses_a_newcomer_while_the_sessions_are_young() {
        let mut sessions = sessions(1);
        let id = full(&mut sessions, 0, &["a"]);
        assert_eq!(full(&mut sessions, 50, &["a", "b", "c"]), 0);
        assert!(sessions.has_session(SessionId(id)));
    }

    #[test]
    fn idle_session_gives_way_to_any() {
        let mut sessions = sessions(1);
        let old = full(&mut sessions, 0, &["a", "b", "c"]);
        let new = full(&mut sessions, EVICTION_NS + 1, &["a"]);
        assert_ne!(new, 0);
        assert!(!sessions.has_session(SessionId(old)));
        assert_eq!(sessions.evictions_total(), 1);
    }

    #[test]
    fn smaller_session_past_its_minimum_gives_way_to_a_larger_one_only() {
        let mut sessions = sessions(1);
        let old = full(&mut sessions, 0, &["a", "b"]);
        fetch(&mut sessions, EVICTION_NS + 1, request(old, 1, &[]), |_| quiet(0)).unwrap();
        assert_eq!(full(&mut sessions, EVICTION_NS + 2, &["a"]), 0);
        assert_eq!(full(&mut sessions, EVICTION_NS + 2, &["a", "b"]), 0);
        assert_ne!(full(&mut sessions, EVICTION_NS + 2, &["a", "b", "c"]), 0);
        assert!(!sessions.has_session(SessionId(old)));
    }

    #[test]
    fn follower_pushes_out_a_young_consumer_but_not_the_reverse() {
        let mut sessions = sessions(1);
        full(&mut sessions, 0, &["a", "b"]);
        let follower = FetchRequest { privileged: true, ..request(0, 0, &["a"]) };
        let (responded, _) = fetch(&mut sessions, 1, follower, |_| quiet(0)).unwrap();
        let follower = responded.session.unwrap();
        fetch(&mut sessions, EVICTION_NS + 2, request(follower.value(), 1, &[]), |_| quiet(0)).unwrap();
        assert_eq!(full(&mut sessions, EVICTION_NS + 3, &["a", "b", "c"]), 0);
        assert!(sessions.has_session(follower));
    }

    #[test]
    fn session_moves_with_its_connection() {
        let mut here = sessions(2);
        let mut there = FetchSessions::new(SessionLimits { sessions_max: 2, eviction_ns: EVICTION_NS }, 7);
        let id = full(&mut here, 0, &["a"]);
        there.adopt(5, here.take(SessionId(id)).unwrap());
        assert!(here.is_empty());
        let (responded, named) = fetch(&mut there, 6, request(id, 1, &[]), |_| quiet(0)).unwrap();
        assert_eq!((responded.error, named.len()), (ErrorCode::None, 0));
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!(epoch_after(i32::MAX), 1);
        assert_eq!(epoch_after(1), 2);
    }
}
