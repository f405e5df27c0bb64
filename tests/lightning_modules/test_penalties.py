"""Penalties against closed forms: of critics whose gradient is known, with real and fake images that differ."""

from dataclasses import replace

import pytest
import torch
from conftest import PROJECT
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from lightning_modules.penalties import DraganPenalty, GradientPenalty, NoPenalty, Penalty, R1Penalty, R1R2Penalty
from lightning_modules.values import Batch


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, whose gradient in x is w everywhere."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, batch: Batch) -> Tensor:
        return (batch.images * self.w).flatten(1).sum(1, keepdim=True)


class Square(nn.Module):
    """D(x) = ‖x‖² / 2, whose gradient in x is x."""

    def forward(self, batch: Batch) -> Tensor:
        return 0.5 * batch.images.square().flatten(1).sum(1, keepdim=True)


class OfLabel(nn.Module):
    """D(x, y) = w_y Σ x, whose gradient in each pixel is w_y."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = torch.tensor(slopes)

    def forward(self, batch: Batch) -> Tensor:
        return self.slopes[batch.labels].unsqueeze(1) * batch.images.flatten(1).sum(1, keepdim=True)


def images(size: int, low: float = 0.0, high: float = 1.0) -> Batch:
    return Batch(torch.empty(size, 1, 2, 2).uniform_(low, high))


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    w = torch.randn(1, 2, 2)
    discriminator = Linear(w)
    penalty = R1Penalty(weight=3.0, share=1.0)(discriminator, images(5), images(5))
    assert penalty.item() == pytest.approx(1.5 * w.square().sum().item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, 3.0 * w)


def test_r1_looks_at_real_images_alone():
    real, fake = images(10, 1, 2), images(10, 5, 6)
    expected = 0.5 * 4.0 * real.images.square().sum() / 10
    assert R1Penalty(weight=4.0, share=1.0)(Square(), real, fake).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 10), (0.25, 3), (0.01, 1)])  # rounded up: never no image
def test_r1_takes_the_mean_over_its_share_of_the_batch(share: float, taken: int):
    real, fake = images(10, 1, 2), images(10, 5, 6)
    expected = 0.5 * 4.0 * real.images[:taken].square().sum() / taken
    assert R1Penalty(weight=4.0, share=share)(Square(), real, fake).item() == pytest.approx(expected.item(), rel=1e-5)


def test_r1_asks_for_real_images_with_their_own_labels():
    labels = torch.tensor([1, 0, 1, 1])
    real, fake = replace(images(4), labels=labels), replace(images(4), labels=1 - labels)
    penalty = R1Penalty(weight=2.0, share=0.5)(OfLabel(1.0, 3.0), real, fake)  # of the first two
    assert penalty.item() == pytest.approx((4 * 3.0**2 + 4 * 1.0**2) / 2, rel=1e-5)


def test_gradient_penalty_of_a_linear_discriminator_is_its_distance_from_norm_one():
    w = torch.full((1, 2, 2), 1.5)  # norm 3
    discriminator = Linear(w)
    penalty = GradientPenalty(weight=10.0)(discriminator, images(5), images(5))
    assert penalty.item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, 10 * 2 * (3 - 1) * w / 3)


def test_gradient_penalty_looks_between_real_and_fake():
    real, fake = Batch(torch.full((2000, 1, 1, 1), 2.0)), Batch(torch.full((2000, 1, 1, 1), 3.0))
    torch.manual_seed(0)
    # x̂ is uniform in [2, 3], so E[(x̂ − 1)²] = ∫₁² t² dt = 7/3
    assert GradientPenalty(weight=1.0)(Square(), real, fake).item() == pytest.approx(7 / 3, rel=0.03)


def test_gradient_penalty_draws_one_place_for_each_image():
    seen = []

    def critic(batch: Batch) -> Tensor:
        seen.append(batch.images)
        return batch.images.flatten(1).sum(1, keepdim=True)

    GradientPenalty(weight=1.0)(critic, Batch(torch.zeros(50, 1, 3, 3)), Batch(torch.ones(50, 1, 3, 3)))
    (shares,) = seen
    assert torch.equal(shares, shares[:, :1, :1, :1].expand_as(shares))  # all pixels of an image are at one place
    assert len(shares[:, 0, 0, 0].unique()) == 50


def test_r1_r2_of_a_linear_discriminator_is_twice_its_r1():
    w = torch.randn(1, 2, 2)
    discriminator = Linear(w)
    penalty = R1R2Penalty(weight=3.0, share=1.0)(discriminator, images(5), images(5))
    assert penalty.item() == pytest.approx(3.0 * w.square().sum().item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, 6.0 * w)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 10), (0.25, 3)])
def test_r1_r2_looks_at_real_and_fake_images_alike(share: float, taken: int):
    real, fake = images(10, 1, 2), images(10, 5, 6)
    expected = 0.5 * 4.0 * sum(batch.images[:taken].square().sum() / taken for batch in (real, fake))
    penalty = R1R2Penalty(weight=4.0, share=share)
    assert penalty(Square(), real, fake).item() == pytest.approx(expected.item(), rel=1e-5)
    assert penalty(Square(), fake, real).item() == pytest.approx(expected.item(), rel=1e-5)


def test_r1_r2_asks_for_all_images_with_their_own_labels():
    real, fake = replace(images(4), labels=torch.tensor([1, 0, 1, 1])), replace(images(4), labels=torch.zeros(4).long())
    penalty = R1R2Penalty(weight=2.0, share=0.5)(OfLabel(1.0, 3.0), real, fake)
    assert penalty.item() == pytest.approx((4 * 3.0**2 + 4 * 1.0**2) / 2 + 4 * 1.0**2, rel=1e-5)


def test_dragan_of_a_linear_discriminator_is_its_distance_from_norm_one():
    discriminator = Linear(torch.full((1, 2, 2), 1.5))  # norm 3
    penalty = DraganPenalty(weight=10.0, noise=0.5)(discriminator, images(5), images(5))
    assert penalty.item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, torch.full((1, 2, 2), 10 * 2 * (3 - 1) * 1.5 / 3))


def test_dragan_looks_around_real_images_alone():
    real, fake = Batch(torch.full((20_000, 1, 1, 1), 5.0)), Batch(torch.full((20_000, 1, 1, 1), 50.0))
    torch.manual_seed(0)
    # ‖∇D(x + δ)‖ = 5 + δ, so that the mean is 4² + 0.5²; its standard error is 0.03.
    assert DraganPenalty(weight=1.0, noise=0.5)(Square(), real, fake).item() == pytest.approx(16.25, abs=0.1)
    assert DraganPenalty(weight=1.0, noise=0.0)(Square(), real, fake).item() == pytest.approx(16.0, rel=1e-5)


def test_dragan_draws_noise_for_every_pixel():
    seen = []

    def critic(batch: Batch) -> Tensor:
        seen.append(batch.images)
        return batch.images.flatten(1).sum(1, keepdim=True)

    torch.manual_seed(0)
    DraganPenalty(weight=1.0, noise=0.3)(critic, Batch(torch.zeros(500, 1, 3, 3)), Batch(torch.ones(500, 1, 3, 3)))
    (noise,) = seen
    assert len(noise.unique()) > 4400 and noise.std().item() == pytest.approx(0.3, rel=0.05)


def test_no_penalty_is_zero():
    assert NoPenalty()(Linear(torch.ones(1, 2, 2)), images(5), images(5)).item() == 0


@pytest.mark.parametrize(
    "penalty", [NoPenalty(), R1Penalty(1.0, 1.0), R1R2Penalty(1.0, 1.0), GradientPenalty(1.0), DraganPenalty(1.0, 1.0)]
)
def test_penalty_leaves_its_batches_as_they_were(penalty: Penalty):
    real, fake = images(5), images(5)
    before = real.images.clone(), fake.images.clone()
    penalty(Square(), real, fake)
    assert torch.equal(real.images, before[0]) and torch.equal(fake.images, before[1])
    assert not real.images.requires_grad and not fake.images.requires_grad


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "conf" / "model" / "penalty").glob("*.yaml")))
def test_penalty_takes_real_and_fake_images_of_mixed_precision(name: str):
    penalty = instantiate(OmegaConf.load(PROJECT / "conf" / "model" / "penalty" / f"{name}.yaml"))
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    real, fake = Batch(torch.rand(6, 1, 2, 2)), Batch(torch.rand(6, 1, 2, 2).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        value = penalty(lambda batch: network(batch.images), real, fake)
    assert value.isfinite() and value.dtype == torch.float32
