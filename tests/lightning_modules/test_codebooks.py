"""Codebooks: which vector is nearest, and how vectors follow what chose them."""

import pytest
import torch
from torch import Tensor

from lightning_modules.codebooks import GradientCodebook, MovingAverageCodebook


def stream(batches: int = 4, size: int = 50) -> list[Tensor]:
    """Batches of encoder outputs (B, 3, 2): five clusters."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(5, 2, generator=generator)
    parts = []
    for _ in range(batches):
        chosen = torch.randint(5, (size, 3), generator=generator)
        parts.append(centres[chosen] + 0.1 * torch.randn(size, 3, 2, generator=generator))
    return parts


def moving(num_codes: int = 6, decay: float = 0.9, revive_below: float = 0.0) -> MovingAverageCodebook:
    torch.manual_seed(0)
    return MovingAverageCodebook(num_codes, 2, decay, revive_below)


def follow(codebook: MovingAverageCodebook, z: Tensor) -> Tensor:
    codes = codebook.nearest(z)
    codebook.follow(z, codes)
    return codes


def test_nearest_is_the_smallest_distance():
    codebook, (z, *_) = moving(), stream()
    expected = torch.cdist(z.flatten(0, 1), codebook.vectors).argmin(dim=1).view(z.shape[:2])
    assert torch.equal(codebook.nearest(z), expected)


def test_a_codes_vector_has_that_code():
    codebook = moving()
    codes = torch.arange(6).view(2, 3)
    assert torch.equal(codebook.nearest(codebook(codes)), codes)


def test_codes_begin_at_vectors_of_the_first_batch():
    codebook, (z, *_) = moving(num_codes=20), stream()
    untouched = codebook.vectors.clone()
    codes = follow(codebook, z)
    unused = torch.tensor([code not in codes for code in range(20)])
    assert unused.any()
    assert torch.cdist(codebook.vectors[unused], z.flatten(0, 1)).amin(dim=1).max() < 1e-5
    assert not torch.isclose(codebook.vectors, untouched).all(dim=1).any()


def test_moving_averages_are_those_of_a_loop_over_vectors():
    codebook, decay = moving(), 0.9
    first, *rest = stream()
    follow(codebook, first)
    uses, sums = codebook.uses.tolist(), codebook.sums.tolist()
    for z in rest:
        chosen = [[] for _ in uses]
        for vector in z.flatten(0, 1):
            distances = [float((vector - e).square().sum()) for e in codebook.vectors]
            chosen[distances.index(min(distances))].append(vector.tolist())
        for code, vectors in enumerate(chosen):
            uses[code] = decay * uses[code] + (1 - decay) * len(vectors)
            for axis in range(2):
                total = sum(vector[axis] for vector in vectors)
                sums[code][axis] = decay * sums[code][axis] + (1 - decay) * total
        follow(codebook, z)
        expected = torch.tensor(sums) / torch.tensor(uses).unsqueeze(1)
        torch.testing.assert_close(codebook.vectors, expected, rtol=1e-4, atol=1e-5)


def test_without_memory_a_step_is_one_of_k_means():
    codebook = moving(decay=1e-9)
    first, second, *_ = stream()
    follow(codebook, first)
    codes = follow(codebook, second)
    for code in codes.unique():
        torch.testing.assert_close(codebook.vectors[code], second[codes == code].mean(dim=0), rtol=1e-4, atol=1e-4)


def test_codes_that_are_not_chosen_move_to_vectors_of_the_batch():
    codebook = moving(revive_below=0.5)
    z, *_ = stream()
    follow(codebook, z)
    codebook.vectors[0] = 1000.0
    codebook.uses[0] = 0.5
    codebook.sums[0] = 500.0
    used = codebook.nearest(z).unique()
    follow(codebook, z)
    assert 0 not in used
    assert (z.flatten(0, 1) - codebook.vectors[0]).norm(dim=1).min() < 1e-5
    assert codebook.uses[0] == 1.0


def test_gradient_of_a_codebook_leads_to_the_mean_of_what_chose_it():
    torch.manual_seed(0)
    codebook, (z, *_) = GradientCodebook(6, 2), stream()
    z.requires_grad_()
    codes = codebook.nearest(z.detach())
    codebook.loss(z, codes).backward()
    assert z.grad is None  # it moves the vectors alone
    for code in range(6):
        chosen = z.detach()[codes == code]
        expected = 2 * (codebook.vectors[code] - chosen).sum(dim=0) / len(z)
        torch.testing.assert_close(codebook.vectors.grad[code], expected.detach())


@pytest.mark.parametrize("kind", [GradientCodebook, MovingAverageCodebook])
def test_one_way_of_learning_leaves_the_other_undone(kind: type):
    (z, *_) = stream()
    codebook = GradientCodebook(6, 2) if kind is GradientCodebook else moving()
    before = codebook.vectors.detach().clone()
    codes = codebook.nearest(z)
    if kind is GradientCodebook:
        codebook.follow(z, codes)
    else:
        assert codebook.loss(z, codes) == 0
    assert torch.equal(codebook.vectors, before)
