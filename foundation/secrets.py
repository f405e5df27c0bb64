"""Texts without the passwords in the addresses that they hold, for what is written and printed."""

import re

HIDDEN = "***"
# Up to the last @, for a password that should have had its own @ written as %40.
IN_ADDRESS = re.compile(r"(://(?![^/@\s]*:\d+/)[^:/\s]*:)(?:\S*|[^/\n]*)@")
IN_QUERY = re.compile(
    r"([?&;](?:password|passwd|pwd|sslpassword|\w*token|\w*secret|odbc_connect)=)[^&;\s'\"]*", re.IGNORECASE
)


def without_passwords(text: str) -> str:
    """`postgresql://user:***@host/db` of an address with a password; other texts as they are."""
    return IN_QUERY.sub(rf"\1{HIDDEN}", IN_ADDRESS.sub(rf"\1{HIDDEN}@", text))


def has_hidden(text: str) -> bool:
    """Whether a text is one that lost a password here."""
    return f":{HIDDEN}@" in text or f"={HIDDEN}" in text
