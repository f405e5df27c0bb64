"""Run folders that somebody broke, or made to break a report: which file, what becomes of it, what the report says."""

import json
import os
from collections.abc import Callable
from pathlib import Path

BOMB = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "choices: {model: vae}"]
)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(2**30)  # of a disk it takes nothing


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def with_value(*keys: str, value: object) -> Callable[[Path], None]:
    """A record with something else somewhere in it."""

    def change(path: Path) -> None:
        content = node = json.loads(path.read_text())
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        path.write_text(json.dumps(content))

    return change


LONG = 10**400
DAMAGED = {  # file, what becomes of it, and what the row says
    "aliases": ("config.yaml", text(BOMB), "reference"),
    "self reference": ("config.yaml", text("choices: &a {model: *a}"), "reference"),
    "merged keys": ("config.yaml", text("a: &a {b: 1}\nchoices: {<<: *a}"), "reference"),
    "tags": ("config.yaml", text("choices: !!python/object/apply:os.system ['true']"), "has the tag"),
    "deep yaml": ("config.yaml", text("choices: " + "[" * 40 + "]" * 40), "more than 32 values in one another"),
    "long number": ("config.yaml", text(f"seed: {LONG}\nchoices: {{model: vae}}"), "a whole number of 1329 bits"),
    "endless number": ("config.yaml", text(f"seed: {'9' * 9999}\nchoices: {{model: vae}}"), "can't be read"),
    "pipe": ("config.yaml", pipe, "is a pipe"),
    "device": ("config.yaml", device, "is a device"),
    "folder": ("config.yaml", folder_instead, "is a folder"),
    "huge": ("config.yaml", huge, "more than 262,144 bytes"),
    "bytes": ("config.yaml", text(b"\xff\xfe\x00"), "no text"),
    "list": ("config.yaml", text("[1, 2]"), "no mapping"),
    "keys": ("config.yaml", text("1: 2\nchoices: {}"), "no mapping"),
    "twice": ("config.yaml", text("seed: 1\nseed: 2"), "duplicate"),
    "record pipe": ("metrics.json", pipe, "is a pipe"),
    "record device": ("metrics.json", device, "is a device"),
    "record huge": ("metrics.json", huge, "more than 4,194,304 bytes"),
    "record deep": ("metrics.json", text("[" * 100_000), "can't be read"),
    "record nested": ("metrics.json", text('{"a":' + "[" * 100 + "]" * 100 + "}"), "more than 32 values"),
    "record long": ("metrics.json", with_value("images_seen", value=LONG), "a whole number of 1329 bits"),
    "record protocols": ("metrics.json", with_value("protocols", "aaaa1111", "n", value=LONG), "a whole number of"),
    "record bytes": ("metrics.json", text(b"\xff\xfe"), "no text"),
    "curves field": ("metrics.csv", text("step,a\n1," + "9" * 200_000), "field larger"),
    "curves columns": ("metrics.csv", text("step," + ",".join(map(str, range(5000))) + "\n1"), "more than 500 columns"),
    "curves step": ("metrics.csv", text(f"step,a\n{LONG},1"), "1 of its rows can't be read"),
    "curves pipe": ("metrics.csv", pipe, "is a pipe"),
    "curves huge": ("metrics.csv", huge, "more than 67,108,864 bytes"),
    "curves nul": ("metrics.csv", text("step,a\n\x00,1"), "1 of its rows can't be read"),
}  # fmt: skip
