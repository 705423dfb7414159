"""An order service's producer: JSON values, keyed, with headers, idempotent, snappy.

    producer.py BOOTSTRAP TOPIC DEAD_LETTER_TOPIC < orders.jsonl

Each line of the input is an order. One that cannot be produced goes to the dead-letter topic with the reason in its
headers. Keeps going over a restart of the broker. Ends with a line `acked N, dead letters M`.
"""

import json
import logging
import sys
import threading

from kafka import KafkaProducer
from kafka.errors import KafkaError

logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")


class OrderProducer:
    def __init__(self, bootstrap, topic, dead_letter_topic):
        self.topic, self.dead_letter_topic = topic, dead_letter_topic
        self.lock = threading.Lock()
        self.acked, self.dead = 0, 0
        self.failed = []
        common = {
            "bootstrap_servers": bootstrap,
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": "snappy",
            "key_serializer": str.encode,
            "delivery_timeout_ms": 120_000,
        }
        # max_request_size stays at its default, the broker's own limit: this client refuses what is too large by itself, which
        # leaves the idempotent producer usable (after a refusal by the broker it would not be).
        self.producer = KafkaProducer(value_serializer=lambda order: json.dumps(order).encode(), linger_ms=5, **common)
        self.dead_letters = KafkaProducer(**common)

    def send(self, order):
        key = order["customer"]
        headers = [("type", b"order"), ("schema", b"1")]
        try:
            future = self.producer.send(self.topic, key=key, value=order, headers=headers)
        except KafkaError as fault:
            self.on_failed(order, fault)
            return
        future.add_callback(self.on_acked, order)
        future.add_errback(self.on_failed, order)

    def on_acked(self, order, metadata):
        with self.lock:
            self.acked += 1
        # One line an acked order: whoever runs this program may rely on it.
        print(f"acked {order['id']} {metadata.partition} {metadata.offset}", flush=True)

    def on_failed(self, order, fault):
        # Called on the client's own thread, where sending and waiting would stop it: kept for later.
        with self.lock:
            self.failed.append((order, fault))

    def bury(self):
        """Sends what failed to the dead-letter topic."""
        with self.lock:
            failed, self.failed = self.failed, []
        for order, fault in failed:
            letter = json.dumps({"id": order["id"], "customer": order["customer"]}).encode()
            headers = [("error", type(fault).__name__.encode()), ("topic", self.topic.encode())]
            self.dead_letters.send(self.dead_letter_topic, key=order["customer"], value=letter, headers=headers).get(120)
            self.dead += 1
            print(f"dead {order['id']}", flush=True)

    def close(self):
        self.producer.flush(180)
        self.bury()
        self.producer.close()
        self.dead_letters.close()


def main():
    producer = OrderProducer(*sys.argv[1:4])
    for line in sys.stdin:
        producer.send(json.loads(line))
        producer.bury()
    producer.close()
    print(f"acked {producer.acked}, dead letters {producer.dead}", flush=True)


if __name__ == "__main__":
    main()
