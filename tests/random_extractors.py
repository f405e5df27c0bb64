"""Weight files of the forms that scores' pretrained extractors read, with random numbers; and a second DINOv2."""

import warnings
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, layer_norm, linear
from torch_fidelity.feature_extractor_clip import CLIPVisual
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from scoring.extractors import PretrainedExtractor
from scoring.weight_files import sha256

WIDTH, DEPTH, GRID, PATCH = 128, 2, 37, 14  # of DINOv2; the grid and patches are the published network's


def write_inception(path: Path) -> None:
    """Initialised so that its features carry a signal: PyTorch's default leaves 1e-8 of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.torch.load", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="unused")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)


class CLIPForm(nn.Module):
    """What CLIP's file has of images, and the one tensor of texts whose form is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisual(
            48, image_resolution=224, vision_layers=2, vision_width=64, vision_patch_size=32
        ).visual
        self.text_projection = nn.Parameter(torch.zeros(8, 48))

    def forward(self, images: Tensor) -> Tensor:
        return self.visual(images)


def write_clip(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and what CLIP's file is written in
        torch.jit.trace(CLIPForm().eval(), torch.zeros(1, 3, 224, 224)).save(path)


def write_dinov2(path: Path) -> None:
    """With scales of branches that differ, and positions that one can tell apart."""
    shapes = {
        "cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + GRID**2, WIDTH), "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,), "norm.bias": (WIDTH,),
    }  # fmt: skip
    for index in range(DEPTH):
        sizes = {
            "norm1.weight": (WIDTH,), "norm1.bias": (WIDTH,), "norm2.weight": (WIDTH,), "norm2.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH), "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH), "attn.proj.bias": (WIDTH,),
            "mlp.fc1.weight": (4 * WIDTH, WIDTH), "mlp.fc1.bias": (4 * WIDTH,),
            "mlp.fc2.weight": (WIDTH, 4 * WIDTH), "mlp.fc2.bias": (WIDTH,),
            "ls1.gamma": (WIDTH,), "ls2.gamma": (WIDTH,),
        }  # fmt: skip
        shapes |= {f"blocks.{index}.{name}": size for name, size in sizes.items()}
    torch.save({name: torch.randn(size) / sqrt(max(1, size[-1] / 4)) for name, size in shapes.items()}, path)


WRITERS = {"inception": write_inception, "clip": write_clip, "dinov2": write_dinov2}


def extractor_of(name: str, path: Path, **options: Any) -> PretrainedExtractor:
    """The extractor of scores=<name> with the weights of a file, whose sha256 it expects."""
    cfg = composed(f"scores={name}").scores.extractor
    found = {"weights": str(path), "sha256_prefix": sha256(path) if path.is_file() else cfg.sha256_prefix}
    return instantiate(cfg, **(found | options))()


class PlainDINOv2(nn.Module):
    """DINOv2 written down as its paper's code has it, a step a line: a second implementation."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tensors = torch.load(path, weights_only=True)

    def forward(self, images: Tensor) -> Tensor:
        t = self.tensors
        patches = nn.functional.conv2d(images, t["patch_embed.proj.weight"], t["patch_embed.proj.bias"], stride=PATCH)
        side = patches.shape[-1]
        x = torch.cat([t["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.positions(side)
        for index in range(DEPTH):
            x = self.block(x, f"blocks.{index}.")
        return layer_norm(x, (WIDTH,), t["norm.weight"], t["norm.bias"], eps=1e-6)[:, 0]

    def positions(self, side: int) -> Tensor:
        first, others = self.tensors["pos_embed"][:, :1], self.tensors["pos_embed"][:, 1:]
        square = others.reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
        resized = interpolate(square, scale_factor=((side + 0.1) / GRID,) * 2, mode="bicubic")
        return torch.cat([first, resized.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], dim=1)

    def block(self, x: Tensor, prefix: str) -> Tensor:
        t = {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
        normed = layer_norm(x, (WIDTH,), t["norm1.weight"], t["norm1.bias"], eps=1e-6)
        x = x + t["ls1.gamma"] * linear(self.attention(normed, t), t["attn.proj.weight"], t["attn.proj.bias"])
        normed = layer_norm(x, (WIDTH,), t["norm2.weight"], t["norm2.bias"], eps=1e-6)
        hidden = gelu(linear(normed, t["mlp.fc1.weight"], t["mlp.fc1.bias"]))
        return x + t["ls2.gamma"] * linear(hidden, t["mlp.fc2.weight"], t["mlp.fc2.bias"])

    @staticmethod
    def attention(x: Tensor, t: dict[str, Tensor]) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = linear(x, t["attn.qkv.weight"], t["attn.qkv.bias"]).view(batch, tokens, 3, WIDTH // 64, 64)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, tokens, 64) each
        weights = (query @ key.transpose(2, 3) / 64**0.5).softmax(dim=3)
        return (weights @ value).transpose(1, 2).reshape(batch, tokens, WIDTH)
