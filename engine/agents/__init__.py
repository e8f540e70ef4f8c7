"""The Kafka host. Faust is imported in this folder only; broker.py, admin.py and connection.py do without it."""
