"""Norms that PyTorch has not in the form that networks ask for: a layer from a number of channels."""

from torch import nn

from foundation.ranges import Size


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018, arXiv:1803.08494): each image for itself, over its positions and a group of channels.

    There are as many groups of equal size as have at least `group_size` channels; if none has, all are one group, which
    makes it a layer norm. The paper finds 16 a good size.
    """

    def __init__(self, num_channels: Size, group_size: Size) -> None:
        most = max(1, num_channels // group_size)
        super().__init__(max(groups for groups in range(1, most + 1) if num_channels % groups == 0), num_channels)
