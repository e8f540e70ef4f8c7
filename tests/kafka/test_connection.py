"""The settings by which the cluster is reached, and the rights of roles: what can be told without a broker."""

from pathlib import Path

import pytest

from engine.agents.access import grants
from engine.agents.connection import PASSWORD, ConnectionProblem, read_connection

ROOT = Path(__file__).parents[2]


def test_a_password_comes_from_the_environment_or_a_file_and_is_never_shown(tmp_path, monkeypatch):
    file = tmp_path / "kafka.toml"
    file.write_text(
        'brokers = "kafka:9093"\nprotocol = "SASL_PLAINTEXT"\nusername = "engine"\npassword_file = "secret"\n'
    )
    (tmp_path / "secret").write_text("from the file\n")
    assert read_connection(file=file).password == "from the file"
    monkeypatch.setenv(PASSWORD, "from the environment")
    found = read_connection("other:9093", file)
    assert (found.brokers, found.password) == ("other:9093", "from the environment")
    assert "environment" not in repr(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('password = "secret"', "password"),
        ('protocol = "SASL_SSL"\nusername = "engine"', PASSWORD),
        ('protocol = "TLS"', "SASL_SSL"),
        ("brokers =", "Invalid value"),
        ('protocol = "SASL_SSL"\nusername = "engine"\npassword_file = "none"', "cannot be read"),
    ],
)
def test_a_mistake_in_the_settings_is_named(tmp_path, monkeypatch, text, why):
    monkeypatch.delenv(PASSWORD, raising=False)
    file = tmp_path / "kafka.toml"
    file.write_text(text)
    with pytest.raises(ConnectionProblem, match=why):
        read_connection("kafka:9093", file)


def test_certificates_that_are_not_there_are_named_before_anything_connects(tmp_path):
    file = tmp_path / "kafka.toml"
    file.write_text('brokers = "kafka:9093"\nprotocol = "SSL"\nca_file = "ca.crt"\n')
    with pytest.raises(ConnectionProblem, match=r"ca\.crt: .*No such file"):
        read_connection(file=file)


def test_every_key_of_the_readmes_example_is_taken(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    text = (ROOT / "README.md").read_text().split("```toml\n")[1].split("```")[0]
    (tmp_path / "kafka.toml").write_text(text)
    with pytest.raises(ConnectionProblem, match="password's file"):  # all is understood, only the files are not there
        read_connection(file=tmp_path / "kafka.toml")


@pytest.mark.parametrize("group", ["", "w", "waitline", "waitline.", "waitline.crm."])
def test_a_readers_groups_are_never_the_engines(group):
    with pytest.raises(ValueError, match="take partitions from its workers"):
        grants("reader", "User:crm", "waitline.", group)
