"""How the hosts log: one JSON object a line in a pipe, readable lines on a terminal. Never a customer's data."""

import logging
import sys

import orjson
import structlog

SELDOM_S = 10.0
KEPT = 1_000


class Seldom(logging.Filter):
    """Of what libraries say, the same thing once in ten seconds: a client tries a broker that is away a hundred times a
    second, and says so each time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        what = record.name, record.msg  # before its arguments are put in
        let_through = record.created - self._said.get(what, 0.0) >= SELDOM_S
        if let_through:
            if len(self._said) >= KEPT:
                self._said.clear()
            self._said[what] = record.created
        return let_through


def set_up_logs() -> None:
    libraries = logging.StreamHandler()
    libraries.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    libraries.addFilter(Seldom())
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])
    terminal = sys.stderr.isatty()
    render = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # rich's would show rows
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line at once, whichever thread writes others
    )


def _dumps(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
