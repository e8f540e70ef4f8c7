"""Hypothesis strategies for every message, made from the messages' own types: whatever they allow may come."""

import string
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import inspect

from engine.core.messages import COMMANDS, EVENTS, CommandRef, Turn
from engine.core.rules import Rules

# A busy machine is no fault of an example.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Readable letters first, then anything that UTF-8 can carry, and what would be misread unless it is quoted.
AWKWARD = ' "\\{}[],:=/@#|<>!\t\n\0\x1b\x7f\x85\u2028\u202e\u00a0'
TEXTS = st.one_of(
    st.text(string.ascii_lowercase + string.digits, min_size=1),
    st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"]))),
)


def of_type(kind: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, inspect.Metadata):
        return of_type(kind.type)
    if isinstance(kind, inspect.UnionType):
        return st.one_of([of_type(each) for each in kind.types])
    if isinstance(kind, inspect.NoneType):
        return st.none()
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.IntType):
        low, high = kind.ge, kind.le
        return st.integers(-(1 << 53) if low is None else low, (1 << 53) if high is None else high)
    if isinstance(kind, inspect.LiteralType):
        return st.sampled_from(list(kind.values))
    if isinstance(kind, inspect.StrType):
        low, high = kind.min_length or 0, kind.max_length or 1 << 20
        return TEXTS.map(lambda text: (text + "x" * low)[:high] if len(text) < low else text[:high])
    if isinstance(kind, inspect.VarTupleType):
        return st.lists(of_type(kind.item_type), max_size=4).map(tuple)
    if isinstance(kind, inspect.ListType):
        return st.lists(of_type(kind.item_type), max_size=4)
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(of_type(kind.key_type), of_type(kind.value_type), max_size=4)
    assert isinstance(kind, inspect.StructType), f"a message holds a {kind}"
    return of_struct(kind)


def of_struct(kind: inspect.StructType) -> st.SearchStrategy[Any]:
    """Each field that has a default is left at it now and then, as senders mostly do."""
    required = {field.name: of_type(field.type) for field in kind.fields if field.required}
    optional = {field.name: of_type(field.type) for field in kind.fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind.cls(**fields))


def message(kind: type) -> st.SearchStrategy[Any]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return of_struct(info)


ids = TEXTS.map(lambda text: (text or "x")[:128])
commands = st.one_of([message(kind) for kind in COMMANDS.values()])
commands_without_rules = st.one_of([message(kind) for name, kind in COMMANDS.items() if name != "publish-rules"])
events = st.one_of([message(kind) for kind in EVENTS.values()])
rules = message(Rules)
turns = st.builds(
    Turn, st.integers(0, 1 << 53), st.integers(0, 1 << 53), message(CommandRef), st.lists(events, max_size=5)
)


def cleaned(value: Any) -> Any:
    """The same message without control characters, which the codec takes in texts only."""
    return msgspec.convert(_cleaned(msgspec.to_builtins(value)), type(value))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("_" if c < " " else c for c in value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value
