//! Crashes between deciding, writing and committing: what was answered stays.
//!
//! Offsets grow, so it is enough to know the highest that anyone was told of, by the reply to a commit or to a fetch:
//! after a crash the coordinator must not know less. Not checked here: members, which `replay` compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coordinator::*;
use machine::{BatchId, Host, Ticket};
use proptest::prelude::*;
use types::{ErrorCode, Now, Offset, PartitionIndex, Timestamp};

const NOW: Now = Now { monotonic_ns: 0, wall: Timestamp::from_millis(0) };

#[derive(Clone, Debug)]
enum Op {
    Commit {
        partition: i32,
    },
    Fetch {
        partition: i32,
    },
    /// What was decided goes to the log.
    Append,
    /// The oldest batch that is on its way is committed.
    CommitBatch,
    /// Of the batches on their way the log keeps this many at most, the oldest.
    Crash {
        kept: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3).prop_map(|partition| Op::Commit { partition }),
        3 => (0..3).prop_map(|partition| Op::Fetch { partition }),
        4 => Just(Op::Append),
        4 => Just(Op::CommitBatch),
        1 => (0_usize..4).prop_map(|kept| Op::Crash { kept }),
    ]
}

type LogBytes = Vec<(Bytes, Option<Bytes>)>;

struct Run {
    host: Host<GroupCoordinator>,
    committed: LogBytes,
    under_way: Vec<(BatchId, LogBytes)>,
    tickets: u64,
    asked: BTreeMap<Ticket, (i32, i64)>,
    offset: i64,
    told: BTreeMap<i32, i64>,
}

fn load(log: &LogBytes) -> Host<GroupCoordinator> {
    let records = log.iter().enumerate().map(|(offset, (key, value))| {
        (Offset::new(offset as i64), Record::decode(Some(key), value.as_deref()).unwrap().unwrap())
    });
    Host::load(NOW, GroupCoordinator::new(GroupConfig::default()), records)
}

impl Run {
    fn ask(&mut self, partition: i32, offset: i64, command: Command) {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        self.asked.insert(ticket, (partition, offset));
        self.host.decide(NOW, ticket, command);
        self.hear();
    }

    fn hear(&mut self) {
        for (ticket, reply) in self.host.take_replies() {
            let (partition, offset) = self.asked.remove(&ticket).expect("answered once");
            let heard = match reply {
                Reply::Commit(outcome) => {
                    assert_eq!(outcome.unwrap()[0].partitions[0].1, ErrorCode::None);
                    offset
                }
                Reply::Fetch(topics) => {
                    let committed = topics[0].partitions[0].committed.as_ref();
                    committed.and_then(|it| it.offset).map_or(-1, Offset::value)
                }
                other => panic!("not asked for: {other:?}"),
            };
            let told = self.told.entry(partition).or_insert(-1);
            assert!(*told <= heard, "partition {partition} went back from {told} to {heard}");
            *told = heard;
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Commit { partition } => {
                self.offset += 1;
                let partitions = vec![CommitPartition {
                    partition: PartitionIndex::new(partition),
                    offset: Some(Offset::new(self.offset)),
                    leader_epoch: None,
                    metadata: None,
                }];
                let request = CommitOffsets {
                    group: "g".into(),
                    member: None,
                    instance: None,
                    generation: None,
                    retention_ms: None,
                    knows_group_not_found: true,
                    topics: vec![CommitTopic { topic: "t".into(), topic_id: None, partitions }],
                };
                self.ask(partition, self.offset, Command::Commit(request));
            }
            Op::Fetch { partition } => {
                let topic: Arc<str> = "t".into();
                let partitions = vec![PartitionIndex::new(partition)];
                let topics = Some(vec![FetchTopic { topic, topic_id: None, partitions }]);
                self.ask(partition, -1, Command::Fetch(FetchOffsets { group: "g".into(), topics }));
            }
            Op::Append => {
                if let Some(batch) = self.host.take_batch() {
                    let bytes = batch.records.iter().map(|record| record.encode().unwrap()).collect();
                    self.under_way.push((batch.id, bytes));
                }
                self.hear();
            }
            Op::CommitBatch => {
                if !self.under_way.is_empty() {
                    let (id, bytes) = self.under_way.remove(0);
                    self.committed.extend(bytes);
                    self.host.on_committed(id);
                    self.hear();
                }
            }
            Op::Crash { kept } => {
                for (_, bytes) in self.under_way.drain(..).take(kept) {
                    self.committed.extend(bytes);
                }
                self.asked.clear();
                self.host = load(&self.committed);
                for partition in 0..3 {
                    self.run(&Op::Fetch { partition });
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_answered_survives_every_crash(ops in prop::collection::vec(op(), 1..120)) {
        let mut run = Run {
            host: load(&Vec::new()),
            committed: Vec::new(),
            under_way: Vec::new(),
            tickets: 0,
            asked: BTreeMap::new(),
            offset: 0,
            told: BTreeMap::new(),
        };
        for op in &ops {
            run.run(op);
        }
    }
}
