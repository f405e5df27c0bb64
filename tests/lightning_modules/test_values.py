"""Batches and latents: rows of images and labels stay together."""

import pytest
import torch

from lightning_modules.values import Batch, Latents

Z, LABELS = torch.arange(20.0).view(5, 2, 2), torch.tensor([3, 1, 4, 1, 5])


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, True, False, False])])
@pytest.mark.parametrize("kind", [Batch, Latents])
def test_rows_of_images_and_labels_stay_together(kind: type, rows: slice | torch.Tensor):
    some = kind(Z, LABELS)[rows]
    assert isinstance(some, kind) and len(some) == len(Z[rows])
    assert torch.equal(values_of(some), Z[rows]) and torch.equal(some.labels, LABELS[rows])


@pytest.mark.parametrize("kind", [Batch, Latents])
def test_rows_without_labels_have_none(kind: type):
    some = kind(Z)[1:3]
    assert torch.equal(values_of(some), Z[1:3]) and some.labels is None


def values_of(value: Batch | Latents) -> torch.Tensor:
    return value.images if isinstance(value, Batch) else value.z


@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (7, [5])])
def test_latents_split_into_parts_that_join_to_the_whole(size: int, sizes: list[int]):
    parts = list(Latents(Z, LABELS).split(size))
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat([part.z for part in parts]), Z)
    assert torch.equal(torch.cat([part.labels for part in parts]), LABELS)
    assert all(part.labels is None for part in Latents(Z).split(size))


def test_repeated_batch_has_all_rows_in_order_as_often_as_asked():
    images = torch.rand(5, 1, 2, 2)
    repeated = Batch(images, LABELS).repeat(3)
    assert torch.equal(repeated.images, torch.cat([images] * 3))
    assert torch.equal(repeated.labels, torch.cat([LABELS] * 3))
    assert Batch(images).repeat(3).labels is None


def test_detached_batch_keeps_labels_and_passes_no_gradient():
    images = torch.rand(5, 1, 2, 2, requires_grad=True)
    detached = Batch(images * 2, LABELS).detach()
    assert not detached.images.requires_grad and torch.equal(detached.labels, LABELS)
