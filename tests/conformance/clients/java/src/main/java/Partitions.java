import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Where the Java client puts each of 10,000 keys: a digit in base 36 each, a hundred a line. */
public final class Partitions {
    private static final int COUNT = 10_000;

    /** The same bytes as in partitions.py and client::partitioner's test. */
    private static byte[] key(int index) {
        int state = (int) (index * 2654435761L);
        byte[] made = new byte[1 + index % 41];
        for (int at = 0; at < made.length; at++) {
            state = state * 1664525 + 1013904223;
            made[at] = (byte) (state >>> 24);
        }
        return made;
    }

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "linger.ms", 50);
        List<Future<RecordMetadata>> fates = new ArrayList<>(COUNT);
        StringBuilder digits = new StringBuilder(COUNT);
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes)) {
            for (int index = 0; index < COUNT; index++) {
                fates.add(producer.send(new ProducerRecord<>(topic, key(index), new byte[0])));
            }
            for (Future<RecordMetadata> fate : fates) {
                digits.append(Character.forDigit(fate.get(60, TimeUnit.SECONDS).partition(), 36));
            }
        }
        for (int at = 0; at < COUNT; at += 100) {
            System.out.println(digits.substring(at, at + 100));
        }
    }
}
