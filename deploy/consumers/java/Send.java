// Sends commands to Waitline with Kafka's own Java client, and says where each has gone.
//
//     waitline kafka fetch                      # or take kafka-clients and jackson-databind from Maven Central
//     java -cp 'JARS/*' Send.java localhost:9092 [PREFIX] < commands.jsonl
//
// Each line is one command: {"id": "1", "source": "my-pbx", "pool": "shop", "type": "route-contact", "data": {…}}. The
// same id of the same source may be sent again, and has no second effect. Prints `POOL<tab>PARTITION` for each.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Send {
  public static void main(String[] arguments) throws Exception {
    String prefix = arguments.length > 1 ? arguments[1] : "waitline.";
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var json = new ObjectMapper();
    var text = new StringSerializer();
    // Everything of a pool is in one partition, found by its id: what this client does by itself with a record's key.
    Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0]);
    try (var producer = new KafkaProducer<String, String>(settings, text, text)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        String pool = json.readTree(line).get("pool").asText();
        var sent = producer.send(new ProducerRecord<>(prefix + "commands", pool, line)).get();
        out.println(pool + "\t" + sent.partition());
      }
    }
  }
}
