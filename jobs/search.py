"""A search for settings that score well on val: Optuna chooses a sweep's next trials by the scores of those before.

A study is kept in the sweep's folder, `optuna.db`, where Optuna's own tools read it. A trial is a job of the sweep in
every respect: its folder is called by its number, and resuming, locks, records and the report are those of any sweep.
"""

import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from os import cpu_count
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from foundation.atomic import write_atomically
from foundation.errors import ConfigError, UserError, first_line
from foundation.programs import override, program, typed
from foundation.progress import say
from foundation.ranges import Count
from foundation.secrets import without_passwords
from run_folder.choices import sections
from run_folder.layout import STATUS, SWEEP
from run_folder.records import EndRecord, RecordError, read_record
from run_folder.settings import decides_weights, setting_of

from .config_check import check_values
from .object_check import callable_of
from .search_space import are_of, split_overrides
from .sweep_jobs import seal_record

Direction = Literal["minimize", "maximize"]
DATABASE = "optuna.db"
RESULTS = "optimization_results.yaml"  # as hydra-optuna-sweeper calls it
SUBDIR = "hydra.sweep.subdir"
TRIED_AGAIN = "tried_again"  # of a trial: the number of the failed one whose values it has
DIRECTIONS: dict[str, Direction] = {"min": "minimize", "max": "maximize"}
BAD_SETTINGS = ("diverged", "stopped by health")  # how a run ends whose settings, not the machine, were at fault
TYPES = {
    "direction": Direction | None,
    "storage": str | None,
    "study_name": str | None,
    "n_trials": Count,
    "n_jobs": Count | None,
    "params": dict[str, str | int | float | bool | None] | None,
    "studies": dict[str, dict[str, str | int | float | bool | None]] | None,
}


class Trial(NamedTuple):
    """One setting that is tried."""

    number: int
    values: Mapping[str, Any]


class Study:
    """One search among those of a sweep: what is fixed in it, what is searched, and what was found so far."""

    found: OptunaStudy  # what the database has of it, once it is open

    def __init__(
        self, name: str, title: str, direction: Direction, fixed: dict[str, str], space: dict[str, BaseDistribution]
    ) -> None:
        """`title`: what it is called in the database."""
        self.name, self.title, self.direction, self.fixed, self.space = name, title, direction, fixed, space
        self.begun: list[Trial] = []  # by an earlier part of the sweep, which did not end them
        self.left = 0  # how many are still to be chosen

    def open(self, storage: str) -> None:
        """Find it in a database, or make it there. Raises what Optuna does."""
        self.found = optuna.create_study(
            storage=storage, study_name=self.title, direction=self.direction, load_if_exists=True
        )

    def folder(self, trial: Trial) -> str:
        return f"{self.name}_trial-{trial.number:03d}".lstrip("_")

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        return [f"{name}={value}" for name, value in {**self.fixed, **values}.items()]

    def count(self, *states: TrialState) -> int:
        return len(self.found.get_trials(deepcopy=False, states=states))

    @property
    def best(self) -> optuna.trial.FrozenTrial | None:
        return self.found.best_trial if self.count(TrialState.COMPLETE) else None


def search(
    settings: Mapping[str, Any],
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    arguments: Sequence[str],
) -> list[JobReturn]:
    """Run the trials of a sweep. Raises UserError, in the end where trials have failed.

    `settings`: of conf/hydra/sweeper/optuna.yaml; `arguments`: the overrides of the command line that are the jobs'.
    """
    plain = {name: _plain(value) for name, value in settings.items()}
    check_values("hydra.sweeper.", plain, TYPES)
    check_sampler(plain["sampler"])
    folder = Path(config.hydra.sweep.dir)
    resumes = OmegaConf.select(config, "sweep.resume") is not None
    check_folder(config, folder, resumes)
    folder.mkdir(parents=True, exist_ok=True)
    studies = prepare_studies(plain, config, loader, folder, arguments)
    with reading(folder, plain["storage"]):
        for study in studies:
            study.open(plain["storage"] or database_in(folder))
        check_has_trials(studies, folder)
        for study in studies:
            take_up(study, plain["n_trials"], resumes)
    try:
        OmegaConf.save(config, folder / SWEEP)
        if not any(study.begun or study.left for study in studies):
            seal_record(folder)  # else it is when the first job is composed
        returns = run_trials(studies, plain, config, launcher, folder)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise database_fails(folder, plain["storage"], error) from error
    finish(studies, config, folder, returns)
    return returns


@contextmanager
def reading(folder: Path, storage: str | None) -> Iterator[None]:
    """Raise UserError for whatever Optuna comes upon in a database: of a damaged one that may be anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise database_fails(folder, storage, error) from error


def database_fails(folder: Path, storage: str | None, error: Exception) -> UserError:
    cause = (error.__cause__ if isinstance(error, StorageInternalError) else None) or error
    why = without_passwords(first_line(getattr(cause, "orig", None) or cause))  # the driver's words, without the query
    if storage is not None:
        return UserError(
            f"hydra.sweeper.storage: the database of the search, {without_passwords(storage)}, fails: {why}"
        )
    return UserError(
        f"{folder / DATABASE}, the database of the search, fails: {why}. If it is damaged restore it, or search anew "
        "in another folder, hydra.sweep.dir=; the trials that were run keep their folders here"
    )


def check_has_trials(studies: Sequence[Study], folder: Path) -> None:
    """Raise UserError where trials were run of which the database knows none: others would get their folders."""
    if any(study.found.get_trials(deepcopy=False) for study in studies):
        return
    if left := next(folder.glob("*trial-*"), None):
        raise UserError(
            f"the database of the search in {folder} knows no trials, and there is {left.name} of one. Restore the "
            "database, or search anew in another folder, hydra.sweep.dir="
        )


def database_in(folder: Path) -> str:
    return URL.create("sqlite", database=str((folder / DATABASE).resolve())).render_as_string()


def check_sampler(sampler: Any) -> None:
    """Raise ConfigError unless it is one of Optuna's, of classes of Optuna's, and can be built."""
    if not isinstance(sampler, dict) or "_target_" not in sampler:
        raise ConfigError("hydra.sweeper.sampler: expected a section with a _target_, as optuna.samplers.TPESampler")
    for target in [node["_target_"] for _, node in sections(sampler, "") if "_target_" in node]:
        found, _ = callable_of(str(target), "hydra.sweeper.sampler.")
        # Its modules have names of others', too, such as optuna.logging.sys.exit.
        if not isinstance(found, type) or found.__module__.partition(".")[0] != "optuna":
            raise ConfigError(f"hydra.sweeper.sampler: expected a class of Optuna's, got {target}")
    try:
        built = sampler_for(sampler, 0)
    except InstantiationException as error:
        why = first_line(error.__cause__ or error)
        raise ConfigError(f"hydra.sweeper.sampler: it can't be built: {why}") from error
    if not isinstance(built, BaseSampler):
        raise ConfigError(f"hydra.sweeper.sampler: expected a sampler of Optuna's, got {sampler['_target_']}")


def check_folder(config: DictConfig, folder: Path, resumes: bool) -> None:
    """Raise ConfigError where the folders of trials could not be found again, or are those of another search."""
    if any(override.startswith(f"{SUBDIR}=") for override in config.hydra.overrides.hydra):
        raise ConfigError(f"{SUBDIR}: the folder of a trial is called by its number; leave it away")
    if not resumes and (folder / DATABASE).exists():
        raise ConfigError(
            f"{folder} holds a search already, which is left as it is. Go on with it by "
            f"{typed('sweep.resume', folder)}, with hydra.sweeper.n_trials= to make it longer, or choose another "
            "folder with hydra.sweep.dir="
        )


def prepare_studies(
    settings: Mapping[str, Any], config: DictConfig, loader: ConfigLoader, folder: Path, arguments: Sequence[str]
) -> list[Study]:
    """Every study of a sweep, which is not open yet. Raises ConfigError where nothing is searched, or by nothing."""
    mode = OmegaConf.select(config, "callbacks.best_checkpoint.mode")
    if mode is None:
        raise ConfigError("hydra/sweeper=optuna: there is no score of val to search by; choose one with scores=")
    direction: Direction = settings["direction"] or DIRECTIONS[mode]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    base = settings["study_name"] or folder.resolve().name
    parser = OverridesParser.create(config_loader=loader)
    studies = []
    for name, own in (settings["studies"] or {"": {}}).items():
        given = [f"{key}={value}" for key, value in {**(settings["params"] or {}), **own}.items()]
        fixed, space = split_overrides(parser.parse_overrides([*given, *arguments]))
        check_space(space)
        studies.append(Study(name, f"{base}/{name}" if name else base, direction, fixed, space))
    return studies


def check_space(space: Mapping[str, BaseDistribution]) -> None:
    if not space:
        raise ConfigError(
            "hydra/sweeper=optuna: nothing is searched. Give a setting several values, such as "
            "'model.optimizer.lr=tag(log, interval(1e-4, 1e-2))' or network.encoder.width=128,256"
        )
    if "seed" in space:
        raise ConfigError(
            "seed: a search over seeds finds lucky ones. Search with one, and train what it finds with several"
        )


def take_up(study: Study, n_trials: int, resumes: bool) -> None:
    """Count what is left of a study; of a resumed one, take up the trials that were cut off or failed."""
    trials = study.found.get_trials(deepcopy=False)
    if resumes:
        again = {trial.user_attrs.get(TRIED_AGAIN) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING and are_of(trial.params, study.space):
                study.begun.append(Trial(trial.number, trial.params))
            elif trial.state == TrialState.RUNNING:  # cut off before its values were chosen
                study.found.tell(trial.number, state=TrialState.FAIL)
            elif trial.state == TrialState.FAIL and trial.number not in again and are_of(trial.params, study.space):
                study.found.enqueue_trial(trial.params, user_attrs={TRIED_AGAIN: trial.number})
    done = study.count(TrialState.COMPLETE, TrialState.PRUNED) + len(study.begun)
    study.left = max(0, n_trials - done)


def run_trials(
    studies: Sequence[Study], settings: Mapping[str, Any], config: DictConfig, launcher: Launcher, folder: Path
) -> list[JobReturn]:
    """Run all that is left, so many at a time, of each study in turn: stopped, they have had equally many."""
    at_once = settings["n_jobs"] or jobs_at_once(config.hydra.launcher)
    returns: list[JobReturn] = []
    while any(study.begun or study.left for study in studies):
        for study in studies:
            batch = next_trials(study, at_once, settings["sampler"])
            if not batch:
                continue
            jobs = [[*study.overrides(trial.values), f"{SUBDIR}={study.folder(trial)}"] for trial in batch]
            ended = launcher.launch(jobs, initial_job_idx=len(returns))
            returns += ended
            for trial, job in zip(batch, ended, strict=True):
                tell(study, trial, job, folder)
    return returns


def next_trials(study: Study, at_once: int, sampler: Mapping[str, Any]) -> list[Trial]:
    """Those that were cut off first; then new ones, which are the same whether or not the sweep was stopped before."""
    batch, study.begun = study.begun[:at_once], study.begun[at_once:]
    study.found.sampler = sampler_for(sampler, len(study.found.get_trials(deepcopy=False)))
    while study.left and len(batch) < at_once:
        study.left -= 1
        asked = study.found.ask(study.space)
        batch.append(Trial(asked.number, asked.params))
    return batch


def sampler_for(config: Mapping[str, Any], number: int) -> BaseSampler:
    """The sampler for the trials from this number on.

    Those that draw from a generator get one of their own for each batch: of one that began anew in a resumed sweep the
    first trials would come a second time.
    """
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        sampler: BaseSampler = instantiate(config)
        if isinstance(sampler, TPESampler | RandomSampler) and isinstance(config.get("seed"), int):
            sampler = instantiate({**config, "seed": config["seed"] + number})
    return sampler


def jobs_at_once(launcher: DictConfig) -> int:
    asked = launcher.get("n_jobs")
    return (asked if asked > 0 else cpu_count() or 1) if isinstance(asked, int) else 1


def tell(study: Study, trial: Trial, job: JobReturn, folder: Path) -> None:
    """Tell Optuna, and whoever looks on, how a trial has ended."""
    name = study.folder(trial)
    if job.status == JobStatus.COMPLETED and job.return_value is None:
        raise ConfigError(f"{name}: it has no score of val to search by; choose one with scores=")
    value = float(job.return_value) if job.status == JobStatus.COMPLETED else float("nan")
    if isfinite(value):
        study.found.tell(trial.number, value)
        best = study.best
        is_best = best is not None and best.number == trial.number
        known = "the best so far" if is_best or best is None else f"best {best.value:.4g}, trial {best.number}"
        say(f"{name}: {value:.4g} on val, {known}")
        return
    status = how_ended(folder / name)
    state = TrialState.PRUNED if status in BAD_SETTINGS else TrialState.FAIL
    study.found.tell(trial.number, state=state)
    say(f"{name}: {status}, told as {state.name.lower()}")


def how_ended(run_dir: Path) -> str:
    try:
        return read_record(run_dir / STATUS, EndRecord).status
    except (OSError, RecordError):
        return "failed"


def finish(studies: Sequence[Study], config: DictConfig, folder: Path, returns: Sequence[JobReturn]) -> None:
    """Write and print what was found. Raises UserError where trials have failed."""
    results = {study.name or study.found.study_name: result_of(study) for study in studies}
    content = yaml.safe_dump({"name": "optuna", "studies": results}, sort_keys=False)
    write_atomically(folder / RESULTS, lambda partial: partial.write_text(content, encoding="utf-8"))
    for study in studies:
        for line in summary_of(study, config):
            print(line, flush=True)
    failed = sum(study.count(TrialState.FAIL) for study in studies)
    if any(job.status == JobStatus.FAILED for job in returns) and failed:
        raise UserError(
            f"{failed} trials failed, by no fault of their settings that could be told; each has said why. "
            f"{shlex.join([*program('train'), override('sweep.resume', folder)])} tries their values again"
        )


def result_of(study: Study) -> dict[str, Any]:
    best = study.best
    return {
        "trials": {
            state.name.lower(): study.count(state)
            for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        },
        "best_trial": None if best is None else best.number,
        "best_value": None if best is None else best.value,
        "best_params": {} if best is None else dict(best.params),
    }


def summary_of(study: Study, config: DictConfig) -> list[str]:
    """The best trial of a study, and the command that trains its settings again, as a recipe that says its cost."""
    title = f"{study.name}: " if study.name else ""
    tried, best = study.count(TrialState.COMPLETE, TrialState.PRUNED), study.best
    if best is None:
        return [f"{title}no trial has a score on val"]
    overrides = [given for given in study.overrides(best.params) if decides_weights(setting_of(given))]
    sweeper = config.hydra.sweeper
    mode = ["hydra.mode=RUN"] if sweeper.get("params") or sweeper.get("studies") else []
    experiment = next((given.partition("=")[2] for given in overrides if given.startswith("experiment=")), "optuna")
    recipe = [f"recipe.trials={tried}", f"recipe.search={experiment}"] if tried > 1 else []
    chosen = " ".join(f"{name}={value}" for name, value in best.params.items())
    return [
        f"{title}the best of {tried} trials is {best.number}, {best.value:.4g} on val: {chosen}",
        f"  {shlex.join([*program('train'), *overrides, *recipe, *mode])}",
    ]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
