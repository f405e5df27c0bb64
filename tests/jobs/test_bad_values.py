"""Nonsense: in the place of every value that conf/ has, and on whole command lines. It is refused with a word."""

import math
import random
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from campaign.command_lines import COMMAND_LINES, CommandLine
from conftest import SMALL_PICTURES, composed
from hydra.core.global_hydra import GlobalHydra
from test_combinations import DATA, FAMILIES, NETWORKS, OTHER_GROUPS, choices, part_choices

import evaluate
import export
import report
import train
from foundation.errors import UserError
from jobs.command_line import run
from jobs.config_check import check, check_numbers, check_section
from jobs.config_check import sections as sections_of
from jobs.override_check import check_overrides
from run_folder.choices import TARGET
from run_folder.settings import as_dict

NONSENSE: list[Any] = [None, math.nan, math.inf, -math.inf, -1, 0, 1e300, "", [], {}, "x", 2**64, True]
NEVER = [math.nan, math.inf, -math.inf, 1e300, 2**64]  # whatever a setting is for
PROGRAMS = {"train": train, "evaluate": evaluate, "export": export, "report": report}
DRAWN = random.Random(0).sample(COMMAND_LINES, 40)  # all of them: python -m tests.campaign


# Values


@cache
def all_sections() -> list[tuple[str, dict[str, Any]]]:
    """A section of every class that the choices of conf/ name, and its place with a dot behind it."""
    models = [f"model={name}" for name in FAMILIES]
    compositions = [
        *([model, f"{key}={choice}"] for model in models for key, choice in part_choices("model", model)),
        *([f"network={network}"] for network in NETWORKS),
        *([f"network/norm@network.encoder.norm={norm}"] for norm in choices("network/norm")),
        *([f"data={data}", *(["data.root=given"] if data in ("folder", "stream") else [])] for data in DATA),
        *([f"{group}={choice}"] for group in OTHER_GROUPS for choice in choices(group)),
    ]  # fmt: skip
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for overrides in compositions:
        for name, section in sections_of(as_dict(composed(*overrides))):
            if TARGET in section:
                found.setdefault(section[TARGET], (name, section))
    return list(found.values())


def is_refused(name: str, section: dict[str, Any]) -> bool:
    """Whether a section is, and with the user's error: any other is this program's fault, and ends the test."""
    try:
        check_section(name, section)
        check_numbers(section)
    except UserError:
        return True
    return False


@pytest.mark.slow
def test_no_setting_of_any_part_takes_what_is_no_number_or_beyond_all_use():
    accepted = []
    for name, section in all_sections():
        assert not is_refused(name, section), name
        for key in section:
            for value in NONSENSE:
                if not key.startswith("_") and not is_refused(name, section | {key: value}):
                    accepted.append((f"{name}{key}", value))
    assert len(accepted) > 100  # 0, null and texts have their places
    assert [entry for entry in accepted if any(entry[1] is value for value in NEVER)] == []
    assert {entry[0] for entry in accepted if entry[1] == ""} == set()
    assert "model.rate.beta" in {entry[0] for entry in accepted if entry[1] == 0}


@pytest.mark.slow
def test_no_setting_can_be_missing_from_a_part_but_what_its_class_has_a_default_for():
    for name, section in all_sections():
        for key in section:
            less = {other: value for other, value in section.items() if other != key}
            if section[TARGET].split(".")[0] in ("lightning_modules", "datamodules") and not key.startswith("_"):
                assert is_refused(name, less), f"{name}{key}"


@pytest.mark.parametrize("key", ["seed", "every_n_epochs", "compile", "tf32", "ckpt_path", "run_dir", "sweep", "recipe",
                                 "choices", "model", "data", "trainer", "callbacks", "logger", "network"])  # fmt: skip
def test_nonsense_at_the_top_of_a_config_is_the_users_error(key: str):
    """A config is checked as it is composed: whatever is not refused there is built."""
    cfg = composed()
    for value in [*NEVER, -1, [], "", {}]:
        nonsense = as_dict(cfg) | {key: value}
        if value != {} or key not in ("logger", "callbacks", "sweep", "recipe", "choices", "network"):
            with pytest.raises(UserError):
                check(composed_of(nonsense))


def composed_of(plain: dict[str, Any]) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create(plain)


# Overrides


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model/rate=null", "expected a choice of model/rate, one of capacity, constant, "),
        ("network/norm@network.encoder.norm=null", "one of batch, group, none"),
        ("scores=3", "one of accuracy, clip,"),
        ("model=[]", "one of beta_vae,"),
        ("model/loss=hinge,null", "model/loss=hinge,null: expected a choice"),
        ("~model/rate", "this can't be left out"),
        ("~model.optimizer.lr", "this can't be left out"),
        ("model.rate={}", "an empty mapping changes nothing"),
        ("hydra.run.dir=''", "expected a folder, got ''"),
        ("hydra.sweep.dir=''", "expected a folder, got ''"),
        ("seed=range(0,0)", "there would be no job"),
        ("model=glob(nothing*)", "there would be no job"),
        ("seed=range(0,1000000000)", "more than 10,000 jobs"),
        ("=3", "no setting's name"),
    ],
)
def test_override_that_asks_for_nothing_is_refused(override: str, words: str):
    with pytest.raises(UserError) as error:
        check_overrides([override])
    assert words in str(error.value)


@pytest.mark.parametrize(
    "override",
    ["seed=0,1", "~callbacks.interpolation", "~hydra.callbacks.sweep_report", "model=glob(*)",
     "+model.optimizer.weight_decay=0.1", "hydra.run.dir=here", "experiment=quick", "seed=[", "model=choice(vae,gan)",
     "model.optimizer.lr=interval(0,1)", "network.encoder.width=[8,8]"],
)  # fmt: skip
def test_other_overrides_are_left_to_hydra(override: str):
    check_overrides([override])


# Command lines


def answer(line: CommandLine, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What a program ends with, and says on standard error."""
    monkeypatch.setattr(sys, "argv", [f"{line.program}.py", *line.arguments])
    GlobalHydra.instance().clear()
    capsys.readouterr()
    program = PROGRAMS[line.program]
    try:
        if program is report:
            report.main()
        else:
            run(program.main, "config" if program is train else line.program)
    except SystemExit as end:
        return int(end.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def test_command_lines_are_of_all_programs_and_each_is_another():
    assert len(COMMAND_LINES) >= 150 and len(set(COMMAND_LINES)) == len(COMMAND_LINES)
    assert {line.program for line in COMMAND_LINES} == {"train", "evaluate", "export", "report"}


@pytest.mark.slow
@pytest.mark.parametrize("line", DRAWN, ids=str)
def test_bad_command_line_ends_with_one_message_and_blocks_no_folder(
    line: CommandLine, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network
    code, said = answer(line, capsys, monkeypatch)
    assert code != 0 and said.count("error: ") == 1 and "Traceback" not in said, said
    assert not list(tmp_path.rglob("config.yaml"))


SMALL_RUN = ["network=mlp", "network.encoder.width=8", "network.decoder.width=8", "trainer.max_epochs=1",
             "scores=none", *SMALL_PICTURES, "hydra.run.dir=run"]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    ["model.optimizer.lr=nan", "data.batch_size=1000000000000", "model/schedule=one_cycle +trainer.max_steps=3"],
)  # the last is noticed when the run has been begun: its config is written
def test_command_that_was_refused_runs_in_the_same_folder_once_it_is_put_right(
    wrong: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    code, said = answer(CommandLine((*SMALL_RUN, *wrong.split())), capsys, monkeypatch)
    assert code == 1 and "error: " in said
    assert answer(CommandLine(tuple(SMALL_RUN)), capsys, monkeypatch)[0] == 0
    assert (tmp_path / "run" / "metrics.json").is_file() and not (tmp_path / "run" / "status.json").exists()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    code, said = answer(CommandLine(tuple(SMALL_RUN)), capsys, monkeypatch)
    assert code == 1 and "already holds a run" in said  # that it has a record is enough


def test_classifier_is_not_continued_for_more_epochs(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Its learning rate has made the whole cycle."""
    monkeypatch.chdir(tmp_path)
    begun = ("model=classifier", "network.encoder.width=4", "hydra.run.dir=run", "every_n_epochs=1")
    assert answer(CommandLine((*begun, "trainer.max_epochs=1")), capsys, monkeypatch)[0] == 0
    longer = CommandLine((*begun, "trainer.max_epochs=2", "ckpt_path=run/checkpoints/last.ckpt"))
    code, said = answer(longer, capsys, monkeypatch)
    assert code == 1 and "learning rates depend on trainer.max_epochs" in said
