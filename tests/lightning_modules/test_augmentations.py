"""Augmentations: each part alone does what it says, anew for each image and in each call, and none in evaluation."""

from math import log

import pytest
import torch
from conftest import PROJECT
from small_models import build, random_batch
from torch import Tensor

from lightning_modules.augmentations import (
    DiffAugment,
    RandomAffine,
    RandomResizedCrop,
    cut_out,
    recolored,
    translated,
)

CHOICES = sorted(path.stem for path in (PROJECT / "conf/model/augmentation").glob("[!_]*.yaml"))
CHANGING = [name for name in CHOICES if name != "none"]


def augmentation(name: str):
    return build("model=classifier", f"model/augmentation={name}").augmentation


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# All of them


@pytest.mark.parametrize("name", CHANGING)
def test_images_are_changed_in_training_and_left_alone_in_evaluation(name: str):
    augment, images = augmentation(name), torch.rand(16, 3, 20, 20)
    changed = augment.train()(images)
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert not torch.equal(changed, images)
    assert torch.equal(augment.eval()(images), images)


@pytest.mark.parametrize("name", CHANGING)
def test_each_image_and_each_call_is_drawn_anew(name: str):
    augment = augmentation(name)
    images = torch.rand(1, 3, 20, 20).expand(32, -1, -1, -1)
    first, second = augment(images), augment(images)
    assert any(not torch.equal(first[0], other) for other in first[1:])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_reach_the_images(name: str):
    images = torch.rand(16, 3, 20, 20, requires_grad=True)
    weight = torch.rand(16, 3, 20, 20)
    (augmentation(name)(images) * weight).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad.flatten(1) != 0).any(dim=1).all()


@pytest.mark.parametrize("name", ["affine", "resized_crop"])
def test_geometric_augmentations_keep_the_range(name: str):
    changed = augmentation(name)(torch.rand(16, 3, 20, 20))
    assert changed.min() >= 0 and changed.max() <= 1


def test_no_augmentation_changes_nothing():
    images = torch.rand(4, 1, 9, 9)
    assert torch.equal(augmentation("none").train()(images), images)


# DiffAugment


def test_brightness_shifts_each_image_by_a_constant_of_at_most_a_half():
    images = torch.rand(500, 3, 1, 1).mean(dim=1, keepdim=True).expand(-1, 3, 5, 5)  # each of one grey
    shift = recolored(images) - images
    torch.testing.assert_close(shift, shift[:, :1, :1, :1].expand_as(shift), atol=1e-6, rtol=0)
    shift = shift[:, 0, 0, 0]
    assert -0.5 <= shift.min() < -0.47 and 0.47 < shift.max() <= 0.5
    assert shift.mean().item() == pytest.approx(0, abs=0.03)


def parts(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An image's mean (B,), its pixels' greys less that (B, 1, H, W), and their colours less the greys."""
    mean = images.mean(dim=(1, 2, 3))
    grey = images.mean(dim=1, keepdim=True)
    return mean, grey - mean.view(-1, 1, 1, 1), images - grey


def test_recoloring_moves_the_mean_by_brightness_greys_by_contrast_and_colours_by_saturation_too():
    images = torch.rand(500, 3, 6, 6, dtype=torch.float64)
    (mean, greys, colours), (new_mean, new_greys, new_colours) = parts(images), parts(recolored(images))
    assert (new_mean - mean).abs().max() <= 0.5
    contrast = (new_greys * greys).sum(dim=(1, 2, 3)) / greys.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(new_greys, greys * contrast.view(-1, 1, 1, 1))
    assert 0.5 <= contrast.min() < 0.52 and 1.48 < contrast.max() <= 1.5
    factor = (new_colours * colours).sum(dim=(1, 2, 3)) / colours.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(new_colours, colours * factor.view(-1, 1, 1, 1))
    saturation = factor / contrast
    assert 0 <= saturation.min() < 0.03 and 1.97 < saturation.max() <= 2


def test_grey_images_are_unaffected_by_saturation():
    grey = torch.rand(50, 1, 6, 6)
    torch.manual_seed(1)
    of_one_channel = recolored(grey)
    torch.manual_seed(1)
    of_three = recolored(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(of_three, of_one_channel.expand(-1, 3, -1, -1))


def test_translation_moves_whole_pixels_and_fills_with_zeros():
    images = torch.rand(300, 2, 8, 16) + 1  # no pixel is 0
    moved = translated(images, share=0.25)
    seen = set()
    for image, result in zip(images, moved, strict=True):
        inside = result[0] != 0
        down, right = inside.any(dim=1).nonzero().flatten(), inside.any(dim=0).nonzero().flatten()
        assert inside.sum() == len(down) * len(right)
        kept = result[:, down[0] : down[-1] + 1, right[0] : right[-1] + 1]
        # what was moved up is kept from below, and so on
        top = 8 - len(down) if down[0] == 0 else 0
        left = 16 - len(right) if right[0] == 0 else 0
        assert torch.equal(kept, image[:, top : top + len(down), left : left + len(right)])
        seen.add((int(down[0]) - top, int(right[0]) - left))
    assert {shift for shift, _ in seen} == set(range(-2, 3))  # a quarter of 8 rows
    assert {shift for _, shift in seen} == set(range(-4, 5))  # a quarter of 16 columns


@pytest.mark.parametrize(("share", "rows", "columns"), [(0.5, 4, 8), (0.3, 2, 5)])
def test_cutout_zeroes_one_rectangle_of_its_share_of_each_side(share: float, rows: int, columns: int):
    images = torch.rand(2000, 2, 8, 16) + 1
    cut = cut_out(images, share)
    zero = (cut == 0).all(dim=1)
    assert torch.equal(cut == 0, zero.unsqueeze(1).expand_as(cut))  # in all channels
    torch.testing.assert_close(cut, images * ~zero.unsqueeze(1))  # and nothing else
    height, width = zero.any(dim=2).sum(dim=1), zero.any(dim=1).sum(dim=1)
    assert torch.equal(zero.sum(dim=(1, 2)), height * width)
    assert height.max() == rows and width.max() == columns  # of those at the border less is inside
    assert height.min() == (rows + 1) // 2 and width.min() == (columns + 1) // 2
    assert zero.flatten(1).any(dim=1).all()
    how_often = zero.float().mean(dim=0)
    assert how_often.min() > 0  # any pixel may be cut out
    for hit in (zero.any(dim=2), zero.any(dim=1)):
        share_of_place = hit.float().mean(dim=0)
        torch.testing.assert_close(share_of_place, share_of_place.flip(0), atol=0.045, rtol=0)  # as often at either end


@pytest.mark.parametrize(
    ("color", "translation", "cutout", "alone"),
    [(True, 0.0, 0.0, recolored), (False, 0.25, 0.0, lambda x: translated(x, 0.25)),
     (False, 0.0, 0.5, lambda x: cut_out(x, 0.5)), (False, 0.0, 0.0, lambda x: x)],
)  # fmt: skip
def test_parts_can_be_left_out(color: bool, translation: float, cutout: float, alone):
    images = torch.rand(4, 3, 8, 8)
    torch.manual_seed(1)
    changed = DiffAugment(color, translation, cutout)(images)
    torch.manual_seed(1)
    assert torch.equal(changed, alone(images))


def test_critic_augments_real_and_fake_images_the_same_way_and_anew_in_each_call():
    model = build("model=gan", "model/augmentation=diff_augment")
    judged = []
    model.discriminator.register_forward_pre_hook(lambda module, inputs: judged.append(inputs[0]))
    real, fake = random_batch(8, seed=1), random_batch(8, seed=2)
    for batch in (real, fake):
        torch.manual_seed(5)
        model.critic(batch)
        torch.manual_seed(5)
        torch.testing.assert_close(judged.pop(), model.augmentation.augment(batch.images))
    model.critic(real)
    model.critic(real)
    assert not torch.equal(judged[0], judged[1])
    assert torch.equal(model.eval().critic(real), model.discriminator(real.images, None))


def test_generators_gradient_goes_through_the_augmentation():
    model = build("model=gan", "model/augmentation=diff_augment", "model/penalty=none")
    fake = model.fakes(model.sample_latents(4))
    torch.manual_seed(1)
    (found,) = torch.autograd.grad(model.generator_objective(random_batch(), fake)["loss_generator"], fake.images)
    images = fake.images.detach().requires_grad_()
    torch.manual_seed(1)
    logits = model.discriminator(model.augmentation.augment(images), None)
    (expected,) = torch.autograd.grad(torch.nn.functional.softplus(-logits).mean(), images)
    torch.testing.assert_close(found, expected)
    assert found.abs().sum() > 0


def test_penalty_sees_images_before_they_are_augmented():
    """The gradient is in the images, through the augmentation: cut out pixels have none."""
    cutout_alone = ["model.augmentation.color=false", "model.augmentation.translation=0"]
    every_image = ["model.penalty.share=1.0", "model.penalty.weight=2.0"]
    model = build("model=gan", "model/augmentation=diff_augment", *cutout_alone, *every_image)
    real, fake = random_batch(8, seed=1), random_batch(8, seed=2)
    torch.manual_seed(1)
    found = model.penalty(model.critic, real, fake)
    images = real.images.clone().requires_grad_()
    torch.manual_seed(1)
    (gradient,) = torch.autograd.grad(model.discriminator(cut_out(images, 0.5), None).sum(), images)
    torch.testing.assert_close(found, gradient.square().flatten(1).sum(1).mean())
    assert (gradient == 0).any()


# Affine maps and crops


def linear_maps(augment, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each draw, where it takes the middle from, (count, 2), and by how much that moves along x and along y.

    In affine_grid's coordinates, in which an image is 2 wide: read off an image whose pixels say where they are.
    """
    side, middle = 33, 16
    place = (2 * torch.arange(side) + 1) / side - 1
    image = torch.stack([place.expand(side, side), place.unsqueeze(1).expand(side, side)])  # x and y of each pixel
    changed = augment(image.expand(count, -1, -1, -1))
    origin = changed[:, :, middle, middle]
    along_x, along_y = changed[:, :, middle, middle + 1] - origin, changed[:, :, middle + 1, middle] - origin
    return origin, along_x * side / 2, along_y * side / 2


def assert_uniform(values: Tensor, lowest: float, highest: float) -> None:
    span = highest - lowest
    assert lowest - 1e-3 * span <= values.min() < lowest + 0.02 * span
    assert highest - 0.02 * span < values.max() <= highest + 1e-3 * span
    assert values.mean().item() == pytest.approx((lowest + highest) / 2, abs=0.05 * span)


def test_affine_without_strength_changes_nothing():
    images = torch.rand(4, 1, 9, 9)
    torch.testing.assert_close(RandomAffine(0.0, 0.0, 0.0)(images), images, atol=1e-5, rtol=0)


def test_affine_rotates_scales_and_shifts_each_on_its_own_up_to_its_strength():
    origin, along_x, along_y = linear_maps(RandomAffine(degrees=30.0, scale=0.2, translate=0.1), count=1000)
    torch.testing.assert_close(along_y, torch.stack([-along_x[:, 1], along_x[:, 0]], dim=1), atol=1e-4, rtol=0)
    angle, scale = torch.atan2(along_x[:, 1], along_x[:, 0]).rad2deg(), along_x.norm(dim=1)
    assert_uniform(angle, -30, 30)
    assert_uniform(scale, 0.8, 1.2)
    for shift in origin.T:
        assert_uniform(shift / 2, -0.1, 0.1)  # of a side
    assert (torch.stack([angle, scale, *origin.T]).corrcoef() - torch.eye(4)).abs().max() < 0.15


def test_crop_of_the_whole_area_is_the_image_or_its_mirror_image_squeezed_by_the_aspect_alone():
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 64, 64)  # brightness is the place, from left to right
    torch.manual_seed(0)
    changed = RandomResizedCrop(smallest_area=1.0)(ramp)
    span = (changed[..., -1] - changed[..., 0]).mean(dim=(1, 2))  # the share of the width that was kept
    assert (span > 0).any() and (span < 0).any()
    assert span.abs().min() > 0.75**0.5 - 0.02 and span.abs().max() > 0.98


def test_crop_takes_at_least_the_smallest_area():
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    rows, columns = ramp, ramp.transpose(2, 3)
    torch.manual_seed(0)
    changed = RandomResizedCrop(smallest_area=0.25)(torch.cat([rows, columns], dim=1))
    width = (changed[:, 0, :, -1] - changed[:, 0, :, 0]).mean(dim=1).abs() * 64 / 63
    height = (changed[:, 1, -1] - changed[:, 1, 0]).mean(dim=1).abs() * 64 / 63
    area = width * height
    assert 0.22 < area.min() < 0.3 and area.max() > 0.85
    assert area.mean().item() == pytest.approx(0.61, abs=0.03)  # (1 + 0.25) / 2 = 0.625, less what was clamped


def test_crop_is_upright_anywhere_inside_of_its_area_and_aspect_and_mirrored_half_of_the_time():
    origin, along_x, along_y = linear_maps(RandomResizedCrop(smallest_area=0.1), count=2000)
    torch.testing.assert_close(along_x[:, 1], torch.zeros(2000), atol=1e-4, rtol=0)
    torch.testing.assert_close(along_y[:, 0], torch.zeros(2000), atol=1e-4, rtol=0)
    width, height = along_x[:, 0].abs(), along_y[:, 1]  # shares of a side
    assert (along_x[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert width.max().item() == pytest.approx(1, abs=1e-4) and height.max().item() == pytest.approx(1, abs=1e-4)
    small = (width < 0.8) & (height < 0.8)  # and so not clamped
    assert_uniform((width / height)[small].log(), log(3 / 4), log(4 / 3))
    assert_uniform((width * height)[width * height < 0.4], 0.1, 0.4)
    for shift, share in ((origin[:, 0], width), (origin[:, 1], height)):
        assert_uniform((shift / (1 - share))[small], -1, 1)
