"""What other teams need to talk to Waitline: a JSON Schema and an example of every message, and the glossary."""
