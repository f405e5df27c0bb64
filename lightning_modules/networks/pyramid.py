"""The resolutions of a convolutional network: halve the image until 4 to 7 pixels are left."""


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved until the shorter one is 4 to 7 pixels; at least once.

    Raises ValueError, naming the nearest sizes that work, if a side turns odd before that.
    """
    count = 0
    while min(height, width) >> count > 7:
        count += 1
    if count == 0 or height % (1 << count) or width % (1 << count):
        good = ", ".join(str(size) for size in buildable_near(min(height, width)))
        raise ValueError(
            f"network: a convolutional network cannot build images of {height}x{width} pixels: each side "
            f"must be 4 to 7 pixels times a power of two. Sizes near it that work: {good}. "
            "network=mlp builds any size"
        )
    return count


def buildable_near(size: int) -> list[int]:
    sizes = sorted(base << count for base in range(4, 8) for count in range(1, 12))
    return sorted(sorted(sizes, key=lambda candidate: abs(candidate - size))[:3])


def channels(width: int, stages: int) -> list[int]:
    """Channels after each halving: doubling from `width`, at most eight times it (DCGAN's widths)."""
    return [width * min(1 << stage, 8) for stage in range(stages)]
