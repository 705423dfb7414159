import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Reads lines `message version hex` and has Kafka's own classes decode the bytes and encode them again. Prints what
 * differs and fails, or says how many agreed. Run by the tests of crates/wire with Kafka's jars on the class path.
 */
public final class Recode {
    private static final String[] PLACES = {
        "org.apache.kafka.common.message.%sData",
        "org.apache.kafka.common.message.%s",
        "org.apache.kafka.common.metadata.%s",
        "org.apache.kafka.coordinator.group.generated.%s",
    };

    private static Message create(String name) throws ReflectiveOperationException {
        for (String place : PLACES) {
            try {
                return (Message) Class.forName(String.format(place, name)).getDeclaredConstructor().newInstance();
            } catch (ClassNotFoundException elsewhere) {
                continue;
            }
        }
        throw new ClassNotFoundException(name);
    }

    private static String recode(String name, short version, byte[] bytes) throws ReflectiveOperationException {
        Message message = create(name);
        ByteBuffer input = ByteBuffer.wrap(bytes);
        message.read(new ByteBufferAccessor(input), version);
        if (input.hasRemaining()) {
            return input.remaining() + " bytes left over";
        }
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer output = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(output), cache, version);
        return HexFormat.of().formatHex(output.array());
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        int agreed = 0;
        int differing = 0;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", -1);
            String outcome;
            try {
                outcome = recode(words[0], Short.parseShort(words[1]), HexFormat.of().parseHex(words[2]));
            } catch (RuntimeException refused) {
                outcome = refused.toString();
            }
            if (outcome.equals(words[2])) {
                agreed++;
            } else if (differing++ < 20) {
                System.out.println(words[0] + " " + words[1] + ":\n  sent " + words[2] + "\n  got  " + outcome);
            }
        }
        if (differing > 0) {
            System.out.println(differing + " messages differ");
            System.exit(1);
        }
        System.out.println(agreed + " messages agree");
    }
}
