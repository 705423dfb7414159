"""kafka-python as a judge."""

import logging
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from features import GROUP_TIMES, Adapter, Got, Record, Refused, equal, main, until

logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")


def ask(call, *args, **named):
    try:
        return call(*args, **named)
    except KafkaError as fault:
        raise Refused(getattr(fault, "errno", None), repr(fault)) from fault


def got(record):
    headers = [(k, v) for k, v in record.headers]
    return Got(record.partition, record.offset, record.key, record.value, headers, record.timestamp)


class Listener(ConsumerRebalanceListener):
    def __init__(self, on_assigned, on_revoked):
        self.on_assigned, self.on_revoked = on_assigned, on_revoked

    def on_partitions_assigned(self, assigned):
        if self.on_assigned:
            self.on_assigned([tp.partition for tp in assigned])

    def on_partitions_revoked(self, revoked):
        if self.on_revoked:
            self.on_revoked([tp.partition for tp in revoked])


class Member:
    def __init__(self, owner, group, topic, instance, on_assigned, on_revoked):
        self.topic = topic
        self.consumer = KafkaConsumer(
            bootstrap_servers=owner.bootstrap,
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=GROUP_TIMES["session_ms"],
            heartbeat_interval_ms=GROUP_TIMES["heartbeat_ms"],
        )
        self.consumer.subscribe([topic], listener=Listener(on_assigned, on_revoked))

    def poll(self, ms):
        return [got(r) for records in self.consumer.poll(timeout_ms=ms).values() for r in records]

    def commit(self, offsets):
        self.consumer.commit({TopicPartition(self.topic, p): OffsetAndMetadata(o, "read", -1) for p, o in offsets.items()})

    def committed(self, partition):
        return self.consumer.committed(TopicPartition(self.topic, partition))

    def close(self):
        self.consumer.close(autocommit=False)


class KafkaPython(Adapter):
    name = "kafka-python"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin_client = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.helper = KafkaConsumer(bootstrap_servers=bootstrap)

    def close(self):
        self.helper.close()
        self.admin_client.close()

    def create(self, topic, partitions, configs):
        ask(self.admin_client.create_topics, {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})

    def delete(self, topic):
        ask(self.admin_client.delete_topics, [topic])

    def produce(self, topic, records, codec="none", acks="all", idempotent=False, bytes_max=None):
        more = {"max_request_size": bytes_max} if bytes_max else {}
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all" if acks == "all" else int(acks),
            compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent,
            linger_ms=20,
            **more,
        )
        futures = [
            producer.send(topic, value=r.value, key=r.key, headers=r.headers, partition=r.partition, timestamp_ms=r.timestamp) for r in records
        ]
        producer.flush(30)
        try:
            done = [ask(future.get, 30) for future in futures]
        finally:
            producer.close(10)
        return [(m.partition, m.offset) for m in done]

    def read(self, topic, starts, count, seconds):
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        consumer.assign([TopicPartition(topic, p) for p in starts])
        for partition, offset in starts.items():
            consumer.seek(TopicPartition(topic, partition), offset)
        found, deadline = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            found += [got(r) for records in consumer.poll(timeout_ms=200).values() for r in records]
        consumer.close()
        return found[:count]

    def offsets_for_times(self, topic, times):
        answer = self.helper.offsets_for_times({TopicPartition(topic, p): t for p, t in times.items()})
        return {tp.partition: found.offset if found else None for tp, found in answer.items()}

    def bounds(self, topic, partition):
        at = TopicPartition(topic, partition)
        return self.helper.beginning_offsets([at])[at], self.helper.end_offsets([at])[at]

    def member(self, *args):
        return Member(self, *args)

    def init_transactions(self, transactional_id):
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=transactional_id, max_block_ms=25_000)
        try:
            producer.init_transactions()
        finally:
            producer.close(1)

    def admin(self, topic):
        admin = self.admin_client
        self.create(topic, 1, {})
        until(lambda: topic in admin.list_topics(), "the topic to be listed")
        described = admin.describe_topics([topic])[0]
        equal((described["name"], len(described["partitions"]), described["is_internal"]), (topic, 1, False), "description")
        cluster = admin.describe_cluster()
        equal(len(cluster["brokers"]), 1, "nodes of the cluster")
        listed = admin.describe_topic_partitions([topic])
        assert listed, "DescribeTopicPartitions answered nothing"

        def configs(filter_):
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            return ask(admin.describe_configs, [resource], include_synonyms=True, config_filter=filter_)["topic"][topic]

        every = configs("all")
        equal(every["retention.ms"]["value"], "604800000", "default of retention.ms")
        assert len(every) >= 25, f"only {len(every)} topic configs described"
        ask(admin.alter_configs, [ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7200000"})])
        until(lambda: configs("all")["retention.ms"]["value"] == "7200000", "the new retention.ms")
        equal(set(configs("modified")), {"retention.ms"}, "modified configs")
        ask(admin.reset_configs, [ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": None})])
        until(lambda: configs("all")["retention.ms"]["value"] == "604800000", "retention.ms to be default again")
        named = admin.list_config_resources(["TOPIC"])
        assert topic in named["topic"], f"{topic} not among the config resources {named}"

        ask(admin.create_partitions, {topic: 3})
        until(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == 3, "three partitions")
        self.produce(topic, [Record(0, b"k", b"v", [], None) for _ in range(10)])
        at = TopicPartition(topic, 0)
        ask(admin.delete_records, {at: 4})
        equal(self.bounds(topic, 0), (4, 10), "bounds after delete-records")
        assert admin.describe_log_dirs(), "no log directories described"
        producers = ask(admin.describe_producers, [at])
        assert at in producers or producers is not None, "no answer to DescribeProducers"

        group = topic + "-g"
        member = self.member(group, topic, None, None, None)
        seen = []
        until(lambda: seen.extend(member.poll(500)) or len(seen) == 6, "six records from the group")
        member.commit({0: 10})
        described = admin.describe_groups([group])[group]
        equal((described["group_state"], len(described["members"])), ("Stable", 1), "group with one member")
        member.close()
        assert group in [g["group_id"] for g in admin.list_groups()], "the group is not listed"
        assert group in [g["group_id"] for g in admin.list_groups(states_filter=["Empty"])], "the group is not listed as empty"
        equal(admin.describe_groups([group])[group]["group_state"], "Empty", "state without members")
        offsets = admin.list_group_offsets(group)[group]
        equal({tp.partition: (o.offset, o.metadata) for tp, o in offsets.items() if o.offset >= 0}, {0: (10, "read")}, "the group's offsets and metadata")
        ask(admin.alter_group_offsets, group, {at: OffsetAndMetadata(5, "", -1)})
        equal(admin.list_group_offsets(group)[group][at].offset, 5, "the group's offset after altering")
        ask(admin.delete_group_offsets, group, [at])
        equal({tp.partition for tp, o in admin.list_group_offsets(group)[group].items() if o.offset >= 0}, set(), "offsets after deleting them")
        equal(admin.delete_groups([group]), {group: "OK"}, "deleting the group")

        self.delete(topic)
        until(lambda: topic not in admin.list_topics(), "the topic to be gone")
        try:
            self.delete(topic)
            raise AssertionError("deleting an unknown topic was not refused")
        except Refused as refusal:
            equal(refusal.code, 3, "error code of deleting an unknown topic")


if __name__ == "__main__":
    sys.exit(main(KafkaPython))
