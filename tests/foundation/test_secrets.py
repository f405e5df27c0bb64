"""Addresses of databases, as they may be written and printed."""

import sys

import pytest

from foundation.programs import this_command
from foundation.secrets import has_hidden, without_passwords


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("key='mysql+pymysql://me:a/b@c@host:1/db'", "key='mysql+pymysql://me:***@host:1/db'"),  # whose @ is not %40
        ("redis://:secret@host", "redis://:***@host"),
        ("postgresql://me@corp:secret@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me:two words@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql://host/db?access_token=secret", "mysql://host/db?access_token=***"),
        ("mssql://?odbc_connect=UID%3Dme%3BPWD%3Dsecret", "mssql://?odbc_connect=***"),
        ("mysql://host/db?user=me&password=secret&ssl=1", "mysql://host/db?user=me&password=***&ssl=1"),
    ],
)
def test_a_password_is_hidden_and_that_can_be_seen(text: str, hidden: str):
    assert without_passwords(text) == hidden and has_hidden(hidden) and not has_hidden(text)
    assert without_passwords(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///a.db",
        "postgresql://me@host/db",
        "http://host:80/x",
        "http://host:8080/a@2x",
        "git@host:x",
        "a=${oc.env:STORAGE}",
        "a=b",
    ],
)
def test_other_texts_stay_as_they_are(text: str):
    assert without_passwords(text) == text and not has_hidden(text)


def test_a_command_that_is_printed_has_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "hydra.sweeper.storage=postgresql://me:secret@host/db"])
    assert "secret" not in this_command() and "***" in this_command()
