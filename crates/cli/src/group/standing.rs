//! Where groups stand: what they have committed, what lies before them, and how long it is kept. Asked for in a number of
//! requests that depends on the nodes, not on the groups or topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{Admin, ClientError, CommittedOffset, Group, GroupOffsets, Log, OffsetAt, ResourceKind, Topic, Unread};
use types::{Lag, NodeId, Offset, Timestamp, TopicPartition};

use crate::failure::{Code, Failure};

/// A group and where it stands in each partition that it has committed or is assigned.
pub(crate) struct Standing {
    pub(crate) group: Group,
    pub(crate) places: Vec<Place>,
    /// Why what it has committed is not known.
    pub(crate) error: Option<ClientError>,
}

impl Standing {
    /// Whether there is no such group: nobody coordinates it, and nothing is committed.
    pub(crate) fn is_absent(&self) -> bool {
        self.error.is_none() && self.places.is_empty() && self.group.state == client::GROUP_DEAD
    }
}

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: TopicPartition,
    /// `None`: it has committed nothing there.
    pub(crate) committed: Option<CommittedOffset>,
    /// Where the log begins and ends; `None`: there is no such partition now, or nobody leads it.
    pub(crate) log: Option<(Offset, Offset)>,
    pub(crate) unread: UnreadBytes,
    /// The time of the first unread record.
    pub(crate) first_unread: Option<Timestamp>,
    pub(crate) keeps: Keeps,
}

/// How much is stored of what a group has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreadBytes {
    Unknown,
    Exactly(u64),
    About(u64),
}

/// How long the first unread record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// The cluster does not say.
    Unknown,
    /// Nothing is unread, so nothing can be lost.
    NothingUnread,
    /// No retention will take it, as far as one can see.
    Always,
    /// Retention may take it from then on.
    Until(Timestamp),
}

impl Place {
    /// How far the group is behind; `None` if it has committed nothing, or the log is not known.
    pub(crate) fn lag(&self) -> Option<Lag> {
        let (start, end) = self.log?;
        Some(Lag::of(self.committed.as_ref()?.offset, start, end))
    }

    /// The offset it reads next: what is lost cannot be read any more.
    fn reads_next(&self) -> Option<Offset> {
        let (start, end) = self.log?;
        let next = self.committed.as_ref()?.offset.max(start);
        (next < end).then_some(next)
    }

    /// How long ago the first unread record was made: 0 if nothing is unread.
    pub(crate) fn behind_ms(&self, now_ms: i64) -> Option<i64> {
        match (self.lag()?.records, self.first_unread) {
            (0, _) => Some(0),
            // Whoever counts the bytes has looked: there are offsets, but no record that a consumer gets.
            (_, None) if matches!(self.unread, UnreadBytes::Exactly(_)) => Some(0),
            (_, time) => Some(now_ms.saturating_sub(time?.millis()).max(0)),
        }
    }

    /// How long until retention reaches it; `None`: never, or nobody knows.
    pub(crate) fn headroom_ms(&self, now_ms: i64) -> Option<i64> {
        self.reads_next()?;
        match self.keeps {
            Keeps::Until(until) => Some(until.millis().saturating_sub(now_ms).max(0)),
            Keeps::Unknown | Keeps::NothingUnread | Keeps::Always => None,
        }
    }
}

/// Which partitions are meant: a topic with all its partitions, or some of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicFilter(BTreeMap<String, Option<BTreeSet<i32>>>);

impl TopicFilter {
    /// From `topic` or `topic:0,1,2`, as Kafka's tool takes them; empty means everything.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut topics = BTreeMap::new();
        for text in texts {
            let (topic, partitions) = match text.split_once(':') {
                None => (text.as_str(), None),
                Some((topic, list)) => {
                    let parsed: Result<BTreeSet<i32>, _> = list.split(',').map(|each| each.trim().parse()).collect();
                    let wrong = |_| {
                        let why = format!("--topic {text}: partitions are numbers, such as {topic}:0,1,2");
                        Failure::new(Code::Usage, why)
                    };
                    (topic, Some(parsed.map_err(wrong)?))
                }
            };
            match (topics.get_mut(topic), partitions) {
                (Some(Some(known)), Some(more)) => BTreeSet::extend(known, more),
                (Some(known), None) => *known = None,
                (Some(None), Some(_)) => {}
                (None, partitions) => drop(topics.insert(topic.to_owned(), partitions)),
            }
        }
        Ok(Self(topics))
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, at: &TopicPartition) -> bool {
        self.is_everything()
            || self.0.get(&*at.topic).is_some_and(|partitions| {
                partitions.as_ref().is_none_or(|partitions| partitions.contains(&at.partition.value()))
            })
    }

    /// Every partition that it names, of the topics there are.
    pub(crate) fn partitions(&self, topics: &Leaders) -> Result<BTreeSet<TopicPartition>, Failure> {
        let mut named = BTreeSet::new();
        for (topic, partitions) in &self.0 {
            let existing: Vec<&TopicPartition> = topics.0.keys().filter(|at| *at.topic == **topic).collect();
            if existing.is_empty() {
                return Err(
                    Failure::new(Code::NotFound, format!("there is no topic {topic}")).with_next("ringlog topic list")
                );
            }
            let count = existing.len();
            named.extend(existing.into_iter().filter(|at| self.matches(at)).cloned());
            if let Some(missing) = partitions
                .iter()
                .flatten()
                .find(|index| !named.iter().any(|at| *at.topic == **topic && at.partition.value() == **index))
            {
                let why = format!("topic {topic} has no partition {missing}: it has {count}, counted from 0");
                return Err(Failure::new(Code::NotFound, why));
            }
        }
        Ok(named)
    }
}

/// Every partition there is and who leads it.
pub(crate) struct Leaders(BTreeMap<TopicPartition, Option<NodeId>>);

impl Leaders {
    pub(crate) async fn ask(admin: &Admin) -> Result<Self, ClientError> {
        Ok(Self::of(&admin.client().topics().await?))
    }

    fn of(topics: &[Arc<Topic>]) -> Self {
        let partitions = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|each| (TopicPartition::new(Arc::clone(&topic.name), each.index), each.leader))
        });
        Self(partitions.collect())
    }

    pub(crate) fn leader(&self, at: &TopicPartition) -> Option<NodeId> {
        self.0.get(at).copied().flatten()
    }
}

/// Where these groups stand in the partitions of `filter`.
pub(crate) async fn ask(admin: &Admin, groups: &[String], filter: &TopicFilter) -> Result<Vec<Standing>, Failure> {
    let leaders = Leaders::ask(admin).await?;
    let mut described = admin.describe_groups(groups).await?;
    // Before the ends of the logs: a group that reads meanwhile must not seem to be ahead of them.
    let mut offsets = admin.offsets_of_groups(groups).await?;
    let mut standings: Vec<Standing> = groups
        .iter()
        .map(|id| {
            let described = described.remove(id).unwrap_or_else(|| Ok(dead(id)));
            let committed = offsets.remove(id).unwrap_or_else(|| Ok(GroupOffsets::new()));
            standing(id, described, committed, filter)
        })
        .collect();
    let mut asked: BTreeSet<TopicPartition> = BTreeSet::new();
    for place in standings.iter().flat_map(|standing| &standing.places) {
        if leaders.leader(&place.at).is_some() {
            asked.insert(place.at.clone());
        }
    }
    let asked: Vec<TopicPartition> = asked.into_iter().collect();
    let starts = admin.list_offsets(&asked, OffsetAt::Earliest).await?;
    let ends = admin.list_offsets(&asked, OffsetAt::Latest).await?;
    let mut positions: BTreeMap<NodeId, BTreeMap<TopicPartition, BTreeSet<Offset>>> = BTreeMap::new();
    for place in standings.iter_mut().flat_map(|standing| &mut standing.places) {
        if let (Some(start), Some(end)) = (starts.get(&place.at), ends.get(&place.at)) {
            place.log = Some((start.offset, end.offset));
        }
        match (place.reads_next(), leaders.leader(&place.at)) {
            (Some(next), Some(leader)) => {
                positions.entry(leader).or_default().entry(place.at.clone()).or_default().insert(next);
            }
            _ if place.lag().is_some() => {
                (place.unread, place.keeps) = (UnreadBytes::Exactly(0), Keeps::NothingUnread);
            }
            _ => {}
        }
    }
    let mut logs: BTreeMap<TopicPartition, Log> = BTreeMap::new();
    for (leader, positions) in &positions {
        match admin.logs(*leader, positions).await {
            Ok(found) => logs.extend(found.into_iter().map(|log| (log.partition.clone(), log))),
            // Who may not describe the cluster still learns the lag in records and in time.
            Err(ClientError::Refused { .. } | ClientError::NoSuchApi { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let known: BTreeMap<(&TopicPartition, Offset), &Unread> = logs
        .values()
        .flat_map(|log| log.unread.iter().map(|unread| ((&log.partition, unread.offset), unread)))
        .collect();
    let mut elsewhere: BTreeSet<(TopicPartition, Offset)> = BTreeSet::new();
    for place in standings.iter_mut().flat_map(|standing| &mut standing.places) {
        let Some(next) = place.reads_next() else { continue };
        match known.get(&(&place.at, next)) {
            Some(unread) => {
                place.unread = UnreadBytes::Exactly(unread.bytes);
                place.first_unread = unread.timestamp;
                place.keeps = unread.kept_until.map_or(Keeps::Always, Keeps::Until);
            }
            None => drop(elsewhere.insert((place.at.clone(), next))),
        }
    }
    if !elsewhere.is_empty() {
        estimate(admin, &mut standings, &elsewhere, &logs).await?;
    }
    Ok(standings)
}

const POLICY: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";

/// What a broker that is no Ringlog does not say, as well as it can be known from what it does say.
async fn estimate(
    admin: &Admin,
    standings: &mut [Standing],
    places: &BTreeSet<(TopicPartition, Offset)>,
    logs: &BTreeMap<TopicPartition, Log>,
) -> Result<(), Failure> {
    let times = admin.times_of_records(places).await?;
    let topics: BTreeSet<String> = places.iter().map(|(at, _)| at.topic.to_string()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let configs = admin.describe_configs_of(ResourceKind::Topic, &topics, Some(&[POLICY, RETENTION])).await?;
    for place in standings.iter_mut().flat_map(|standing| &mut standing.places) {
        let (Some(next), Some((start, end))) = (place.reads_next(), place.log) else { continue };
        let key = (place.at.clone(), next);
        if !places.contains(&key) {
            continue;
        }
        place.first_unread = times.get(&key).copied();
        if let Some(log) = logs.get(&place.at) {
            place.unread = UnreadBytes::About(share(log.bytes, end.records_since(next), end.records_since(start)));
        }
        place.keeps = match configs.get(&*place.at.topic) {
            None => Keeps::Unknown,
            Some(configs) => {
                let value = |name| configs.iter().find(|config| config.name == name)?.value.as_deref();
                keeps(value(POLICY), value(RETENTION), place.first_unread)
            }
        };
    }
    Ok(())
}

/// `unread` of `records` records take that part of `bytes`.
fn share(bytes: u64, unread: i64, records: i64) -> u64 {
    let part = u128::from(bytes) * u128::from(unread.unsigned_abs());
    u64::try_from(part / u128::from(records.unsigned_abs().max(1))).unwrap_or(u64::MAX)
}

/// How long a record is kept by its topic's cleanup policy and retention; its segment may stay longer.
fn keeps(policy: Option<&str>, retention_ms: Option<&str>, time: Option<Timestamp>) -> Keeps {
    let deletes = policy.is_some_and(|policy| policy.split(',').any(|each| each.trim() == "delete"));
    let retention_ms = retention_ms.and_then(|value| value.parse::<i64>().ok());
    match (retention_ms, time) {
        _ if !deletes => Keeps::Always,
        (Some(..0), _) => Keeps::Always,
        (Some(retention_ms), Some(time)) => {
            Keeps::Until(Timestamp::from_millis(time.millis().saturating_add(retention_ms)))
        }
        (None, _) | (_, None) => Keeps::Unknown,
    }
}

fn dead(id: &str) -> Group {
    Group { id: id.to_owned(), state: client::GROUP_DEAD.to_owned(), ..Group::default() }
}

fn standing(
    id: &str,
    described: Result<Group, ClientError>,
    committed: Result<GroupOffsets, ClientError>,
    filter: &TopicFilter,
) -> Standing {
    let (group, mut error) = match described {
        Ok(group) => (group, None),
        Err(error) => (Group { id: id.to_owned(), ..Group::default() }, Some(error)),
    };
    let committed = match committed {
        Ok(committed) => committed,
        Err(why) => {
            error = Some(why);
            GroupOffsets::new()
        }
    };
    let mut all: BTreeMap<TopicPartition, Option<CommittedOffset>> =
        committed.into_iter().map(|(at, offset)| (at, Some(offset))).collect();
    for at in group.members.iter().flat_map(|member| &member.assignment) {
        all.entry(at.clone()).or_default();
    }
    let places = all.into_iter().filter(|(at, _)| filter.matches(at)).map(|(at, committed)| Place {
        at,
        committed,
        log: None,
        unread: UnreadBytes::Unknown,
        first_unread: None,
        keeps: Keeps::Unknown,
    });
    let places = places.collect();
    Standing { group, places, error }
}

#[cfg(test)]
pub(crate) mod tests {
    use types::PartitionIndex;

    use super::*;

    /// A place with this much committed in a log from 10 to 20.
    pub(crate) fn place(committed: Option<i64>) -> Place {
        let committed = committed.map(|offset| CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: None,
            metadata: String::new(),
        });
        Place {
            at: TopicPartition::new("t", PartitionIndex::ZERO),
            committed,
            log: Some((Offset::new(10), Offset::new(20))),
            unread: UnreadBytes::Unknown,
            first_unread: Some(Timestamp::from_millis(1000)),
            keeps: Keeps::Until(Timestamp::from_millis(9000)),
        }
    }

    #[test]
    fn a_place_is_behind_by_records_and_time() {
        let now_ms = 5000;
        let behind = |place: &Place| (place.lag().map(|lag| (lag.records, lag.lost)), place.behind_ms(now_ms));
        assert_eq!(behind(&place(Some(15))), (Some((5, 0)), Some(4000)));
        assert_eq!(behind(&place(Some(20))), (Some((0, 0)), Some(0)));
        assert_eq!(behind(&place(Some(7))), (Some((10, 3)), Some(4000)));
        assert_eq!(behind(&place(None)), (None, None));
        let gone = Place { log: None, ..place(Some(15)) };
        assert_eq!(behind(&gone), (None, None));
        let unknown = Place { first_unread: None, ..place(Some(15)) };
        assert_eq!(behind(&unknown).1, None);
        // The end of a transaction has an offset too.
        let markers = Place { unread: UnreadBytes::Exactly(78), ..unknown };
        assert_eq!(behind(&markers), (Some((5, 0)), Some(0)));
        // A record from the future is no negative lag.
        let ahead = Place { first_unread: Some(Timestamp::from_millis(6000)), ..place(Some(15)) };
        assert_eq!(behind(&ahead).1, Some(0));
    }

    #[test]
    fn headroom_ends_at_zero_and_is_absent_where_nothing_can_be_lost() {
        assert_eq!(place(Some(15)).headroom_ms(5000), Some(4000));
        assert_eq!(place(Some(15)).headroom_ms(10_000), Some(0));
        assert_eq!(place(Some(20)).headroom_ms(5000), None);
        for keeps in [Keeps::Always, Keeps::NothingUnread, Keeps::Unknown] {
            assert_eq!(Place { keeps, ..place(Some(15)) }.headroom_ms(5000), None);
        }
    }

    #[test]
    fn elsewhere_bytes_are_a_share_and_records_are_kept_by_their_own_time() {
        assert_eq!(share(1000, 3, 10), 300);
        assert_eq!(share(u64::MAX, 10, 10), u64::MAX);
        assert_eq!(share(1000, 0, 0), 0);
        let keeps_with =
            |policy: &str, retention: &str| keeps(Some(policy), Some(retention), Some(Timestamp::from_millis(1000)));
        assert_eq!(keeps_with("delete", "500"), Keeps::Until(Timestamp::from_millis(1500)));
        assert_eq!(keeps_with("compact,delete", "500"), Keeps::Until(Timestamp::from_millis(1500)));
        assert_eq!(keeps_with("delete", "-1"), Keeps::Always);
        assert_eq!(keeps_with("compact", "500"), Keeps::Always);
    }

    #[test]
    fn topics_are_named_whole_or_by_partitions() {
        let filter =
            |texts: &[&str]| TopicFilter::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        let at = |topic: &str, index| TopicPartition::new(topic, PartitionIndex::new(index));
        assert!(filter(&[]).unwrap().matches(&at("t", 5)));
        let some = filter(&["t:0,2", "u"]).unwrap();
        let matched = [at("t", 0), at("t", 1), at("t", 2), at("u", 9), at("v", 0)].map(|at| some.matches(&at));
        assert_eq!(matched, [true, false, true, true, false]);
        assert!(filter(&["t:0", "t"]).unwrap().matches(&at("t", 7)));
        assert_eq!(filter(&["t:x"]).unwrap_err().code, Code::Usage);
    }
}
