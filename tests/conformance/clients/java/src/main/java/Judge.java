import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client as a judge. Arguments and output as in ../python/features.py: BOOTSTRAP PREFIX FEATURE... */
public final class Judge {
    private static final String NAME = "java";
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final int WAIT_S = 30;

    private final String bootstrap;
    private final String prefix;
    private final Admin admin;

    private Judge(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        this.admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap, "default.api.timeout.ms", 30000));
    }

    /** The node gave a wrong answer. */
    private static final class Wrong extends RuntimeException {
        Wrong(String text) {
            super(text);
        }
    }

    private record Rec(int partition, byte[] key, byte[] value, List<Header> headers, Long timestamp) {}

    private static Rec rec(int partition, byte[] key, byte[] value) {
        return new Rec(partition, key, value, List.of(), null);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] b) {
        return b == null ? "null" : "'" + new String(b, 0, Math.min(60, b.length), StandardCharsets.UTF_8) + "' (" + b.length + " bytes)";
    }

    private static byte[] payload(int seed, int index, int size) {
        byte[] b = new byte[size];
        for (int j = 0; j < size; j++) b[j] = (byte) (seed * 131 + index * 31 + j * 7 + (j >> 8) * 13);
        return b;
    }

    private static void equal(Object got, Object expected, String what) {
        if (!Objects.equals(got, expected)) throw new Wrong(what + ": expected " + expected + ", got " + got);
    }

    private static void check(boolean condition, String what) {
        if (!condition) throw new Wrong(what);
    }

    private static void until(Callable<Boolean> condition, String what) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (System.nanoTime() < deadline) {
            if (condition.call()) return;
            Thread.sleep(50);
        }
        throw new Wrong("not within " + WAIT_S + " s: " + what);
    }

    private static <T> T ask(Future<T> future) throws Exception {
        return future.get(WAIT_S, TimeUnit.SECONDS);
    }

    private static void refusedWith(Class<?> expected, Callable<?> call, String what) throws Exception {
        try {
            call.call();
        } catch (ExecutionException fault) {
            equal(fault.getCause().getClass().getSimpleName(), expected.getSimpleName(), "error of " + what);
            return;
        }
        throw new Wrong(what + " was not refused, expected " + expected.getSimpleName());
    }

    private Void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        return ask(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all());
    }

    private List<RecordMetadata> produce(String topic, List<Rec> records, Object... settings) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 20, "acks", "all", "enable.idempotence", false));
        for (int i = 0; i < settings.length; i += 2) config.put((String) settings[i], settings[i + 1]);
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (Rec r : records) futures.add(producer.send(new ProducerRecord<>(topic, r.partition(), r.timestamp(), r.key(), r.value(), r.headers())));
            List<RecordMetadata> done = new ArrayList<>();
            for (var future : futures) done.add(ask(future));
            return done;
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(Object... settings) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "earliest",
                "session.timeout.ms", 10000, "heartbeat.interval.ms", 500));
        for (int i = 0; i < settings.length; i += 2) if (settings[i + 1] != null) config.put((String) settings[i], settings[i + 1]);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private List<ConsumerRecord<byte[], byte[]>> read(String topic, Map<Integer, Long> starts, int count) {
        try (var consumer = consumer()) {
            consumer.assign(starts.keySet().stream().map(p -> new TopicPartition(topic, p)).toList());
            starts.forEach((p, o) -> consumer.seek(new TopicPartition(topic, p), o));
            List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
            while (found.size() < count && System.nanoTime() < deadline) consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            return found.subList(0, Math.min(count, found.size()));
        }
    }

    private static void sameRecords(List<ConsumerRecord<byte[], byte[]>> got, List<Rec> sent, String what) {
        for (int partition = 0; partition < 3; partition++) {
            int p = partition;
            var here = got.stream().filter(g -> g.partition() == p).toList();
            var there = sent.stream().filter(r -> r.partition() == p).toList();
            equal(here.size(), there.size(), what + ": records of partition " + p);
            for (int i = 0; i < there.size(); i++) {
                var g = here.get(i);
                var r = there.get(i);
                equal(g.offset(), here.get(0).offset() + i, what + ": offset");
                if (!Arrays.equals(g.key(), r.key()) || !Arrays.equals(g.value(), r.value())) {
                    throw new Wrong(what + ": partition " + p + " offset " + g.offset() + ": expected key " + text(r.key()) + " value " + text(r.value())
                            + ", got key " + text(g.key()) + " value " + text(g.value()));
                }
                equal(Arrays.asList(g.headers().toArray()).toString(), r.headers().toString(), what + ": headers at offset " + g.offset());
                if (r.timestamp() != null) equal(g.timestamp(), r.timestamp(), what + ": timestamp at offset " + g.offset());
            }
        }
    }

    private String bounds(String topic, int partition) throws Exception {
        var at = new TopicPartition(topic, partition);
        long first = ask(admin.listOffsets(Map.of(at, OffsetSpec.earliest())).partitionResult(at)).offset();
        return first + "-" + ask(admin.listOffsets(Map.of(at, OffsetSpec.latest())).partitionResult(at)).offset();
    }

    private static final class Owners {
        private final Map<Integer, String> owner = new TreeMap<>();
        private final Map<String, Integer> rounds = new HashMap<>();
        private final List<String> violations = new ArrayList<>();

        synchronized void assigned(String name, Collection<TopicPartition> partitions) {
            rounds.merge(name, 1, Integer::sum);
            for (var tp : partitions) {
                String before = owner.put(tp.partition(), name);
                if (before != null && !before.equals(name)) violations.add("partition " + tp.partition() + " given to " + name + " while " + before + " owns it");
            }
        }

        synchronized void revoked(String name, Collection<TopicPartition> partitions) {
            for (var tp : partitions) owner.remove(tp.partition(), name);
        }

        synchronized void gone(String name) {
            owner.values().removeIf(name::equals);
        }

        synchronized List<Integer> of(String name) {
            return owner.entrySet().stream().filter(e -> e.getValue().equals(name)).map(Map.Entry::getKey).toList();
        }

        synchronized List<Integer> counts(Collection<String> names) {
            return names.stream().map(n -> of(n).size()).sorted().toList();
        }

        synchronized int round(String name) {
            return rounds.getOrDefault(name, 0);
        }

        synchronized void check() {
            equal(violations, List.of(), "owners");
        }
    }

    private final class Member implements AutoCloseable {
        private final String name;
        private final Owners owners;
        private final Set<String> keys = new HashSet<>();
        private final Thread thread;
        private volatile boolean stop;
        private volatile Throwable fault;

        Member(String group, String topic, Owners owners, String name, Object... settings) {
            this.name = name;
            this.owners = owners;
            Object[] all = Arrays.copyOf(settings, settings.length + 2);
            all[settings.length] = "group.id";
            all[settings.length + 1] = group;
            thread = new Thread(() -> run(topic, all), name);
            thread.start();
        }

        private void run(String topic, Object[] settings) {
            try (var consumer = consumer(settings)) {
                consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    @Override
                    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                        owners.assigned(name, partitions);
                    }

                    @Override
                    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                        owners.revoked(name, partitions);
                    }
                });
                while (!stop) {
                    var records = consumer.poll(Duration.ofMillis(100));
                    synchronized (keys) {
                        records.forEach(r -> keys.add(new String(r.key(), StandardCharsets.UTF_8)));
                    }
                    try {
                        if (!records.isEmpty()) consumer.commitSync();
                    } catch (CommitFailedException | RebalanceInProgressException lost) {
                        System.err.println(name + ": commit: " + lost);
                    }
                }
                owners.gone(name);
            } catch (Throwable thrown) {
                thrown.printStackTrace();
                fault = thrown;
            }
        }

        boolean seen(Collection<String> expected) {
            synchronized (keys) {
                return keys.containsAll(expected);
            }
        }

        @Override
        public void close() throws Exception {
            stop = true;
            thread.join(TimeUnit.SECONDS.toMillis(WAIT_S));
            check(!thread.isAlive(), "member " + name + " did not close");
            if (fault != null) throw new Wrong("member " + name + ": " + fault);
        }
    }

    private static List<Rec> numbered(int count, int partitions, int seed, int size) {
        return IntStream.range(0, count).mapToObj(i -> rec(i % partitions, bytes(String.valueOf(i)), payload(seed, i, size))).toList();
    }

    private void doCreate(String topic) throws Exception {
        create(topic, 3, Map.of("retention.ms", "3600000"));
        for (int p = 0; p < 3; p++) equal(bounds(topic, p), "0-0", "bounds of an empty partition");
        refusedWith(TopicExistsException.class, () -> create(topic, 3, Map.of()), "creating a topic twice");
        refusedWith(InvalidTopicException.class, () -> create("no spaces in names", 1, Map.of()), "a name with spaces");
        refusedWith(InvalidPartitionsException.class, () -> create(topic + "-none", 0, Map.of()), "no partitions");
        refusedWith(InvalidConfigurationException.class, () -> create(topic + "-odd", 1, Map.of("retention.ms", "soon")), "a config that is no number");
        var made = admin.createTopics(List.of(new NewTopic(topic + "-plain", java.util.Optional.empty(), java.util.Optional.empty())));
        equal(ask(made.numPartitions(topic + "-plain")), 1, "default number of partitions");
        equal(ask(made.replicationFactor(topic + "-plain")), 1, "default replication factor");
        equal(ask(made.config(topic + "-plain")).get("cleanup.policy").value(), "delete", "config in the reply to creating a topic");
    }

    private void doProduce(String topic, String codec) throws Exception {
        create(topic, 3, Map.of());
        List<Rec> sent = new ArrayList<>();
        long[] ends = new long[3];
        int round = 0;
        for (String acks : List.of("all", "1", "0")) {
            int seed = round++;
            var records = IntStream.range(0, 90).mapToObj(i -> rec(i % 3, bytes("k" + i), payload(seed, i, 100 + i * 37 % 900))).toList();
            for (var placed : produce(topic, records, "acks", acks, "compression.type", codec)) {
                if (!acks.equals("0")) equal(placed.offset(), ends[placed.partition()], "offset in the reply, acks=" + acks);
                ends[placed.partition()]++;
            }
            sent.addAll(records);
            until(() -> {
                int total = 0;
                for (int p = 0; p < 3; p++) total += Integer.parseInt(bounds(topic, p).substring(2));
                return total == sent.size();
            }, "acks=" + acks + " to be in the log");
        }
        sameRecords(read(topic, Map.of(0, 0L, 1, 0L, 2, 0L), sent.size()), sent, codec);
    }

    private void doIdempotent(String topic) throws Exception {
        create(topic, 3, Map.of());
        var records = numbered(600, 3, 7, 300);
        var placed = produce(topic, records, "enable.idempotence", true);
        for (int i = 0; i < 600; i++) equal(placed.get(i).offset(), (long) (i / 3), "offset in the reply");
        var again = List.of(rec(0, bytes("again"), bytes("2")));
        equal(produce(topic, again, "enable.idempotence", true, "compression.type", "gzip").get(0).offset(), 200L, "a second producer's offset");
        List<Rec> all = new ArrayList<>(records);
        all.addAll(again);
        sameRecords(read(topic, Map.of(0, 0L, 1, 0L, 2, 0L), 601), all, "idempotent");
    }

    private void doGroupCommit(String topic) throws Exception {
        create(topic, 2, Map.of());
        String group = topic + "-g";
        produce(topic, numbered(100, 2, 3, 50));
        List<ConsumerRecord<byte[], byte[]>> seen = new ArrayList<>();
        Map<TopicPartition, OffsetAndMetadata> at = new HashMap<>();
        try (var first = consumer("group.id", group, "max.poll.records", 10)) {
            first.subscribe(List.of(topic));
            until(() -> {
                for (var r : first.poll(Duration.ofMillis(200))) {
                    seen.add(r);
                    at.put(new TopicPartition(topic, r.partition()), new OffsetAndMetadata(r.offset() + 1, r.leaderEpoch(), "read"));
                }
                return seen.size() >= 40;
            }, "forty records");
            first.commitSync(at);
            at.forEach((tp, o) -> equal(first.committed(Set.of(tp)).get(tp), o, "committed offset, epoch and metadata"));
        }
        try (var second = consumer("group.id", group)) {
            second.subscribe(List.of(topic));
            until(() -> {
                second.poll(Duration.ofMillis(200)).forEach(seen::add);
                return seen.size() >= 100;
            }, "the other records");
            at.forEach((tp, o) -> equal(second.committed(Set.of(tp)).get(tp), o, "committed offset seen by the next member"));
            second.poll(Duration.ofMillis(300)).forEach(seen::add);
        }
        equal(seen.stream().map(r -> Integer.parseInt(new String(r.key(), StandardCharsets.UTF_8))).sorted().toList(), IntStream.range(0, 100).boxed().toList(),
                "what both members read, each record once");
        for (var r : seen) check(Arrays.equals(r.value(), payload(3, Integer.parseInt(new String(r.key(), StandardCharsets.UTF_8)), 50)), "value differs");
    }

    private void doRebalance(String topic) throws Exception {
        rebalance(topic + "-eager", "org.apache.kafka.clients.consumer.RangeAssignor");
        rebalance(topic + "-cooperative", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    }

    private void rebalance(String topic, String assignor) throws Exception {
        create(topic, 4, Map.of());
        String group = topic + "-g";
        var owners = new Owners();
        Object[] settings = {"partition.assignment.strategy", assignor};
        Set<String> sent = new TreeSet<>();
        try (var first = new Member(group, topic, owners, "A", settings)) {
            until(() -> owners.of("A").size() == 4, "the first member to own all four partitions");
            some(topic, 0, sent);
            until(() -> first.seen(sent), "the first member to read everything");
            Set<String> missing = new TreeSet<>();
            try (var second = new Member(group, topic, owners, "B", settings)) {
                until(() -> owners.counts(List.of("A", "B")).equals(List.of(2, 2)), "two members to own two partitions each");
                some(topic, 1, sent);
                until(() -> {
                    missing.clear();
                    for (String key : sent) if (!first.seen(List.of(key)) && !second.seen(List.of(key))) missing.add(key);
                    return missing.isEmpty();
                }, "both members to read everything, missing " + missing);
            }
            until(() -> owners.of("A").size() == 4, "the first member to own everything again after the second left");
            Set<String> last = new TreeSet<>();
            some(topic, 2, last);
            until(() -> first.seen(last), "everything to be read after the second left");
        }
        owners.check();
    }

    private void some(String topic, int round, Set<String> sent) throws Exception {
        var records = IntStream.range(0, 40).mapToObj(i -> rec(i % 4, bytes(round + "-" + i), bytes("v"))).toList();
        produce(topic, records);
        for (int i = 0; i < 40; i++) sent.add(round + "-" + i);
    }

    private void doSurplus(String topic) throws Exception {
        create(topic, 2, Map.of());
        var owners = new Owners();
        var names = List.of("A", "B", "C");
        try (var a = new Member(topic + "-g", topic, owners, "A"); var b = new Member(topic + "-g", topic, owners, "B"); var c = new Member(topic + "-g", topic, owners, "C")) {
            Callable<Boolean> settled = () -> owners.counts(names).equals(List.of(0, 1, 1));
            until(() -> settled.call() && names.stream().allMatch(n -> owners.round(n) > 0), "two owners and one idle member");
            Thread.sleep(2000);
            check(settled.call(), "two owners and one idle member, two seconds later: " + owners.counts(names));
        }
        owners.check();
    }

    private void doSingleOwner(String topic) throws Exception {
        create(topic, 6, Map.of());
        var owners = new Owners();
        Map<String, Member> alive = new LinkedHashMap<>();
        try {
            for (String step : List.of("+A", "+B", "+C", "-B", "+D", "-A", "-C")) {
                String name = step.substring(1);
                if (step.startsWith("+")) alive.put(name, new Member(topic + "-g", topic, owners, name));
                else alive.remove(name).close();
                var share = alive.keySet().stream().map(n -> 6 / alive.size()).toList();
                until(() -> owners.counts(alive.keySet()).equals(share), step + ": the members to share six partitions");
            }
        } finally {
            for (var member : alive.values()) member.close();
        }
        owners.check();
    }

    private void doStaticMember(String topic) throws Exception {
        create(topic, 4, Map.of());
        String group = topic + "-g";
        var owners = new Owners();
        try (var second = new Member(group, topic, owners, "B", "group.instance.id", "two")) {
            List<Integer> before;
            int rounds;
            try (var first = new Member(group, topic, owners, "A", "group.instance.id", "one")) {
                until(() -> owners.counts(List.of("A", "B")).equals(List.of(2, 2)), "two static members to own two partitions each");
                before = owners.of("A");
                rounds = owners.round("B");
            }
            Thread.sleep(1000);
            try (var again = new Member(group, topic, owners, "A2", "group.instance.id", "one")) {
                until(() -> owners.of("A2").equals(before), "the restarted static member to own " + before + " again");
                Thread.sleep(1500);
                equal(owners.round("B"), rounds, "assignments of the other member (more: the restart made the group rebalance)");
            }
        }
        owners.check();
    }

    private void doSeekTime(String topic) throws Exception {
        create(topic, 1, Map.of());
        long base = System.currentTimeMillis() - 3_600_000;
        var records = IntStream.range(0, 100).mapToObj(i -> new Rec(0, bytes("" + i), payload(5, i, 40), List.of(), base + i * 1000L)).toList();
        produce(topic, records.subList(0, 60), "compression.type", "gzip");
        produce(topic, records.subList(60, 100));
        var at = new TopicPartition(topic, 0);
        try (var consumer = consumer()) {
            long[][] cases = {{-5000, 0}, {0, 0}, {50_000, 50}, {50_001, 51}, {75_500, 76}, {99_000, 99}};
            for (long[] c : cases) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(at, base + c[0])).get(at);
                equal(found.offset(), c[1], "offset for base+" + c[0] + " ms");
                equal(found.timestamp(), base + c[1] * 1000, "timestamp for base+" + c[0] + " ms");
            }
            equal(consumer.offsetsForTimes(Map.of(at, base + 99_001)).get(at), null, "a time past the last record");
        }
        var newest = ask(admin.listOffsets(Map.of(at, OffsetSpec.maxTimestamp())).partitionResult(at));
        equal(newest.offset() + "@" + (newest.timestamp() - base), "99@99000", "offset of the largest timestamp");
        var got = read(topic, Map.of(0, 51L), 1).get(0);
        equal(got.offset() + " " + got.timestamp(), "51 " + (base + 51_000), "the record found by time");
        sameRecords(read(topic, Map.of(0, 0L), 100), records, "timestamps");
    }

    private void doLarge(String topic) throws Exception {
        create(topic, 1, Map.of("max.message.bytes", String.valueOf(8 << 20)));
        var records = IntStream.range(0, 3).mapToObj(i -> rec(0, bytes("large"), payload(i, i, 4 << 20))).toList();
        produce(topic, records, "max.request.size", 8 << 20);
        sameRecords(read(topic, Map.of(0, 0L), 3), records, "4 MiB records");
        create(topic + "-small", 1, Map.of());
        refusedWith(RecordTooLargeException.class, () -> produce(topic + "-small", List.of(rec(0, null, payload(1, 1, 1_200_000))), "max.request.size", 8 << 20),
                "a record over max.message.bytes");
        equal(bounds(topic + "-small", 0), "0-0", "bounds after the refusal");
    }

    private static Header header(String key, byte[] value) {
        return new RecordHeader(key, value);
    }

    private void doHeaders(String topic) throws Exception {
        create(topic, 1, Map.of());
        List<List<Header>> lists = List.of(
                List.of(header("one", bytes("1"))),
                List.of(header("twice", bytes("a")), header("other", new byte[] {0, (byte) 255}), header("twice", bytes("b"))),
                List.of(header("empty", new byte[0]), header("größe", bytes("naïve ✓"))),
                List.of(header("null", null)),
                List.of(header("long", payload(1, 1, 5000))),
                List.of());
        var records = lists.stream().map(h -> new Rec(0, bytes("k"), bytes("v"), h, null)).toList();
        produce(topic, records, "compression.type", "gzip");
        produce(topic, records);
        List<Rec> all = new ArrayList<>(records);
        all.addAll(records);
        sameRecords(read(topic, Map.of(0, 0L), 12), all, "headers");
    }

    private void doNulls(String topic) throws Exception {
        create(topic, 1, Map.of());
        byte[] e = {};
        byte[][][] pairs = {{null, bytes("v")}, {bytes("k"), null}, {e, bytes("v")}, {bytes("k"), e}, {null, e}, {e, null}};
        List<Rec> records = Arrays.stream(pairs).map(kv -> rec(0, kv[0], kv[1])).collect(Collectors.toCollection(ArrayList::new));
        produce(topic, records);
        produce(topic, records, "compression.type", "gzip");
        records.addAll(List.copyOf(records));
        sameRecords(read(topic, Map.of(0, 0L), 12), records, "null and empty");
    }

    private Config configs(ConfigResource resource) throws Exception {
        return ask(admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    private Void alter(ConfigResource resource, String name, String value, AlterConfigOp.OpType op) throws Exception {
        return ask(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), op)))).all());
    }

    private void doAdmin(String topic) throws Exception {
        create(topic, 1, Map.of());
        until(() -> ask(admin.listTopics().names()).contains(topic), "the topic to be listed");
        var described = ask(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        equal(described.partitions().size() + " " + described.isInternal() + " " + described.partitions().get(0).isr().size(), "1 false 1", "description");
        var byId = ask(admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(described.topicId()))).allTopicIds());
        equal(byId.get(described.topicId()).name(), topic, "topic described by its id");
        var cluster = admin.describeCluster();
        equal(ask(cluster.nodes()).size(), 1, "nodes of the cluster");
        check(!ask(cluster.clusterId()).isEmpty(), "no cluster id");
        check(ask(admin.describeFeatures().featureMetadata()).finalizedFeatures().containsKey("metadata.version"), "metadata.version is not finalized");

        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        equal(configs(resource).get("retention.ms").value(), "604800000", "default of retention.ms");
        equal(configs(resource).get("retention.ms").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "source of a default");
        equal(configs(resource).get("retention.ms").type(), ConfigEntry.ConfigType.LONG, "type of retention.ms");
        check(configs(resource).entries().size() >= 25, "only " + configs(resource).entries().size() + " topic configs described");
        alter(resource, "retention.ms", "7200000", AlterConfigOp.OpType.SET);
        alter(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        until(() -> configs(resource).get("retention.ms").value().equals("7200000"), "the new retention.ms");
        equal(configs(resource).get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source of an altered config");
        equal(configs(resource).get("cleanup.policy").value(), "delete,compact", "cleanup.policy with compact appended");
        alter(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
        alter(resource, "retention.ms", null, AlterConfigOp.OpType.DELETE);
        until(() -> configs(resource).get("retention.ms").isDefault(), "retention.ms to be default again");
        refusedWith(InvalidConfigurationException.class, () -> alter(resource, "retention.ms", "soon", AlterConfigOp.OpType.SET), "a config that is no number");
        refusedWith(InvalidConfigurationException.class, () -> alter(resource, "no.such.config", "1", AlterConfigOp.OpType.SET), "an unknown config");
        String node = ask(cluster.nodes()).iterator().next().idString();
        check(configs(new ConfigResource(ConfigResource.Type.BROKER, node)).get("log.retention.hours") != null, "broker configs lack log.retention.hours");
        check(ask(admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new org.apache.kafka.clients.admin.ListConfigResourcesOptions()).all()).contains(resource), "the topic is not among the config resources");

        ask(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        until(() -> ask(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3, "three partitions");
        refusedWith(InvalidPartitionsException.class, () -> ask(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all()), "fewer partitions");
        produce(topic, numbered(10, 1, 1, 10), "enable.idempotence", true);
        var at = new TopicPartition(topic, 0);
        equal(ask(admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(at)).lowWatermark(), 4L, "low watermark");
        equal(bounds(topic, 0), "4-10", "bounds after delete-records");
        equal(ask(admin.describeProducers(List.of(at)).partitionResult(at)).activeProducers().size(), 1, "producers of the partition");
        check(!ask(admin.describeLogDirs(List.of(Integer.valueOf(node))).allDescriptions()).isEmpty(), "no log directories described");
        equal(ask(admin.describeMetadataQuorum().quorumInfo()).leaderId(), Integer.parseInt(node), "leader of the metadata quorum");

        String group = topic + "-g";
        var owners = new Owners();
        try (var one = new Member(group, topic, owners, "A")) {
            until(() -> one.seen(List.of("4", "5", "6", "7", "8", "9")), "six records from the group");
            var text = ask(admin.describeClassicGroups(List.of(group)).all()).get(group);
            equal(text.state() + " " + text.members().size(), "Stable 1", "group with one member");
            Thread.sleep(300);
        }
        check(ask(admin.listGroups().all()).stream().map(GroupListing::groupId).toList().contains(group), "the group is not listed");
        equal(ask(admin.describeConsumerGroups(List.of(group)).all()).get(group).groupState().toString(), "Empty", "state without members");
        var offsets = ask(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        equal(offsets.get(at).offset(), 10L, "the group's offset");
        ask(admin.alterConsumerGroupOffsets(group, Map.of(at, new OffsetAndMetadata(5))).all());
        equal(ask(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(at).offset(), 5L, "the group's offset after altering");
        ask(admin.deleteConsumerGroupOffsets(group, Set.of(at)).all());
        equal(ask(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(at), null, "the group's offset after deleting it");
        refusedWith(GroupIdNotFoundException.class, () -> ask(admin.deleteConsumerGroups(List.of(group + "-none")).all()), "deleting an unknown group");
        ask(admin.deleteConsumerGroups(List.of(group)).all());

        ask(admin.deleteTopics(List.of(topic)).all());
        until(() -> !ask(admin.listTopics().names()).contains(topic), "the topic to be gone");
        refusedWith(UnknownTopicOrPartitionException.class, () -> ask(admin.deleteTopics(List.of(topic)).all()), "deleting an unknown topic");
    }

    private void doTransactionsAnswered(String topic) {
        long begun = System.nanoTime();
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "transactional.id", topic, "max.block.ms", 25000);
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
        } catch (RuntimeException refusal) {
            System.err.println("transactions: " + refusal);
        }
        long took = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - begun);
        check(took < 15, "a transactional producer was answered only after " + took + " s");
    }

    private static List<Rec> interopRecords(String client, String codec) {
        int seed = 0;
        for (byte b : bytes(client + codec)) seed = (seed + b) & 0xff;
        List<Rec> records = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            byte[] value = i % 10 == 9 ? null : payload(seed, i, 20 + i * 53 % 700);
            records.add(new Rec(0, bytes(client + "-" + codec + "-" + i), value, List.of(header("codec", bytes(codec))), null));
        }
        return records;
    }

    private void doInteropWrite() throws Exception {
        for (String codec : CODECS) {
            String topic = prefix + "-interop-" + NAME + "-" + codec;
            create(topic, 1, Map.of());
            produce(topic, interopRecords(NAME, codec), "compression.type", codec);
        }
    }

    private void doInteropRead(String writers) {
        for (String writer : writers.split(",")) {
            String[] parts = writer.split(":");
            sameRecords(read(prefix + "-interop-" + parts[0] + "-" + parts[1], Map.of(0, 0L), 50), interopRecords(parts[0], parts[1]), "what " + writer + " wrote");
        }
    }

    private void run(String argument) throws Exception {
        String feature = argument.split("=")[0];
        String topic = prefix + "-" + NAME + "-" + feature;
        if (feature.startsWith("produce-")) {
            doProduce(topic, feature.substring("produce-".length()));
            return;
        }
        switch (feature) {
            case "create" -> doCreate(topic);
            case "idempotent" -> doIdempotent(topic);
            case "group-commit" -> doGroupCommit(topic);
            case "rebalance" -> doRebalance(topic);
            case "surplus" -> doSurplus(topic);
            case "single-owner" -> doSingleOwner(topic);
            case "static-member" -> doStaticMember(topic);
            case "seek-time" -> doSeekTime(topic);
            case "large" -> doLarge(topic);
            case "headers" -> doHeaders(topic);
            case "nulls" -> doNulls(topic);
            case "admin" -> doAdmin(topic);
            case "transactions-answered" -> doTransactionsAnswered(topic);
            case "interop-write" -> doInteropWrite();
            case "interop-read" -> doInteropRead(argument.split("=")[1]);
            default -> throw new Wrong("no such feature");
        }
    }

    public static void main(String[] arguments) {
        var judge = new Judge(arguments[0], arguments[1]);
        boolean failed = false;
        for (String argument : Arrays.asList(arguments).subList(2, arguments.length)) {
            String feature = argument.split("=")[0];
            System.err.println("--- " + feature);
            try {
                judge.run(argument);
                System.out.println("PASS " + feature);
            } catch (Throwable fault) {
                failed = true;
                fault.printStackTrace();
                String line = fault.toString().replace('\n', ' ');
                System.out.println("FAIL " + feature + " " + line.substring(0, Math.min(900, line.length())));
            }
        }
        judge.admin.close();
        System.exit(failed ? 1 : 0);
    }
}
