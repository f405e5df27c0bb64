"""Pictures: what is drawn, and that drawing changes nothing."""

from pathlib import Path

import pytest
import torch
from conftest import TinyImages, composed
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from callbacks.interpolation import Interpolation, line, slerp
from callbacks.pictures import save_png
from callbacks.reconstruction_grid import ReconstructionGrid
from callbacks.sample_grid import SampleGrid
from callbacks.sheets import Sheet, row_pairs, tile
from datamodules.pixels import to_uint8
from jobs.building import build_model
from lightning_modules.observing import observing


def build(name: str, shape: tuple[int, int, int] = (1, 8, 8)):
    datamodule = TinyImages(shape)
    datamodule.setup()
    return build_model(composed(f"model={name}", "network=mlp").model, datamodule), datamodule


def images_of(sheet: Sheet) -> torch.Tensor:
    (block,) = sheet.blocks
    return block.images


def test_pixels_are_clamped_and_rounded_to_the_nearest():
    pixels = torch.tensor([-0.01, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.01])
    assert to_uint8(pixels).tolist() == [0, 0, 0, 1, 255, 255]


def test_rounding_inverts_the_unit_range_exactly():
    grey = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(grey / 255), grey)


def test_small_images_are_enlarged_by_a_whole_factor():
    images = torch.rand(4, 1, 8, 8)
    picture = tile(images, columns=2)
    assert picture.shape == (3, 2 * 48 + 6, 2 * 48 + 6)
    first = picture[0, 2:50, 2:50]
    assert torch.equal(first[::6, ::6], to_uint8(images[0, 0]))
    assert torch.equal(first[5::6, 5::6], to_uint8(images[0, 0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_picture(channels: int, tmp_path: Path):
    picture = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    save_png(tmp_path / "deep" / "a.png", picture)
    assert torch.equal(pil_to_tensor(Image.open(tmp_path / "deep" / "a.png")), picture)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]


@pytest.mark.parametrize("path", [line, slerp])
def test_interpolation_goes_from_end_to_end(path):
    start, end = torch.randn(5, 16), torch.randn(5, 16)
    points = path(start, end, steps=10)
    assert points.shape == (5, 10, 16)
    torch.testing.assert_close(points[:, 0], start)
    torch.testing.assert_close(points[:, -1], end, atol=1e-5, rtol=1e-5)


def test_line_is_equidistant():
    points = line(torch.zeros(1, 3), torch.tensor([[9.0, 18.0, -9.0]]), steps=10)
    torch.testing.assert_close(points[0], torch.arange(10).unsqueeze(1) * torch.tensor([1.0, 2.0, -1.0]))


def test_slerp_stays_on_the_sphere_at_equal_angles():
    ends = torch.nn.functional.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(0))) * 4
    points = slerp(ends[:1], ends[1:], steps=10)[0]
    torch.testing.assert_close(points.norm(dim=1), torch.full((10,), 4.0))
    angles = torch.nn.functional.cosine_similarity(points[:-1], points[1:]).clamp(max=1).arccos()
    torch.testing.assert_close(angles, angles[:1].expand(9), atol=2e-3, rtol=0)


def test_slerp_of_parallel_latents_is_the_line():
    start = torch.ones(1, 4)
    torch.testing.assert_close(slerp(start, 3 * start, 5), line(start, 3 * start, 5))


@pytest.mark.parametrize("name", ["vanilla_vae", "gan"])
def test_observing_restores_mode_and_random_state(name: str):
    model, _ = build(name)
    model.train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with observing(model, seed=0):
        assert not model.training
        assert not torch.is_grad_enabled()
        model.decode(model.sample_latents(3))
    assert model.training and torch.is_grad_enabled()
    assert torch.equal(torch.rand(4), expected)


def test_fixed_latents_stay_and_fresh_ones_change():
    model, datamodule = build("gan")
    grid = SampleGrid(seed=0, columns=3, rows=2)
    drawn = []
    for model.images_seen in (100, 200):
        with observing(model, grid.seed):
            drawn.append(grid.draw(model, datamodule))
    fixed, fresh = ([images_of(sheets[kind]) for sheets in drawn] for kind in ("samples_fixed", "samples_fresh"))
    assert torch.equal(fixed[0], fixed[1])
    assert not torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fixed[0], fresh[0])


def test_interpolations_have_a_row_for_each_pair():
    model, datamodule = build("vanilla_vae")
    pictures = Interpolation(seed=0, rows=3, steps=10).draw(model.eval(), datamodule)
    assert set(pictures) == {"interpolation_line", "interpolation_slerp"}
    for sheet in pictures.values():
        (block,) = sheet.blocks
        assert (block.columns, block.rows, len(block.images)) == (10, 3, 30)
        assert block.column_labels[0] == "0.00" and block.column_labels[-1] == "1.00"


def test_reconstructions_stand_under_their_originals():
    model, datamodule = build("vanilla_vae")
    model.decode = lambda latents: torch.zeros(len(latents.z), 1, 8, 8)
    sheet = ReconstructionGrid(seed=0, columns=4, rows=2).draw(model.eval(), datamodule)["reconstructions"]
    originals = datamodule.split("val").images[:8] / 255
    blank = torch.zeros(4, 1, 8, 8)
    assert torch.equal(images_of(sheet), torch.cat([originals[:4], blank, originals[4:], blank]))
    assert sheet.blocks[0].row_labels == ["real", "reconstruction"] * 2


def test_models_without_encoder_get_no_reconstructions():
    model, datamodule = build("gan")
    assert ReconstructionGrid(seed=0, columns=4, rows=2).draw(model, datamodule) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_row_lies_over_its_own_row_in_a_pair(count: int):
    above, below = torch.rand(count, 1, 48, 48), torch.rand(count, 1, 48, 48)
    columns = min(count, 3)
    picture = tile(row_pairs(above, below, columns), columns)
    step = 50
    for index in range(count):
        row, column = divmod(index, 3)
        for offset, images in ((0, above), (1, below)):
            top, left = (2 * row + offset) * step + 2, column * step + 2
            assert torch.equal(picture[0, top : top + 48, left : left + 48], to_uint8(images[index, 0]))
    assert picture.shape == (3, 2 * -(-count // 3) * step + 2, columns * step + 2)
