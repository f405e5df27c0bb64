"""The resolutions and widths of a convolutional network: how often it halves an image of a given size."""

from foundation.errors import ConfigError

SMALLEST = 4  # pixels: what can be halved twice


def resolutions(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of an image and after each halving, which rounds down: 28, 14, 7; 45, 22, 11, 5.

    Both sides are halved until the shorter one is 4 to 7 pixels, but at least twice. Raises ConfigError for images of
    which nothing would be left.
    """
    if min(height, width) < SMALLEST:
        raise ConfigError(
            f"network: a convolutional network cannot build images of {height}x{width} pixels, because it halves each "
            f"side twice: neither can be below {SMALLEST}. network=mlp builds any size"
        )
    stages = 2
    while min(height, width) >> stages > 7:
        stages += 1
    return [(height >> stage, width >> stage) for stage in range(stages + 1)]


def channels(width: int, stages: int) -> list[int]:
    """Channels after each halving: doubling, up to 8 times `width` as in DCGAN, and at least 4 times at the end."""
    first = width * max(1, 8 >> stages)
    return [min(first << stage, 8 * width) for stage in range(stages)]
