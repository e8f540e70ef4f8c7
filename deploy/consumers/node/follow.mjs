// Follows what happens in Waitline, and how everybody stands, with kafkajs (npm install kafkajs).
//
//     node follow.mjs localhost:9092 [PREFIX] [QUIET_S]
//
// Prints a line of JSON for each event and for each newer status. It reads everything that is kept and goes on for
// ever; with QUIET_S it ends when nothing has come for so many seconds. A program of your own would save what it has
// learnt, and then commit its offsets: that is where Kafka lets it go on after a restart.
import { randomUUID } from "node:crypto";
import { Kafka, logLevel } from "kafkajs";

const [broker, prefix = "waitline.", quiet_s] = process.argv.slice(2);
const kafka = new Kafka({ clientId: "follow", brokers: [broker], logLevel: logLevel.ERROR });
// Yours has a fixed groupId: its members share the partitions.
const consumer = kafka.consumer({ groupId: `follow-${randomUUID()}` });

const lastEvent = new Map(); // partition -> [position, ordinal] of the last event seen in it
const newest = new Map(); // key -> the position that its status stands at
const say = (line) => console.log(JSON.stringify(line));

// `partition/position/ordinal` as numbers. As text, 10 would come before 9.
const numbers = (eventId) => eventId.split("/").map(Number);

function isLater(place, known) {
  if (known === undefined) return true;
  const i = place.findIndex((number, at) => number !== known[at]);
  return i >= 0 && place[i] > known[i];
}

// A CloudEvent in binary mode: its attributes are headers, its data is the value.
function onEvent(headers, value) {
  const id = headers.ce_id.toString();
  const [partition, ...place] = numbers(id);
  if (!isLater(place, lastEvent.get(partition))) return; // in order, so a repeat: they are sent at least once
  lastEvent.set(partition, place);
  say({ event: id, type: headers.ce_type.toString(), data: JSON.parse(value) });
}

// The newest value of a key is how this contact, agent or queue stands; no value takes it back.
function onStatus(key, value) {
  if (value === null) {
    newest.delete(key);
    return say({ status: key, value: null });
  }
  const status = JSON.parse(value);
  const position = numbers(status.position);
  if (!isLater(position, newest.get(key))) return; // a repeat, or older than what we know
  newest.set(key, position);
  say({ status: key, value: status });
}

let heard = Date.now();
await consumer.connect();
await consumer.subscribe({ topics: [`${prefix}events`, `${prefix}status`], fromBeginning: true });
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ topic, message }) => {
    heard = Date.now();
    if (topic === `${prefix}events`) onEvent(message.headers, message.value.toString());
    else onStatus(message.key.toString(), message.value === null ? null : message.value.toString());
  },
});
if (quiet_s) {
  while (Date.now() - heard < Number(quiet_s) * 1000) await new Promise((later) => setTimeout(later, 200));
  await consumer.disconnect();
}
