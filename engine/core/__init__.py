"""The pure core: the same log gives the same bytes. No clock, no random, no I/O, no logging; standard library and
msgspec only."""
