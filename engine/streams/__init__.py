"""The log and what travels on it."""
