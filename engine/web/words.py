"""From codes to sentences, in zh-CN and en. One catalog for the API and the page, which reads the same files.

A catalog is a flat JSON object: key -> text with `{placeholders}`. Keys end in the code they are for, such as
`refusal.unknown-queue`, so that a new code in the core needs a line in each catalog and nothing here.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from msgspec.structs import replace

from engine.core.messages import ContactTurnedAway
from engine.core.rules import Rules
from engine.streams.board import DecisionView, zone_of

Language = Literal["en", "zh-CN"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
STATUSES = frozenset({"waiting", "offered", "talking", "wrap-up"})
SEES_STATUS = frozenset(  # refusals that saw in which state the contact is; others saw ids, which nobody translates
    {"contact-id-open", "no-wrap-up", "not-talking", "not-waiting", "not-with-agent", "offer-gone"}
)


@cache
def catalog(language: Language) -> dict[str, str]:
    """All texts of a language by key."""
    text = (files("engine.web") / "static" / "words" / f"{language}.json").read_text(encoding="utf-8")
    words: dict[str, str] = json.loads(text)
    return words


def say(language: Language, key: str, **values: str | int) -> str:
    """The text of that key. KeyError: no such key, or a value missing."""
    return catalog(language)[key].format_map(values)


def language_of(wanted: str | None) -> Language:
    """The language that fits best what was asked, be it a tag (`zh-Hans-CN`) or an Accept-Language header; else en."""
    offered = []
    for order, part in enumerate((wanted or "").split(",")):
        tag, _, quality = part.partition(";")
        offered.append((-weight(quality), order, tag.strip().lower()))
    for negative, _, tag in sorted(offered):
        if negative == 0:
            continue
        main = tag.split("-")[0].split("_")[0]
        if main in ("zh", "en"):
            return "zh-CN" if main == "zh" else "en"
    return "en"


def weight(quality: str) -> float:
    """The q of an Accept-Language part; 1 where it says none, 0 where it says nonsense."""
    name, _, value = quality.replace(" ", "").partition("=")
    try:
        return 1.0 if not name else float(value) if name == "q" else 0.0
    except ValueError:
        return 0.0


def duration(ms: int, language: Language) -> str:
    """A length of time in whole seconds, in its two largest units."""
    seconds = max(0, ms) // 1000
    if seconds < 60:
        return say(language, "duration.s", s=seconds)
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return say(language, "duration.min-s" if seconds else "duration.min", m=minutes, s=seconds)
    hours, minutes = divmod(minutes, 60)
    return say(language, "duration.h-min" if minutes else "duration.h", h=hours, m=minutes)


def coded(language: Language, family: str, code: str, **values: str) -> str:
    """The text of a code; of one unknown to this version, the text of its family, which shows the code."""
    words = catalog(language)
    return words.get(f"{family}.{code}", words[f"{family}.other"]).format_map(values | {"code": code})


def sentence(decision: DecisionView, language: Language) -> str:
    """Why this agent was offered this contact, and why the offer came to nothing where it did."""
    main, *further = decision.reason
    values = {
        "agent": decision.agent_name,
        "this": say(language, f"channel.this.{decision.channel}"),
        "waited": duration(decision.waited_ms, language),
        "idle": duration(decision.idle_ms, language),
        "target": duration(decision.target_ms, language),
        "ahead": duration(decision.head_start_ms, language),
    }
    parts = [coded(language, "offer", main, **values)]
    if main in (
        "earliest-due",
        "room-released",
    ):  # only then did others wait, and only then does the order among them tell anything
        telling = [
            code for code in decision.due_reason if code != "tier-now"
        ]  # which everybody has who asks for no other
        parts += [coded(language, "queued", code, **values) for code in telling]
    parts += [coded(language, "offer", code, **values) for code in further]
    if decision.outcome == "expired":
        parts.append(say(language, "outcome.expired.sentence", agent=decision.agent_name))
    elif decision.outcome == "declined" and decision.outcome_reason:
        parts.append(say(language, "outcome.declined.sentence", reason=decision.outcome_reason))
    elif decision.outcome == "revoked":
        parts.append(coded(language, "revoke", decision.outcome_reason))
    return say(language, "sentence.join").join(parts)


def told(decisions: Iterable[DecisionView], language: Language) -> list[DecisionView]:
    """The same decisions, each with its sentence."""
    return [replace(decision, sentence=sentence(decision, language)) for decision in decisions]


def refusal(reason: str, subject: str, seen: Iterable[str], language: Language) -> str:
    """Why a command was refused, as a sentence; `subject` and `seen` as the event CommandRefused has them."""
    shown = (say(language, f"status.{code}") if reason in SEES_STATUS and code in STATUSES else code for code in seen)
    return coded(language, "refusal", reason, subject=subject, seen=say(language, "list.join").join(shown))


def turned_away(event: ContactTurnedAway, rules: Rules | None, language: Language) -> str:
    """Why the customer was not let in, or was let go, and what to do next. rules: for names and the time of day."""
    names = {queue.id: queue.name or queue.id for queue in rules.queues} if rules else {}
    queue = names.get(event.queue_id, event.queue_id)
    channel, this = say(language, f"channel.one.{event.channel}"), say(language, f"channel.this.{event.channel}")
    parts = [coded(language, "turned-away", event.reason, queue=queue, channel=channel, this=this)]
    if event.opens_at:
        when = moment(event.opens_at, rules.time_zone if rules else "UTC", language)
        parts.append(say(language, "turned-away.opens", when=when))
    if event.welcome_at:
        when = moment(event.welcome_at, rules.time_zone if rules else "UTC", language)
        parts.append(say(language, "turned-away.welcome", when=when))
    then = bool(event.opens_at or event.welcome_at)
    return say(language, "sentence.join").join([*parts, *next_steps(event, names, then, language)])


def next_steps(event: ContactTurnedAway, names: dict[str, str], then: bool, language: Language) -> list[str]:
    """then: whether a time has been named at which to try again."""
    steps = []
    if event.alternatives:
        ways = []
        for each in event.alternatives:
            queue_id, _, channel = each.rpartition("/")
            one = say(language, f"channel.one.{channel}")
            ways.append(say(language, "turned-away.way", queue=names.get(queue_id, queue_id), channel=one))
        steps.append(say(language, "turned-away.elsewhere", ways=say(language, "list.join").join(ways)))
    action = event.action
    if action == "message" and not then:
        action = "message-blocked" if event.reason == "blocked" else "message-now"
    return [*steps, coded(language, "action", action)]


def moment(at: int, time_zone: str, language: Language) -> str:
    """A date and a time of day there, to the minute."""
    there = datetime.fromtimestamp(at / 1000, zone_of(time_zone))
    day = say(language, f"weekday.{there.weekday()}")
    return say(language, "when", day=day, date=f"{there:%Y-%m-%d}", time=f"{there:%H:%M}")
