"""The few types that messages and rules share."""

from typing import Annotated, Literal

from msgspec import Meta

Channel = Literal["call", "chat", "sms"]
Tier = Literal["now", "today", "follow-up"]
CustomerClass = Literal["unknown", "prospect", "known", "vip"]
CHANNELS: tuple[Channel, ...] = ("call", "chat", "sms")
TIERS: tuple[Tier, ...] = ("now", "today", "follow-up")
CLASSES: tuple[CustomerClass, ...] = ("unknown", "prospect", "known", "vip")

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Key = Annotated[str, Meta(max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
Level = Annotated[int, Meta(ge=1, le=100)]
Skills = Annotated[dict[Id, Level], Meta(max_length=64)]
