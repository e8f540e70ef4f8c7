"""Who may do what on the cluster: four roles, each with no more rights than its work needs."""

import shlex
from typing import Literal, get_args

from msgspec import Struct

from engine.streams.topics import COMMANDS, EVENTS, STATUS, TOPICS, Shape

Role = Literal["adapter", "engine", "reader", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)


class Grant(Struct, frozen=True):
    """One grant in Kafka's words. names: as they are, or what they begin with where prefixed."""

    principal: str
    resource: Literal["topic", "group"]
    names: list[str]
    prefixed: bool
    operations: list[str]

    def command(self, broker: str) -> str:
        """For Kafka's own kafka-acls.sh; admin.properties says how an administrator connects."""
        return shlex.join(
            ["kafka-acls.sh", "--bootstrap-server", broker, "--command-config", "admin.properties", "--add"]
            + ["--allow-principal", self.principal]
            + [word for operation in self.operations for word in ("--operation", operation)]
            + [word for name in self.names for word in (f"--{self.resource}", name)]
            + ["--resource-pattern-type", "prefixed" if self.prefixed else "literal"]
        )


def grants(role: Role, principal: str, prefix: str, group: str) -> list[Grant]:
    """principal: `User:` and the user's name, or the subject of their certificate. group: what a reader's groups begin
    with. ValueError: it would let a reader into the engine's own groups, and so take partitions from its workers."""
    named = Shape(prefix).named
    all_topics = [named(topic) for topic in TOPICS]
    if role == "adapter":
        return [Grant(principal, "topic", [named(COMMANDS)], False, ["Describe", "Write"])]
    if role == "engine":
        rights = ["Create", "Describe", "DescribeConfigs", "Read", "Write"]  # Faust makes its tables' topics itself
        return [
            Grant(principal, "topic", [prefix], True, rights),
            Grant(principal, "group", [prefix], True, ["Describe", "Read"]),
        ]
    if role == "reader":
        if prefix.startswith(group) or group.startswith(prefix):
            raise ValueError(
                f"Groups that begin with {group!r} are the engine's too, whose begin with {prefix!r}: a reader could "
                "take partitions from its workers. Choose another beginning with --group."
            )
        return [
            Grant(principal, "topic", [named(EVENTS), named(STATUS)], False, ["Describe", "Read"]),
            Grant(principal, "group", [group], True, ["Describe", "Read"]),
        ]
    return [
        Grant(principal, "topic", all_topics, False, ["Describe", "DescribeConfigs", "Read"]),
        Grant(principal, "group", [prefix], True, ["Describe"]),
    ]
