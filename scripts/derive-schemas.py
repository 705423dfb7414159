#!/usr/bin/env python3
"""Derives crates/wire/schemas/*.txt, the compact message tables, from Kafka's own message definitions.

    scripts/derive-schemas.py <folder> [--out crates/wire/schemas]

<folder> is searched for *.json at any depth. Fill it from the jars of one Kafka release (the tables in the tree come
from 4.3.1), which carry the definitions as resources:

    mvn dependency:copy ... kafka-clients, kafka-metadata, kafka-group-coordinator
    for jar in kafka-*.jar; do (cd folder && unzip -o "$jar" 'common/message/*.json' 'common/metadata/*.json'); done

What is taken: every API that a broker serves (requests and responses), the metadata records, the group coordinator's
keys and values, the raft and transaction control records, and the consumer protocol that rides inside JoinGroup and
SyncGroup. What is left out: APIs that only controllers speak to each other, and APIs without any valid version.
Only names, types and version ranges are kept, never Kafka's prose.

The format, one field a line, a nested struct indented under the field that introduces it:

    api 0 Produce                             key and name of an API; then its two messages
    request 3-13 flexible 9+                  valid versions, versions in the flexible (compact, tagged) form
      TransactionalId string 3+ nullable 3+ default null
      TopicData []TopicProduceData 0+
        Name string 0-12 ignorable

    <name> <type> <versions> [nullable <versions>] [tag <number>] [default <value>] [ignorable]
    struct <Name> <versions>                  a struct that several fields use
    data | metadata <key> | coordinator-key <key> | coordinator-value <key>, then <Name> <valid> flexible <versions>

A range is `3` (only 3), `3-5`, `3+` or `none`. `unstable` on an api line: its newest version is not served.
A tagged field is tagged in every version that has it. No `default`: zero, false, empty.
"""

import argparse
import json
import pathlib
import re
import sys

RAFT = [
    "LeaderChangeMessage",
    "SnapshotHeaderRecord",
    "SnapshotFooterRecord",
    "KRaftVersionRecord",
    "VotersRecord",
    "EndTxnMarker",
]
CONSUMER_PROTOCOL = ["ConsumerProtocolSubscription", "ConsumerProtocolAssignment"]


def load(path):
    """Kafka's JSON has // comments, on lines of their own or after a value; no string of it holds //."""
    text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.M)
    return json.loads(text)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def pascal(name):
    return name[0].upper() + name[1:]


def field_lines(fields, depth):
    for field in fields:
        versions = field.get("versions", field.get("taggedVersions"))
        line = [pascal(field["name"]), field["type"], versions]
        if field.get("nullableVersions", "none") != "none":
            line += ["nullable", field["nullableVersions"]]
        if "tag" in field:
            tagged = field["taggedVersions"]
            if tagged != versions:
                sys.exit(f"{field['name']}: tagged in {tagged}, present in {versions}")
            line += ["tag", str(field["tag"])]
        default = field.get("default", "")
        default = json.dumps(default) if not isinstance(default, str) else default
        if default != "":
            line += ["default", default]
        if str(field.get("ignorable", "false")).lower() == "true":
            line += ["ignorable"]
        yield "  " * depth + " ".join(line)
        yield from field_lines(field.get("fields", []), depth + 1)


def body_lines(message):
    yield from field_lines(message.get("fields", []), 1)
    for struct in message.get("commonStructs", []):
        yield f"  struct {struct['name']} {struct['versions']}"
        yield from field_lines(struct.get("fields", []), 2)


def versions_of(message):
    return f"{message['validVersions']} flexible {message['flexibleVersions']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("crates/wire/schemas"))
    arguments = parser.parse_args()

    messages = {}
    for path in sorted(arguments.folder.rglob("*.json")):
        message = load(path)
        messages[message["name"]] = message
    served = {}
    for message in messages.values():
        if message["type"] == "request" and "broker" in message.get("listeners", []):
            if message["validVersions"] != "none":
                served[message["apiKey"]] = message

    api_folder = arguments.out / "api"
    api_folder.mkdir(parents=True, exist_ok=True)
    for old in api_folder.glob("*.txt"):
        old.unlink()
    for key, request in sorted(served.items()):
        name = request["name"].removesuffix("Request")
        response = messages[name + "Response"]
        unstable = " unstable" if request.get("latestVersionUnstable") else ""
        lines = [f"api {key} {name}{unstable}"]
        for kind, message in (("request", request), ("response", response)):
            lines += [f"{kind} {versions_of(message)}", *body_lines(message)]
        (api_folder / f"{key:03}-{snake(name)}.txt").write_text("\n".join(lines) + "\n")

    def write(file, chosen):
        lines = []
        for kind, message in chosen:
            lines += [f"{kind} {message['name']} {versions_of(message)}", *body_lines(message)]
        (arguments.out / file).write_text("\n".join(lines) + "\n")

    def keyed(*types):
        found = [m for m in messages.values() if m["type"] in types]
        found.sort(key=lambda m: (m["apiKey"], m["name"]))
        return [(f"{m['type']} {m['apiKey']}", m) for m in found]

    write("metadata-records.txt", keyed("metadata"))
    write("group-records.txt", keyed("coordinator-key", "coordinator-value"))
    write("control-records.txt", [("data", messages[name]) for name in RAFT])
    write("consumer-protocol.txt", [("data", messages[name]) for name in CONSUMER_PROTOCOL])


if __name__ == "__main__":
    main()
