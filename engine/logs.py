"""How the hosts log: one JSON object a line in a pipe, readable lines on a terminal. Never a customer's data."""

import logging
import sys

import orjson
import structlog


def set_up_logs() -> None:
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
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
