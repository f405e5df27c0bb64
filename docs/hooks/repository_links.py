"""Pages link as they lie in the repository, so that they can be read there; here their links are made the site's.

A file outside docs/ that a page links to is published under its own path: Markdown and source as pages, all else as it
is. So nothing on the site leads to a machine of its own.
"""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DOCS = "docs"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))|(<img [^>]*src=\")([^\"]+)(\")")
CODE = re.compile(r"(^```.*?^```[ \t]*$|`[^`\n]+`)", flags=re.MULTILINE | re.DOTALL)  # which has no links
SOURCE = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".cff": "yaml"}  # in whose colours


def is_elsewhere(target: str) -> bool:
    """Whether a link leads out of the repository, or stays within its page."""
    return "://" in target or target.startswith(("mailto:", "#", "data:"))


def links_of(text: str) -> list[str]:
    """The repository's files that a page in Markdown links to, as written."""
    prose = "".join(part for part in CODE.split(text) if not part.startswith("`"))
    found = [match[2] or match[6] for match in LINK.finditer(prose)]
    return [target for target in found if not is_elsewhere(target)]


def resolved(target: str, place: str) -> str:
    """A link's file by its path in the repository, from a page at this place in it."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    folder = PROJECT / path
    return posixpath.join(path, "README.md") if folder.is_dir() and (folder / "README.md").is_file() else path


def published(path: str) -> str:
    """Where on the site a file of the repository lies, before pages are made of it."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{path}.md" if is_source(path) else path


def is_source(path: str) -> bool:
    return Path(path).suffix in SOURCE


def repository_path(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    inside = f"{DOCS}/{uri}"
    return uri if (PROJECT / uri).is_file() and not (PROJECT / inside).is_file() else inside


def outside(pages: Mapping[str, str]) -> list[str]:
    """The files outside docs/ that these pages link to, by place and text, and those that these link to in turn."""
    found: dict[str, None] = {}
    waiting = dict(pages)
    while waiting:
        place, text = waiting.popitem()
        for target in links_of(text):
            path = resolved(target, place)
            if path.startswith(f"{DOCS}/") or path in found or not (PROJECT / path).is_file():
                continue
            found[path] = None
            if path.endswith(".md"):
                waiting[path] = (PROJECT / path).read_text(encoding="utf-8")
    return sorted(found)


def source_page(path: str) -> str:
    """A file of source as a page, which the search does not look into."""
    text = (PROJECT / path).read_text(encoding="utf-8").rstrip()
    front = "---\nsearch:\n  exclude: true\n---\n"
    return f"{front}# {path}\n\n````{SOURCE[Path(path).suffix]}\n{text}\n````\n"


def with_site_links(markdown: str, uri: str) -> str:
    """A page's Markdown with the links of the site."""
    place = repository_path(uri)

    def changed(match: re.Match[str]) -> str:
        before, target, anchor, after = (match[1], match[2], match[3] or "", match[4])
        if match[6]:
            before, target, anchor, after = match[5], match[6], "", match[7]
        if is_elsewhere(target):
            return match[0]
        relative = posixpath.relpath(published(resolved(target, place)), posixpath.dirname(uri) or ".")
        return f"{before}{relative}{anchor}{after}"

    return "".join(part if part.startswith("`") else LINK.sub(changed, part) for part in CODE.split(markdown))
