"""An order service's consumer: a member of a group, JSON values, manual commits.

    consumer.py BOOTSTRAP TOPIC GROUP [FAIL_ID FAIL_TIMES]

Handles each order (here: prints `handled ID PARTITION OFFSET`) and commits after each poll, never past an order whose handler
failed: that one is read again, and so is what follows it in its partition. FAIL_ID makes the handler fail for that order so many
times. Stops cleanly on SIGTERM. Keeps going over a restart of the broker.
"""

import json
import logging
import signal
import sys
import time

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")


class OrderConsumer:
    def __init__(self, bootstrap, topic, group, fail_id=None, fail_times=0):
        self.fail_id, self.fail_left = None if fail_id is None else int(fail_id), int(fail_times)
        self.stopping = False
        self.consumer = KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=50,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=500,
            key_deserializer=bytes.decode,
            value_deserializer=json.loads,
        )
        signal.signal(signal.SIGTERM, self.on_sigterm)
        signal.signal(signal.SIGINT, self.on_sigterm)

    def on_sigterm(self, *_):
        self.stopping = True

    def handle(self, record):
        order = record.value
        if order["id"] == self.fail_id and self.fail_left > 0:
            self.fail_left -= 1
            print(f"failed {order['id']} {record.partition} {record.offset}", flush=True)
            raise RuntimeError(f"cannot handle {order['id']}")
        assert dict(record.headers)["type"] == b"order" and record.key == order["customer"]
        print(f"handled {order['id']} {record.partition} {record.offset}", flush=True)

    def handle_batch(self, records):
        """Handles one poll's records; returns the offsets to commit, none of them past a failure."""
        done = {}
        for partition, of_partition in records.items():
            for record in of_partition:
                try:
                    self.handle(record)
                except Exception as fault:
                    logging.warning("%s", fault)
                    self.consumer.seek(partition, record.offset)
                    break
                done[partition] = OffsetAndMetadata(record.offset + 1, "", -1)
        return done

    def run(self):
        while not self.stopping:
            try:
                records = self.consumer.poll(timeout_ms=200)
                done = self.handle_batch(records)
                if done:
                    self.consumer.commit(done)
                    for partition, at in done.items():
                        print(f"committed {partition.partition} {at.offset}", flush=True)
            except KafkaError as fault:
                # A restart of the broker, or a rebalance: what was not committed comes again.
                logging.warning("%r", fault)
                time.sleep(0.2)
        self.consumer.close(autocommit=False)
        print("stopped", flush=True)


def main():
    OrderConsumer(*sys.argv[1:]).run()


if __name__ == "__main__":
    main()
