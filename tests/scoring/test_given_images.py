"""Samples of other programs: taken where it is plain what they mean, else refused with what was found."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import write_image

from foundation.errors import ConfigError, UserError
from scoring.given_images import read_images

GREY, COLOUR = (1, 6, 5), (3, 6, 5)


def some(shape: tuple[int, int, int], count: int = 4) -> torch.Tensor:
    """uint8 (count, C, H, W), among them 0 and 255."""
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    return images


def read(path: Path, shape: tuple[int, int, int]) -> torch.Tensor:
    return read_images(path, shape, "white")


def read_npz(folder: Path, shape: tuple[int, int, int], **arrays: np.ndarray) -> torch.Tensor:
    np.savez(folder / "given.NPZ.npz", **arrays)
    os.rename(folder / "given.NPZ.npz", folder / "given.NPZ")  # an ending in capitals
    return read(folder / "given.NPZ", shape)


def channels_last(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("order", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("written_as", "meaning"),
    [
        (lambda images: images, ""),
        (lambda images: images.float() / 255, "floats in [0, 1]"),
        (lambda images: images.double() / 255, "floats in [0, 1]"),
        (lambda images: images.float() / 127.5 - 1, "floats in [-1, 1]"),
        (lambda images: images.float(), "numbers in [0, 255]"),
        (lambda images: images.long(), "numbers in [0, 255]"),
    ],
)
def test_numbers_of_every_plain_meaning_are_the_same_images(
    shape: tuple[int, int, int], order: str, written_as, meaning: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    images = some(shape)
    array = written_as(images)
    given = channels_last(array) if order == "NHWC" else array.numpy()
    assert torch.equal(read_npz(tmp_path, shape, arr_0=given), images)
    assert (f"is read as {meaning}, under arr_0" in capsys.readouterr().out) == bool(meaning)


def test_half_precision_and_other_orders_of_bytes_are_read(tmp_path: Path):
    images = some(COLOUR)
    assert torch.equal(read_npz(tmp_path, COLOUR, arr_0=channels_last(images.half() / 255)), images)
    for kind in (">f4", ">i2", "<u2"):
        array = channels_last(images).astype(kind)
        assert torch.equal(read_npz(tmp_path, COLOUR, arr_0=array), images)


def test_black_and_white_is_0_and_255(tmp_path: Path):
    binary = some(GREY) > 127
    assert torch.equal(read_npz(tmp_path, GREY, arr_0=binary[:, 0].numpy()), binary.byte() * 255)


def test_the_only_array_of_images_is_taken_whatever_its_key(tmp_path: Path, capsys: pytest.CaptureFixture):
    images = some(COLOUR)
    given = {"labels": np.arange(4), "mu": np.zeros((2048,)), "samples": channels_last(images)}
    assert torch.equal(read_npz(tmp_path, COLOUR, **given), images)
    assert "is read as uint8, under samples" in capsys.readouterr().out
    both = {"arr_0": channels_last(images), "other": channels_last(255 - images)}
    assert torch.equal(read_npz(tmp_path, COLOUR, **both), images)


def test_objects_beside_the_images_are_not_unpickled(tmp_path: Path):
    images = some(GREY)
    facts = np.array([{"a": 1}], dtype=object)
    assert torch.equal(read_npz(tmp_path, GREY, arr_0=channels_last(images), facts=facts), images)
    with pytest.raises(ConfigError, match="no array of the form"):
        read_npz(tmp_path, GREY, arr_0=facts)


def test_grey_in_three_equal_channels_is_grey_and_grey_alone_is_three(tmp_path: Path):
    images = some(GREY)
    three = images.expand(-1, 3, -1, -1)
    assert torch.equal(read_npz(tmp_path, GREY, arr_0=channels_last(three)), images)
    assert torch.equal(read_npz(tmp_path, COLOUR, arr_0=channels_last(images)), three)
    assert torch.equal(read_npz(tmp_path, COLOUR, arr_0=images[:, 0].numpy()), three)
    for name, image in (("1.png", images[0, 0]), ("2.png", three[1].permute(1, 2, 0))):
        (tmp_path / "files").mkdir(exist_ok=True)
        Image.fromarray(image.numpy()).save(tmp_path / "files" / name)
    assert torch.equal(read(tmp_path / "files", GREY), images[:2])
    assert torch.equal(read(tmp_path / "files", COLOUR), three[:2])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros((4, 5, 6, 3))}, r"no array of the form .*a: float64 \(3,\), b: float64"),
        ({"a": np.zeros((4, 6, 5)), "b": np.zeros((4, 6, 5, 1))}, r"several arrays .*a: float64 .*, b: float64"),
        ({"a": np.zeros((4, 30))}, r"no array .*a: float64 \(4, 30\)"),
        ({"a": np.zeros((0, 6, 5, 1), np.uint8)}, r"no array .*a: uint8 \(0, 6, 5, 1\)"),
        ({"a": np.zeros((4, 6, 5, 4), np.uint8)}, r"no array .*a: uint8 \(4, 6, 5, 4\)"),
        ({"a": np.linspace(-0.1, 1, 120).reshape(4, 6, 5)}, r"from -0\.1 to 1: it is not plain"),
        ({"a": np.linspace(0, 1.1, 120).reshape(4, 6, 5)}, r"from 0 to 1\.1: it is not plain"),
        ({"a": np.linspace(-2, 2, 120).reshape(4, 6, 5)}, r"from -2 to 2: it is not plain"),
        ({"a": np.full((4, 6, 5), np.nan)}, r"from nan to nan: it is not plain"),
        ({"a": np.arange(120).reshape(4, 6, 5) % 2}, r"from 0 to 1: it is not plain"),
        ({"a": np.full((4, 6, 5), 256)}, r"from 256 to 256: it is not plain"),
        ({"a": some(COLOUR).numpy()}, r"a: uint8 \(4, 3, 6, 5\), images in colour, expected grey"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused_with_what_was_found(arrays: dict, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        read_npz(tmp_path, GREY, **arrays)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_files_that_are_no_archive_are_named(content: bytes, tmp_path: Path):
    (tmp_path / "given.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"given\.npz can't be read as an \.npz of arrays of numbers"):
        read(tmp_path / "given.npz", GREY)


def test_a_pipe_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "given.npz")
    with pytest.raises(ConfigError, match=r"expected an \.npz file or a folder of image files"):
        read(tmp_path / "given.npz", GREY)
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(UserError, match="has no images"):
        read(tmp_path, GREY)


def test_what_a_notebook_left_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "jupyter"
    for number in range(20):
        write_image(folder / f"{number:04d}.png", number, "L")
        if number < 10:
            write_image(folder / ".ipynb_checkpoints" / f"{number:04d}-checkpoint.png", number, "L")
    assert len(read(folder, (1, 12, 16))) == 20
    assert f"images: 20 in {folder}; passed over: 1 hidden" in capsys.readouterr().out
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "run1").symlink_to(folder)
    assert torch.equal(read(tmp_path / "linked", (1, 12, 16)), read(folder, (1, 12, 16)))


def test_given_files_are_read_as_those_of_a_folder_are(tmp_path: Path):
    """Upright and over the background, and by the same order of names."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.png", exif=exif)
    Image.new("RGBA", (5, 6), (0, 0, 0, 0)).save(tmp_path / "2.jfif", "PNG")
    images = read_images(tmp_path, COLOUR, "#ff8000")
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), pixels)
    assert images[1].flatten(1).unique(dim=1).flatten().tolist() == [255, 128, 0]


def test_all_files_that_cannot_be_used_are_named_at_once(tmp_path: Path):
    for number in range(5):
        write_image(tmp_path / f"{number}.png", number)
    (tmp_path / "1.png").write_text("none")
    Image.new("RGB", (9, 8)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match="2 files can't be used") as refused:
        read(tmp_path, (3, 12, 16))
    assert "1.png is no readable image" in str(refused.value) and "3.png is 9x8, expected 16x12" in str(refused.value)


@pytest.mark.parametrize(
    ("mode", "message"), [("RGB", r"a\.png is in colour, expected grey"), ("I;16", "more than 8 bits")]
)
def test_files_that_would_lose_something_are_refused(mode: str, message: str, tmp_path: Path):
    Image.new(mode, (5, 6), (9, 8, 7) if mode == "RGB" else 900).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=message):
        read(tmp_path, GREY)
