"""Sweeps: what their jobs' folders are called, and resuming one that was stopped (sweep.resume=<its folder>)."""

import atexit
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from foundation.errors import ConfigError, UserError
from foundation.locks import FolderLock
from foundation.programs import program, quoted
from foundation.secrets import has_hidden, without_passwords
from hydra_plugins.vae_vs_gan.optuna_sweeper import OptunaSweeper
from hydra_plugins.vae_vs_gan.ray_launcher import RayLauncher
from run_folder.kept_config import read_plain
from run_folder.layout import SWEEP
from run_folder.settings import decides_weights, setting_of

from .run_start import unwritable
from .stopping import end_by_sigterm
from .sweep_jobs import begin_jobs, has_several_values, keep_record, record_of

OPTION = "sweep.resume="
HEAD = ("model", "network", "data")  # what the name of a job's folder begins with
# Which jobs a sweep has and where they lie is settled when it begins.
SETTLED = ("hydra.sweep", "hydra.sweeper", "run_dir", "ckpt_path")
SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher"  # where hydra-submitit-launcher has its own
MAY_GROW = "hydra.sweeper.n_trials"  # of a search, which goes on where it ended


_locks: dict[Path, FolderLock] = {}  # of this process's sweeps


def folder_name(
    overrides: Sequence[str], number: int, choices: Mapping[str, Any] | None = None, swept: Collection[str] = ()
) -> str:
    """What a job is called by, as a folder that needs no quotes on a command line: vae-mlp-digits/seed0.

    Its model, network and data, chosen or by default (`choices`); then what else is `swept` over, or where that is
    unknown, all overrides that decide weights: a sweep may be resumed with others. Below them lie its seeds.
    """
    typed = {o.partition("=")[0]: o.partition("=")[2] for o in overrides}
    head = "-".join(str(chosen) for group in HEAD if (chosen := typed.get(group, (choices or {}).get(group))))
    others = [override for override in overrides if override.partition("=")[0] not in (*HEAD, "seed")]
    rest = [o for o in others if (setting_of(o) in swept if swept else decides_weights(setting_of(o)))]
    given = "_".join(filter(None, [head, *sorted(rest)])).replace("=", "-").replace("/", ".")
    name = re.sub(r"[^\w.+]+", "-", given).strip("-.")
    seed = typed.get("seed", "")
    seeded = [f"seed{seed}"] if re.fullmatch(r"\w+", seed) else []
    # What was changed or cut could make two jobs' names the same.
    is_whole = name == given and len(name) <= 200 and bool(seeded) == bool(seed)
    parts = [name[:200] if is_whole else f"{name[:200]}_{number}".lstrip("_"), *seeded]
    return "/".join(filter(None, parts)) or str(number)


def swept_settings() -> list[str]:
    """The settings in which the jobs of this job's sweep differ; none where it can't be read how it began."""
    hydra = HydraConfig.get()
    try:
        task, _ = overrides_of(record_of(Path(hydra.runtime.cwd, hydra.sweep.dir)))
    except ConfigError:
        task = []
    typed = map(setting_of, filter(has_several_values, task))
    return list(dict.fromkeys([*typed, *settings_of_sweeper(hydra.sweeper)]))


def settings_of_sweeper(sweeper: DictConfig) -> list[str]:
    """The settings that a sweeper's own section gives the jobs: its `params`, and those of a search's studies."""
    sections = [sweeper.get("params") or {}, *(study or {} for study in (sweeper.get("studies") or {}).values())]
    return [setting_of(str(name)) for section in sections for name in section]


def register_folder_name(swept: Collection[str] = ()) -> None:
    """Make `${folder_name:<overrides>,<number>,<choices>}` known to configs."""
    OmegaConf.register_new_resolver("folder_name", partial(folder_name, swept=frozenset(swept)), replace=True)


class FolderNames(Callback):
    """Begins a sweep: names for its folders, its lock, and jobs of which one that can't be composed fails alone."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        swept = [setting_of(override) for override in config.hydra.overrides.task if has_several_values(override)]
        register_folder_name([*swept, *settings_of_sweeper(config.hydra.sweeper)])
        try:
            lock_sweep(Path(config.hydra.sweep.dir))
        except UserError as error:  # of any other exception of a callback Hydra would only warn
            raise SystemExit(f"error: {error}") from error
        for plugin in (OptunaSweeper, RayLauncher):
            Plugins.instance().register(plugin)  # of an editable installation Hydra does not find them
        resume_requeued(config)
        begin_jobs(config)
        end_by_sigterm(f"go on with: {command_to_resume_sweep(Path(config.hydra.sweep.dir))}")


def command_to_resume_sweep(folder: Path) -> str:
    return shlex.join([*program("train"), f"{OPTION}{quoted(str(folder.resolve()))}"])


def resume_requeued(config: DictConfig) -> None:
    """Put this project's launchers in the place of hydra-submitit-launcher's: of these a requeued job would fail."""
    package, _, name = str(config.hydra.launcher.get("_target_")).rpartition(".")
    if package != SUBMITIT:
        return
    from hydra_plugins.vae_vs_gan import (
        _submitit_launcher as submitit_launcher,  # can be imported only where that is installed
    )

    launcher = getattr(submitit_launcher, name)
    Plugins.instance().register(launcher)
    with open_dict(config):
        config.hydra.launcher._target_ = f"{launcher.__module__}.{name}"


def lock_sweep(folder: Path) -> None:
    """Keep other programs out of a sweep's folder until this process ends.

    Raises InUseError, and ConfigError or DiskFullError if it can't be written.
    """
    folder = folder.resolve()
    if folder not in _locks:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _locks[folder] = FolderLock(folder)
        except OSError as error:
            raise unwritable(error) from error


@atexit.register
def unlock_sweeps() -> None:
    for lock in _locks.values():
        lock.release()


def resumed(arguments: Sequence[str]) -> list[str]:
    """The arguments of train.py; with sweep.resume= among them, those that began that sweep come first.

    Raises ConfigError if the folder is not that of a sweep, or if an added argument would make other jobs, and
    InUseError if another program runs that sweep.
    """
    folders = [argument.removeprefix(OPTION) for argument in arguments if argument.startswith(OPTION)]
    if not folders or folders[-1] in ("", "null"):
        return list(arguments)
    folder = Path(folders[-1])
    if not record_of(folder).is_file():
        raise ConfigError(
            f"sweep.resume: {folder} is not the folder of a sweep: it has no {SWEEP}. Give the folder in which its "
            "jobs' folders lie, such as multirun/<date>/<time>"
        )
    lock_sweep(folder)
    task, hydra = overrides_of(record_of(folder))
    keep_record(folder)
    began = [*task, *(kept for kept in hydra if not kept.startswith("hydra.sweep.dir="))]
    print(f"resuming: {shlex.join([*program('train'), '-m', *map(without_passwords, began)])}", flush=True)
    given = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    began = with_passwords(began, given)
    added = [argument for argument in given if argument not in began]
    for override in added:
        if not override.startswith(OPTION):
            check_keeps_jobs(override)
    return ["--multirun", *(kept for kept in began if not kept.startswith(OPTION)), f"hydra.sweep.dir={folder}", *added]


def with_passwords(began: Sequence[str], given: Sequence[str]) -> list[str]:
    """What began a sweep, with the passwords, which it has not kept, from what is given now. Raises ConfigError."""
    whole = {without_passwords(override): override for override in given}
    for override in began:
        if has_hidden(override) and override not in whole:
            raise ConfigError(
                f"sweep.resume: the sweep was begun with {override}, whose password is not kept. Give "
                f"{setting_of(override)}= again, with the password; or begin sweeps with an environment variable "
                f"there, such as '{setting_of(override)}=${{oc.env:STORAGE}}'"
            )
    return [whole[override] if has_hidden(override) else override for override in began]


def overrides_of(record: Path) -> tuple[list[str], list[str]]:
    """What a sweep's jobs, and Hydra, were given on the command line. Raises ConfigError if it can't be read."""
    try:
        overrides = read_plain(record)["hydra"]["overrides"]
        task, hydra = ([str(override) for override in overrides[name]] for name in ("task", "hydra"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"sweep.resume: {record} is not what Hydra wrote when a sweep began ({error})") from error
    for override in [*task, *hydra]:
        if override.startswith("-"):  # an option of the command line, such as --config-dir
            raise ConfigError(f"sweep.resume: {record} has {override[:80]} among its overrides, which is none")
    return task, hydra


def check_keeps_jobs(override: str) -> None:
    """Raise ConfigError if an argument, added when a sweep is resumed, would make other jobs than it began with."""
    setting = setting_of(override)
    is_settled = setting != MAY_GROW and any(f"{setting}.".startswith(f"{settled}.") for settled in SETTLED)
    if decides_weights(setting) or is_settled or has_several_values(override):
        raise ConfigError(
            f"sweep.resume: {override} would make other jobs of these, or other folders. Only one value each of what "
            "changes no trained weight may be added, such as data.root= or hydra.launcher."
        )
