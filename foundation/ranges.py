"""Ranges of numbers that many constructors share: what is well typed and beyond them is a slip of the hand."""

from typing import Annotated

from annotated_types import Interval

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]  # what numpy's generators take
Size = Annotated[int, Interval(ge=1, le=2**16)]  # of a layer or a batch
Dimension = Annotated[int, Interval(ge=1, le=2**14)]  # of latents and codes; and how many components or codes there are
Depth = Annotated[int, Interval(ge=0, le=1000)]  # layers, blocks or transforms behind one another
Side = Annotated[int, Interval(ge=1, le=2**12)]  # of an image, in pixels
Tiles = Annotated[int, Interval(ge=1, le=100)]  # images in a row or a column of a picture
Images = Annotated[int, Interval(ge=1, le=10**8)]  # that are held at once, as images, latents or features
Count = Annotated[int, Interval(ge=1, le=10**12)]  # what takes time alone: images in training, steps, epochs
Parameters = Annotated[float, Interval(ge=1, le=1e12)]  # of a network
