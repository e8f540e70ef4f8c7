"""Sends commands to Waitline with confluent-kafka (pip install confluent-kafka), and says where each has gone.

    python send.py localhost:9092 [PREFIX] < commands.jsonl

Each line is one command: {"id": "1", "source": "my-pbx", "pool": "shop", "type": "route-contact", "data": {…}}. The
same id of the same source may be sent again, and has no second effect. Prints `POOL<tab>PARTITION` for each.
"""

import json
import sys

from confluent_kafka import KafkaError, Message, Producer

broker = sys.argv[1]
prefix = sys.argv[2] if len(sys.argv) > 2 else "waitline."

producer = Producer(
    {
        "bootstrap.servers": broker,
        # Everything of a pool is in one partition, found by its id in the way of Kafka's Java client. librdkafka's own
        # default is another one, and would put the pool where nobody decides it.
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
    }
)


def sent(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        sys.exit(f"not sent: {error}")
    print(f"{message.key().decode()}\t{message.partition()}")


for line in sys.stdin:
    pool = json.loads(line)["pool"]
    producer.produce(prefix + "commands", value=line.strip().encode(), key=pool.encode(), on_delivery=sent)
    producer.poll(0)
producer.flush()
