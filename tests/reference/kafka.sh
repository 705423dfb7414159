#!/usr/bin/env bash
# Runs Apache Kafka 4.3.1, one node, broker and controller in one process, in the foreground until it is ended.
#
#   tests/reference/kafka.sh PORT DIR [key=value]...
#
# PORT is the client listener on 127.0.0.1, PORT+1 the controller's. DIR is made if need be and holds config and data; a
# DIR of an earlier run is started again with its data. Further arguments are appended to server.properties.
# KAFKA_HEAP (default 384m) is its heap. Jars come from Maven Central once, into tests/conformance/.clients/reference.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jars=${TEST_CLIENTS:-$here/../conformance/.clients}/reference
port=$1 dir=$2
shift 2

if [ ! -e "$jars/.ready" ] || [ "$here/pom.xml" -nt "$jars/.ready" ]; then
  mkdir -p "$jars"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars" >&2
  touch "$jars/.ready"
fi

mkdir -p "$dir"
cat > "$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$((port + 1))
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
EOF
printf '%s\n' "$@" >> "$dir/server.properties"

java=(java "-Xms${KAFKA_HEAP:-384m}" "-Xmx${KAFKA_HEAP:-384m}" -XX:+UseG1GC -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" -cp "$jars/*")
if [ ! -e "$dir/data/meta.properties" ]; then
  "${java[@]}" kafka.tools.StorageTool format --standalone --cluster-id AAAAAAAAAAAAAAAAAAAAAQ \
    --config "$dir/server.properties" > "$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 1; }
fi
exec "${java[@]}" kafka.Kafka "$dir/server.properties"
