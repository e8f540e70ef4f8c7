"""Both catalogs say all there is to say, and the page asks for nothing that they lack."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from string import Formatter
from typing import get_args

import pytest
from msgspec.structs import replace

from engine.core import reasons
from engine.core.messages import ContactTurnedAway
from engine.core.rules import Queue, Rules
from engine.core.words import CHANNELS
from engine.streams.board import STATES, DecisionView, OfferOutcome
from engine.web.words import (
    LANGUAGES,
    STATUSES,
    Language,
    catalog,
    duration,
    language_of,
    refusal,
    say,
    sentence,
    told,
    turned_away,
)

STATIC = files("engine.web") / "static"
FAMILIES = {
    "refusal": reasons.REFUSALS,
    "offer": reasons.OFFERS,
    "queued": reasons.QUEUED,
    "revoke": reasons.REVOKES,
    "turned-away": reasons.TURNED_AWAY,
    "unlisted": reasons.UNLISTED,
    "action": reasons.ACTIONS,
    "lapse": reasons.LAPSES,
    "preference": reasons.PREFERENCE_LAPSES,
    "relaxed": reasons.RELAXED,
    "returned": reasons.RETURNED,
    "not-ready": reasons.NOT_READY,
    "wrap-up-end": reasons.WRAP_UP_ENDS,
    "state": frozenset(STATES),
    "status": STATUSES,
    "outcome": frozenset(get_args(OfferOutcome)),
    "channel": frozenset(CHANNELS),
    "channel.one": frozenset(CHANNELS),
    "channel.this": frozenset(CHANNELS),
    "page.connection": frozenset({"connecting", "live", "lost"}),
}
DECISION = DecisionView(
    id="0/12/1",
    at=0,
    contact_id="c1",
    agent_id="ann",
    agent_name="Ann",
    queue_id="sales",
    queue_name="Sales",
    channel="call",
    outcome="accepted",
    outcome_at=5000,
    outcome_reason="",
    reason=("longest-idle",),
    waited_ms=133_400,
    idle_ms=41_900,
    due_reason=("tier-now",),
    target_ms=60_000,
    head_start_ms=0,
)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


# ---- the catalogs


def test_both_catalogs_have_the_same_keys_and_placeholders():
    english, chinese = catalog("en"), catalog("zh-CN")
    assert list(english) == list(chinese)
    assert {key: placeholders(text) for key, text in english.items()} == {
        key: placeholders(text) for key, text in chinese.items()
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_stands_twice_in_a_catalog(language: Language):
    pairs: list[tuple[str, str]] = json.loads(
        (STATIC / "words" / f"{language}.json").read_text(encoding="utf-8"), object_pairs_hook=list
    )
    assert len(pairs) == len(catalog(language))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_code_has_words_in_both_languages(family: str):
    for language in LANGUAGES:
        assert {code for code in FAMILIES[family] if not catalog(language).get(f"{family}.{code}")} == set()


def test_every_reason_of_the_core_belongs_to_a_family_of_words():
    assert set().union(*FAMILIES.values()) >= reasons.REASONS


def test_english_says_neither_she_nor_he():
    assert not [text for text in catalog("en").values() if re.search(r"\b(s?he|hers?|him|his)\b", text, re.IGNORECASE)]


def test_chinese_is_chinese():
    plain = {key for key, text in catalog("zh-CN").items() if not re.search(r"[一-鿿]", text)}
    assert plain == {"sentence.join", "list.join", "formula.any", "none", "turned-away.way", "when"}


# ---- sentences


def test_a_decision_is_told_in_a_sentence():
    assert sentence(DECISION, "en") == "Offered to Ann: idle longest (41 s) of the agents who can serve this call."
    assert sentence(DECISION, "zh-CN") == "派给 Ann：在能服务这通来电的坐席中空闲最久（41 秒）。"


def test_among_those_who_wait_it_tells_why_this_one_was_due_first():
    decision = replace(DECISION, reason=("earliest-due",), due_reason=("tier-today", "vip"), target_ms=14_400_000)
    decision = replace(decision, head_start_ms=90_000, channel="chat")
    assert sentence(decision, "en") == (
        "Offered to Ann: this chat was due first of all that this agent can serve; it had waited 2 min 13 s. "
        "Tier “today”: due 4 h after it queued. As a VIP it was due 1 min 30 s earlier."
    )
    assert sentence(decision, "zh-CN") == (
        "派给 Ann：在该坐席能服务的等待者中，这次聊天应最先接起，已等待 2 分 13 秒。"
        "级别为“当天”：应在排队后 4 小时内接起。因是 VIP，应接时间提前 1 分 30 秒。"
    )


def test_it_tells_what_became_of_the_offer_where_it_came_to_nothing():
    def end(outcome: OfferOutcome, reason: str = "") -> str:
        whole = sentence(replace(DECISION, outcome=outcome, outcome_reason=reason), "en")
        return whole.removeprefix(sentence(DECISION, "en")).strip()

    assert end("offered") == end("accepted") == end("declined") == ""
    assert end("declined", "busy") == "Declined: busy."
    assert end("expired") == "No answer in time; Ann was set to not ready."
    assert end("revoked", "customer-left") == "Taken back because the customer left."


def test_who_declined_before_is_mentioned():
    decision = replace(DECISION, reason=("earliest-due", "after-decline"))
    assert sentence(decision, "en").endswith("Agents who had declined it or passed it on were left out.")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_combination_of_codes_makes_a_sentence_without_gaps(language: Language):
    for main in ("longest-idle", "earliest-due"):
        for further in ((), ("after-decline",)):
            for due in sorted(reasons.QUEUED):
                for outcome, why in [("expired", ""), *(("revoked", code) for code in sorted(reasons.REVOKES))]:
                    decision = replace(
                        DECISION, reason=(main, *further), due_reason=(due,), outcome=outcome, outcome_reason=why
                    )
                    whole = sentence(decision, language)
                    assert (
                        "{" not in whole and "  " not in whole and whole.endswith("。" if language == "zh-CN" else ".")
                    )


def test_a_code_of_a_later_version_is_shown_as_it_is():
    decision = replace(DECISION, reason=("same-agent",), outcome="revoked", outcome_reason="storm")
    assert sentence(decision, "en") == "Offered to Ann (same-agent). Taken back (storm)."
    assert refusal("no-mood", "c1", (), "zh-CN") == "已拒绝（no-mood）。"


def test_names_are_put_into_sentences_as_they_are():
    decision = replace(DECISION, agent_name="{idle} {0}", outcome="declined", outcome_reason="{agent}")
    assert sentence(decision, "en").startswith("Offered to {idle} {0}: idle longest (41 s)")
    assert sentence(decision, "en").endswith("Declined: {agent}.")


def test_told_adds_each_sentence_and_nothing_else():
    (decision,) = told([DECISION], "zh-CN")
    assert decision == replace(DECISION, sentence=sentence(DECISION, "zh-CN"))


def test_a_refusal_names_what_it_was_about_and_what_was_seen():
    assert refusal("unknown-queue", "c1", ("sales",), "en") == "There is no queue “sales”."
    assert refusal("not-waiting", "c1", ("talking",), "en").startswith("Contact “c1” is not waiting (talking)")
    assert refusal("not-waiting", "c1", ("talking",), "zh-CN").startswith("联系“c1”不在等待中（服务中）")
    assert refusal("channel-not-served", "c1", ("talking", "sms"), "zh-CN").endswith("（talking、sms）。"), (
        "an id stays"
    )


@pytest.mark.parametrize(
    ("ms", "english", "chinese"),
    [
        (-5, "0 s", "0 秒"),
        (999, "0 s", "0 秒"),
        (59_999, "59 s", "59 秒"),
        (60_000, "1 min", "1 分钟"),
        (133_000, "2 min 13 s", "2 分 13 秒"),
        (3_600_000, "1 h", "1 小时"),
        (3_720_500, "1 h 2 min", "1 小时 2 分"),
        (360_000_000, "100 h", "100 小时"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(ms: int, english: str, chinese: str):
    assert (duration(ms, "en"), duration(ms, "zh-CN")) == (english, chinese)


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh-CN", "zh-CN"),
        ("zh-Hans-SG", "zh-CN"),
        ("zh_CN", "zh-CN"),
        ("EN-gb", "en"),
        ("de", "en"),
        ("de, zh;q=0.8, en;q=0.5", "zh-CN"),
        ("en;q=0.4,zh-CN;q=0.9", "zh-CN"),
        ("zh;q=0, en", "en"),
        ("zh;q=x, en;q=0.1", "en"),
        ("zh;level=1, en;q=0.1", "en"),
    ],
)
def test_the_language_is_the_best_that_we_speak(wanted: str | None, language: str):
    assert language_of(wanted) == language


def test_an_unknown_key_is_a_fault_and_not_an_empty_text():
    with pytest.raises(KeyError):
        say("en", "no.such.key")


# ---- the page


class Page(HTMLParser):
    """Tags with their attributes, and the English text of each element that has a data-word."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._key = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._key = dict(attrs).get("data-word") or ""

    def handle_data(self, data: str) -> None:
        if self._key:
            self.texts[self._key] = data
            self._key = ""


def page() -> Page:
    parsed = Page()
    parsed.feed((STATIC / "index.html").read_text(encoding="utf-8"))
    return parsed


def scripts() -> str:
    return "".join((STATIC / name).read_text(encoding="utf-8") for name in ("page.js", "words.js", "stream.js"))


def asked_for() -> set[str]:
    """Keys that stand literally in the page or its scripts."""
    attributes = ("data-word", "data-word-title", "data-word-label")
    from_page = {attrs[name] for _, attrs in page().tags for name in attributes if name in attrs}
    literal = re.findall(r'"((?:page|tile|formula|queues|agents|decisions|duration|sentence)\.[a-z.-]+)"', scripts())
    return {key for key in from_page if key} | set(literal)


def test_the_page_asks_for_no_word_that_the_catalogs_lack():
    assert len(asked_for()) > 50
    assert asked_for() - set(catalog("en")) == {"agents.counts"}, "which is the name of a number"


def test_every_word_made_for_the_page_is_used_there():
    made = {
        key
        for key in catalog("en")
        if key.startswith(("page.", "tile.", "formula.", "queues.", "agents.", "decisions."))
    }
    chosen_by_code = {f"page.connection.{state}" for state in FAMILIES["page.connection"]}
    assert made - asked_for() - chosen_by_code == set()


def test_the_texts_that_stand_in_the_page_are_those_of_the_english_catalog():
    assert page().texts == {key: catalog("en")[key] for key in page().texts}


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_code():
    parts = {
        name: (STATIC / name).read_text(encoding="utf-8")
        for name in ("index.html", "page.js", "words.js", "stream.js", "style.css")
    }
    for name, text in parts.items():
        assert set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+", text)) <= {"http://www.w3.org"}, name
    for tag, attrs in page().tags:
        assert "style" not in attrs and not any(name.startswith("on") for name in attrs), tag
        assert tag != "script" or attrs.get("src", "").startswith("/static/")  # type: ignore[union-attr]
        for name in ("src", "href"):
            assert (attrs.get(name) or "/").startswith(("/", "#")), attrs


def test_every_icon_that_a_code_asks_for_is_in_the_page():
    drawn = {attrs["id"] for tag, attrs in page().tags if tag == "symbol"}
    assert {f"i-{code}" for code in (*STATES, *CHANNELS, *get_args(OfferOutcome))} <= drawn


# ---- who is turned away

CLINIC = Rules("clinic", (Queue("desk", "Front desk"), Queue("lab", "Laboratory")), time_zone="Asia/Shanghai")
AWAY = ContactTurnedAway("c1", "call", "desk", "pbx", "closed", "message", 1_795_654_800_000, ("lab/chat",))


def test_who_comes_while_it_is_closed_is_told_when_it_opens_and_what_is_open_instead():
    assert turned_away(AWAY, CLINIC, "en") == (
        "Front desk is closed now (call). It opens on Thursday, 2026-11-26, at 09:00. "
        "Open now: Laboratory by chat. Please try again then."
    )
    assert turned_away(AWAY, CLINIC, "zh-CN") == (
        "Front desk现在已关闭（来电）。开放时间：2026-11-26（星期四）09:00。现在可用：Laboratory（聊天）。请届时再试。"
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("action", sorted(reasons.ACTIONS))
@pytest.mark.parametrize("reason", sorted(reasons.TURNED_AWAY))
def test_whoever_is_turned_away_is_told_what_to_do_next(reason: str, action: str, language: Language):
    for opens_at in (0, AWAY.opens_at):
        event = replace(AWAY, reason=reason, action=action, opens_at=opens_at, alternatives=())
        last = action if action != "message" or opens_at else "message-now"
        if last == "message-now" and reason == "blocked":
            last = "message-blocked"
        whole = turned_away(event, CLINIC, language)
        assert whole.endswith(say(language, f"action.{last}")) and "{" not in whole
        assert turned_away(event, None, language)  # a pool that is known no more


def test_who_comes_too_often_is_told_from_when_on_they_are_welcome_again():
    event = ContactTurnedAway("c1", "call", "desk", "pbx", "too-often", "message", welcome_at=1_795_654_800_000)
    assert turned_away(event, CLINIC, "en") == (
        "You have reached us as often as we can take for now. You are welcome again on Thursday, 2026-11-26, at 09:00. "
        "Please try again then."
    )
    assert turned_away(event, CLINIC, "zh-CN") == (
        "您近期的联络次数已达上限。2026-11-26（星期四）09:00 之后欢迎再次联系。请届时再试。"
    )
