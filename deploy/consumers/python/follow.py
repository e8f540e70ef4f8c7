"""Follows what happens in Waitline, and how everybody stands, with confluent-kafka (pip install confluent-kafka).

    python follow.py localhost:9092 [PREFIX] [QUIET_S]

Prints a line of JSON for each event and for each newer status. It reads everything that is kept and goes on for ever;
with QUIET_S it ends when nothing has come for so many seconds. A program of your own would save what it has learnt, and
then call `consumer.commit()`: that is where Kafka lets it go on after a restart.
"""

import json
import sys
import uuid

from confluent_kafka import Consumer, KafkaException

broker = sys.argv[1]
prefix = sys.argv[2] if len(sys.argv) > 2 else "waitline."
quiet_s = float(sys.argv[3]) if len(sys.argv) > 3 else None

consumer = Consumer(
    {
        "bootstrap.servers": broker,
        "group.id": f"follow-{uuid.uuid4()}",  # yours has a fixed name: its members share the partitions
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([prefix + "events", prefix + "status"])

last_event: dict[int, tuple[int, ...]] = {}  # partition -> (position, ordinal) of the last event seen in it
newest: dict[str, tuple[int, ...]] = {}  # key -> the position that its status stands at


def numbers(event_id: str) -> tuple[int, ...]:
    """`partition/position/ordinal` as numbers. As text, 10 would come before 9."""
    return tuple(int(part) for part in event_id.split("/"))


def on_event(headers: dict[str, str], value: bytes) -> None:
    """A CloudEvent in binary mode: its attributes are headers, its data is the value."""
    partition, *place = numbers(headers["ce_id"])
    if tuple(place) <= last_event.get(partition, (-1,)):
        return  # events come in order, so this is a repeat: they are sent at least once
    last_event[partition] = tuple(place)
    print(json.dumps({"event": headers["ce_id"], "type": headers["ce_type"], "data": json.loads(value)}))


def on_status(key: str, value: bytes | None) -> None:
    """The newest value of a key is how this contact, agent or queue stands; no value takes it back."""
    if value is None:
        newest.pop(key, None)
        print(json.dumps({"status": key, "value": None}))
        return
    status = json.loads(value)
    position = numbers(status["position"])
    if position <= newest.get(key, (-1,)):
        return  # a repeat, or older than what we know
    newest[key] = position
    print(json.dumps({"status": key, "value": status}))


waited = 0.0
try:
    while quiet_s is None or waited < quiet_s:
        message = consumer.poll(0.5)
        if message is None:
            waited += 0.5
        elif message.error():
            raise KafkaException(message.error())
        elif message.topic() == prefix + "events":
            waited = 0.0
            on_event({name: text.decode() for name, text in message.headers()}, message.value())
        else:
            waited = 0.0
            on_status(message.key().decode(), message.value())
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
