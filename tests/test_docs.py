"""The pages of docs/: what they print composes or runs, what they link to is there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, composed
from test_readme import expand

from jobs.config_check import check
from jobs.given_images import complete
from jobs.sweeps import folder_name
from run_folder.settings import setting_of

DOCS = PROJECT / "docs"
PAGES = sorted(path.relative_to(PROJECT).as_posix() for path in DOCS.rglob("*.md"))
# A block after such a line is shown, and composed by no test: <!-- not composed by a test: needs a cluster -->
UNTESTED = re.compile(r"<!-- not composed by a test: .+ -->\n+```.*?^```", flags=re.MULTILINE | re.DOTALL)
# Pages whose Python runs as it is printed; others show how code would look.
RUN = [page for page in PAGES if page.split("/")[1] in ("tutorials", "how_to")]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", UNTESTED.sub("", text), flags=re.MULTILINE | re.DOTALL)


def commands_of(page: str) -> list[str]:
    """The lines of a page's blocks for a shell, and commands in the middle of its sentences."""
    text = (PROJECT / page).read_text().replace("$run", "run")
    printed = "\n".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    lines = [line.split(" #")[0].strip() for line in printed]
    return [*lines, *re.findall(r"`(python (?:train|evaluate|export)\.py [^`…<]*)`", text)]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))
TRAIN = [command for command in COMMANDS if re.search(r"\btrain\.py ", command)]
OTHERS = [command for command in COMMANDS if re.match(r"python (evaluate|export)\.py ", command)]


@pytest.mark.parametrize("command", TRAIN)
def test_printed_training_command_composes(command: str):
    overrides = [word for word in shlex.split(command.split("train.py")[1]) if "=" in word]
    for job in expand(overrides):
        check(composed(*[override for override in job if not override.startswith("hydra")]))


@pytest.mark.parametrize("command", OTHERS)
def test_printed_command_on_a_run_composes(command: str):
    _, program, *overrides = shlex.split(command)
    cfg = composed(*overrides, config=Path(program).stem)
    if cfg.get("images"):
        complete(cfg)
    check(cfg)


def test_pages_print_commands_of_every_kind():
    assert len(TRAIN) > 20 and len(OTHERS) > 10
    assert "python train.py -m experiment=fair" in TRAIN
    assert "python evaluate.py run=zoo/vae_digits samples=64 out=samples/" in OTHERS


def test_a_block_that_needs_more_is_marked_and_left_out():
    marked = "<!-- not composed by a test: needs a cluster -->\n\n```bash\npython train.py a=1\n```\n"
    assert blocks(marked, "bash") == []
    assert blocks(f"{marked}\n```bash\npython train.py\n```\n", "bash") == ["python train.py\n"]


@pytest.mark.parametrize("page", [page for page in RUN if blocks((PROJECT / page).read_text(), "python")])
def test_printed_python_runs(page: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(PROJECT)
    names: dict[str, Any] = {}
    for block in blocks((PROJECT / page).read_text(), "python"):
        exec(block, names)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_of_a_page_exist(page: str):
    made = {DOCS / "reference" / name for name in ("config.md", "commands.md")}  # when the site is built
    for target in re.findall(r"\]\(([^)#\s]+)", (PROJECT / page).read_text()):
        path = (PROJECT / page).parent.joinpath(target)
        assert "://" in target or path.exists() or path.resolve() in made, target


@pytest.mark.parametrize("page", [page for page in PAGES if "/" in page.removeprefix("docs/")])
def test_a_page_of_the_site_has_one_title(page: str):
    text = re.sub(r"^```.*?^```", "", (PROJECT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1


def test_reports_of_earlier_versions_say_how_a_folder_is_called_today():
    best, mlp = "+experiment/best=vae_mnist_small", {"network": "mlp"}
    fair = folder_name(
        ["experiment=fair", best, "seed=0"], 0, mlp | {"model": "vae", "data": "mnist"}, [setting_of(best)]
    )
    paper = folder_name(["data=mnist", "experiment=paper", "model=vae", "seed=0"], 0, mlp, ["data", "model", "seed"])
    for page, name in (("fair", fair), ("report", paper)):
        assert f"lies in `{name}`" in (PROJECT / "docs" / f"{page}.md").read_text(encoding="utf-8"), page
