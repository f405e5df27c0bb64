"""From images to features: of real images once, kept on disk; of fakes on as many devices as there are."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from datamodules.disk_cache import load_cached, store_cached
from datamodules.pixels import to_uint8
from foundation.errors import ConfigError
from foundation.progress import track
from lightning_modules.foreign import Module, as_generative
from lightning_modules.observing import observing
from lightning_modules.values import Latents

from .extractors import FeatureExtractor
from .protocol import chosen_indices, content_hash, short_hash

AT_ONCE_ON_CPU = 50  # images of a batch: for 64x64 ones a tenth to a third quicker than all 500

Batches = list[Callable[[], Tensor]]  # each makes its uint8 images (B, C, H, W) when it is called


class ModelSamples:
    """Images that a model makes. A draw depends on its seed and the weights alone."""

    def __init__(self, module: Module, batch_size: int) -> None:
        """Raises UserError for a module that makes no images."""
        self.module, self.batch_size = module, batch_size
        self.model = as_generative(module)
        self.weights, self.latents_from = self.model.weights_used, self.model.latents_from

    def draw(self, count: int, seed: int) -> Batches:
        with observing(self.module, seed):
            latents = self.model.sample_latents(count)  # all of them on every device, whichever decodes them
        return [partial(self._decode, part) for part in latents.split(self.batch_size)]

    def at(self, indices: Tensor, count: int, seed: int) -> Tensor:
        """Those images of a draw of `count`, uint8 on the CPU."""
        with observing(self.module, seed):
            latents = self.model.sample_latents(count)
        return self._decode(latents[indices.to(latents.z.device)]).cpu()

    def _decode(self, latents: Latents) -> Tensor:
        with observing(self.module, seed=0):
            return in_parts(lambda part: to_uint8(self.model.decode(part)), latents, self.module.device)


class GivenSamples:
    """Images that some other program made, uint8 (N, C, H, W), of which a draw takes some, chosen by its seed."""

    weights = "given images"
    latents_from: str | None = None

    def __init__(self, images: Tensor, batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size

    def draw(self, count: int, seed: int) -> Batches:
        return batches_of(self.images[self._chosen(count, seed)], self.batch_size)

    def at(self, indices: Tensor, count: int, seed: int) -> Tensor:
        """Those images of a draw of `count`, uint8 on the CPU."""
        return self.images[self._chosen(count, seed)[indices]]

    def _chosen(self, count: int, seed: int) -> Tensor:
        if count > len(self.images):
            raise ConfigError(f"images: {count} are to be scored and {len(self.images)} are given")
        return chosen_indices(len(self.images), count, seed)


Samples = ModelSamples | GivenSamples


def batches_of(images: Tensor, batch_size: int) -> Batches:
    return [rows.clone for rows in images.split(batch_size)]


def in_parts(network: Callable[[Any], Tensor], batch: Tensor | Latents, device: torch.device) -> Tensor:
    """What a network makes of a batch: on a CPU in parts whose activations stay in its cache."""
    parts = batch.split(AT_ONCE_ON_CPU) if device.type == "cpu" else [batch]
    return torch.cat([network(part) for part in parts])


@torch.no_grad()
def features_of(batches: Batches, extractor: FeatureExtractor, device: torch.device, title: str) -> Tensor:
    """(N, num_features), the same on every device; each works on its share of the batches.

    On the device that computes them, unless it lacks float64: then on the CPU. Its progress is called `title`.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    extractor.to(device)
    kept = torch.device("cpu") if device.type == "mps" else device
    share = batches[rank::world]
    own = [
        in_parts(extractor, make().to(device), device).to(kept) for make in track(share, len(share), title, "batches")
    ]
    if world == 1:
        return torch.cat(own)
    gathered: list[list[Tensor]] = [[]] * world
    dist.all_gather_object(gathered, [part.cpu() for part in own])
    in_order: list[Iterator[Tensor]] = [iter(parts) for parts in gathered]
    return torch.cat([next(in_order[index % world]) for index in range(len(batches))]).to(kept)


def cached_features(
    images: Tensor,
    extractor: FeatureExtractor,
    batch_size: int,
    device: torch.device,
    folders: list[Path],
    title: str,
) -> Tensor:
    """(N, num_features) of real images, uint8: computed once, then kept in a folder by content and extractor."""
    facts = {"images": content_hash(images), "extractor": json.dumps(extractor.protocol, sort_keys=True)}
    name = f"features-{short_hash(facts)}.safetensors"
    stored = load_cached(name, folders, facts)
    found_by_all = true_on_all_ranks(stored is not None)
    if stored is None or not found_by_all:
        stored = {"features": features_of(batches_of(images, batch_size), extractor, device, title).cpu()}
        store_cached(stored, name, folders, facts)
    return stored["features"].to("cpu" if device.type == "mps" else device)


def true_on_all_ranks(condition: bool) -> bool:
    """Whether a condition holds in every process; they must agree before they compute together."""
    if not dist.is_initialized():
        return condition
    conditions = [False] * dist.get_world_size()
    dist.all_gather_object(conditions, condition)
    return all(conditions)
