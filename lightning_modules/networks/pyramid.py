"""The resolutions and widths of a convolutional network: how often it halves an image of a given size."""

from collections.abc import Iterator
from itertools import count, islice

from foundation.errors import ConfigError


def halvings(height: int, width: int) -> int:
    """How often both sides are halved: until the shorter one is 4 to 7 pixels, but at least twice.

    Raises ConfigError, naming the nearest sizes that work, if a side turns odd before that.
    """
    stages = _stages(height, width)
    if not (_divides(height, stages) and _divides(width, stages)):
        near = ", ".join(str(size) for size in sorted(islice(_buildable_near(min(height, width)), 3)))
        raise ConfigError(
            f"network: a convolutional network cannot build images of {height}x{width} pixels, because it halves "
            f"each side {stages} times. Sizes near it that work: {near}. network=mlp builds any size"
        )
    return stages


def channels(width: int, stages: int) -> list[int]:
    """Channels after each halving: doubling, up to 8 times `width` as in DCGAN, and at least 4 times at the end."""
    first = width * max(1, 8 >> stages)
    return [min(first << stage, 8 * width) for stage in range(stages)]


def _stages(height: int, width: int) -> int:
    stages = 2
    while min(height, width) >> stages > 7:
        stages += 1
    return stages


def _divides(side: int, stages: int) -> bool:
    return side >= 1 << stages and side % (1 << stages) == 0


def _buildable_near(size: int) -> Iterator[int]:
    """Square sizes that can be built, nearest first."""
    for distance in count(1):
        for candidate in (size - distance, size + distance):
            if candidate > 0 and _divides(candidate, _stages(candidate, candidate)):
                yield candidate
