"""What takes more memory than the machine has: refused by its size, before it takes any, or told of when it does."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from datamodules.folder import machine_memory
from foundation.errors import ConfigError, UserError
from foundation.memory import asked_for, is_out_of_memory

PROJECT = Path(__file__).parents[1]
COPIES = 4  # of every weight, while it is trained: itself, its gradient, and Adam's two moments
ADVICE = "Choose a smaller width, depth, latent_dim or number of components, or give network.parameters"


class OutOfMemoryError(UserError):
    """Something took more memory than there is; the message says what, how much, and what to do."""


class Work(NamedTuple):
    """What may take too much memory, and the setting that makes it take less; in which file one sees it at work."""

    file: str
    name: str
    setting: str | None


WATCHING = Work("callbacks/collapse.py", "looking for collapse", "callbacks.health.batch_size")
SCORING = Work("callbacks/sample_scores.py", "scoring samples", "scores.batch_size")
LIKELIHOOD = Work("callbacks/likelihood_scores.py", "computing likelihoods", "callbacks.likelihood.batch_size")
LOOKING = Work("callbacks/", "looking at what the model makes", None)
TRAINING = Work("", "training", "data.batch_size")


@contextmanager
def model_within_memory() -> Iterator[None]:
    """Around the building of a model: raise ConfigError at the first layer with which it would take too much to train.

    A layer's weights are counted when it has them, before they are filled: till then they take no memory.
    """
    memory, taken = machine_memory(), 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal taken
        if tensor is None or tensor.is_meta:
            return
        taken += tensor.nbytes * (COPIES if isinstance(tensor, nn.Parameter) else 1)
        if taken > memory:
            raise ConfigError(
                f"model: with the {name} of its {type(module).__name__}, {tuple(tensor.shape)}, it takes "
                f"{taken / 1e9:,.3g} GB to train, and this machine has {memory / 1e9:,.3g} GB. {ADVICE}"
            )

    with ExitStack() as hooks:
        for register in (register_module_parameter_registration_hook, register_module_buffer_registration_hook):
            hooks.callback(register(count).remove)
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) and "overflow" not in str(error):  # of what torch reckons sizes in
                raise
            raise ConfigError(f"model: one of its layers takes more memory than this machine has. {ADVICE}") from error


def out_of_memory(error: BaseException, cfg: DictConfig, advice: str) -> OutOfMemoryError:
    """What to tell of a run that has taken more memory than there is; `advice` says how it goes on."""
    work = work_of(error)
    smaller = "Make room"
    if work.setting is not None:
        size = OmegaConf.select(cfg, work.setting)
        smaller = f"Choose a smaller {work.setting}" + (f" than {size}" if size is not None else "")
    if work == TRAINING:
        smaller += " or a smaller network (network.parameters), which is another run, or make room for this one"
    return OutOfMemoryError(f"out of memory while {work.name}{asked_for(error)}. {smaller}; {advice}")


def work_of(error: BaseException) -> Work:
    """What a run was doing when an error was raised."""
    files = [Path(frame.filename).as_posix() for frame in traceback.extract_tb(error.__traceback__)]
    for work in (WATCHING, SCORING, LIKELIHOOD):
        if any(file.endswith(f"/{work.file}") for file in files):
            return work
    is_looking = any(file.startswith(f"{PROJECT.as_posix()}/{LOOKING.file}") for file in files)
    return LOOKING if is_looking else TRAINING


def check_images_fit(count: int, image_shape: tuple[int, int, int], setting: str) -> None:
    """Raise ConfigError if so many images, and what they are written from, take more memory than there is."""
    channels, height, width = image_shape
    needed, memory = 2 * count * channels * height * width, machine_memory()
    if needed > memory:
        raise ConfigError(
            f"{setting}: {count:,} images take {needed / 1e9:,.3g} GB, and this machine has {memory / 1e9:,.3g} GB. "
            "Write fewer at a time, each time with another seed"
        )
