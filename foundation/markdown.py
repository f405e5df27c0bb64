"""Texts of others in Markdown, where nothing in them is markup: names, notes, commands."""

import re

# The end of a cell, a link or a picture; the start of a list, a heading, a rule, of code, of emphasis; a backslash that
# escapes. A number with a dot begins a list by the dot.
MARKUP = re.compile(
    r"\||\](?=[(\[])|^(?:#+|[>*+-]|-{3,}|={3,})(?=\s|$)|^\[|`|\*(?=\S)|(?<!\w)_(?=\S)|~(?=~)|\\(?=[!-/:-@\[-`{-~])"
)
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s)")
IN_CODE = re.compile(r"\||\](?=[(\[])")  # which some renderers see there, too
BACKTICKS = re.compile("`+")


def plain(text: object) -> str:
    """Any text on one line, without what Markdown or HTML would make of it: tags, links, pictures, cells, lists."""
    return NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", one_line(text).replace("<", "&lt;")))


def code(text: object) -> str:
    """Any text between two backticks, also in a cell of a table."""
    inert = IN_CODE.sub(r"\\\g<0>", one_line(text).replace("`", "").replace("<", "&lt;"))
    return f"`{inert}`"


def block(text: str, language: str) -> list[str]:
    """Lines of a block of code, between fences that are longer than whatever backticks are in it."""
    fence = "`" * max([3, *(len(found) + 1 for found in BACKTICKS.findall(text))])
    return [f"{fence}{language}", text, fence]


def one_line(text: object) -> str:
    return " ".join(str(text).split())
