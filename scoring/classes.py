"""Which classes are generated, as a reference classifier sees them."""

from typing import NamedTuple

import torch
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
