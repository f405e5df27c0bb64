"""The jobs of a sweep: one that can't be composed fails alone, and what Hydra wrote of the sweep gets its checksum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from foundation.atomic import copy_file
from foundation.errors import ConfigError
from run_folder.choices import CONF
from run_folder.kept_config import seal_config
from run_folder.layout import SWEEP

from .identity import identity_of
from .job_folder import REFUSED, find_by_job_folder, given_subdir, refuse, register_job_folder
from .spelling import Load, applicable, explained

EARLIER = f"earlier_{SWEEP}"  # until it is whole again
HERE = (".BasicLauncher", ".JoblibLauncher")  # launchers of jobs that have this machine's environment


class JobLoader(ConfigLoaderImpl):
    """Composes the jobs of a sweep. Hydra's own ends the sweep, before its first job, at the first that it can't.

    Here such a job is composed without the overrides that are wrong, and says why once it is run: so the others run,
    and the report has it. Where no job can be composed, or have its folder, the sweep ends with what is wrong with the
    first. Hydra composes all jobs before it begins one, and each again when it begins; so a record of each can lie in
    the sweep's folder until it does. With hydra.sweeper.max_batch_size= it does so for as many at a time.
    """

    def __init__(self, search_path: ConfigSearchPath, jobs: Sequence[Sequence[str]], at_once: int) -> None:
        """`jobs`: the overrides of all jobs, none where they are not known; `at_once`: of how many it begins."""
        super().__init__(search_path)
        self.jobs, self.at_once = jobs, min(at_once, len(jobs))
        self.identities: list[dict[str, Any]] = []  # of the jobs that Hydra has composed before it begins the first
        self.refused: list[str] = []  # what is wrong with some of them
        self.is_sealed = False

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        if not self.is_sealed:  # Hydra has just written it
            seal_record(Path(master_config.hydra.sweep.dir))
            self.is_sealed = True
        try:
            config = super().load_sweep_config(master_config, sweep_overrides)
        except (HydraException, OmegaConfBaseException) as error:
            config = self._refused(master_config, sweep_overrides, error)
        find_by_job_folder(config)
        if len(self.identities) < self.at_once:
            self._expect(config)
            if len(self.identities) == self.at_once:
                self._leave_records(config)
        return config

    def _expect(self, config: DictConfig) -> None:
        """Note what is known of a job before it begins. Raises ConfigError if it is the last, and none can be run."""
        with open_dict(config):
            config.hydra.job.num = config.hydra.job.id = len(self.identities)
        hydra, before = HydraConfig.instance(), HydraConfig.instance().cfg
        hydra.set_config(config)  # which ${hydra:…} goes by
        try:
            why = config.get(REFUSED) or why_without_folder(config)
            self.identities.append(known_identity(config))
        finally:
            hydra.cfg = before
        self.refused += [why] if why else []
        if len(self.refused) == len(self.jobs):
            raise ConfigError(self.refused[0])

    def _leave_records(self, config: DictConfig) -> None:
        from .waiting_jobs import has_begun, leave_records, waiting_record  # here, so that --help need not wait for it

        folder = Path(config.hydra.sweep.dir)
        if OmegaConf.select(config, "sweep.resume") is not None and has_begun(folder):
            return  # those that have not begun have left theirs
        known = [*self.identities, *({} for _ in self.jobs[self.at_once :])]
        leave_records(folder, [waiting_record(*job) for job in zip(self.jobs, known, strict=True)])

    def _refused(self, master_config: DictConfig, overrides: Sequence[str], error: Exception) -> DictConfig:
        def load(some: Sequence[str]) -> DictConfig:
            return super(JobLoader, self).load_sweep_config(master_config, list(some))

        config, taken, wrong = applicable(overrides, load)
        why = (explained(wrong[0], config, taken, load) if wrong else None) or str(error).strip()
        refuse(config, why)
        with open_dict(config):
            config.hydra.overrides.task = list(overrides)
            for name, _, value in (override.partition("=") for override, _ in wrong):
                if name in config.get("choices", {}):
                    config.choices[name] = value
        return config


def known_identity(config: DictConfig) -> dict[str, Any]:
    """What a job is called by; nothing where its choices are none, which it says once it is run."""
    choices = OmegaConf.select(config, "choices", throw_on_resolution_failure=False)
    return identity_of(config) if isinstance(choices, DictConfig) else {}


def why_without_folder(config: DictConfig) -> str | None:
    """What is wrong with the name of a job's folder, as far as it can be known here; None if nothing is."""
    if not str(config.hydra.launcher.get("_target_")).endswith(HERE):
        return None
    try:
        given_subdir(config)
    except ConfigError as error:
        return str(error)
    return None


def begin_jobs(config: DictConfig) -> None:
    """Have Hydra compose the jobs of the sweep that it is about to begin as `JobLoader` does."""
    register_job_folder()
    hydra = GlobalHydra.instance().hydra
    if hydra is not None:
        loader = hydra.config_loader
        jobs = jobs_of(config, loader)
        at_once = config.hydra.sweeper.get("max_batch_size") or len(jobs)
        hydra.config_loader = JobLoader(loader.get_search_path(), jobs, at_once)


def jobs_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The overrides of all jobs of a sweep of Hydra's own sweeper; none of another, which finds them as it goes."""
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(f".{BasicSweeper.__name__}"):
        return []
    given = [f"{name}={values}" for name, values in (sweeper.get("params") or {}).items()]
    overrides = OverridesParser.create(loader).parse_overrides([*given, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return jobs


def has_several_values(override: str) -> bool:
    """Whether an override stands for several jobs, such as `seed=0,1`. Raises Hydra's exception if it can't be read."""
    return OverridesParser.create().parse_override(override).is_sweep_override()


def left_to_jobs(arguments: Sequence[str], load: Load) -> list[str]:
    """The arguments of a sweep over choices, such as model=vae,gan, with what the default choices lack in its jobs.

    Hydra first composes what is not swept over with the default choices alone, and ends a sweep over models at a
    setting that the default model lacks. Written as a choice of one value it is of the jobs alone. Other arguments
    are returned as they are.
    """
    parsed = get_args_parser().parse_args(list(arguments))
    several = [override for override in parsed.overrides if has_several_values(override)]
    if not parsed.multirun or not any((CONF / name_of(given).lstrip("+")).is_dir() for given in several):
        return list(arguments)
    _, _, wrong = applicable([given for given in parsed.overrides if given not in several], load)
    left = {given for given, _ in wrong if not given.startswith("~") and given.partition("=")[2]}
    return [f"{name_of(given)}=choice({given.partition('=')[2]})" if given in left else given for given in arguments]


def name_of(override: str) -> str:
    return override.partition("=")[0]


def keep_record(folder: Path) -> None:
    """Keep what Hydra has written of a sweep until it has written it anew, which it does not do in one act."""
    if not (folder / EARLIER).is_file():
        copy_file(folder / SWEEP, folder / EARLIER)


def seal_record(folder: Path) -> None:
    """Add its checksum to what Hydra has written of a sweep."""
    if (folder / SWEEP).is_file():
        seal_config(folder / SWEEP)
        (folder / EARLIER).unlink(missing_ok=True)


def record_of(folder: Path) -> Path:
    """The file in which it is written which jobs a sweep has: a whole one, also where writing it anew was cut off."""
    earlier = folder / EARLIER
    return earlier if earlier.is_file() else folder / SWEEP
