"""Images along the way between two latents: on the straight line, and on the great circle (slerp)."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from foundation.ranges import Seed, Tiles
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.values import Latents

from .picture_callback import PictureCallback, names_of_labels
from .sheets import Block, Sheet

TITLES = {
    "line": "Between two latents, on the straight line",
    "slerp": "Between two latents, on the great circle (slerp)",
}


class Interpolation(PictureCallback):
    """Draws `rows` fixed pairs of latents with `steps` images from one end to the other, ends included.

    A row keeps one label, where the model knows labels. Models that don't interpolate get no picture.
    """

    def __init__(self, seed: Seed, rows: Tiles, steps: Annotated[Tiles, Ge(2)]) -> None:
        super().__init__(seed)
        self.rows, self.steps = rows, steps

    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Sheet]:
        if not model.interpolates:
            return {}
        latents = model.sample_latents(2 * self.rows)
        start, end = latents.z.chunk(2)
        labels, names = None, []
        if latents.labels is not None:
            labels = latents.labels[: self.rows].repeat_interleave(self.steps)
            names = names_of_labels(latents.labels[: self.rows].tolist(), datamodule)
        shares = [f"{share:.2f}" for share in torch.linspace(0, 1, self.steps).tolist()]
        paths = {"line": line(start, end, self.steps), "slerp": slerp(start, end, self.steps)}
        sheets = {}
        for name, path in paths.items():
            images = model.decode(Latents(path.flatten(0, 1), labels))
            block = Block(images, self.steps, "share of the way from the left latent to the right one", names, shares)
            sheets[f"interpolation_{name}"] = Sheet(TITLES[name], [block])
        return sheets


def line(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Pairs of latents (B, *shape) to `steps` equidistant points on the straight line: (B, steps, *shape)."""
    share = torch.linspace(0, 1, steps, device=start.device).view(1, -1, *[1] * (start.dim() - 1))
    return torch.lerp(start.unsqueeze(1), end.unsqueeze(1), share)


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Spherical interpolation (Shoemake 1985; for latents White 2016, arXiv:1609.04468): (B, steps, *shape).

    A Gaussian's mass in high dimensions lies near a sphere, which the straight line leaves and this does not.
    """
    shape = start.shape[1:]
    start, end = start.flatten(1), end.flatten(1)
    share = torch.linspace(0, 1, steps, device=start.device).view(1, -1, 1)
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=1).clamp(-1, 1)
    angle = cosine.arccos().view(-1, 1, 1)
    arc = (torch.sin((1 - share) * angle) * start.unsqueeze(1) + torch.sin(share * angle) * end.unsqueeze(1)) / (
        torch.sin(angle)
    )
    on_one_line = torch.sin(angle).abs() < 1e-4  # no great circle, or no single one, between the two
    return torch.where(on_one_line, line(start, end, steps), arc).unflatten(2, shape)
