"""The features that a client is judged by, written once for the three Python clients.

A client comes as an adapter (see `Adapter`); each feature is a function `f_<feature>(adapter, topic)` that raises where
the node gave a wrong answer. `main` runs the features named on the command line and prints one line each:

    PASS <feature>
    FAIL <feature> <what was wrong>
"""

import sys
import threading
import time
import traceback
from collections import namedtuple

Record = namedtuple("Record", "partition key value headers timestamp", defaults=(None, None, None, [], None))
Got = namedtuple("Got", "partition offset key value headers timestamp")

WAIT_S = 30
GROUP_TIMES = {"session_ms": 10_000, "heartbeat_ms": 500}


class Refused(Exception):
    """The node answered with a Kafka error code."""

    def __init__(self, code, text=""):
        super().__init__(f"error code {code} {text}")
        self.code = code


class Adapter:
    """What a client must offer. Times are in milliseconds; topics, groups and instance ids are strings.

    create(topic, partitions, configs)            raises Refused
    delete(topic)
    produce(topic, records, codec, acks, idempotent, bytes_max) -> [(partition, offset or None)]   raises Refused
    read(topic, starts, count, seconds) -> [Got]   starts: {partition: offset}; stops early at count
    offsets_for_times(topic, {partition: time}) -> {partition: offset or None}
    bounds(topic, partition) -> (first, end)
    member(group, topic, instance, on_assigned, on_revoked) -> member
        member.poll(ms) -> [Got]; member.commit({partition: offset}); member.committed(partition) -> offset or None
        member.close()
    init_transactions(id)                         raises whatever the client makes of a refusal
    admin(topic)                                  every admin call the client has; asserts inside
    """

    codecs = ("none", "gzip", "snappy", "lz4", "zstd")


def payload(seed, index, size):
    """The same bytes in every client's program."""
    return bytes((seed * 131 + index * 31 + j * 7 + (j >> 8) * 13) & 0xFF for j in range(size))


def equal(got, expected, what):
    if got != expected:
        text_got, text_expected = repr(got), repr(expected)
        raise AssertionError(f"{what}: expected {text_expected[:300]}, got {text_got[:300]}")


def until(condition, what, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def refused_with(code, call, what):
    try:
        call()
    except Refused as refusal:
        equal(refusal.code, code, f"error code of {what}")
        return
    raise AssertionError(f"{what} was not refused, expected error code {code}")


def same_records(got, sent, what):
    """Byte for byte, per partition, in order, nothing missing, nothing twice."""
    for partition in sorted({r.partition for r in sent}):
        here = [g for g in got if g.partition == partition]
        there = [r for r in sent if r.partition == partition]
        equal([g.offset for g in here], list(range(here[0].offset if here else 0, (here[0].offset if here else 0) + len(there))), f"{what}: offsets of partition {partition}")
        for g, r in zip(here, there):
            if (g.key, g.value) != (r.key, r.value):
                raise AssertionError(f"{what}: partition {partition} offset {g.offset}: expected key {r.key!r:.80} value {r.value!r:.80}, got {g.key!r:.80} {g.value!r:.80}")
            equal(g.headers, r.headers, f"{what}: headers at offset {g.offset}")
            if r.timestamp is not None:
                equal(g.timestamp, r.timestamp, f"{what}: timestamp at offset {g.offset}")


def f_create(a, topic):
    a.create(topic, 3, {"retention.ms": "3600000"})
    for p in range(3):
        equal(a.bounds(topic, p), (0, 0), f"bounds of empty partition {p}")
    refused_with(36, lambda: a.create(topic, 3, {}), "creating a topic twice")
    refused_with(17, lambda: a.create("no spaces in names", 1, {}), "a name with spaces")
    refused_with(37, lambda: a.create(topic + "-none", 0, {}), "no partitions")
    refused_with(40, lambda: a.create(topic + "-odd", 1, {"retention.ms": "soon"}), "a config that is no number")


def f_produce(a, topic, codec):
    a.create(topic, 3, {})
    sent, ends = [], [0, 0, 0]
    for round_, acks in enumerate(("all", "1", "0")):
        records = [Record(i % 3, f"k{i}".encode(), payload(round_, i, 100 + i * 37 % 900), [], None) for i in range(90)]
        placed = a.produce(topic, records, codec=codec, acks=acks)
        for i, (partition, offset) in enumerate(placed):
            equal(partition, i % 3, "partition in the reply")
            if acks != "0":
                equal(offset, ends[partition], f"offset in the reply, acks={acks}, record {i}")
            ends[partition] += 1
        sent += records
        # Nothing answers acks=0; what comes after it on another connection must still come after it in the log.
        until(lambda: sum(a.bounds(topic, p)[1] for p in range(3)) == len(sent), f"acks={acks} to be in the log")
    same_records(a.read(topic, {0: 0, 1: 0, 2: 0}, len(sent), WAIT_S), sent, codec)


def f_idempotent(a, topic):
    a.create(topic, 3, {})
    records = [Record(i % 3, b"k", payload(7, i, 300), [], None) for i in range(600)]
    placed = a.produce(topic, records, idempotent=True)
    for partition in range(3):
        equal([o for p, o in placed if p == partition], list(range(200)), f"offsets of partition {partition}")
    again = [Record(0, b"again", b"2", [], None)]
    equal(a.produce(topic, again, idempotent=True, codec="gzip"), [(0, 200)], "a second producer's offset")
    same_records(a.read(topic, {0: 0, 1: 0, 2: 0}, 601, WAIT_S), records + again, "idempotent")


def f_group_commit(a, topic):
    a.create(topic, 2, {})
    group = topic + "-g"
    records = [Record(i % 2, str(i).encode(), payload(3, i, 50), [], None) for i in range(100)]
    a.produce(topic, records)
    first = a.member(group, topic, None, None, None)
    seen, at = [], {}
    try:
        deadline = time.monotonic() + WAIT_S
        while len(seen) < 40 and time.monotonic() < deadline:
            for got in first.poll(500):
                if len(seen) < 40:
                    seen.append(got)
                    at[got.partition] = got.offset + 1
        equal(len(seen), 40, "records read before the commit")
        first.commit(at)
        for partition, offset in at.items():
            equal(first.committed(partition), offset, f"committed offset of partition {partition}")
    finally:
        first.close()
    second = a.member(group, topic, None, None, None)
    try:
        for partition, offset in at.items():
            equal(second.committed(partition), offset, f"committed offset of partition {partition}, seen by the next member")
        deadline = time.monotonic() + WAIT_S
        while len(seen) < 100 and time.monotonic() < deadline:
            seen += second.poll(500)
        seen += second.poll(300)
    finally:
        second.close()
    equal(sorted(int(g.key) for g in seen), list(range(100)), "what both members read, each record once")
    for got in seen:
        equal(got.value, payload(3, int(got.key), 50), "value")


class Owners:
    """Who owns which partition, told by the clients' own callbacks; two at once is a violation."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owner = {}
        self.violations = []
        self.assignments = {}

    def assigned(self, name, partitions):
        with self.lock:
            self.assignments[name] = self.assignments.get(name, 0) + 1
            for p in partitions:
                if self.owner.get(p, name) != name:
                    self.violations.append(f"partition {p} given to {name} while {self.owner[p]} owns it")
                self.owner[p] = name

    def revoked(self, name, partitions):
        with self.lock:
            for p in partitions:
                if self.owner.get(p) == name:
                    del self.owner[p]

    def of(self, name):
        with self.lock:
            return sorted(p for p, owner in self.owner.items() if owner == name)

    def counts(self, *names):
        return sorted(len(self.of(name)) for name in names)


class Running:
    """A group member with its own polling thread; commits what it has read after each poll."""

    def __init__(self, a, group, topic, owners, name, instance=None):
        self.name, self.owners = name, owners
        self.seen, self.fault, self.stop = [], None, threading.Event()
        self.member = None
        self.thread = threading.Thread(target=self.run, args=(a, group, topic, instance), daemon=True)
        self.thread.start()

    def run(self, a, group, topic, instance):
        try:
            self.member = a.member(group, topic, instance, lambda ps: self.owners.assigned(self.name, ps), lambda ps: self.owners.revoked(self.name, ps))
            while not self.stop.is_set():
                records = self.member.poll(100)
                self.seen += records
                if records:
                    try:
                        self.member.commit({g.partition: g.offset + 1 for g in records})
                    except Exception as fault:  # A commit may lose against a rebalance; reading again is what groups promise.
                        print(f"{self.name}: commit: {fault}", file=sys.stderr)
            self.owners.revoked(self.name, self.owners.of(self.name))
            self.member.close()
        except Exception as fault:
            traceback.print_exc()
            self.fault = fault

    def close(self):
        self.stop.set()
        self.thread.join(WAIT_S)
        if self.fault:
            raise self.fault
        if self.thread.is_alive():
            raise AssertionError(f"member {self.name} did not close within {WAIT_S} s")


def with_members(body):
    """Runs `body(start)` and closes every member that it started, also after a failure."""
    members = []

    def start(*args, **named):
        members.append(Running(*args, **named))
        return members[-1]

    try:
        body(start)
    finally:
        for member in members:
            member.stop.set()
        for member in members:
            member.thread.join(WAIT_S)


def f_rebalance(a, topic):
    a.create(topic, 4, {})
    group, owners = topic + "-g", Owners()

    def some(round_):
        records = [Record(i % 4, f"{round_}-{i}".encode(), b"v", [], None) for i in range(40)]
        a.produce(topic, records)
        return {r.key for r in records}

    def body(start):
        first = start(a, group, topic, owners, "A")
        until(lambda: owners.of("A") == [0, 1, 2, 3], "the first member to own all four partitions")
        sent = some(0)
        until(lambda: {g.key for g in first.seen} >= sent, "the first member to read everything")
        second = start(a, group, topic, owners, "B")
        until(lambda: owners.counts("A", "B") == [2, 2], "two members to own two partitions each")
        sent |= some(1)
        until(lambda: {g.key for g in first.seen + second.seen} >= sent, "both members to read everything")
        second.close()
        until(lambda: owners.of("A") == [0, 1, 2, 3], "the first member to own everything again after the second left")
        sent |= some(2)
        until(lambda: {g.key for g in first.seen + second.seen} >= sent, "everything to be read after the second left")
        first.close()
        equal(owners.violations, [], "owners")

    with_members(body)


def f_surplus(a, topic):
    a.create(topic, 2, {})
    owners = Owners()

    def body(start):
        names = ["A", "B", "C"]
        members = [start(a, topic + "-g", topic, owners, name) for name in names]
        until(lambda: owners.counts(*names) == [0, 1, 1] and len(owners.assignments) == 3, "two owners and one idle member")
        time.sleep(2)
        equal(owners.counts(*names), [0, 1, 1], "two owners and one idle member, two seconds later")
        for member in members:
            member.close()
        equal(owners.violations, [], "owners")

    with_members(body)


def f_single_owner(a, topic):
    a.create(topic, 6, {})
    owners = Owners()

    def body(start):
        alive = {}
        for step in ("+A", "+B", "+C", "-B", "+D", "-A", "-C"):
            name = step[1]
            if step[0] == "+":
                alive[name] = start(a, topic + "-g", topic, owners, name)
            else:
                alive.pop(name).close()
            share = sorted(6 // len(alive) for _ in alive)
            until(lambda: owners.counts(*alive) == share, f"{step}: {len(alive)} members to share six partitions")
        for member in alive.values():
            member.close()
        equal(owners.violations, [], "owners")

    with_members(body)


def f_static_member(a, topic):
    a.create(topic, 4, {})
    group, owners = topic + "-g", Owners()

    def body(start):
        first = start(a, group, topic, owners, "A", instance="one")
        second = start(a, group, topic, owners, "B", instance="two")
        until(lambda: owners.counts("A", "B") == [2, 2], "two static members to own two partitions each")
        before, rounds = owners.of("A"), owners.assignments["B"]
        first.close()
        time.sleep(1)
        again = start(a, group, topic, owners, "A2", instance="one")
        until(lambda: owners.of("A2") == before, f"the restarted static member to own {before} again")
        time.sleep(1.5)
        equal(owners.assignments["B"], rounds, "assignments of the other member (more: the restart made the group rebalance)")
        again.close()
        second.close()
        equal(owners.violations, [], "owners")

    with_members(body)


def f_seek_time(a, topic):
    a.create(topic, 1, {})
    base = int(time.time() * 1000) - 3_600_000
    records = [Record(0, str(i).encode(), payload(5, i, 40), [], base + i * 1000) for i in range(100)]
    a.produce(topic, records[:60], codec="gzip")
    a.produce(topic, records[60:])
    for asked, expected in ((base - 5000, 0), (base, 0), (base + 50_000, 50), (base + 50_001, 51), (base + 75_500, 76), (base + 99_000, 99)):
        equal(a.offsets_for_times(topic, {0: asked})[0], expected, f"offset for base{asked - base:+} ms")
    equal(a.offsets_for_times(topic, {0: base + 99_001})[0], None, "offset for a time past the last record")
    got = a.read(topic, {0: 51}, 1, WAIT_S)[0]
    equal((got.offset, got.key, got.timestamp), (51, b"51", base + 51_000), "the record found by time")
    same_records(a.read(topic, {0: 0}, 100, WAIT_S), records, "timestamps")


def f_large(a, topic):
    a.create(topic, 1, {"max.message.bytes": str(8 << 20)})
    records = [Record(0, b"large", payload(i, i, 4 << 20), [], None) for i in range(3)]
    a.produce(topic, records, bytes_max=8 << 20)
    same_records(a.read(topic, {0: 0}, 3, WAIT_S), records, "4 MiB records")
    a.create(topic + "-small", 1, {})
    too_large = [Record(0, None, bytes(i * 7919 >> 3 & 0xFF for i in range(1_200_000)), [], None)]
    refused_with(10, lambda: a.produce(topic + "-small", too_large, bytes_max=8 << 20), "a record over max.message.bytes")
    equal(a.bounds(topic + "-small", 0), (0, 0), "bounds after the refusal")


def f_headers(a, topic):
    a.create(topic, 1, {})
    records = [
        Record(0, b"k", b"v", [("one", b"1")], None),
        Record(0, b"k", b"v", [("twice", b"a"), ("other", b"\x00\xff"), ("twice", b"b")], None),
        Record(0, b"k", b"v", [("empty", b""), ("größe", "naïve ✓".encode())], None),
        Record(0, b"k", b"v", [("long", payload(1, 1, 5000))], None),
        Record(0, b"k", b"v", [], None),
    ]
    a.produce(topic, records, codec="gzip")
    a.produce(topic, records)
    same_records(a.read(topic, {0: 0}, 10, WAIT_S), records + records, "headers")


def f_nulls(a, topic):
    a.create(topic, 1, {})
    records = [Record(0, k, v, [], None) for k, v in ((None, b"v"), (b"k", None), (b"", b"v"), (b"k", b""), (None, b""), (b"", None))]
    a.produce(topic, records)
    a.produce(topic, records, codec="gzip")
    same_records(a.read(topic, {0: 0}, 12, WAIT_S), records + records, "null and empty")


def f_admin(a, topic):
    a.admin(topic)


ANSWER_S = 15


def f_transactions_answered(a, topic):
    """Had or refused, but soon: no client may be left retrying for ever."""
    begun = time.monotonic()
    try:
        a.init_transactions(topic)
        answer = "had"
    except Exception as refusal:
        answer = repr(refusal)
    print(f"transactions: {answer}", file=sys.stderr)
    took = time.monotonic() - begun
    if took > ANSWER_S:
        raise AssertionError(f"a transactional producer was answered only after {took:.0f} s: {answer}")


def interop_records(client, codec):
    """What `client` writes with `codec`; every other client expects exactly this."""
    seed = sum((client + codec).encode()) & 0xFF
    return [
        Record(0, f"{client}-{codec}-{i}".encode(), None if i % 10 == 9 else payload(seed, i, 20 + i * 53 % 700), [("codec", codec.encode())], None)
        for i in range(50)
    ]


def f_interop_write(a, topic):
    base = topic.removesuffix(f"-{a.name}-interop-write")
    for codec in a.codecs:
        name = f"{base}-interop-{a.name}-{codec}"
        a.create(name, 1, {})
        a.produce(name, interop_records(a.name, codec), codec=codec)


def f_interop_read(a, topic, writers):
    base = topic.removesuffix(f"-{a.name}-interop-read")
    for writer in writers:
        client, codec = writer.split(":")
        same_records(a.read(f"{base}-interop-{client}-{codec}", {0: 0}, 50, WAIT_S), interop_records(client, codec), f"what {writer} wrote")


def main(make_adapter):
    """ARGS: bootstrap prefix feature... ; `interop-read=client:codec,...` carries what the others wrote."""
    bootstrap, prefix, *features = sys.argv[1:]
    adapter = make_adapter(bootstrap)
    failed = False
    for argument in features:
        feature, _, value = argument.partition("=")
        topic = f"{prefix}-{adapter.name}-{feature}"
        try:
            print(f"--- {feature}", file=sys.stderr, flush=True)
            if feature.startswith("produce-"):
                f_produce(adapter, topic, feature.removeprefix("produce-"))
            elif feature == "interop-read":
                f_interop_read(adapter, topic, value.split(","))
            else:
                globals()["f_" + feature.replace("-", "_")](adapter, topic)
            print(f"PASS {feature}", flush=True)
        except Exception as fault:
            traceback.print_exc()
            failed = True
            print(f"FAIL {feature} {type(fault).__name__}: {fault}".replace("\n", " ")[:900], flush=True)
    adapter.close()
    sys.stdout.flush()
    return 1 if failed else 0
