"""aiokafka as a judge. Its event loop runs in a thread of its own, so that the features can be written once."""

import asyncio
import logging
import sys
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from features import GROUP_TIMES, Adapter, Got, Record, Refused, equal, main, until

logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine, seconds=40):
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(seconds)
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

        async def start():
            self.consumer = AIOKafkaConsumer(
                bootstrap_servers=owner.bootstrap,
                group_id=group,
                group_instance_id=instance,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=GROUP_TIMES["session_ms"],
                heartbeat_interval_ms=GROUP_TIMES["heartbeat_ms"],
            )
            self.consumer.subscribe([topic], listener=Listener(on_assigned, on_revoked))
            await self.consumer.start()

        run(start())

    def poll(self, ms):
        batches = run(self.consumer.getmany(timeout_ms=ms))
        return [got(r) for records in batches.values() for r in records]

    def commit(self, offsets):
        run(self.consumer.commit({TopicPartition(self.topic, p): OffsetAndMetadata(o, "read") for p, o in offsets.items()}))

    def committed(self, partition):
        return run(self.consumer.committed(TopicPartition(self.topic, partition)))

    def close(self):
        run(self.consumer.stop())


class Aiokafka(Adapter):
    name = "aiokafka"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

        async def start():
            self.admin_client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await self.admin_client.start()
            self.helper = AIOKafkaConsumer(bootstrap_servers=bootstrap)
            await self.helper.start()

        run(start())

    def close(self):
        run(self.helper.stop())
        run(self.admin_client.close())

    def create(self, topic, partitions, configs):
        answer = run(self.admin_client.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)]))
        for _, code, *text in answer.topic_errors:
            if code:
                raise Refused(code, str(text))

    def delete(self, topic):
        answer = run(self.admin_client.delete_topics([topic]))
        for _, code, *_rest in answer.topic_error_codes:
            if code:
                raise Refused(code)

    def produce(self, topic, records, codec="none", acks="all", idempotent=False, bytes_max=None):
        async def go():
            more = {"max_request_size": bytes_max} if bytes_max else {}
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap,
                acks="all" if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec,
                enable_idempotence=idempotent,
                linger_ms=20,
                **more,
            )
            await producer.start()
            try:
                futures = [
                    await producer.send(topic, value=r.value, key=r.key, headers=r.headers, partition=r.partition, timestamp_ms=r.timestamp)
                    for r in records
                ]
                await producer.flush()
                done = [await future for future in futures]
                # Without acks the client knows no offsets and returns nothing.
                return [(m.partition, m.offset) if m else (r.partition, None) for m, r in zip(done, records)]
            finally:
                await producer.stop()

        return run(go())

    def read(self, topic, starts, count, seconds):
        async def go():
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
            await consumer.start()
            consumer.assign([TopicPartition(topic, p) for p in starts])
            for partition, offset in starts.items():
                consumer.seek(TopicPartition(topic, partition), offset)
            found, deadline = [], time.monotonic() + seconds
            while len(found) < count and time.monotonic() < deadline:
                batches = await consumer.getmany(timeout_ms=200)
                found += [got(r) for records in batches.values() for r in records]
            await consumer.stop()
            return found[:count]

        return run(go(), seconds + 15)

    def offsets_for_times(self, topic, times):
        answer = run(self.helper.offsets_for_times({TopicPartition(topic, p): t for p, t in times.items()}))
        return {tp.partition: found.offset if found else None for tp, found in answer.items()}

    def bounds(self, topic, partition):
        at = TopicPartition(topic, partition)
        return run(self.helper.beginning_offsets([at]))[at], run(self.helper.end_offsets([at]))[at]

    def member(self, *args):
        return Member(self, *args)

    def init_transactions(self, transactional_id):
        async def go():
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=transactional_id)
            try:
                await asyncio.wait_for(producer.start(), 25)
            finally:
                await asyncio.wait_for(producer.stop(), 5)

        run(go())

    def admin(self, topic):
        admin = self.admin_client
        self.create(topic, 1, {})
        until(lambda: topic in run(admin.list_topics()), "the topic to be listed")
        described = run(admin.describe_topics([topic]))[0]
        equal((described["topic"], len(described["partitions"])), (topic, 1), "description")
        equal(len(run(admin.describe_cluster())["brokers"]), 1, "nodes of the cluster")

        def configs():
            answer = run(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
            (code, _, _, _, entries, *_), = answer.resources
            equal(code, 0, "error code of DescribeConfigs")
            return {entry[0]: entry[1] for entry in entries}

        every = configs()
        equal(every["retention.ms"], "604800000", "default of retention.ms")
        assert len(every) >= 25, f"only {len(every)} topic configs described"
        # The old, whole AlterConfigs: what is not named falls back to its default.
        for value, expected in (({"retention.ms": "7200000"}, "7200000"), ({"segment.bytes": "2097152"}, "604800000")):
            answer = run(admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, value)]))[0]
            equal(answer.resources[0][0], 0, "error code of AlterConfigs")
            until(lambda: configs()["retention.ms"] == expected, f"retention.ms to be {expected}")
        equal(configs()["segment.bytes"], "2097152", "segment.bytes as altered")

        run(admin.create_partitions({topic: NewPartitions(3)}))
        until(lambda: len(run(admin.describe_topics([topic]))[0]["partitions"]) == 3, "three partitions")
        self.produce(topic, [Record(0, b"k", b"v", [], None) for _ in range(10)])
        at = TopicPartition(topic, 0)
        equal(run(admin.delete_records({at: RecordsToDelete(4)})), {at: 4}, "low watermark")
        equal(self.bounds(topic, 0), (4, 10), "bounds after delete-records")

        group = topic + "-g"
        member = self.member(group, topic, None, None, None)
        seen = []
        until(lambda: seen.extend(member.poll(500)) or len(seen) == 6, "six records from the group")
        member.commit({0: 10})
        (code, name, state, *_rest), = run(admin.describe_consumer_groups([group]))[0].groups
        equal((code, name, state), (0, group, "Stable"), "group with one member")
        member.close()
        assert group in [g[0] for g in run(admin.list_consumer_groups())], "the group is not listed"
        offsets = run(admin.list_consumer_group_offsets(group))
        equal({tp.partition: (o.offset, o.metadata) for tp, o in offsets.items()}, {0: (10, "read")}, "the group's offsets and metadata")

        self.delete(topic)
        until(lambda: topic not in run(admin.list_topics()), "the topic to be gone")


if __name__ == "__main__":
    sys.exit(main(Aiokafka))
