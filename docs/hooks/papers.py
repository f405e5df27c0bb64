"""The page of papers: every arXiv number that the project's source and config name, and where."""

import re
from collections import defaultdict

from repository_links import PROJECT

ROOMS = ("lightning_modules", "scoring", "conf")
NUMBER = re.compile(r"arXiv:\s?(\d{4}\.\d{4,5})")
AUTHORS = re.compile(r"((?:van den )?[A-Z][\w-]+(?: (?:et al\.|& [A-Z][\w-]+))? (?:19|20)\d\d)[^();:]{0,90}\(?$")
HEAD = """# Papers

What the parts of this project follow, each with the files that name it. In their docstrings stand the
equations and sections, and where a part differs.

| paper | arXiv | named by |
|---|---|---|
"""


def page() -> str:
    """A table of all papers, the oldest first. Raises KeyError for a number that stands without authors and a year."""
    places, authors = cited()
    rows = [
        f"| {authors[number]} | [{number}](https://arxiv.org/abs/{number}) | "
        + ", ".join(f"[{path.rpartition('/')[2]}](../../{path})" for path in sorted(places[number]))
        + " |"
        for number in sorted(places)
    ]
    return HEAD + "\n".join(rows) + "\n"


def cited() -> tuple[dict[str, set[str]], dict[str, str]]:
    """By arXiv number the files that name it, and the authors and year, as one of them states them."""
    places: defaultdict[str, set[str]] = defaultdict(set)
    authors: dict[str, str] = {}
    for room in ROOMS:
        for file in sorted((PROJECT / room).rglob("*")):
            if file.suffix not in (".py", ".yaml"):
                continue
            text = re.sub(r"\s+#?\s*", " ", file.read_text(encoding="utf-8"))
            for match in NUMBER.finditer(text):
                places[match[1]].add(file.relative_to(PROJECT).as_posix())
                named = AUTHORS.search(text[: match.start()].rstrip(" ,"))
                if named:
                    authors.setdefault(match[1], named[1])
    return places, authors
