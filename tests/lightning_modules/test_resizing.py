"""Resizing of feature maps: constants, ramps and shifts in closed form, PyTorch's own filters as a second reckoning."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_modules.networks.resizing import Downsample, Upsample

SIDES = [(8, 8), (9, 12), (7, 5), (3, 2)]  # of the larger one


def down(x: Tensor) -> Tensor:
    return Downsample(x.shape[1])(x)


def up(x: Tensor, large: tuple[int, int]) -> Tensor:
    return Upsample(x.shape[1], (x.shape[2], x.shape[3]), large)(x)


def ramp(height: int, width: int) -> Tensor:
    """Positions down and across, (1, 2, height, width)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns])[None].float()


@pytest.mark.parametrize("large", SIDES)
def test_constants_stay_to_the_border(large: tuple[int, int]):
    small = (large[0] // 2, large[1] // 2)
    constant = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(down(constant.expand(1, 2, *large)), constant.expand(1, 2, *small))
    torch.testing.assert_close(up(constant.expand(1, 2, *small), large), constant.expand(1, 2, *large))


@pytest.mark.parametrize("large", [(8, 8), (9, 12), (13, 11)])
def test_linear_ramps_stay_linear_inside(large: tuple[int, int]):
    height, width = large[0] // 2, large[1] // 2
    inside = slice(1, -1)
    torch.testing.assert_close(  # a pixel's middle is between the two that it was made of
        down(ramp(*large))[..., inside, inside], 2 * ramp(height, width)[..., inside, inside] + 0.5
    )
    torch.testing.assert_close(
        up(ramp(height, width), large)[..., 1 : 2 * height - 1, 1 : 2 * width - 1],
        (ramp(2 * height, 2 * width)[..., inside, inside] - 0.5) / 2,
    )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 6), (2, 4)])
def test_doubling_is_bilinear_interpolation(height: int, width: int):
    x = torch.randn(3, 4, height, width)
    expected = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up(x, (2 * height, 2 * width)), expected, atol=1e-5, rtol=1e-5)
    more = up(x, (2 * height + 1, 2 * width))
    torch.testing.assert_close(more[:, :, :-1], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(more[:, :, -1], expected[:, :, -1], atol=1e-5, rtol=1e-5)  # the border goes on


def test_halving_is_antialiased_bilinear_interpolation_inside():
    x = torch.randn(3, 4, 16, 12)
    expected = interpolate(x, size=(8, 6), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(down(x)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)


def test_what_is_too_fine_is_blurred_away_instead_of_aliased():
    stripes = torch.ones(1, 1, 12, 12)
    stripes[..., ::2] = -1
    for image in (stripes, stripes.mT, stripes * stripes.mT):
        torch.testing.assert_close(down(image)[..., 1:-1, 1:-1], torch.zeros(1, 1, 4, 4), atol=1e-6, rtol=0)


def test_what_is_shifted_by_two_pixels_comes_out_shifted_by_one():
    x = torch.randn(1, 2, 16, 16)
    shifted = x.roll((2, 2), dims=(2, 3))
    torch.testing.assert_close(down(shifted)[..., 2:-1, 2:-1], down(x).roll((1, 1), dims=(2, 3))[..., 2:-1, 2:-1])
    torch.testing.assert_close(
        up(shifted, (32, 32))[..., 6:-2, 6:-2], up(x, (32, 32)).roll((4, 4), dims=(2, 3))[..., 6:-2, 6:-2]
    )


def test_kernels_are_no_weights():
    for layer in (Downsample(3), Upsample(3, (2, 2), (4, 4))):
        assert not layer.state_dict() and not list(layer.parameters())
