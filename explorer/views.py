"""What the page shows of one run, given what a person has chosen: pictures, and a line of text about each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from foundation.errors import UserError

from .directions import Directions, main_directions, moves, plane, traversals
from .explored_run import ExploredRun, Place, Wanted
from .pictures import difference, index_at, scatter, sheet, single
from .real_images import Neighbours, RealImages
from .uploads import image_of_file

SLIDERS = 8
REACH = 3.0  # of a slider, in standard deviations of the latents
STEPS = 9  # images of a walk or a traversal
MAP_SIDE, MAP_REACH = 15, 2.5
NEAREST = 6
FROM, TO = "#2563eb", "#ea580c"  # of the frames around the ends of a walk
NO_TRUNCATION = 4.0  # of the slider: latents as the run draws them


class Seen(NamedTuple):
    """A picture, if there is one, and its words."""

    picture: Image.Image | None
    words: str


@dataclass(frozen=True)
class Given:
    """An image that a model is asked about: a file, or one of those that it did not learn from."""

    path: Path | None = None
    inverts: bool = False
    held_out: int | None = None


class RunView:
    """One run on the page. What raises UserError says it in words that are shown."""

    def __init__(self, run: ExploredRun, real: RealImages) -> None:
        self.run, self.real = run, real

    @cached_property
    def directions(self) -> Directions:
        return main_directions(self.run, SLIDERS)

    @cached_property
    def map_directions(self) -> Directions:
        """Of a model of two latents those two, in their order; else the two that carry most."""
        if self.run.model.latent_shape != (2,):
            return self.directions
        return Directions(torch.diag(self.run.spread[1].cpu()), self.directions.shares, ["z[0]", "z[1]"], True)

    # Samples, and walks between two of them

    def wanted(self, seed: float, count: int, label: str | None, variety: float) -> Wanted:
        """What the controls ask for. `variety` is a truncation or a temperature, whichever the model has."""
        wanted = Wanted(checked_seed(seed), count, label or None)
        if self.run.truncates:
            wanted = replace(wanted, truncation=None if variety >= NO_TRUNCATION else variety)
        elif self.run.is_tempered:
            wanted = replace(wanted, temperature=variety)
        return self.run.in_whole_rows(wanted)

    def first(self, seed: int, count: int) -> Place | None:
        """Where the sliders start before anything is clicked: at the first of the samples, if any can be drawn."""
        try:
            return self.run.place(self.wanted(seed, count, None, NO_TRUNCATION if self.run.truncates else 1), 0)
        except UserError:  # which the samples themselves show
            return None

    def samples(self, wanted: Wanted, picked: Sequence[int] = ()) -> Seen:
        """The samples, with frames around those that are picked; and the command that draws them again."""
        marks = dict(zip(picked, (FROM, TO), strict=False))
        images = self.run.images(self.run.draw(wanted))
        return Seen(sheet(images, self.run.columns(wanted), marks), self.run.command(wanted))

    def clicked(self, wanted: Wanted, picked: Sequence[int], point: Sequence[int], size: tuple[int, int]) -> list[int]:
        """Which samples are picked after a click at a point, (x, y), of their picture: one, two, one of others, …"""
        index = index_at(point[0], point[1], wanted.count, self.run.columns(wanted), size)
        return [index] if len(picked) != 1 else [*picked, index]

    def walk(self, wanted: Wanted, picked: Sequence[int], way: str) -> Seen:
        if not self.run.interpolates:
            return Seen(None, "")
        if len(picked) < 2:
            words = "Click two images, and see the way from one to the other."
            return Seen(None, words if not picked else f"From image {picked[0]}: click another one to walk to it.")
        start, end = (self.run.place(wanted, index) for index in picked)
        images = self.run.images(self.run.walk(start, end, STEPS, way))
        words = f"From {start.words} to {end.words}"
        if start.latents.labels is not None:
            words += "; the class stays that of the first"
        return Seen(sheet(images, STEPS), f"{words}.")

    def on_the_way(self, wanted: Wanted, picked: Sequence[int], way: str, percent: float) -> Image.Image | None:
        """The image at a share of the way."""
        if len(picked) < 2 or not self.run.interpolates:
            return None
        start, end = (self.run.place(wanted, index) for index in picked)
        path = self.run.walk(start, end, 101, way)
        at = round(percent)
        return single(self.run.images(path[at : at + 1]))

    def nearest_to_sample(self, wanted: Wanted, picked: Sequence[int]) -> Seen:
        """The training images that are nearest to the sample that was picked last, behind it."""
        if not picked:
            return Seen(None, "Click an image first.")
        place = self.run.place(wanted, picked[-1])
        image = self.run.images(place.latents)
        found = self.real.nearest_in_pixels(image, NEAREST)
        return Seen(row_of(image, found), f"{place.words}, and the training images nearest in pixels: {listed(found)}.")

    # Sliders

    def moved(self, start: Place | None, values: Sequence[float], label: str | None) -> Seen:
        """The image where the sliders lead to."""
        start = self._relabelled(start, label)
        place = start.moved(self._by(moves(self.directions, list(values))))
        by = ", ".join(
            f"{name} {value:+.1f}" for name, value in zip(self.directions.names, values, strict=True) if value
        )
        return Seen(single(self.run.images(place.latents)), f"{start.words}{': ' + by if by else ''}.")

    def traversals(self, start: Place | None, label: str | None) -> Seen:
        """A row for each direction, from -REACH to REACH deviations along it."""
        start = self._relabelled(start, label)
        by = traversals(self.directions, REACH, STEPS)
        images = self.run.images(replicated(start, by.to(start.latents.z)).latents)
        return Seen(sheet(images, STEPS, side=56), f"Each row is a slider, from −{REACH:g} to +{REACH:g}.")

    def _relabelled(self, start: Place | None, label: str | None) -> Place:
        start = start or self.run.centre()
        if not label or start.latents.labels is None:
            return start
        number = torch.full_like(start.latents.labels, self.run.class_names.index(label))
        return Place(replace(start.latents, labels=number), f"{start.words.split(', of class')[0]}, of class {label}")

    def _by(self, vector: Tensor) -> Tensor:
        return vector.view(1, *self.run.model.latent_shape).to(self.run.model.device)

    # Images of a person's own

    def image_of(self, given: Given) -> tuple[Tensor, str | None, str]:
        """A given image as the model takes it, (1, C, H, W), its class where that is known, and its words."""
        if given.path is not None:
            return image_of_file(given.path, self.run.model.image_shape, given.inverts), None, given.path.name
        if given.held_out is None:
            raise UserError("Give an image, or take a held-out one.")
        image, label = self.real.held_out(given.held_out)
        return image, label, f"held-out image {given.held_out} ({label})"

    def encoded(self, given: Given, label: str | None) -> Place:
        """Where a given image lies among the latents."""
        image, known, words = self.image_of(given)
        label = known or label
        if self.run.class_names and not label:
            raise UserError("This model knows classes, and sees an image as one of them: choose its class.")
        return self.run.encoded(image, label, words)

    def reconstruction(self, given: Given, label: str | None) -> Seen:
        """The image as the model takes it, what the model makes of it, and where the two differ."""
        image, _, words = self.image_of(given)
        if not self.run.encodes:
            return Seen(single(image), f"{words}, in the size and colours of this model.")
        again = self.run.images(self.encoded(given, label).latents)
        gap, rms = difference(image, again)
        return Seen(
            sheet(torch.cat([image, again, gap]), 3, side=192),
            f"{words} as the model sees it, its reconstruction, and their difference: {rms:.3f} of the range of pixels "
            "(root mean square).",
        )

    def neighbours(self, given: Given, label: str | None) -> Seen:
        """The training images nearest to a given image: among latents where the model encodes, else in pixels."""
        image, _, _ = self.image_of(given)
        if not self.run.encodes:
            found = self.real.nearest_in_pixels(image, NEAREST)
            return Seen(row_of(image, found), f"The training images nearest in pixels: {listed(found)}.")
        found = self.real.nearest_in_latents(self.encoded(given, label).latents.z, NEAREST)
        unit = "share of other codes" if self.run.model.module.num_codes is not None else "in standard deviations"
        return Seen(row_of(image, found), f"The training images nearest among latents ({unit}): {listed(found)}.")

    # Map

    def map(self, label: str | None) -> Seen:
        """Images over the plane of two directions."""
        centre = self._relabelled(None, label)
        by = plane(self.map_directions, MAP_REACH, MAP_SIDE)
        images = self.run.images(replicated(centre, by.to(centre.latents.z)).latents)
        right, up = self.map_directions.names[:2]
        words = f"To the right {right}, upwards {up}, each ±{MAP_REACH:g} standard deviations around {centre.words}"
        if self.run.model.latent_shape != (2,):
            share = float(self.map_directions.shares[:2].sum())
            words += (
                f". This model has {self.run.model.latent_shape[0]} latents; these are the two directions that carry "
                f"most, {share:.0%} of what changes in its images"
            )
        return Seen(sheet(images, MAP_SIDE, side=48), f"{words}. Click an image to start the sliders from it.")

    def at_map(self, label: str | None, point: Sequence[int], size: tuple[int, int]) -> Place:
        """The place that was clicked on the map."""
        centre = self._relabelled(None, label)
        index = index_at(point[0], point[1], MAP_SIDE**2, MAP_SIDE, size)
        place = centre.moved(self._by(plane(self.map_directions, MAP_REACH, MAP_SIDE)[index]))
        row, column = divmod(index, MAP_SIDE)
        return replace(place, words=f"row {row + 1}, column {column + 1} of the map")

    def scatter(self) -> Seen:
        """Where training images lie, in colours of their classes, if the model has two latents and encodes."""
        if self.run.model.latent_shape != (2,):
            return Seen(None, "")
        if not self.run.encodes:
            return Seen(None, self.run.limits[0])
        names = self.real.datamodule.class_names
        labels = [names[int(label)] for label in self.real.encoded_labels]
        picture = scatter(self.real.latents, labels, names, self.map_directions.names)
        return Seen(picture, f"What {len(labels):,} training images are encoded to.")


def replicated(start: Place, by: Tensor) -> Place:
    """The places that lie vectors, (N, D), from one: latents of N images."""
    latents = start.latents
    labels = None if latents.labels is None else latents.labels.expand(len(by))
    return Place(replace(latents, z=latents.z + by.view(len(by), *latents.z.shape[1:]), labels=labels), start.words)


def row_of(image: Tensor, found: Neighbours) -> Image.Image:
    """An image in a frame, and its neighbours behind it."""
    return sheet(torch.cat([image, found.images]), 1 + len(found.images), {0: FROM})


def listed(found: Neighbours) -> str:
    return ", ".join(
        f"{label} ({distance:.3f})" for label, distance in zip(found.labels, found.distances.tolist(), strict=True)
    )


def checked_seed(seed: float | None) -> int:
    if seed is None or seed != int(seed) or not 0 <= seed < 2**32:
        raise UserError(f"seed: expected a whole number from 0 to {2**32 - 1}, got {seed}")
    return int(seed)


def heading(run: ExploredRun) -> str:
    """A run's name and what it is, as HTML. What a run folder says is text, whoever wrote it."""
    facts = [run.family, " x ".join(map(str, run.model.image_shape))]
    if run.record is not None:
        made = [run.record.network, run.record.data, None if run.record.seed is None else f"seed {run.record.seed}"]
        facts = [run.family, *filter(None, made)]
        score = run.record.scores.get("test/fid_reference")
        if score is not None:
            facts.append(f"FID {score.value:.3g} in features for {run.record.data}")
    return f"<h2>{escape(run.name)}</h2><p>{escape(' · '.join(facts))}</p>"


def about(run: ExploredRun) -> str:
    """A table of what is known of a run, and what its model can't do, as HTML."""
    latents = " x ".join(map(str, run.model.latent_shape))
    rows = [
        ("folder", run.address),
        ("model", run.family),
        ("images", " x ".join(map(str, run.model.image_shape))),
        ("latents", f"{latents}, drawn from the {run.model.module.latents_from}"),
        ("classes", ", ".join(run.class_names) or "none: trained without labels"),
    ]
    if run.record is not None:
        record = run.record
        rows += [
            ("network, data", f"{record.network}, {record.data}"),
            ("parameters", ", ".join(f"{name} {count:,.0f}" for name, count in record.parameters.items())),
            ("trained on", f"{record.images_seen:,.0f} images" if record.images_seen else "unknown"),
            *((name.removeprefix("test/"), f"{score.value:.4g}") for name, score in record.scores.items()),
        ]
    cells = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    items = "".join(f"<li>{escape(limit)}</li>" for limit in run.limits)
    own = any(name.endswith("fid_reference") for name, _ in rows)
    star = "<p>* in features of a classifier of this project's own: not to be compared with published FIDs.</p>"
    cannot = f"<p>What it can't do:</p><ul>{items}</ul>" if items else ""
    return f"<table>{cells}</table>{star if own else ''}{cannot}"
