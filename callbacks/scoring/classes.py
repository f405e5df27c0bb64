"""Which classes are generated, as a reference classifier sees them."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

MISSING_BELOW = 0.1  # of a class's share among the real images


class ClassScores(NamedTuple):
    shares: Tensor  # (num_classes,), of the images that fall to each class
    confidence: float  # the mean over images of the likeliest class's probability


def class_scores(probabilities: Tensor) -> ClassScores:
    """From class probabilities (N, num_classes)."""
    confidence, predicted = probabilities.max(dim=1)
    counts = torch.bincount(predicted, minlength=probabilities.shape[1])
    return ClassScores(counts / len(probabilities), float(confidence.mean()))


def missing_modes(fake_shares: Tensor, real_shares: Tensor) -> float:
    """The share of classes that fakes all but lack: fewer than a tenth of the real images' share."""
    present = real_shares > 0
    return float((fake_shares < MISSING_BELOW * real_shares)[present].float().mean())


def draw_classes(shares: dict[str, dict[str, float]]) -> Figure:
    """Bars of the share of each class, for every source in {source: {class: share}}."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for place, (source, classes) in enumerate(shares.items()):
        offsets = [index + place * width for index in range(len(classes))]
        axes.bar(offsets, list(classes.values()), width, label=source)
    middle = (len(shares) - 1) * width / 2
    axes.set_xticks([index + middle for index in range(len(classes))], list(classes), rotation=30, ha="right")
    axes.set_ylabel("share of the images")
    axes.set_title("Classes, as the reference classifier sees them")
    axes.legend(frameon=False)
    return figure
