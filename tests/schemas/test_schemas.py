"""What other teams are given: schemas that say what the engine takes, real examples, a glossary without gaps."""

import inspect
import json
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from engine.core import messages as m
from engine.core import reasons, rules
from engine.streams.codec import BadCommand, read_command
from engine.streams.journal import Reader, write_turn
from engine.streams.log import Record
from engine.streams.partition import Partition
from schemas import generate
from tests.streams.strategies import TEXTS, cleaned, message

SCHEMAS = Path(generate.__file__).parent
EXAMPLES = SCHEMAS / "examples"


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def validator(*path):
    return Draft202012Validator(load(SCHEMAS.joinpath(*path).with_suffix(".json")))


VALIDATORS = {
    (folder, name): validator(folder, name)
    for folder, kinds in (("commands", m.COMMANDS), ("events", m.EVENTS))
    for name in kinds
}
JOURNAL = {name: validator("journal", name) for name in ("marker", "turn")}


def of(*parts):
    return sorted(EXAMPLES.joinpath(*parts).glob("*.json"))


# ---- what is generated is there and up to date


def test_everything_generated_is_up_to_date():
    assert generate.differences() == []
    assert CliRunner().invoke(generate.main, ["--check"]).exit_code == 0


def test_what_is_out_of_date_missing_or_left_over_is_named(monkeypatch):
    already = generate.differences()
    made = generate.files()
    gone = next(iter(made))
    changed = made | {gone: "something else"}
    del changed[SCHEMAS / "commands" / "tick.json"]
    changed[SCHEMAS / "commands" / "tock.json"] = "{}"
    monkeypatch.setattr(generate, "files", lambda: changed)
    told = [sentence for sentence in generate.differences() if sentence not in already]
    assert [sentence.split("/")[-1] for sentence in told] == [
        "tock.json is missing",
        f"{gone.name} is out of date",
        "tick.json is made by nothing",
    ]
    assert CliRunner().invoke(generate.main, ["--check"]).exit_code == 1


def test_what_is_generated_is_the_same_each_time():
    assert generate.files() == generate.files()


def test_every_message_has_a_schema_and_an_example():
    for folder, kinds in (("commands", m.COMMANDS), ("events", m.EVENTS)):
        assert {path.stem for path in (SCHEMAS / folder).glob("*.json")} == set(kinds)
        assert {path.stem for path in of(folder)} == set(kinds)
    assert {path.stem for path in of("journal")} == set(JOURNAL)


@pytest.mark.parametrize("check", [*VALIDATORS.values(), *JOURNAL.values()], ids=lambda check: check.schema["$id"])
def test_every_schema_is_a_schema_in_which_every_field_has_its_sentence(check):
    Draft202012Validator.check_schema(check.schema)
    assert check.schema["$schema"] == generate.DIALECT
    structs = [check.schema, *check.schema.get("$defs", {}).values()]
    for struct in structs:
        assert struct["description"]
        for field, schema in struct["properties"].items():
            assert "$ref" in schema or schema.get("description"), field


# ---- examples


@pytest.mark.parametrize("path", of("commands") + of("cloudevents"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_of_a_command_is_taken(path):
    envelope, command = read_command(path.read_bytes())
    assert envelope.type == m.TYPE_OF[type(command)] == path.stem
    if path.parent.name == "commands":
        VALIDATORS["commands", path.stem].validate(load(path))
    else:
        event = JSONFormat().read(None, path.read_bytes())
        assert event.get_id() == envelope.id and event.get_type() == f"waitline.{envelope.type}"


@pytest.mark.parametrize("path", of("events"), ids=lambda path: path.stem)
def test_every_example_of_an_event_is_one(path):
    VALIDATORS["events", path.stem].validate(load(path))
    event = msgspec.json.decode(path.read_bytes(), type=m.AnyEvent)
    assert m.TYPE_OF[type(event)] == path.stem
    assert json.loads(msgspec.json.encode(event)) == load(path)


def test_the_examples_of_journal_records_are_records():
    JOURNAL["marker"].validate(load(EXAMPLES / "journal" / "marker.json"))
    JOURNAL["turn"].validate(load(EXAMPLES / "journal" / "turn.json"))


@pytest.mark.parametrize("path", of("refused"), ids=lambda path: path.stem)
def test_every_refused_example_is_refused_by_whom_and_for_what_it_says(path):
    example = load(path)
    by = example["refused_by"]
    partition = Partition()
    partition.owner = 0
    for position, earlier in enumerate(example.get("given", [])):
        command = earlier["command"]
        VALIDATORS["commands", command["type"]].validate(command)
        partition.decide(*read_command(json.dumps(command).encode()), position, earlier["at"])
    body = example["text"].encode() if "text" in example else json.dumps(example["command"]).encode()
    if "command" in example:
        check = VALIDATORS.get(("commands", example["command"]["type"]))
        is_valid = check is not None and check.is_valid(example["command"])
        assert is_valid != ("schema" in by)
    if "engine" in by:
        decided = partition.decide(*read_command(body), len(example["given"]), example["at"])
        assert json.loads(msgspec.json.encode(decided.events[0])) == example["event"]
        assert example["event"]["type"] == "command-refused" and example["event"]["reason"] == path.stem
    else:
        with pytest.raises(BadCommand) as caught:
            partition.decide(*read_command(body), 0, 0)
        assert (caught.value.field, caught.value.problem) == (example["field"], example["message"])


def test_every_reason_to_refuse_has_its_example():
    by_engine = {path.stem for path in of("refused") if "engine" in load(path)["refused_by"]}
    assert by_engine == set(reasons.REFUSALS)


# ---- schema and engine agree


def agree(document, kind):
    """Where the schema and the codec take different documents, one of them misleads somebody."""
    try:
        read_command(json.dumps(document).encode())
        taken = True
    except BadCommand:
        taken = False
    problems = [error.message for error in VALIDATORS["commands", kind].iter_errors(document)]
    assert taken == (not problems), (document, problems)


ENVELOPE = {"id": "1", "source": "s", "pool": "p"}


@given(st.data(), st.sampled_from(sorted(m.COMMANDS)))
def test_every_command_that_can_be_written_is_valid_by_its_schema(draw, kind):
    command = cleaned(draw.draw(message(m.COMMANDS[kind])))
    data = json.loads(msgspec.json.encode(command))
    if draw.draw(st.booleans()):
        del data["type"]
    agree(ENVELOPE | {"type": kind, "data": data}, kind)


odd = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), TEXTS,
    st.sampled_from(["", "x" * 65, "x" * 129, "x" * 1025]),
    st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, st.integers(-5, 150) | TEXTS, max_size=3),
    st.just({f"k{i}": 1 for i in range(65)}), st.just(2.5),
)  # fmt: skip


@given(st.data(), st.sampled_from(sorted(m.COMMANDS)))
def test_schema_and_engine_take_and_refuse_the_same(draw, kind):
    data = json.loads(msgspec.json.encode(cleaned(draw.draw(message(m.COMMANDS[kind])))))
    document = ENVELOPE | {"type": kind, "data": data}
    names = [*m.COMMANDS[kind].__struct_fields__, "something"]
    for _ in range(draw.draw(st.integers(1, 2))):
        where, name = draw.draw(
            st.one_of(
                st.tuples(st.just(data), st.sampled_from(names)),
                st.tuples(st.just(document), st.sampled_from(["id", "pool", "actor", "version", "data", "time", "x"])),
            )
        )
        if draw.draw(st.booleans()):
            where[name] = draw.draw(odd)
        else:
            where.pop(name, None)
    agree(document, kind)


@given(st.data(), st.sampled_from(sorted(m.EVENTS)))
def test_every_event_that_can_be_written_is_valid_by_its_schema(draw, kind):
    event = draw.draw(message(m.EVENTS[kind]))
    VALIDATORS["events", kind].validate(json.loads(msgspec.json.encode(event)))
    turn = m.Turn(3, 5, m.CommandRef("p", "s", "i", "t"), [event])
    JOURNAL["turn"].validate(json.loads(write_turn(7, bytes(32), turn)[0]))


# ---- the glossary


def test_the_glossary_has_a_sentence_for_every_name():
    text = (SCHEMAS / "glossary.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^- \*\*(.+?)\*\*: \S.*[.)]$", text, re.MULTILINE))
    names = {name.strip("`") for entry in explained for name in entry.split(", ")}
    structs = [*m.COMMANDS.values(), *m.EVENTS.values(), m.CommandRef, m.Turn, generate.Envelope, generate.Marker]
    wanted = {kind.__name__ for kind in structs} | set(m.TYPE_OF.values())
    wanted |= {field for kind in structs for field in kind.__struct_fields__}
    wanted |= reasons.REASONS
    for kind in vars(rules).values():
        if inspect.isclass(kind) and issubclass(kind, rules.Rule) and kind is not rules.Rule:
            assert f"## Rules: `{kind.__name__}`" in text
            wanted |= set(kind.__struct_encode_fields__)
    assert wanted - names == set()


def test_the_glossary_explains_nothing_that_does_not_exist():
    words = generate.WORDS
    kinds = [*m.COMMANDS.values(), *m.EVENTS.values(), *generate.AROUND]
    fields = {"owner", "type", *(field for kind in kinds for field in kind.__struct_fields__)}
    assert set(words["fields"]) - fields == set()
    assert set(words["reasons"]) - reasons.REASONS == set()
    assert set(words["rules"]) == set(generate.RULES)
    for name, kind in generate.RULES.items():
        assert set(words["rules"][name]) == set(kind.__struct_encode_fields__)


def test_every_reason_in_a_real_turn_is_in_the_glossary():
    turns = [load(path)["events"] for path in of("journal") if path.stem == "turn"]
    reader = Reader()
    for line in (generate.GOLDEN / "journal-json.jsonl").read_text(encoding="utf-8").splitlines():
        said = reader.read(Record(reader.place.offset + 1, None, json.loads(line)["bytes"].encode()))
        turns += [json.loads(msgspec.json.encode(said.events))] if isinstance(said, m.Turn) else []
    said_by_agents = {"lunch", "meeting", "reading-up", "abuse"}
    codes = {
        code
        for events in turns
        for event in events
        for code in ([event["reason"]] if isinstance(event.get("reason"), str) else event.get("reason", []))
    }
    assert codes - said_by_agents <= reasons.REASONS


# ---- the AsyncAPI document


@pytest.mark.node
def test_the_official_parser_reads_the_asyncapi_document_without_complaint():
    folder = Path(__file__).parents[1] / "kafka" / "node"
    done = subprocess.run(
        ["node", folder / "parse.mjs", SCHEMAS / "asyncapi.json"], capture_output=True, text=True, check=False
    )
    commands, events = len(m.COMMANDS) - len(m.INTERNAL), len(m.EVENTS)
    assert (done.stdout.strip(), done.stderr) == (f"commands {commands}, events {events}, status 3, rejected 1", "")


def test_the_asyncapi_documents_examples_keep_to_its_own_schemas():
    document = load(SCHEMAS / "asyncapi.json")
    for name, told in document["components"]["messages"].items():
        schema = {**told["payload"], "components": document["components"]}
        headers = [trait["$ref"].rpartition("/")[2] for trait in told.get("traits", ())]
        parts = [document["components"]["messageTraits"][trait]["headers"] for trait in headers]
        parts += [told["headers"]] if "headers" in told else []
        for example in told.get("examples", ()):
            Draft7Validator(schema).validate(example["payload"])
            for part in parts:
                Draft7Validator(part).validate(example["headers"])
        assert told.get("examples") or name == "rejection"


def test_the_journal_and_the_snapshots_are_not_offered_to_others():
    assert load(SCHEMAS / "asyncapi.json")["channels"].keys() == {"commands", "events", "status", "rejected"}
