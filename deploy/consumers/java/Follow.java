// Follows what happens in Waitline, and how everybody stands, with Kafka's own Java client.
//
//     waitline kafka fetch                      # or take kafka-clients and jackson-databind from Maven Central
//     java -cp 'JARS/*' Follow.java localhost:9092 [PREFIX] [QUIET_S]
//
// Prints a line of JSON for each event and for each newer status. It reads everything that is kept and goes on for
// ever; with QUIET_S it ends when nothing has come for so many seconds. A program of your own would save what it has
// learnt, and then call `consumer.commitSync()`: that is where Kafka lets it go on after a restart.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Follow {
  static final ObjectMapper JSON = new ObjectMapper();
  static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  /** Partition to {position, ordinal} of the last event seen in it. */
  static final Map<Long, long[]> lastEvent = new HashMap<>();

  /** Key to the position that its status stands at. */
  static final Map<String, long[]> newest = new HashMap<>();

  public static void main(String[] arguments) throws Exception {
    String broker = arguments[0];
    String prefix = arguments.length > 1 ? arguments[1] : "waitline.";
    long quietMs = arguments.length > 2 ? (long) (Double.parseDouble(arguments[2]) * 1000) : Long.MAX_VALUE;
    Map<String, Object> settings =
        Map.of(
            "bootstrap.servers", broker,
            "group.id", "follow-" + UUID.randomUUID(), // yours has a fixed name: its members share the partitions
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false);
    var text = new StringDeserializer();
    try (var consumer = new KafkaConsumer<String, String>(settings, text, text)) {
      consumer.subscribe(List.of(prefix + "events", prefix + "status"));
      long heard = System.currentTimeMillis();
      while (System.currentTimeMillis() - heard < quietMs) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
          heard = System.currentTimeMillis();
          if (record.topic().equals(prefix + "events")) onEvent(record);
          else onStatus(record.key(), record.value());
        }
      }
    }
  }

  /** A CloudEvent in binary mode: its attributes are headers, its data is the value. */
  static void onEvent(ConsumerRecord<String, String> record) throws Exception {
    String id = header(record, "ce_id");
    long[] numbers = numbers(id);
    long[] place = Arrays.copyOfRange(numbers, 1, 3);
    if (!isLater(place, lastEvent.get(numbers[0]))) return; // in order, so a repeat: they are sent at least once
    lastEvent.put(numbers[0], place);
    var line = JSON.createObjectNode().put("event", id).put("type", header(record, "ce_type"));
    OUT.println(line.set("data", JSON.readTree(record.value())));
  }

  /** The newest value of a key is how this contact, agent or queue stands; no value takes it back. */
  static void onStatus(String key, String value) throws Exception {
    var line = JSON.createObjectNode().put("status", key);
    if (value == null) {
      newest.remove(key);
      OUT.println(line.putNull("value"));
      return;
    }
    JsonNode status = JSON.readTree(value);
    long[] position = numbers(status.get("position").asText());
    if (!isLater(position, newest.get(key))) return; // a repeat, or older than what we know
    newest.put(key, position);
    OUT.println(line.set("value", status));
  }

  static String header(ConsumerRecord<String, String> record, String name) {
    return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
  }

  /** `partition/position/ordinal` as numbers. As text, 10 would come before 9. */
  static long[] numbers(String eventId) {
    return Arrays.stream(eventId.split("/")).mapToLong(Long::parseLong).toArray();
  }

  static boolean isLater(long[] place, long[] known) {
    return known == null || Arrays.compare(place, known) > 0;
  }
}
