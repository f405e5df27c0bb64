"""Types and ranges of the values in a config that no constructor of this project states: top-level keys, libraries."""

from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Gt, Interval, MinLen
from hydra.utils import get_object
from lightning.pytorch.accelerators import AcceleratorRegistry
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from datamodules.decoding import Colour

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]  # what numpy's generator takes


def _known_accelerator(name: str) -> str:
    known = ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())]
    if name not in known:
        raise PydanticCustomError("accelerator", "one of {known}", {"known": ", ".join(known)})
    return name


def _written_with_point(value: Any) -> Any:
    if isinstance(value, int):
        raise PydanticCustomError("float_with_point", "a number written with a point, such as 0.0")
    return value


Accelerator = Annotated[str, AfterValidator(_known_accelerator)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Batches = Annotated[int, Ge(1)] | Annotated[float, Interval(gt=0, le=1)] | None  # so many, or a share of them
# Fused optimizers refuse an int among their betas.
Beta = Annotated[float, BeforeValidator(_written_with_point), Interval(ge=0, lt=1)]


class Sweep(TypedDict):
    resume: str | None


class Recipe(TypedDict):
    """How a run's settings were found."""

    trials: Annotated[int, Ge(1)]
    search: Annotated[str, MinLen(1)] | None


class Network(TypedDict):
    """What every network has besides its encoder and decoder."""

    parameters: Annotated[float, Ge(1)] | None


class Training(TypedDict):
    """The values at the top of conf/config.yaml."""

    seed: Seed
    every_n_epochs: Annotated[int, Ge(1)]
    compile: bool
    tf32: bool
    ckpt_path: str | None
    run_dir: Annotated[str, MinLen(1)]


class Export(TypedDict):
    """The values at the top of conf/export.yaml."""

    run: Annotated[str, MinLen(1)]
    out: Annotated[str, MinLen(1)]


class Evaluation(TypedDict):
    """The values at the top of conf/evaluate.yaml."""

    run: str
    images: str | None
    background: Colour
    name: str | None
    folder: str
    checkpoint: str | None
    accelerator: Accelerator
    seed: Seed
    samples: Annotated[int, Ge(1)]
    out: str | None


OPTIMIZER = {
    "lr": Positive,
    "betas": tuple[Beta, Beta],
    "weight_decay": NotNegative,
    "eps": Positive,
    "momentum": Share,
}
TRAINER = {
    "accelerator": Accelerator,
    "precision": Literal["32-true", "16-mixed", "bf16-mixed"],  # images and noise are made in float32
    "devices": Annotated[int, Ge(1)] | Literal[-1] | str | list[Annotated[int, Ge(0)]],
    "num_nodes": Annotated[int, Ge(1)],
    "max_epochs": Annotated[int, Ge(1)],  # the length of a run: null would leave it open
    "min_epochs": Annotated[int, Ge(1)] | None,
    "max_steps": Annotated[int, Ge(1)] | Literal[-1],
    "min_steps": Annotated[int, Ge(1)] | None,
    "check_val_every_n_epoch": Annotated[int, Ge(1)],
    "log_every_n_steps": Annotated[int, Ge(1)],
    "num_sanity_val_steps": Annotated[int, Ge(-1)],
    "limit_train_batches": Batches,
    "limit_val_batches": Batches,
    "limit_test_batches": Batches,
    "overfit_batches": Annotated[int, Ge(0)] | Share,
    "accumulate_grad_batches": Annotated[int, Ge(1)],
    "gradient_clip_val": NotNegative | None,
    "reload_dataloaders_every_n_epochs": Annotated[int, Ge(0)],
}
LIBRARIES: dict[str, dict[str, Any]] = {  # by the full name of a class: its parameters that have a range
    "lightning.Trainer": TRAINER,
    **{
        f"torch.optim.{name}": OPTIMIZER
        for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "SGD")
    },
    "torch.nn.LeakyReLU": {"negative_slope": NotNegative},
    "torch.nn.ELU": {"alpha": Positive},
    "torch.nn.BatchNorm2d": {"eps": Positive, "momentum": Share | None},
}


def library_types(target: Any) -> dict[str, Any]:
    """The ranges of a library's class, by parameter, under whichever of its names it was found; {} for others."""
    return next((types for name, types in LIBRARIES.items() if get_object(name) is target), {})
