#!/usr/bin/env python3
"""Holds crates/broker/src/config/catalogue.tsv against the settings of a Kafka release.

    scripts/check-configs.py <folder with the release's jars>

The table in the tree was made from 4.3.1. Fill the folder with kafka_2.13 and what it depends on:

    mvn dependency:copy-dependencies -DoutputDirectory=<folder>      (a pom that names org.apache.kafka:kafka_2.13)

Needs a JDK. Compared are names, types, defaults, bounds, importance, how a setting may change while a broker runs, and the
settings left out of DescribeConfigs. Not compared: what Ringlog does with a setting, and the sentences, which are its own.
Ends with 1 if anything differs that is not in the list of intended differences below.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

TABLE = pathlib.Path(__file__).parent.parent / "crates/broker/src/config/catalogue.tsv"

FACTS = """
import java.util.*;
import org.apache.kafka.common.config.ConfigDef;

public class Facts {
    static void print(String scope, ConfigDef settings, Map<String, String> updates) {
        for (ConfigDef.ConfigKey key : new TreeMap<>(settings.configKeys()).values()) {
            Object value = key.hasDefault() ? ConfigDef.convertToString(key.defaultValue, key.type) : "(required)";
            String update = scope.equals("broker") ? updates.getOrDefault(key.name, "restart") : "any";
            System.out.println(String.join("\\t", scope, key.name, key.type.name().toLowerCase(),
                value == null ? "null" : value.equals("") ? "\\"\\"" : value.toString(), String.valueOf(key.validator),
                key.importance.name().toLowerCase(), update + (key.internalConfig ? "!" : "")));
        }
    }

    public static void main(String[] arguments) throws Exception {
        var updates = new HashMap<String, String>();
        org.apache.kafka.server.config.DynamicBrokerConfig.dynamicConfigUpdateModes().forEach(
            (name, mode) -> updates.put(name, mode.equals("per-broker") ? "node" : "cluster"));
        print("topic", org.apache.kafka.storage.internals.log.LogConfig.configDefCopy(), updates);
        print("group", org.apache.kafka.coordinator.group.GroupConfig.CONFIG_DEF, updates);
        print("broker", kafka.server.KafkaConfig.configDef(), updates);
    }
}
"""

# Column and the settings that differ in it on purpose.
INTENDED = {
    # Only this machine reaches a node without security; data lies where the node was started; there is one node.
    "default": {
        "controller.listener.names",
        "listeners",
        "log.dir",
        "node.id",
        "offsets.topic.replication.factor",
        "process.roles",
    },
    # Kafka checks these elsewhere in its code.
    "bounds": {
        "broker.id",
        "connections.max.idle.ms",
        "default.replication.factor",
        "group.initial.rebalance.delay.ms",
        "group.max.session.timeout.ms",
        "group.min.session.timeout.ms",
        "log.cleaner.dedupe.buffer.size",
        "log.flush.interval.ms",
        "log.flush.scheduler.interval.ms",
        "log.retention.hours",
        "log.retention.minutes",
        "log.retention.ms",
        "log.roll.jitter.ms",
        "log.roll.ms",
        "metadata.log.segment.ms",
        "offset.metadata.max.bytes",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
    },
    # Read once, at start.
    "update": {
        "listener.security.protocol.map",
        "listeners",
        "log.cleaner.backoff.ms",
        "log.cleaner.io.max.bytes.per.second",
        "max.connections",
        "max.connections.per.ip",
        "max.connections.per.ip.overrides",
        "producer.id.expiration.ms",
    },
}


def bounds(validator):
    """A validator as Kafka prints it, in the table's words: `[1,...,9] or -1` is `1..9|-1`."""
    if "partitionId" in validator:
        return "replicas"
    if validator == "non-empty list":
        return "nonempty"
    if found := re.fullmatch(r"\[(-?\d+),\.\.\.(?:,(-?\d+))?\](?: or (-?\d+))?", validator):
        low, high, other = found.groups()
        return f"{low}..{high or ''}" + (f"|{other}" if other else "")
    found = re.fullmatch(r"(\(case insensitive\) )?\[([\w, ]+)\]", validator)
    if found:
        return ("~" if found[1] else "") + "[" + found[2].replace(" ", "") + "]"
    return "*"


def rows(text):
    lines = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {(row[0], row[1]): row[2:7] for row in lines}


def kafka_facts(jars):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "Facts.java"
        source.write_text(FACTS)
        command = ["java", "-cp", f"{jars}/*", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"the settings cannot be read from {jars}:\n{done.stderr}")
        return rows(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jars", type=pathlib.Path)
    theirs, ours = kafka_facts(parser.parse_args().jars), rows(TABLE.read_text())
    differences = [f"only in Kafka: {scope} {name}" for scope, name in sorted(theirs.keys() - ours.keys())]
    own = {key for key in ours if key[1].startswith("ringlog.")}
    differences += [f"only in the table: {scope} {name}" for scope, name in sorted(ours.keys() - theirs.keys() - own)]
    for key in sorted(theirs.keys() & ours.keys()):
        scope, name = key
        kafka = dict(zip(("type", "default", "bounds", "importance", "update"), theirs[key]))
        kafka["bounds"] = bounds(kafka["bounds"])
        for (column, value), mine in zip(kafka.items(), ours[key]):
            if value != mine and not (scope == "broker" and name in INTENDED.get(column, ())):
                differences.append(f"{scope} {name}: {column} is {value} in Kafka, {mine} in the table")
    print("\n".join(differences) or f"{len(theirs)} settings agree")
    sys.exit(bool(differences))


main()
