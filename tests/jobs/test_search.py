"""A search by Optuna: what it may choose, that it goes on where it was stopped, and that it says how trials ended."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import PROJECT, SMALL_PICTURES
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError, UserError
from hydra_plugins.vae_vs_gan.optuna_sweeper import OptunaSweeper, with_hidden_storage
from jobs.composition import load
from jobs.sweeps import check_keeps_jobs, folder_name, register_folder_name, resumed, settings_of_sweeper
from run_folder.layout import STATUS
from run_folder.records import EndRecord, write_record

optuna = pytest.importorskip("optuna")
from jobs.search import DATABASE, RESULTS, check_sampler, search  # noqa: E402
from jobs.search_space import are_of, split_overrides  # noqa: E402

LR = "model.optimizer.lr"
SPACE = [f"{LR}=tag(log,interval(1e-4,1e-1))", "network.encoder.width=8,16"]

Values = dict[str, str]
Train = Callable[[Values, Path], float | None]


def nearness(values: Values, run_dir: Path) -> float:
    """A score that is best at a rate of 0.01."""
    return abs(float(values[LR]) - 0.01)


class Launcher:
    """Runs a function in the place of trainings; an exception is a failed job, one from outside ends the sweep."""

    def __init__(self, folder: Path, train: Train) -> None:
        self.folder, self.train = folder, train
        self.launched: list[Values] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        assert initial_job_idx == len(self.launched)
        return [self.run(dict(override.split("=", 1) for override in job)) for job in jobs]

    def run(self, values: Values) -> JobReturn:
        run_dir = self.folder / values["hydra.sweep.subdir"]
        run_dir.mkdir(exist_ok=True)
        self.launched.append(values)
        job = JobReturn()
        try:
            job.return_value, job.status = self.train(values, run_dir), JobStatus.COMPLETED
        except ValueError as error:
            job.return_value, job.status = error, JobStatus.FAILED
        return job


def searched(
    folder: Path, train: Train = nearness, *overrides: str, space: Sequence[str] = SPACE, resume: bool = False
) -> list[Values]:
    """The jobs that a search runs in a folder."""
    hydras = [override for override in overrides if override.startswith("hydra")]
    others = [override for override in overrides if override not in hydras]
    register_folder_name()
    config = load(["hydra/sweeper=optuna", f"hydra.sweep.dir={folder}", "hydra.sweeper.n_trials=8", *hydras, *others])
    if resume:
        OmegaConf.update(config, "sweep.resume", str(folder))
    settings = {key: value for key, value in config.hydra.sweeper.items() if key not in ("_target_", "_recursive_")}
    launcher = Launcher(folder, train)
    try:
        search(settings, config, None, launcher, [*space, *others])
    finally:
        searched.launched = launcher.launched
    return launcher.launched


def trials_in(folder: Path) -> list[Any]:
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{folder / DATABASE}")
    return optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{folder / DATABASE}").trials


@pytest.mark.parametrize(
    ("override", "kind", "facts"),
    [
        ("a=interval(1,5)", "FloatDistribution", {"low": 1.0, "high": 5.0, "log": False}),
        ("a=tag(log,interval(1e-4,1e-2))", "FloatDistribution", {"low": 1e-4, "high": 1e-2, "log": True}),
        ("a=int(interval(1,5))", "IntDistribution", {"low": 1, "high": 5, "log": False}),
        ("a=tag(log,int(interval(4,64)))", "IntDistribution", {"low": 4, "high": 64, "log": True}),
        ("a=range(1,5)", "IntDistribution", {"low": 1, "high": 4, "step": 1}),
        ("a=range(1,6,2)", "IntDistribution", {"low": 1, "high": 5, "step": 2}),
        ("a=range(0,1,0.25)", "FloatDistribution", {"low": 0.0, "high": 0.75, "step": 0.25}),
        ("a=choice(128,256)", "CategoricalDistribution", {"choices": ("128", "256")}),
        ("a=[1,2],'x y'", "CategoricalDistribution", {"choices": ("[1,2]", "'x y'")}),
    ],
)
def test_a_space_is_what_hydras_grammar_says(override: str, kind: str, facts: dict[str, Any]):
    fixed, space = split_overrides(OverridesParser.create().parse_overrides([override, "+b=3"]))
    assert fixed == {"+b": "3"} and type(space["a"]).__name__ == kind
    assert {name: getattr(space["a"], name) for name in facts} == facts


@pytest.mark.parametrize("override", ["a=interval(5,1)", "a=tag(log,interval(0,1))", "a=range(5,5)"])
def test_a_space_with_nothing_in_it_is_refused(override: str):
    with pytest.raises(ConfigError, match="nothing to search"):
        split_overrides(OverridesParser.create().parse_overrides([override]))


def test_values_that_a_space_does_not_have_are_none_of_it():
    _, space = split_overrides(OverridesParser.create().parse_overrides(["a=1,2", "b=interval(0,1)"]))
    assert are_of({"a": "1", "b": 0.5}, space)
    for other in ({"a": "1"}, {"a": "1 c=2", "b": 0.5}, {"a": "1", "b": 1.5}, {"a": "1", "b": "0.5"}, {}):
        assert not are_of(other, space)


def test_a_search_finds_what_scores_best_and_says_how_to_train_it_again(tmp_path: Path, capsys: pytest.CaptureFixture):
    jobs = searched(tmp_path, nearness, "hydra.sweeper.n_trials=25")
    rates = [float(job[LR]) for job in jobs]
    assert len(jobs) == 25 and all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {job["network.encoder.width"] for job in jobs} == {"8", "16"}
    assert [job["hydra.sweep.subdir"] for job in jobs] == [f"trial-{number:03d}" for number in range(25)]
    (found,) = yaml.safe_load((tmp_path / RESULTS).read_text())["studies"].values()
    best = min(range(25), key=lambda number: abs(rates[number] - 0.01))
    assert (found["best_trial"], found["best_params"][LR]) == (best, rates[best])
    assert found["trials"] == {"complete": 25, "pruned": 0, "fail": 0}
    assert f"train.py {LR}={rates[best]} " in capsys.readouterr().out.replace("'", "").splitlines()[-1]


def test_after_the_first_trials_those_that_follow_depend_on_the_scores(tmp_path: Path):
    near = searched(tmp_path / "near")
    far = searched(tmp_path / "far", lambda values, run_dir: -nearness(values, run_dir))
    first = 5  # hydra.sweeper.sampler.n_startup_trials
    assert near[:first] == far[:first]
    assert near[first:] != far[first:]


def test_every_study_has_as_many_trials_in_turn(tmp_path: Path):
    studies = [
        "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2", "experiment=search/optuna",
    ]  # fmt: skip
    jobs = searched(tmp_path, lambda values, _: float(values["network.encoder.width"]), *studies, space=[])
    models = [job["model"] for job in jobs]
    assert models == ["vae", "vae", "gan", "gan", "vae", "gan"]
    assert all(("model.generator_optimizer.lr" in job) == (job["model"] == "gan") for job in jobs)
    assert {job["hydra.sweep.subdir"].split("_")[0] for job in jobs} == {"vae", "gan"}


def test_a_stopped_search_goes_on_as_if_it_had_not_been(tmp_path: Path):
    whole = searched(tmp_path / "whole")

    def stopped(values: Values, run_dir: Path) -> float:
        if run_dir.name == "trial-005":
            raise KeyboardInterrupt
        return nearness(values, run_dir)

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "stopped", stopped)
    rest = searched(tmp_path / "stopped", resume=True)
    assert rest == whole[5:]  # the one that was cut off in its own folder, and then the same as there
    assert [trial.value for trial in trials_in(tmp_path / "stopped")] == [
        trial.value for trial in trials_in(tmp_path / "whole")
    ]
    assert searched(tmp_path / "stopped", resume=True) == []
    longer = searched(tmp_path / "stopped", nearness, "hydra.sweeper.n_trials=10", resume=True)
    assert [job["hydra.sweep.subdir"] for job in longer] == ["trial-008", "trial-009"]
    check_keeps_jobs("hydra.sweeper.n_trials=10")
    with pytest.raises(ConfigError):
        check_keeps_jobs("hydra.sweeper.n_jobs=2")


def test_failed_and_diverged_trials_are_told_as_such_and_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    ends = {"trial-001": "diverged", "trial-002": "stopped by health", "trial-003": "failed", "trial-004": None}

    def ending(values: Values, run_dir: Path) -> float:
        if run_dir.name not in ends:
            return nearness(values, run_dir)
        if (status := ends[run_dir.name]) is not None:
            write_record(run_dir / STATUS, EndRecord(status=status, message=""))
        raise ValueError

    with pytest.raises(UserError, match="2 trials failed"):
        searched(tmp_path, ending)
    states = [trial.state.name for trial in trials_in(tmp_path)]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    said = capsys.readouterr().out
    assert "trial-001: diverged, told as pruned" in said and "trial-004: failed, told as fail" in said
    failed = [trial.params for trial in trials_in(tmp_path)[3:5]]
    again = searched(tmp_path, resume=True)
    assert [float(job[LR]) for job in again] == [params[LR] for params in failed]
    assert [job["hydra.sweep.subdir"] for job in again] == ["trial-008", "trial-009"]
    assert searched(tmp_path, resume=True) == []


@pytest.mark.parametrize(
    ("overrides", "space", "words"),
    [
        ([], [], "nothing is searched"),
        ([], ["seed=0,1"], "finds lucky ones"),
        (["scores=none"], SPACE, "no score of val"),
        (["hydra.sweep.subdir=x"], SPACE, "called by its number"),
        (["hydra.sweeper.n_trials=0"], SPACE, "n_trials: expected at least 1"),
        (["hydra.sweeper.direction=up"], SPACE, "hydra.sweeper.direction: expected"),
        (["hydra.sweeper.sampler._target_=os.system"], SPACE, "a class of Optuna's"),
        (["hydra.sweeper.sampler._target_=optuna.logging.sys.exit"], SPACE, "a class of Optuna's"),
        (["hydra.sweeper.sampler._target_=optuna.samplers.TPSampler"], SPACE, "there is no optuna.samplers.TPSampler"),
        (["hydra.sweeper.sampler._target_=optuna.samplers.RandomSampler"], SPACE, "can't be built: .*n_startup_trials"),
    ],
)
def test_what_can_not_be_searched_is_refused_before_any_trial(
    overrides: list[str], space: list[str], words: str, tmp_path: Path
):
    with pytest.raises(ConfigError, match=words):
        searched(tmp_path, nearness, *overrides, space=space)
    assert searched.launched == []


def test_a_class_of_optunas_that_samples_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"expected a sampler of Optuna's, got optuna\.pruners\.NopPruner"):
        check_sampler({"_target_": "optuna.pruners.NopPruner"})
    check_sampler({"_target_": "optuna.samplers.QMCSampler", "seed": 0})


def test_trials_of_studies_are_told_apart_by_what_is_searched():
    searched_settings = settings_of_sweeper(load(["experiment=search/optuna"]).hydra.sweeper)
    assert {"network.encoder.width", "model", "model.optimizer.lr"} <= set(searched_settings)
    trials = [["model=vae", f"model.optimizer.lr={lr}", "network.encoder.width=128"] for lr in (0.001, 0.002)]
    names = {folder_name(trial, 0, swept=searched_settings) for trial in trials}
    assert len(names) == 2


def test_a_folder_that_holds_a_search_is_left_as_it_is(tmp_path: Path):
    searched(tmp_path)
    with pytest.raises(ConfigError, match="holds a search already"):
        searched(tmp_path)


def test_a_job_without_a_score_ends_the_search(tmp_path: Path):
    with pytest.raises(ConfigError, match="no score of val"):
        searched(tmp_path, lambda *_: None)


@pytest.mark.slow
def test_a_search_beside_each_other_is_a_sweep_with_a_report(tmp_path: Path):
    command = [
        sys.executable, str(PROJECT / "train.py"), "-m", "hydra/sweeper=optuna", "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=sweep", "network=mlp",
        "network.encoder.width=8,16", "model.optimizer.lr=tag(log,interval(1e-4,1e30))", "trainer.max_epochs=1",
        "every_n_epochs=1", "data.batch_size=400", "callbacks.likelihood=null", "scores.repeats=1", *SMALL_PICTURES,
    ]  # fmt: skip
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    said = result.stdout + result.stderr
    runs = sorted(path.name for path in (tmp_path / "sweep").glob("trial-*"))
    assert runs == ["trial-000", "trial-001", "trial-002"], said
    assert all(f"[{run}] " in said for run in runs)  # whose progress each line is
    assert (tmp_path / "sweep" / "report" / "index.html").is_file(), said
    states = [trial.state.name for trial in trials_in(tmp_path / "sweep")]
    assert len(states) == 3 and set(states) <= {"COMPLETE", "PRUNED"}, said


def damage_file(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)


def damage_page(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    database.write_bytes(content)


def damage_row(database: Path) -> None:
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("UPDATE trials SET state = 'GONE'")


def lose_rows(database: Path) -> None:
    database.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_file, r"optuna\.db, the database of the search, fails: file is not a database\. .*restore it"),
        (damage_page, r"optuna\.db, the database of the search, fails: .*hydra\.sweep\.dir="),
        (damage_row, r"optuna\.db, the database of the search, fails: 'GONE' is not among"),
        (lose_rows, r"knows no trials, and there is trial-00\d of one"),
    ],
)
def test_a_damaged_database_is_one_error_and_runs_nothing(damage: Callable[[Path], None], words: str, tmp_path: Path):
    searched(tmp_path, nearness, "hydra.sweeper.n_trials=2")
    damage(tmp_path / DATABASE)
    with pytest.raises(UserError, match=words):
        searched(tmp_path, nearness, "hydra.sweeper.n_trials=3", resume=True)
    assert searched.launched == []


STORAGE = "hydra.sweeper.storage="


def test_a_password_of_the_database_is_not_kept_and_has_to_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    given = f"{STORAGE}'postgresql://me:secret@host/db?sslpassword=hush'"
    config = load([f"hydra.sweep.dir={tmp_path}", "hydra/sweeper=optuna", given])
    assert isinstance(config, DictConfig)
    OmegaConf.update(config, "hydra.overrides.hydra", ["hydra/sweeper=optuna", given])
    plugins, launchers = SimpleNamespace(), []
    plugins.instantiate_launcher = lambda config, **_: launchers.append(config)
    monkeypatch.setattr("hydra.core.plugins.Plugins.instance", lambda: plugins)
    sweeper = OptunaSweeper(**{name: config.hydra.sweeper[name] for name in signature(OptunaSweeper).parameters})
    sweeper.setup(hydra_context=None, task_function=None, config=config)
    assert sweeper.settings["storage"] == "postgresql://me:secret@host/db?sslpassword=hush"
    OmegaConf.save(sweeper.config, tmp_path / "multirun.yaml")
    for kept in ((tmp_path / "multirun.yaml").read_text(), OmegaConf.to_yaml(launchers[0])):
        assert "secret" not in kept and "hush" not in kept and kept.count("me:***@host/db") == 2
    assert config.hydra.sweeper.storage.count("secret") == 1  # Hydra's own stays as it was

    with pytest.raises(
        ConfigError, match=r"me:\*\*\*@host.*password is not kept\. Give hydra\.sweeper\.storage= again"
    ):
        resumed([f"sweep.resume={tmp_path}"])
    with pytest.raises(ConfigError, match="password is not kept"):
        resumed([f"sweep.resume={tmp_path}", f"{STORAGE}postgresql://me:secret@elsewhere/db"])
    assert given in resumed([f"sweep.resume={tmp_path}", given])
    assert "secret" not in capsys.readouterr().out


def test_a_database_named_by_an_environment_variable_is_resumed_without_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("A_DATABASE", "postgresql://me:secret@host/db")
    given = f"{STORAGE}${{oc.env:A_DATABASE}}"
    config = load([f"hydra.sweep.dir={tmp_path}", "hydra/sweeper=optuna", given])
    OmegaConf.update(config, "hydra.overrides.hydra", ["hydra/sweeper=optuna", given])
    OmegaConf.save(with_hidden_storage(config), tmp_path / "multirun.yaml")
    assert given in resumed([f"sweep.resume={tmp_path}"])
    kept = (tmp_path / "multirun.yaml").read_text()
    assert f"storage: {given.partition('=')[2]}\n" in kept and "secret" not in kept
