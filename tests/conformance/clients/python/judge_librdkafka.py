"""confluent-kafka, which is librdkafka, as a judge."""

import logging
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, TIMESTAMP_NOT_AVAILABLE
from confluent_kafka import IsolationLevel  # noqa: F401  (its absence means too old a client)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka import ConsumerGroupTopicPartitions, TopicCollection

from features import GROUP_TIMES, Adapter, Got, Refused, equal, main, until

log = logging.getLogger("librdkafka")
logging.basicConfig(level=logging.INFO, stream=sys.stderr)


def ask(future):
    try:
        return future.result(30)
    except KafkaException as fault:
        raise Refused(fault.args[0].code(), fault.args[0].str()) from fault


def got(message):
    kind, timestamp = message.timestamp()
    headers = [(k, v) for k, v in message.headers() or []]
    return Got(message.partition(), message.offset(), message.key(), message.value(), headers, None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp)


class Member:
    def __init__(self, owner, group, topic, instance, on_assigned, on_revoked):
        settings = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": GROUP_TIMES["session_ms"],
            "heartbeat.interval.ms": GROUP_TIMES["heartbeat_ms"],
        }
        if instance:
            settings["group.instance.id"] = instance
        self.topic = topic
        self.consumer = Consumer(owner.settings(**settings), logger=log)
        callbacks = {}
        if on_assigned:
            callbacks["on_assign"] = lambda _, ps: on_assigned([p.partition for p in ps])
            callbacks["on_revoke"] = lambda _, ps: on_revoked([p.partition for p in ps])
        self.consumer.subscribe([topic], **callbacks)

    def poll(self, ms):
        messages = self.consumer.consume(100, ms / 1000)
        for m in messages:
            if m.error():
                raise KafkaException(m.error())
        return [got(m) for m in messages]

    def commit(self, offsets):
        self.consumer.commit(offsets=[TopicPartition(self.topic, p, o) for p, o in offsets.items()], asynchronous=False)

    def committed(self, partition):
        offset = self.consumer.committed([TopicPartition(self.topic, partition)], timeout=20)[0].offset
        return offset if offset >= 0 else None

    def close(self):
        self.consumer.close()


class Librdkafka(Adapter):
    name = "librdkafka"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin_client = AdminClient(self.settings(), logger=log)
        self.helper = Consumer(self.settings(**{"group.id": "unused", "auto.offset.reset": "earliest", "enable.auto.commit": False}), logger=log)

    def settings(self, **more):
        return {"bootstrap.servers": self.bootstrap, "broker.address.family": "v4", **more}

    def close(self):
        self.helper.close()

    def create(self, topic, partitions, configs):
        ask(self.admin_client.create_topics([NewTopic(topic, partitions, 1, config=configs)], operation_timeout=20)[topic])

    def delete(self, topic):
        ask(self.admin_client.delete_topics([topic], operation_timeout=20)[topic])

    def produce(self, topic, records, codec="none", acks="all", idempotent=False, bytes_max=None):
        settings = {"compression.type": codec, "acks": acks, "linger.ms": 20, "enable.idempotence": idempotent}
        if bytes_max:
            settings["message.max.bytes"] = bytes_max
        producer = Producer(self.settings(**settings), logger=log)
        placed = [None] * len(records)
        for index, r in enumerate(records):
            def done(error, message, index=index):
                placed[index] = Refused(error.code(), error.str()) if error else (message.partition(), message.offset())

            extra = {} if r.timestamp is None else {"timestamp": r.timestamp}
            producer.produce(topic, value=r.value, key=r.key, partition=r.partition, headers=r.headers or None, on_delivery=done, **extra)
        equal(producer.flush(30), 0, "records not delivered within 30 s")
        for place in placed:
            if isinstance(place, Refused):
                raise place
        return placed

    def read(self, topic, starts, count, seconds):
        consumer = Consumer(self.settings(**{"group.id": "unused", "enable.auto.commit": False}), logger=log)
        consumer.assign([TopicPartition(topic, p, o) for p, o in starts.items()])
        found, deadline = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                if message.error():
                    raise KafkaException(message.error())
                found.append(got(message))
        consumer.close()
        return found[:count]

    def offsets_for_times(self, topic, times):
        asked = [TopicPartition(topic, p, t) for p, t in times.items()]
        return {tp.partition: None if tp.offset < 0 else tp.offset for tp in self.helper.offsets_for_times(asked, timeout=20)}

    def bounds(self, topic, partition):
        self.helper.list_topics(topic, timeout=20)  # The client asks about no partition that it has not heard of.
        for left in range(20, -1, -1):
            try:
                return self.helper.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            except KafkaException as fault:
                # A partition made a moment ago may not have its leader yet; this one call of the client does not retry.
                if left == 0 or fault.args[0].code() not in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._UNKNOWN_PARTITION):
                    raise
                time.sleep(0.1)

    def member(self, *args):
        return Member(self, *args)

    def init_transactions(self, transactional_id):
        Producer(self.settings(**{"transactional.id": transactional_id}), logger=log).init_transactions(25)

    def admin(self, topic):
        admin = self.admin_client
        self.create(topic, 1, {})
        until(lambda: topic in admin.list_topics(timeout=20).topics, "the topic to be listed")
        description = ask(admin.describe_topics(TopicCollection([topic]))[topic])
        equal((description.name, len(description.partitions), description.is_internal), (topic, 1, False), "description")
        equal(len(description.partitions[0].isr), 1, "replicas in sync")
        cluster = ask(admin.describe_cluster())
        equal(len(cluster.nodes), 1, "nodes of the cluster")
        assert cluster.cluster_id, "the cluster has no id"

        resource = ConfigResource(ResourceType.TOPIC, topic)
        configs = ask(admin.describe_configs([resource])[resource])
        equal(configs["retention.ms"].value, "604800000", "default of retention.ms")
        equal(configs["retention.ms"].is_default, True, "retention.ms is default")
        assert len(configs) >= 25, f"only {len(configs)} topic configs described"
        change = ConfigResource(ResourceType.TOPIC, topic)
        change.add_incremental_config(ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET))
        change.add_incremental_config(ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND))
        ask(admin.incremental_alter_configs([change])[change])
        until(lambda: ask(admin.describe_configs([resource])[resource])["retention.ms"].value == "7200000", "the new retention.ms")
        configs = ask(admin.describe_configs([resource])[resource])
        equal(set(configs["cleanup.policy"].value.split(",")), {"delete", "compact"}, "cleanup.policy with compact appended")
        equal(configs["retention.ms"].source, 1, "source of an altered config (dynamic topic config)")
        back = ConfigResource(ResourceType.TOPIC, topic)
        back.add_incremental_config(ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE))
        back.add_incremental_config(ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SUBTRACT))
        ask(admin.incremental_alter_configs([back])[back])
        until(lambda: ask(admin.describe_configs([resource])[resource])["retention.ms"].is_default, "retention.ms to be default again")
        broker = ConfigResource(ResourceType.BROKER, str(cluster.nodes[0].id))
        assert "log.retention.hours" in ask(admin.describe_configs([broker])[broker]), "broker configs lack log.retention.hours"

        ask(admin.create_partitions([NewPartitions(topic, 3)])[topic])
        until(lambda: len(ask(admin.describe_topics(TopicCollection([topic]))[topic]).partitions) == 3, "three partitions")
        try:
            ask(admin.create_partitions([NewPartitions(topic, 2)])[topic])
            raise AssertionError("fewer partitions were not refused")
        except Refused as refusal:
            equal(refusal.code, 37, "error code of fewer partitions")

        from features import Record

        self.produce(topic, [Record(0, b"k", b"v", [], None) for _ in range(10)])
        at = TopicPartition(topic, 0)
        equal(ask(admin.list_offsets({at: OffsetSpec.latest()})[at]).offset, 10, "latest offset")
        equal(ask(admin.list_offsets({at: OffsetSpec.max_timestamp()})[at]).offset < 10, True, "offset of the largest timestamp")
        cut = TopicPartition(topic, 0, 4)
        equal(ask(admin.delete_records([cut])[cut]).low_watermark, 4, "low watermark")
        equal(ask(admin.list_offsets({at: OffsetSpec.earliest()})[at]).offset, 4, "earliest offset after delete-records")

        group = topic + "-g"
        member = self.member(group, topic, None, None, None)
        seen = []
        until(lambda: seen.extend(member.poll(500)) or len(seen) == 6, "six records from the group")
        member.commit({0: 10})
        described = ask(admin.describe_consumer_groups([group])[group])
        equal((described.state.name, len(described.members)), ("STABLE", 1), "group with one member")
        equal([tp.topic for tp in described.members[0].assignment.topic_partitions], [topic] * 3, "its assignment")
        member.close()
        groups = {g.group_id: g for g in ask(admin.list_consumer_groups()).valid}
        assert group in groups, f"{group} not among {sorted(groups)}"
        equal(ask(admin.describe_consumer_groups([group])[group]).state.name, "EMPTY", "state without members")
        offsets = ask(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
        equal([(tp.partition, tp.offset) for tp in offsets.topic_partitions], [(0, 10)], "the group's offsets")
        move = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])
        ask(admin.alter_consumer_group_offsets([move])[group])
        offsets = ask(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
        equal([(tp.partition, tp.offset) for tp in offsets.topic_partitions], [(0, 5)], "the group's offsets after altering")
        ask(admin.delete_consumer_groups([group])[group])
        assert group not in {g.group_id for g in ask(admin.list_consumer_groups()).valid}, "the deleted group is still listed"

        self.delete(topic)
        until(lambda: topic not in admin.list_topics(timeout=20).topics, "the topic to be gone")
        try:
            self.delete(topic)
            raise AssertionError("deleting an unknown topic was not refused")
        except Refused as refusal:
            equal(refusal.code, 3, "error code of deleting an unknown topic")


if __name__ == "__main__":
    sys.exit(main(Librdkafka))
