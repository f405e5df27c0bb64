"""What takes more memory than the machine has is refused by its size, before it takes any."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from datamodules.folder import machine_memory
from foundation.errors import ConfigError

COPIES = 4  # of every weight, while it is trained: itself, its gradient, and Adam's two moments
TOO_MUCH = ("can't allocate memory", "not enough memory", "out of memory", "overflow")  # in torch's words
ADVICE = "Choose a smaller width, depth, latent_dim or number of components, or give network.parameters"


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
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in TOO_MUCH):
                raise
            raise ConfigError(f"model: one of its layers takes more memory than this machine has. {ADVICE}") from error


def check_images_fit(count: int, image_shape: tuple[int, int, int], setting: str) -> None:
    """Raise ConfigError if so many images, and what they are written from, take more memory than there is."""
    channels, height, width = image_shape
    needed, memory = 2 * count * channels * height * width, machine_memory()
    if needed > memory:
        raise ConfigError(
            f"{setting}: {count:,} images take {needed / 1e9:,.3g} GB, and this machine has {memory / 1e9:,.3g} GB. "
            "Write fewer at a time, each time with another seed"
        )
