"""Where librdkafka puts each of 10,000 keys: a digit in base 36 each, a hundred a line."""

import string
import sys

from confluent_kafka import Producer

COUNT = 10_000
DIGITS = string.digits + string.ascii_lowercase


def key(index):
    """The same bytes as in Partitions.java and client::partitioner's test."""
    state = index * 2654435761 % 2**32
    made = bytearray()
    for _ in range(1 + index % 41):
        state = (state * 1664525 + 1013904223) % 2**32
        made.append(state >> 24)
    return bytes(made)


def main(bootstrap, topic, partitioner):
    placed = [None] * COUNT
    failures = []
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": partitioner, "linger.ms": 50})

    def note(index):
        def on_delivery(fault, message):
            if fault is not None:
                failures.append(fault)
            else:
                placed[index] = message.partition()

        return on_delivery

    for index in range(COUNT):
        producer.produce(topic, key=key(index), value=b"", on_delivery=note(index))
        producer.poll(0)
    left = producer.flush(60)
    if failures or left:
        sys.exit(f"{len(failures)} failed, {left} undelivered: {failures[:1]}")
    digits = "".join(DIGITS[partition] for partition in placed)
    for at in range(0, COUNT, 100):
        print(digits[at : at + 100])


main(*sys.argv[1:])
