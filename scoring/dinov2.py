"""The vision transformer of DINOv2 (Oquab et al. 2024, arXiv:2304.07193), from the tensors of its published file.

Its own code is fetched by torch.hub, unchecked, whenever it is used; this is the same network of torch's layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

HEAD_WIDTH = 64  # of every published size
GRID_OFFSET = 0.1  # as the original adds it to the grid that positions are interpolated to


class DINOv2(nn.Module):
    """Normalized images (B, 3, H, W), sides a multiple of the patch's, to class tokens (B, width)."""

    def __init__(self, width: int, depth: int, patch_size: int, grid: int) -> None:
        """`grid`: patches along each side of the images of its training, of which each has a learned position."""
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.class_position = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, width, grid, grid))
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, width // HEAD_WIDTH, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6,
                    batch_first=True, norm_first=True,
                )
                for _ in range(depth)
            )
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images)  # (B, width, rows, columns)
        patches = (patches + self.positions_of(*patches.shape[2:])).flatten(2).transpose(1, 2)
        first = (self.class_token + self.class_position).expand(len(images), -1, -1)
        tokens = self.blocks(torch.cat([first, patches], dim=1))  # (B, 1 + rows * columns, width)
        return self.norm(tokens[:, 0])

    def positions_of(self, rows: int, columns: int) -> Tensor:
        """Of another number of patches than in training: (1, width, rows, columns)."""
        grid = self.positions.shape[-1]
        if (rows, columns) == (grid, grid):
            return self.positions
        scale = ((rows + GRID_OFFSET) / grid, (columns + GRID_OFFSET) / grid)
        return interpolate(self.positions, scale_factor=scale, mode="bicubic")


def from_published(tensors: Mapping[str, Tensor]) -> DINOv2:
    """The network of a published file's tensors. Raises KeyError or RuntimeError if they are not of its form."""
    width, _, patch_size, _ = tensors["patch_embed.proj.weight"].shape
    depth = sum(name.endswith("norm1.weight") for name in tensors)
    positions = tensors["pos_embed"]  # (1, 1 + grid², width)
    grid = int((positions.shape[1] - 1) ** 0.5)
    network = DINOv2(width, depth, patch_size, grid)
    ours = {
        "patches.weight": tensors["patch_embed.proj.weight"],
        "patches.bias": tensors["patch_embed.proj.bias"],
        "class_token": tensors["cls_token"],
        "class_position": positions[:, :1],
        "positions": positions[:, 1:].transpose(1, 2).reshape(1, width, grid, grid),
        "norm.weight": tensors["norm.weight"],
        "norm.bias": tensors["norm.bias"],
    }
    for index in range(depth):
        ours |= {f"blocks.{index}.{name}": tensor for name, tensor in _block(tensors, f"blocks.{index}.").items()}
    network.load_state_dict(ours)
    return network


def _block(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """One block's weights by torch's names; the scale of each branch goes into the branch's last layer."""
    theirs = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    attention_scale, mlp_scale = theirs["ls1.gamma"], theirs["ls2.gamma"]
    return {
        "norm1.weight": theirs["norm1.weight"],
        "norm1.bias": theirs["norm1.bias"],
        "self_attn.in_proj_weight": theirs["attn.qkv.weight"],
        "self_attn.in_proj_bias": theirs["attn.qkv.bias"],
        "self_attn.out_proj.weight": attention_scale[:, None] * theirs["attn.proj.weight"],
        "self_attn.out_proj.bias": attention_scale * theirs["attn.proj.bias"],
        "norm2.weight": theirs["norm2.weight"],
        "norm2.bias": theirs["norm2.bias"],
        "linear1.weight": theirs["mlp.fc1.weight"],
        "linear1.bias": theirs["mlp.fc1.bias"],
        "linear2.weight": mlp_scale[:, None] * theirs["mlp.fc2.weight"],
        "linear2.bias": mlp_scale * theirs["mlp.fc2.bias"],
    }
