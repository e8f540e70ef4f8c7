"""How the cluster is reached: one struct, from options and a TOML file, that every client is made with.

The password stands in neither: it comes from WAITLINE_KAFKA_PASSWORD, or from a file that the TOML names.
"""

import os
import ssl
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

PASSWORD = "WAITLINE_KAFKA_PASSWORD"


class ConnectionProblem(Exception):
    """What is wrong in the settings, in a sentence for a person."""


Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512"]


class _File(Struct, forbid_unknown_fields=True):
    """The TOML file, key by key."""

    brokers: str = ""
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


_KEYS = (
    f"The keys are: {', '.join(_File.__struct_fields__)}. `protocol` is one of {', '.join(get_args(Protocol))}, "
    f"`mechanism` one of {', '.join(get_args(Mechanism))}. The password itself stands in {PASSWORD} or in a file."
)


class Connection(Struct, frozen=True):
    """brokers: host:port, several separated by commas. username, password: for SASL_*. ca_file: PEM of those who may
    have signed the brokers' certificates (the system's where empty); cert_file, key_file: PEM, where the brokers want
    to see a certificate of ours."""

    brokers: str
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    username: str = ""
    password: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.brokers!r}, {self.protocol}, username={self.username!r})"  # never the password

    def tls(self) -> ssl.SSLContext | None:
        """None: without TLS. ConnectionProblem: a file that cannot be used."""
        if "SSL" not in self.protocol:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)  # checks the brokers' names too
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise ConnectionProblem(f"TLS cannot be set up with {files}: {error}") from None
        return context

    def for_client(self) -> dict[str, Any]:
        """Keyword arguments of every aiokafka client."""
        said: dict[str, Any] = {
            "bootstrap_servers": self.brokers.split(","),
            "security_protocol": self.protocol,
            "ssl_context": self.tls(),
        }
        if self.protocol.startswith("SASL"):
            said |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return said

    def for_faust(self) -> dict[str, Any]:
        """Keyword arguments of a Faust app."""
        import faust  # only a worker pays for it

        credentials: faust.auth.Credentials | None = None
        if self.protocol.startswith("SASL"):
            credentials = faust.SASLCredentials(
                mechanism=self.mechanism, username=self.username, password=self.password, ssl_context=self.tls()
            )
        elif self.protocol == "SSL":
            credentials = faust.SSLCredentials(self.tls())
        return {
            "broker": [f"kafka://{broker}" for broker in self.brokers.split(",")],
            "broker_credentials": credentials,
        }


def read_connection(brokers: str = "", file: Path | None = None) -> Connection:
    """From --broker and --kafka-config; what the first says counts. Paths in the file are relative to it.
    ConnectionProblem: what is missing or wrong."""
    said = _File()
    if file is not None:
        try:
            said = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
        except OSError as error:
            raise ConnectionProblem(f"{file} cannot be read: {error.strerror}.") from None
        except (ValueError, msgspec.ValidationError) as error:  # no UTF-8, no TOML, no such key
            raise ConnectionProblem(f"{file}: {error}. {_KEYS}") from None
    folder = file.parent if file else Path()
    brokers = brokers or said.brokers
    if not brokers:
        raise ConnectionProblem("Where is Kafka? Give --broker HOST:PORT, or --kafka-config FILE with `brokers` in it.")
    for broker in brokers.split(","):
        host, colon, port = broker.rpartition(":")
        if not (colon and host and port.isdecimal()):
            raise ConnectionProblem(f"{broker!r} is no broker's address: write HOST:PORT, several with commas between.")
    password = ""
    if said.protocol.startswith("SASL"):
        password = _password(folder / said.password_file if said.password_file else None)
        if not said.username or not password:
            raise ConnectionProblem(
                f"{said.protocol} needs a user and a password: `username` in {file}, and {PASSWORD} or `password_file`."
            )
    connection = Connection(
        brokers,
        said.protocol,
        said.mechanism,
        said.username,
        password,
        *(str(folder / name) if name else "" for name in (said.ca_file, said.cert_file, said.key_file)),
    )
    connection.tls()  # what is wrong with certificates is said now, not when a client is made
    return connection


def _password(file: Path | None) -> str:
    if password := os.environ.get(PASSWORD):
        return password
    try:
        return file.read_text("utf-8").rstrip("\r\n") if file else ""
    except OSError as error:
        raise ConnectionProblem(f"The password's file {file} cannot be read: {error.strerror}.") from None
