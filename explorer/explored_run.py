"""A run as the explorer sees it: its model, what that can do and what not, and commands that draw the same again."""

import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from callbacks.interpolation import line, slerp
from foundation.programs import override, program
from jobs.kept_config import read_config
from jobs.trained_model import TrainedModel, trained_model
from lightning_modules.generative_model import Encodes
from lightning_modules.values import Latents
from run_folder.layout import METRICS
from run_folder.records import RecordError, RunRecord, read_record

# What draws from PyTorch's global generators, or sets a model's truncation, does so alone: a page has several threads.
DRAWING = threading.RLock()
FOR_SPREAD = 2_000  # latents whose mean and deviation stand for those of all
COLUMNS = 12  # classes, at most, of which samples show a column each
WALKS = {"straight line": line, "great circle": slerp}


@dataclass(frozen=True)
class Wanted:
    """Which samples of a model: equal ones are the same images, today and tomorrow."""

    seed: int
    count: int
    label: str | None = None  # None: all classes, where the model knows any
    truncation: float | None = None  # of a GAN: the largest component of z; None: as its run draws them
    temperature: float = 1.0  # of others: how far from the mean of all latents, 1 as they are drawn


@dataclass(frozen=True, eq=False)
class Place:
    """A place among the latents, and where it is from, in words."""

    latents: Latents  # of one image
    words: str

    def moved(self, by: Tensor) -> "Place":
        """The place that lies a vector, (D,), further."""
        return Place(replace(self.latents, z=self.latents.z + by), self.words)


class ExploredRun:
    """A trained model and what is known of its run. Raises UserError where a folder is none."""

    def __init__(
        self, folder: Path, device: torch.device, checkpoint: str | None = None, on_hub: str | None = None
    ) -> None:
        """`on_hub`: the address, hf://owner/name, of a run whose folder is a copy; None for one that is here."""
        self.address = on_hub or str(folder)
        self.folder, self.checkpoint = folder, checkpoint
        self.config: DictConfig = read_config(folder)
        self.model: TrainedModel = trained_model(self.config, folder, device, checkpoint, {})
        self.name = on_hub.rpartition("/")[2] if on_hub else folder.resolve().name
        self.record = self._read_record()

    def _read_record(self) -> RunRecord | None:
        try:
            return read_record(self.folder / METRICS, RunRecord)
        except (OSError, RecordError):  # of a run that was not tested: its model is none the worse
            return None

    @property
    def family(self) -> str:
        return type(self.model.module).__name__

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the model knows, none where it knows no labels."""
        return self.model.class_names or ()

    @property
    def encodes(self) -> bool:
        return isinstance(self.model.module, Encodes)

    @property
    def interpolates(self) -> bool:
        return self.model.module.interpolates

    @property
    def truncates(self) -> bool:
        return hasattr(self.model.module, "truncation")

    @property
    def is_tempered(self) -> bool:
        """Whether its samples can be drawn nearer to the mean of all, or farther from it."""
        return self.interpolates and not self.truncates

    @property
    def no_paths(self) -> str:
        """Why there are no walks, of a model that does not interpolate."""
        return (
            f"The latents of a {self.family} are codes. Between two of them there is nothing: so it has no walks, "
            "sliders, map or temperature."
        )

    @cached_property
    def limits(self) -> list[str]:
        """What this model can't do, a sentence each."""
        found = []
        if not self.encodes:
            found.append(f"A {self.family} has no encoder: it can't say which latents an image has.")
        if not self.interpolates:
            found.append(self.no_paths)
        if not self.class_names:
            found.append("It was trained without labels: it can't be asked for a class.")
        return found

    @cached_property
    def spread(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each component of the latents that are drawn, (D,) each. Raises UserError."""
        with DRAWING:
            z = self.model.draw(FOR_SPREAD, seed=0).z.flatten(1)
        return z.mean(dim=0), z.std(dim=0)

    def columns(self, wanted: Wanted) -> int:
        """How many images stand side by side: a column for each class, or about as many as there are rows."""
        each_class = wanted.label is None and 1 < len(self.class_names) <= COLUMNS
        return len(self.class_names) if each_class else max(1, round(wanted.count**0.5))

    def labels(self, wanted: Wanted) -> list[int] | None:
        """The labels that are taken in turn; None where they are drawn, or not known."""
        if not self.class_names:
            return None
        if wanted.label is not None:
            return [self.class_names.index(wanted.label)]
        return list(range(len(self.class_names))) if 1 < len(self.class_names) <= COLUMNS else None

    def in_whole_rows(self, wanted: Wanted) -> Wanted:
        """As many images, or about as many, in rows of which the last is full."""
        columns = self.columns(wanted)
        return replace(wanted, count=columns * max(1, round(wanted.count / columns)))

    def draw(self, wanted: Wanted) -> Latents:
        """The latents of samples. Raises UserError."""
        labels = self.labels(wanted)
        with DRAWING, self._truncated(wanted.truncation):
            latents = self.model.draw(wanted.count, labels, wanted.seed)
        if wanted.temperature == 1 or not self.is_tempered:
            return latents
        mean = self.spread[0].view(self.model.latent_shape)
        return replace(latents, z=mean + wanted.temperature * (latents.z - mean))

    @contextmanager
    def _truncated(self, truncation: float | None) -> Iterator[None]:
        if not self.truncates:
            yield
            return
        module: Any = self.model.module
        before = module.truncation
        module.truncation = before if truncation is None else truncation
        try:
            yield
        finally:
            module.truncation = before

    def images(self, latents: Latents) -> Tensor:
        """(N, C, H, W) in [0, 1], on the CPU."""
        return self.model.decode(latents).cpu()

    def centre(self, label: int | None = None) -> Place:
        """The mean of all latents; of a label, the first unless one is given, where the model knows labels."""
        mean = self.spread[0].view(1, *self.model.latent_shape)
        label = (label or 0) if self.class_names else None
        labels = None if label is None else torch.tensor([label], device=mean.device)
        of_class = f", of class {self.class_names[label]}" if label is not None else ""
        return Place(Latents(mean, labels), f"the mean of all latents{of_class}")

    def place(self, wanted: Wanted, index: int) -> Place:
        """One of the samples that were drawn."""
        latents = self.draw(wanted)[index : index + 1]
        of_class = "" if latents.labels is None else f", of class {self.class_names[int(latents.labels)]}"
        return Place(latents, f"image {index} of seed {wanted.seed}{of_class}")

    def encoded(self, image: Tensor, label: str | None, words: str) -> Place:
        """Where the model finds an image (1, C, H, W), of a class where it knows classes. Raises UserError."""
        labels = None if label is None or not self.class_names else [label]
        z = self.model.encode(image, labels)
        return Place(self.model.latents(z, labels), words)

    def walk(self, start: Place, end: Place, steps: int, way: str) -> Latents:
        """Latents from one place to another, ends included; all of the start's class."""
        path = WALKS[way](start.latents.z, end.latents.z, steps)[0]
        labels = start.latents.labels
        return Latents(path, None if labels is None else labels.expand(steps))

    def command(self, wanted: Wanted) -> str:
        """What draws the same samples into files. Those of a temperature are drawn from their latents, in a file."""
        words = [*program("evaluate"), override("run", self.address)]
        if self.checkpoint:
            words.append(override("checkpoint", self.checkpoint))
        if wanted.temperature != 1 and self.is_tempered:
            return shlex.join([*words, "latents=latents.npz", "out=samples/"])
        words += [f"samples={wanted.count}", f"seed={wanted.seed}"]
        labels = self.labels(wanted)
        if labels is not None:
            words.append(f"labels=[{','.join(map(str, labels))}]")
        if self.truncates and wanted.truncation is not None:
            words.append(f"model.truncation={wanted.truncation:g}")
        return shlex.join([*words, "out=samples/"])


def save_latents(latents: Latents, path: Path) -> None:
    """Write latents as `evaluate.py latents=` reads them: an .npz, z under arr_0 and labels, if any, under arr_1."""
    arrays = [latents.z.cpu().numpy()]
    if latents.labels is not None:
        arrays.append(latents.labels.cpu().numpy())
    np.savez(path, *arrays)
