"""Types and ranges of the values in a config that no constructor of this project states: top-level keys, libraries."""

from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Gt, Interval, MinLen
from hydra.utils import get_object
from lightning.pytorch.accelerators import AcceleratorRegistry
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from datamodules.decoding import Colour
from foundation.ranges import Count, Images, Parameters, Seed, Side


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
Processes = Annotated[int, Interval(ge=1, le=1024)]
Share = Annotated[float, Interval(ge=0, le=1)]
Batches = Count | Annotated[float, Interval(gt=0, le=1)] | None  # so many, or a share of them
Label = Annotated[int, Ge(0)] | Annotated[str, MinLen(1)]  # its number, or the name of its class
# Fused optimizers refuse an int among their betas.
Beta = Annotated[float, BeforeValidator(_written_with_point), Interval(ge=0, lt=1)]


class Sweep(TypedDict):
    resume: str | None
    requeued: bool


class Recipe(TypedDict):
    """How a run's settings were found."""

    trials: Count
    search: Annotated[str, MinLen(1)] | None


class Network(TypedDict):
    """What every network has besides its encoder and decoder."""

    parameters: Parameters | None


class Training(TypedDict):
    """The values at the top of conf/config.yaml."""

    seed: Seed
    every_n_epochs: Count
    compile: bool
    tf32: bool
    ckpt_path: Annotated[str, MinLen(1)] | None
    run_dir: Annotated[str, MinLen(1)]


class Export(TypedDict):
    """The values at the top of conf/export.yaml."""

    run: Annotated[str, MinLen(1)]
    out: str
    onnx: bool
    pt2: bool
    license: Annotated[str, MinLen(1)]
    hub: Annotated[str, MinLen(1)] | None
    private: bool


class Preparation(TypedDict):
    """The values at the top of conf/prepare.yaml."""

    images: Annotated[str, MinLen(1)]
    out: Annotated[str, MinLen(1)]
    root: Annotated[str, MinLen(1)]
    image_size: Side
    channels: Literal[1, 3]
    background: Colour
    num_val: Annotated[Images, Ge(2)] | None
    num_test: Annotated[Images, Ge(2)] | None
    split_seed: Seed
    shard_mb: Annotated[float, Interval(gt=0, le=4000)]


class Evaluation(TypedDict):
    """The values at the top of conf/evaluate.yaml."""

    run: str
    images: str | None
    background: Colour
    name: str | None
    folder: str
    checkpoint: Annotated[str, MinLen(1)] | None
    accelerator: Accelerator
    seed: Seed
    samples: Images | None
    labels: Label | list[Label] | None
    latents: Annotated[str, MinLen(1)] | None
    out: Annotated[str, MinLen(1)] | None


class Exploration(TypedDict):
    """The values at the top of conf/explore.yaml."""

    run: Annotated[str, MinLen(1)] | Annotated[list[Annotated[str, MinLen(1)]], MinLen(1)]
    checkpoint: Annotated[str, MinLen(1)] | None
    accelerator: Accelerator
    seed: Seed
    port: Annotated[int, Interval(ge=1, le=65535)] | None
    browser: bool


class DataOfRun(TypedDict):
    """What evaluate.py and explore.py may be told of a run's data."""

    root: Annotated[str, MinLen(1)] | None


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
    "devices": Processes | Literal[-1] | str | list[Annotated[int, Interval(ge=0, le=1023)]],
    "num_nodes": Processes,
    "max_epochs": Count,  # the length of a run: null would leave it open
    "min_epochs": Count | None,
    "max_steps": Count | Literal[-1],
    "min_steps": Count | None,
    "check_val_every_n_epoch": Count,
    "log_every_n_steps": Count,
    "num_sanity_val_steps": Annotated[int, Interval(ge=-1, le=10**12)],
    "limit_train_batches": Batches,
    "limit_val_batches": Batches,
    "limit_test_batches": Batches,
    "overfit_batches": Annotated[int, Interval(ge=0, le=10**12)] | Share,
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NotNegative | None,
    "reload_dataloaders_every_n_epochs": Annotated[int, Interval(ge=0, le=10**12)],
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
