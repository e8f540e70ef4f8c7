// Sends commands to Waitline with kafkajs (npm install kafkajs), and says where each has gone.
//
//     node send.mjs localhost:9092 [PREFIX] < commands.jsonl
//
// Each line is one command: {"id": "1", "source": "my-pbx", "pool": "shop", "type": "route-contact", "data": {…}}. The
// same id of the same source may be sent again, and has no second effect. Prints `POOL<tab>PARTITION` for each.
import { createInterface } from "node:readline";
import { Kafka, logLevel, Partitioners } from "kafkajs";

const [broker, prefix = "waitline."] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "send", brokers: [broker], logLevel: logLevel.ERROR });
// Everything of a pool is in one partition, found by its id in the way of Kafka's Java client: kafkajs's default since
// its version 2, but not before.
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true });

await producer.connect();
for await (const line of createInterface({ input: process.stdin })) {
  const { pool } = JSON.parse(line);
  const [sent] = await producer.send({ topic: `${prefix}commands`, acks: -1, messages: [{ key: pool, value: line }] });
  console.log(`${pool}\t${sent.partition}`);
}
await producer.disconnect();
