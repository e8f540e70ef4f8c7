"""What libraries say through the standard logging, as hosts let it through."""

import logging

from engine.logs import SELDOM_S, Seldom


def test_the_same_thing_is_said_once_in_ten_seconds_and_everything_else_at_once():
    seldom, said = Seldom(), []

    def say(at, name, text, *arguments):
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, arguments, None)
        record.created = at
        if seldom.filter(record):
            said.append((at, name, record.getMessage()))

    for moment in range(1000):
        say(100 + moment / 100, "client", "no way to %s", moment)
    say(105.0, "client", "no way to anybody")
    say(105.0, "other", "no way to %s", 1)
    say(100 + SELDOM_S, "client", "no way to %s", "him")
    assert said == [
        (100.0, "client", "no way to 0"),
        (105.0, "client", "no way to anybody"),
        (105.0, "other", "no way to 1"),
        (110.0, "client", "no way to him"),
    ]
