// Writes the golden batches beside this file with Kafka's own classes (kafka-clients 4.3.1 and its codecs on the class path):
//   javac -cp 'lib/*' GoldenBatches.java && java -cp 'lib/*:.' GoldenBatches .
// With a second argument it instead reads a file of batches and prints what Kafka's consumer would see.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.message.LeaderChangeMessage.Voter;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.utils.BufferSupplier;

public class GoldenBatches {
    static final long T = 1_700_000_000_000L;
    static Path dir;

    public static void main(String[] arguments) throws Exception {
        dir = Path.of(arguments[0]);
        if (arguments.length > 1) {
            print(MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(Path.of(arguments[1])))));
            return;
        }
        for (CompressionType type : CompressionType.values())
            write("java_" + type.name, plain(Compression.of(type).build()));
        write("java_idempotent", MemoryRecords.withIdempotentRecords(RecordBatch.MAGIC_VALUE_V2, 7, Compression.NONE, 4000L, (short) 3,
            2147483646, 9, records()));
        write("java_transactional", MemoryRecords.withTransactionalRecords(RecordBatch.MAGIC_VALUE_V2, 7, Compression.NONE, 4000L, (short) 3,
            12, 9, records()));
        write("java_commit", MemoryRecords.withEndTransactionMarker(31, T, 9, 4000L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 5)));
        write("java_abort", MemoryRecords.withEndTransactionMarker(31, T, 9, 4000L, (short) 3,
            new EndTransactionMarker(ControlRecordType.ABORT, 5)));
        write("java_leader_change", MemoryRecords.withLeaderChangeMessage(40, T, 9, ByteBuffer.allocate(256),
            new LeaderChangeMessage().setVersion((short) 0).setLeaderId(1)
                .setVoters(List.of(new Voter().setVoterId(1), new Voter().setVoterId(2)))
                .setGrantingVoters(List.of(new Voter().setVoterId(1)))));
        MemoryRecords keyed = MemoryRecords.withIdempotentRecords(RecordBatch.MAGIC_VALUE_V2, 100, Compression.NONE, 4000L, (short) 3, 12, 9,
            keyed("a", "1", 0), keyed("b", null, 5), keyed("c", "3", 9), keyed("d", "4", 2));
        write("java_filter_input", keyed);
        write("java_filter_drops_a_and_d", filter(keyed, "bc", MemoryRecords.RecordFilter.BatchRetention.DELETE_EMPTY));
        write("java_filter_drops_tombstone", filter(keyed, "ac", MemoryRecords.RecordFilter.BatchRetention.DELETE_EMPTY));
        write("java_filter_keeps_header", filter(keyed, "", MemoryRecords.RecordFilter.BatchRetention.RETAIN_EMPTY));
    }

    static SimpleRecord keyed(String key, String value, long later) {
        return new SimpleRecord(T + later, bytes(key), value == null ? null : bytes(value));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static SimpleRecord[] records() {
        byte[] repeated = new byte[300];
        java.util.Arrays.fill(repeated, (byte) 'x');
        return new SimpleRecord[] {
            new SimpleRecord(T, bytes("key"), bytes("value")),
            new SimpleRecord(T + 1500, null, repeated),
            new SimpleRecord(T - 70, bytes("gone"), null),
            new SimpleRecord(T, bytes(""), bytes(""),
                new Header[] {new RecordHeader("trace", bytes("abc")), new RecordHeader("empty", bytes("")), new RecordHeader("null", null)}),
        };
    }

    static MemoryRecords plain(Compression compression) {
        return MemoryRecords.withRecords(7, compression, 9, records());
    }

    static MemoryRecords filter(MemoryRecords records, String keys, MemoryRecords.RecordFilter.BatchRetention retention) {
        ByteBuffer out = ByteBuffer.allocate(1024);
        MemoryRecords.RecordFilter filter = new MemoryRecords.RecordFilter(T + 1000, 500) {
            protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
                return new BatchRetentionResult(retention, false);
            }
            protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
                return keys.contains(StandardCharsets.UTF_8.decode(record.key()));
            }
        };
        records.filterTo(filter, out, BufferSupplier.NO_CACHING);
        out.flip();
        return MemoryRecords.readableRecords(out);
    }

    static void write(String name, MemoryRecords records) throws Exception {
        ByteBuffer buffer = records.buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        Files.write(dir.resolve(name + ".bin"), bytes);
    }

    static String text(ByteBuffer buffer) {
        return buffer == null ? "null" : buffer.remaining() > 40 ? buffer.remaining() + " bytes" : StandardCharsets.UTF_8.decode(buffer).toString();
    }

    static void print(MemoryRecords all) {
        for (MutableRecordBatch batch : all.batches()) {
            batch.ensureValid();
            System.out.println(batch + " control=" + batch.isControlBatch() + " horizon=" + batch.deleteHorizonMs());
            for (Record record : batch) {
                StringBuilder headers = new StringBuilder();
                for (Header header : record.headers())
                    headers.append(' ').append(header.key()).append('=').append(header.value() == null ? "null" : new String(header.value()));
                System.out.println("  " + record.offset() + " @" + record.timestamp() + " seq " + record.sequence() + " " + text(record.key())
                    + " -> " + text(record.value()) + headers);
            }
        }
    }
}
