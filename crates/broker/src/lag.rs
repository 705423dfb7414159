//! How far groups are behind, as metrics: what `ringlog group lag` tells, for Prometheus to keep.
//!
//! ```text
//! scrape ─► younger than LAG_AGE_MS_MAX? ─► as it was
//!             └─ no ─► shards: what groups have committed, in slices ─► homes: what lies behind it, in slices ─► kept
//! ```
//! Nothing is computed while nobody scrapes. A home looks into its log only for offsets that moved since the last time:
//! where an offset lies and when its record was made stays true until the log's layout changes. It yields after each, and
//! the disk is waited for, never blocked on.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use types::limits::{LAG_AGE_MS_MAX, LAG_SERIES_MAX, SCRAPE_PARTITIONS_MAX};
use types::{Lag, Offset, ShardId, Timestamp};
use wire::tags::Unread;

use crate::config::TOPIC_OWNER;
use crate::exposition::{Kind, Page, seconds};
use crate::groups;
use crate::mail::PartitionKey;
use crate::node::NodeShared;
use crate::shard_state::ShardState;
use crate::unread::{self, Known};

/// What the last look found. Lives in: [`NodeShared`]; used by the control thread alone.
#[derive(Default)]
pub(crate) struct Lags(Mutex<Found>);

#[derive(Default)]
struct Found {
    /// On the monotonic clock; `None`: never.
    at_ns: Option<u64>,
    rows: Arc<Vec<Row>>,
    /// Pairs of a group and a partition that have no row, as there are too many.
    left_out: usize,
    known: HashMap<(PartitionKey, Offset), Known>,
}

/// What a group has committed for a partition of this node.
pub(crate) struct Place {
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) key: PartitionKey,
    pub(crate) home: ShardId,
    pub(crate) offset: Offset,
}

/// A place and what lies behind it.
struct Row {
    place: Place,
    lag: Lag,
    unread: Unread,
    known: Option<Known>,
}

/// Where the next slice of committed offsets begins: an offsets partition, and the group before it.
pub(crate) type Cursor = (types::PartitionIndex, Option<Arc<str>>);

/// Adds the families of lag to the page.
pub(crate) async fn families(page: &mut Page, node: &Arc<NodeShared>) {
    let now = shard::clock::read();
    let is_fresh = |at_ns: u64| now.monotonic_ns.saturating_sub(at_ns) < LAG_AGE_MS_MAX * 1_000_000;
    let known = {
        let mut found = node.lags.0.lock().expect("never held across a panic");
        if found.at_ns.is_some_and(is_fresh) { None } else { Some(std::mem::take(&mut found.known)) }
    };
    if let Some(known) = known {
        let fresh = Found { at_ns: Some(now.monotonic_ns), ..look(node, &known).await };
        *node.lags.0.lock().expect("never held across a panic") = fresh;
    }
    let (rows, left_out) = {
        let found = node.lags.0.lock().expect("never held across a panic");
        (Arc::clone(&found.rows), found.left_out)
    };
    tell(page, &rows, left_out, now.wall);
}

/// A sample of a family; `None`: there is none for this row.
type Told = fn(&Row, Timestamp) -> Option<String>;

fn tell(page: &mut Page, rows: &[Row], left_out: usize, now: Timestamp) {
    let families: [(&str, &str, Told); 5] = [
        (
            "ringlog_group_lag_records",
            "Records between a group's committed offset and the end of the partition that can still be read.",
            |row, _| Some(row.lag.records.to_string()),
        ),
        ("ringlog_group_lag_bytes", "Bytes stored of them, batches counted whole.", |row, _| {
            Some(row.unread.bytes.to_string())
        }),
        (
            "ringlog_group_lag_seconds",
            "Age of the first record that the group has not read; 0 when it has read all.",
            |row, now| Some(seconds_between(row.unread.timestamp.unwrap_or(now), now)),
        ),
        (
            "ringlog_group_retention_headroom_seconds",
            "Time until retention may delete the first record that the group has not read; absent where nothing is unread or nothing deletes it.",
            |row, now| row.unread.kept_until.map(|until| seconds_between(now, until)),
        ),
        (
            "ringlog_group_lost_records",
            "Records deleted before the group has read them: its committed offset lies below the log start.",
            |row, _| Some(row.lag.lost.to_string()),
        ),
    ];
    for (name, help, value) in families {
        page.family(name, Kind::Gauge, help);
        for row in rows {
            let Some(value) = value(row, now) else { continue };
            let place = &row.place;
            let partition = place.key.partition.to_string();
            let owner = place.owner.as_deref().unwrap_or_default();
            let labels =
                [("group", &*place.group), ("topic", &*place.topic), ("partition", &*partition), ("owner", owner)];
            page.sample(name, &labels, value);
        }
    }
    let help = "Pairs of a group and a partition whose lag is not told, as there are too many.";
    page.single("ringlog_group_lag_left_out", Kind::Gauge, help, left_out);
}

/// Seconds from one time to a later one; 0 if it is not later.
fn seconds_between(from: Timestamp, to: Timestamp) -> String {
    let millis = to.millis().saturating_sub(from.millis()).max(0).unsigned_abs();
    seconds(millis.saturating_mul(1_000_000))
}

async fn look(node: &Arc<NodeShared>, known: &HashMap<(PartitionKey, Offset), Known>) -> Found {
    let (places, left_out) = committed(node).await;
    let mut by_home: BTreeMap<ShardId, Vec<(Place, Option<Known>)>> = BTreeMap::new();
    for place in places {
        let hint = known.get(&(place.key, place.offset)).copied();
        by_home.entry(place.home).or_default().push((place, hint));
    }
    let mut rows = Vec::new();
    for (home, mut places) in by_home {
        while !places.is_empty() {
            let rest = places.split_off(places.len().min(SCRAPE_PARTITIONS_MAX));
            let slice = std::mem::replace(&mut places, rest);
            let answer = node.ask(home, move |state| {
                let (sender, answer) = oneshot::channel();
                let state = Rc::clone(state);
                // Whoever asked may be gone.
                tokio::task::spawn_local(async move { drop(sender.send(look_here(&state, slice).await)) });
                answer
            });
            // A shard that has ended has no partitions.
            let Some(answer) = answer.await else { break };
            rows.extend(answer.await.unwrap_or_default());
        }
    }
    rows.sort_by(|a: &Row, b: &Row| {
        let by = |row: &Row| (Arc::clone(&row.place.group), Arc::clone(&row.place.topic), row.place.key.partition);
        by(a).cmp(&by(b))
    });
    let known = rows.iter().filter_map(|row| Some(((row.place.key, row.place.offset), row.known?))).collect();
    Found { at_ns: None, rows: Arc::new(rows), left_out, known }
}

/// What groups have committed, up to [`LAG_SERIES_MAX`], and how many more there are.
async fn committed(node: &Arc<NodeShared>) -> (Vec<Place>, usize) {
    let (mut places, mut left_out) = (Vec::new(), 0);
    for shard in node.shard_ids() {
        let mut from: Option<Cursor> = Some((types::PartitionIndex::ZERO, None));
        while let Some(cursor) = from {
            let slice = node.ask(shard, move |state| groups::committed(state, cursor, SCRAPE_PARTITIONS_MAX));
            let Some((slice, next)) = slice.await else { break };
            let room = LAG_SERIES_MAX - places.len();
            left_out += slice.len().saturating_sub(room);
            places.extend(slice.into_iter().take(room));
            from = next;
        }
    }
    (places, left_out)
}

async fn look_here(state: &Rc<ShardState>, places: Vec<(Place, Option<Known>)>) -> Vec<Row> {
    let mut rows = Vec::with_capacity(places.len());
    for (place, hint) in places {
        let Some(partition) = state.partition(place.key) else { continue };
        let visible = partition.visible();
        let lag = Lag::of(place.offset, visible.log_start, visible.high_watermark);
        match unread::look(state, &partition, place.offset, hint).await {
            Ok((unread, known)) => rows.push(Row { place, lag, unread, known }),
            Err(error) => {
                let (offset, group) = (place.offset, &place.group);
                tracing::debug!(partition = %partition.name, %group, %offset, %error, "lag cannot be looked up");
            }
        }
        // A long list takes its turns with everything else.
        tokio::task::yield_now().await;
    }
    rows
}

/// The place of a committed offset, if the topic is there.
pub(crate) fn place(state: &ShardState, committed: coordinator::GroupOffset) -> Option<Place> {
    let topic = state.image().topic(&committed.topic).cloned()?;
    let key = PartitionKey { topic: topic.id, partition: committed.partition };
    let owner = state.image().topic_configs(&topic.name).and_then(|configs| configs.get(TOPIC_OWNER).cloned());
    Some(Place {
        group: committed.group,
        topic: Arc::clone(&topic.name),
        owner,
        key,
        home: state.home(key.topic, key.partition),
        offset: committed.offset,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use types::{PartitionIndex, TopicId};

    use super::*;

    fn row(owner: Option<&str>, lag: (i64, i64), unread: Unread) -> Row {
        let key = PartitionKey { topic: TopicId::ZERO, partition: PartitionIndex::new(3) };
        let place = Place {
            group: "g".into(),
            topic: "t".into(),
            owner: owner.map(Into::into),
            key,
            home: ShardId::new(0),
            offset: unread.offset,
        };
        Row { place, lag: Lag { records: lag.0, lost: lag.1 }, unread, known: None }
    }

    #[test]
    fn lag_is_told_with_the_owner_and_without_headroom_where_there_is_no_limit() {
        let behind = Unread {
            offset: Offset::new(5),
            bytes: 100,
            timestamp: Some(Timestamp::from_millis(8500)),
            kept_until: Some(Timestamp::from_millis(70_000)),
            goes_by_size: false,
        };
        let none = Unread { timestamp: None, kept_until: None, bytes: 0, ..behind };
        let mut page = Page::default();
        let rows = [row(Some("team \"a\""), (4, 2), behind), row(None, (0, 0), none)];
        tell(&mut page, &rows, 1, Timestamp::from_millis(10_000));
        let text = page.into_text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            ringlog_group_lag_records{group="g",topic="t",partition="3",owner="team \"a\""} 4
            ringlog_group_lag_records{group="g",topic="t",partition="3",owner=""} 0
            ringlog_group_lag_bytes{group="g",topic="t",partition="3",owner="team \"a\""} 100
            ringlog_group_lag_bytes{group="g",topic="t",partition="3",owner=""} 0
            ringlog_group_lag_seconds{group="g",topic="t",partition="3",owner="team \"a\""} 1.5
            ringlog_group_lag_seconds{group="g",topic="t",partition="3",owner=""} 0
            ringlog_group_retention_headroom_seconds{group="g",topic="t",partition="3",owner="team \"a\""} 60
            ringlog_group_lost_records{group="g",topic="t",partition="3",owner="team \"a\""} 2
            ringlog_group_lost_records{group="g",topic="t",partition="3",owner=""} 0
            ringlog_group_lag_left_out 1"#]]
        .assert_eq(&samples.join("\n"));
    }
}
