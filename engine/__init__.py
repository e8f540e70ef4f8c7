"""Waitline: an event-sourced contact-routing engine that is honest about the wait."""

__version__ = "0.2.0"
