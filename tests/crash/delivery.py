"""What each delivery semantics promises, across a crash of the node, by librdkafka.

    delivery.py BOOTSTRAP at-most-once|at-least-once|exactly-once

Prints CRASH when it wants the node killed and started again, and waits for a line UP. Ends with PASS, or FAIL and the reason.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
RECORDS = 3000
WAIT_S = 60


class Wrong(Exception):
    """The promise was broken."""


def crash():
    print("CRASH", flush=True)
    if sys.stdin.readline().strip() != "UP":
        raise Wrong("the node did not come back")


class Delivery:
    def __init__(self, bootstrap, semantics):
        self.common = {"bootstrap.servers": bootstrap, "broker.address.family": "v4", "reconnect.backoff.max.ms": 500}
        self.topic = "delivery-" + semantics
        self.group = self.topic + "-group"
        admin = AdminClient(self.common)
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])[self.topic].result(30)
        self.acked, self.refused = {}, {}

    def produce(self, settings, crash_at):
        """Sends ids 0..RECORDS with a crash of the node on the way; what was acked is in self.acked."""
        producer = Producer({**self.common, "linger.ms": 5, "batch.num.messages": 50, **settings})

        def done(error, message, index):
            if error:
                self.refused[index] = error.name()
            else:
                self.acked[index] = (message.partition(), message.offset())

        for index in range(RECORDS):
            producer.produce(
                self.topic, str(index).encode(), partition=index % PARTITIONS, on_delivery=lambda e, m, index=index: done(e, m, index)
            )
            producer.poll(0)
            if index % 100 == 0:
                time.sleep(0.01)  # so that there is something acked, something sent and something not sent yet
            if index in crash_at:
                crash()
        if producer.flush(WAIT_S):
            raise Wrong(f"{len(producer)} records were neither acked nor refused within {WAIT_S} s")

    def member(self):
        settings = {"group.id": self.group, "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 6000}
        consumer = Consumer({**self.common, **settings})
        consumer.subscribe([self.topic])
        return consumer

    def poll(self, consumer, most):
        found = []
        for message in consumer.consume(most, 0.5):
            if message.error():
                print(message.error(), file=sys.stderr)
            else:
                found.append(message)
        return found

    def commit(self, consumer, messages):
        """Commits after the last of `messages` per partition; True when it is certain."""
        at = {m.partition(): m.offset() + 1 for m in messages}
        try:
            consumer.commit(offsets=[TopicPartition(self.topic, p, o) for p, o in at.items()], asynchronous=False)
            return True
        except KafkaException as fault:
            print("commit:", fault, file=sys.stderr)
            return False

    def log(self):
        """Everything in the topic: {partition: [id]}."""
        consumer = Consumer({**self.common, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True})
        consumer.assign([TopicPartition(self.topic, p, 0) for p in range(PARTITIONS)])
        ids, ended, deadline = {p: [] for p in range(PARTITIONS)}, set(), time.monotonic() + WAIT_S
        while len(ended) < PARTITIONS and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.5):
                if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                elif not message.error():
                    ids[message.partition()].append(int(message.value()))
        consumer.close()
        return ids

    def at_most_once(self):
        """acks=0, and the commit comes before the work: loss allowed, nothing twice."""
        self.produce({"acks": 0, "retries": 0}, {1000})
        worked, crashed, quiet = [], False, 0
        consumer = self.member()
        while quiet < 6:
            messages = self.poll(consumer, 100)
            quiet = 0 if messages else quiet + 1
            # Only a commit that is certain allows the work; else the records may come again, and here are given up.
            if messages and self.commit(consumer, messages):
                worked += [int(m.value()) for m in messages]
            elif messages:
                consumer.close()
                consumer = self.member()
            if len(worked) > 500 and not crashed:
                crashed = True
                crash()
        consumer.close()
        twice = len(worked) - len(set(worked))
        if twice:
            raise Wrong(f"{twice} records were worked on twice")
        if not worked or not set(worked) <= set(range(RECORDS)):
            raise Wrong(f"{len(worked)} records were worked on, or some that nobody sent")
        return f"{RECORDS - len(worked)} of {RECORDS} lost, none twice"

    def at_least_once(self):
        """acks=all with retries, and the commit comes after the work: duplicates allowed, no loss."""
        self.produce({"acks": "all", "enable.idempotence": False, "message.timeout.ms": 60000}, {700, 1900})
        if self.refused:
            raise Wrong(f"{len(self.refused)} records refused: {set(self.refused.values())}")
        worked, step = [], 0
        deadline = time.monotonic() + WAIT_S
        consumer = self.member()
        while not set(self.acked) <= set(worked) and time.monotonic() < deadline:
            messages = self.poll(consumer, 100)
            worked += [int(m.value()) for m in messages]
            step += bool(messages)
            if step == 5:
                # This member dies after the work and before the commit.
                consumer.close()
                consumer = self.member()
                step += 1
            elif step == 10:
                crash()
                step += 1
            elif messages:
                self.commit(consumer, messages)
        consumer.close()
        lost = set(self.acked) - set(worked)
        if lost:
            raise Wrong(f"{len(lost)} acked records were never worked on, such as {sorted(lost)[:5]}")
        if len(worked) == len(set(worked)):
            raise Wrong("no record came twice, though a member died before its commit")
        return f"{len(worked) - len(set(worked))} twice, none of {len(self.acked)} lost"

    def exactly_once(self):
        """Idempotent: each record once, in order, in its partition, across retries and crashes."""
        self.produce({"acks": "all", "enable.idempotence": True, "message.timeout.ms": 60000}, {500, 1500, 2500})
        if self.refused:
            raise Wrong(f"{len(self.refused)} records refused: {set(self.refused.values())}")
        for partition, ids in self.log().items():
            expected = [i for i in range(RECORDS) if i % PARTITIONS == partition]
            if ids != expected:
                wrong = next((at for at, (g, e) in enumerate(zip(ids, expected)) if g != e), min(len(ids), len(expected)))
                raise Wrong(f"partition {partition}: {len(ids)} of {len(expected)} records, the first difference at offset {wrong}: {ids[wrong - 2:wrong + 3]}")
            for offset, index in enumerate(expected):
                if self.acked[index] != (partition, offset):
                    raise Wrong(f"record {index} acked at {self.acked[index]}, is at {partition}/{offset}")
        return f"{RECORDS} once and in order"


def main():
    delivery = Delivery(*sys.argv[1:3])
    try:
        print("PASS", getattr(delivery, sys.argv[2].replace("-", "_"))(), flush=True)
    except (Wrong, KafkaException) as fault:
        print("FAIL", fault, flush=True)


if __name__ == "__main__":
    main()
