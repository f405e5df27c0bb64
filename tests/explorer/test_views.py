"""What the page shows for what a person has chosen: pictures as they should be, and words where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, RICH, TinyImages
from exported_runs import write_run
from PIL import Image

from datamodules.pixels import to_unit_range
from explorer.explored_run import ExploredRun, Wanted
from explorer.pictures import difference, index_at, sheet
from explorer.real_images import RealImages
from explorer.uploads import image_of_file
from explorer.views import FROM, MAP_SIDE, TO, Given, RunView, about, heading
from foundation.errors import UserError

CPU = torch.device("cpu")


def view_of(folder: Path, root: str | None = None) -> RunView:
    run = ExploredRun(folder, CPU)
    return RunView(run, RealImages(run, root))


@pytest.fixture(scope="module")
def vae() -> RunView:
    return view_of(PROJECT / "zoo" / "vae_digits")


@pytest.fixture(scope="module")
def gan() -> RunView:
    return view_of(PROJECT / "zoo" / "gan_digits")


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    return view_of(write_run(tmp_path_factory.mktemp("vqvae"), *RICH["vqvae"]))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    return view_of(write_run(tmp_path_factory.mktemp("two"), "model=vae", "model.latent_dim=2"))


def drawn_points(run: ExploredRun, count: int = 5) -> torch.Tensor:
    return torch.rand(count, *run.model.image_shape, generator=torch.Generator().manual_seed(0))


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_stay_squares_when_they_are_enlarged(channels: int):
    images = torch.rand(3, channels, 8, 8)
    pixels = np.asarray(sheet(images, 2, side=60))
    assert pixels.shape == (2 * 64 + 3 * 2, 2 * 64 + 3 * 2, 3)
    second = pixels[2:66, 68:132]
    expected = (images[1] * 255).round().expand(3, 8, 8).permute(1, 2, 0).numpy()
    assert np.array_equal(second, expected.repeat(8, axis=0).repeat(8, axis=1))


def test_marks_are_frames_around_their_images():
    picture = np.asarray(sheet(torch.zeros(4, 1, 8, 8), 2, {2: "#ff0000"}, side=48))
    red = (picture == (255, 0, 0)).all(axis=2)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (52, 99, 2, 49)
    assert not red[76, 26]


@pytest.mark.parametrize(("count", "columns"), [(64, 8), (60, 10), (5, 3), (2, 8)])
def test_a_click_on_the_middle_of_an_image_finds_it(count: int, columns: int):
    picture = sheet(torch.zeros(count, 1, 8, 8), columns)
    side, width = 112 + 2, min(count, columns)
    for index in range(count):
        point = 2 + side * (index % width) + 56, 2 + side * (index // width) + 56
        assert index_at(*point, count, columns, picture.size) == index
    assert index_at(10**6, 10**6, count, columns, picture.size) == count - 1
    assert index_at(-3, -3, count, columns, picture.size) == 0


def test_difference_is_a_root_mean_square():
    gap, rms = difference(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.0]))
    assert gap.tolist() == [0.5, 1] and rms == pytest.approx((1.25 / 2) ** 0.5)


# Samples and walks


def test_a_click_picks_one_a_second_another_and_a_third_begins_anew(gan: RunView):
    wanted = gan.wanted(0, 16, None, 4.0)
    size = gan.samples(wanted).picture.size
    at = [(size[0] * (index % 4 + 0.5) / 4, size[1] * (index // 4 + 0.5) / 4) for index in range(16)]
    picked: list[int] = []
    for index, expected in ((3, [3]), (9, [3, 9]), (5, [5])):
        picked = gan.clicked(wanted, picked, [int(place) for place in at[index]], size)
        assert picked == expected
    frames = np.asarray(gan.samples(wanted, [3, 9]).picture)
    assert tuple(frames[3, size[0] - 20]) == tuple(bytes.fromhex(FROM[1:]))
    assert (frames == tuple(bytes.fromhex(TO[1:]))).all(axis=2).any()


def test_walk_waits_for_two_images_and_ends_at_them(vae: RunView):
    wanted = vae.wanted(0, 16, None, 1)
    assert vae.walk(wanted, [], "straight line") == (None, "Click two images, and see the way from one to the other.")
    assert "From image 3" in vae.walk(wanted, [3], "straight line").words
    strip, words = vae.walk(wanted, [3, 9], "straight line")
    tiles = np.asarray(strip)
    samples = vae.run.images(vae.run.draw(wanted))
    assert np.array_equal(tiles[2:114, 2:114], np.asarray(sheet(samples[3:4], 1)))
    assert np.array_equal(tiles[2:114, -114:-2], np.asarray(sheet(samples[9:10], 1)))
    assert words == "From image 3 of seed 0 to image 9 of seed 0."
    there = vae.on_the_way(wanted, [3, 9], "great circle", 100)
    assert np.array_equal(np.asarray(there), np.asarray(sheet(samples[9:10], 1, side=256)))
    assert vae.on_the_way(wanted, [3], "great circle", 50) is None


def test_variety_is_a_truncation_or_a_temperature(vae: RunView, gan: RunView, vqvae: RunView):
    assert gan.wanted(1, 16, "", 0.5) == Wanted(1, 16, truncation=0.5)
    assert gan.wanted(1, 16, "", 4.0) == Wanted(1, 16)
    assert vae.wanted(1, 16, "", 0.5) == Wanted(1, 16, temperature=0.5)
    assert vqvae.wanted(1, 16, "7", 0.5) == Wanted(1, 16, label="7")


@pytest.mark.parametrize("seed", [None, -1, 2**32, 0.5])
def test_a_seed_that_is_none_is_refused(seed: float | None, vae: RunView):
    with pytest.raises(UserError, match="seed: expected a whole number"):
        vae.wanted(seed, 16, None, 1)


def test_nearest_training_images_of_one_of_them_begin_with_it(gan: RunView):
    images, labels = gan.real.train
    image = to_unit_range(images[700:701])
    found = gan.real.nearest_in_pixels(image, 5)
    assert torch.equal(found.images[:1], image) and found.distances[0] == 0
    assert found.labels[0] == str(int(labels[700]))
    assert (found.distances.diff() >= 0).all()
    by_hand = (to_unit_range(images) - image).square().mean(dim=(1, 2, 3)).sqrt().sort().values[:5]
    torch.testing.assert_close(found.distances, by_hand)


@pytest.mark.parametrize("name", ["vae", "vqvae"])
def test_nearest_latents_of_a_training_image_begin_with_it(name: str, request: pytest.FixtureRequest):
    view = request.getfixturevalue(name)
    found = view.real.nearest_in_latents(view.real.latents[5:6], 4)
    assert found.distances[0] == pytest.approx(0, abs=1e-6)
    assert (found.distances.diff() >= 0).all() and found.images.shape == (4, 1, 8, 8)


def test_data_that_is_not_there_is_said_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datamodules.mnist.MNISTFormat.prepare_data", lambda _: pytest.fail("it was fetched"))
    view = view_of(PROJECT / "zoo" / "vae_mnist_small", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"not at hand: there is no folder .*none/MNIST.* data\.root="):
        view.nearest_to_sample(view.wanted(0, 16, None, 1), [2])


def test_data_that_is_not_what_the_run_had_is_said(vae: RunView, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datamodules.digits.Digits.read", lambda _: TinyImages((1, 8, 8), num_learn=1500).read())
    real = RealImages(vae.run)
    with pytest.raises(UserError, match="the data is no longer that of"):
        real.held_out(0)


# Sliders and map


def test_sliders_begin_at_the_mean_and_lead_where_the_rows_lead(vae: RunView):
    middle = vae.moved(None, [0] * 8, "")
    mean = vae.run.images(vae.run.centre().latents)
    assert np.array_equal(np.asarray(middle.picture), np.asarray(sheet(mean, 1, side=256)))
    assert middle.words == "the mean of all latents."
    end = vae.moved(None, [3.0, 0, 0, 0, 0, 0, 0, 0], "")
    assert end.words == f"the mean of all latents: {vae.directions.names[0]} +3.0."
    rows = np.asarray(vae.traversals(None, "").picture)
    corner = Image.fromarray(rows[2:58, -58:-2]).resize((256, 256), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(corner), np.asarray(end.picture))


def test_sliders_show_the_same_latents_as_another_class(tmp_path: Path):
    view = view_of(write_run(tmp_path, *RICH["gan"]))
    start = view.run.place(view.wanted(0, 20, None, 4), 3)
    as_seven = view.moved(start, [0] * 8, "7")
    assert as_seven.words == "image 3 of seed 0, of class 7."
    expected = view.run.model(start.latents.z, [7])
    assert np.array_equal(np.asarray(as_seven.picture), np.asarray(sheet(expected, 1, side=256)))


def test_map_of_two_latents_is_theirs_and_a_click_finds_the_place(two: RunView):
    mean, deviation = two.run.spread
    seen = two.map("")
    assert "To the right z[0], upwards z[1]" in seen.words and "carry most" not in seen.words
    size = seen.picture.size
    place = two.at_map("", (size[0] - 5, 5), size)
    torch.testing.assert_close(place.latents.z[0], mean + 2.5 * deviation)
    assert place.words == f"row 1, column {MAP_SIDE} of the map"
    corner = np.asarray(sheet(two.run.images(place.latents), 1, side=48))
    assert np.array_equal(np.asarray(seen.picture)[2:50, -50:-2], corner)
    assert two.scatter().picture is not None and "1,197 training images" in two.scatter().words


def test_map_of_more_latents_says_which_two_it_shows(gan: RunView, vae: RunView):
    assert "This model has 100 latents" in gan.map("").words and "direction 1" in gan.map("").words
    assert "This model has 16 latents" in vae.map("").words
    assert gan.scatter() == (None, "")


# Images of a person's own


def png(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return path


def test_uploads_become_the_models_shape(tmp_path: Path):
    pixels = np.zeros((40, 200, 3), dtype=np.uint8)
    pixels[:, 40:160] = (255, 255, 255)  # the square in the middle, and what resizing looks at beside it
    path = png(tmp_path, "a.png", pixels)
    for shape in ((1, 8, 8), (3, 64, 64)):
        assert torch.equal(image_of_file(path, shape, inverts=False), torch.ones(1, *shape))
        assert torch.equal(image_of_file(path, shape, inverts=True), torch.zeros(1, *shape))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n cut off"])
def test_bad_uploads_are_refused_by_their_names(content: bytes, tmp_path: Path):
    path = tmp_path / "mine.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^mine\.png is no readable image") as error:
        image_of_file(path, (1, 8, 8), inverts=False)
    assert str(tmp_path) not in str(error.value)


def test_a_held_out_image_is_none_that_was_learned_from(vae: RunView):
    image, _ = vae.real.held_out(3)
    assert vae.real.nearest_in_pixels(image, 1).distances[0] > 0.01
    again, _ = vae.real.held_out(3 + len(vae.real.datamodule.split("val").images))
    assert torch.equal(image, again) and image.shape == (1, 1, 8, 8)
    assert torch.equal(image, to_unit_range(vae.real.datamodule.split("val").images[3:4]))


def test_reconstruction_stands_between_the_image_and_the_difference(vae: RunView):
    seen = vae.reconstruction(Given(held_out=3), "")
    image, label = vae.real.held_out(3)
    again = vae.run.model.reconstruct(image).cpu()
    expected = sheet(torch.cat([image, again, (image - again).abs()]), 3, side=192)
    assert np.array_equal(np.asarray(seen.picture), np.asarray(expected))
    assert f"Held-out image 3 ({label})".lower() in seen.words.lower()
    assert f"{float((image - again).square().mean().sqrt()):.3f} of the range" in seen.words


def test_a_gan_shows_the_image_alone_and_neighbours_in_pixels(gan: RunView):
    seen = gan.reconstruction(Given(held_out=3), "")
    assert np.array_equal(np.asarray(seen.picture), np.asarray(sheet(gan.real.held_out(3)[0], 1, side=256)))
    assert "nearest in pixels" in gan.neighbours(Given(held_out=3), "").words


def test_a_conditional_model_is_told_the_class_of_an_image(vqvae: RunView, tmp_path: Path):
    path = png(tmp_path, "a.png", np.full((8, 8), 100, dtype=np.uint8))
    with pytest.raises(UserError, match="choose its class"):
        vqvae.reconstruction(Given(path), "")
    assert vqvae.reconstruction(Given(path), "3").picture is not None
    assert vqvae.reconstruction(Given(held_out=0), "").picture is not None  # of which it is known
    assert "share of other codes" in vqvae.neighbours(Given(path), "3").words


def test_nothing_given_is_said(vae: RunView):
    with pytest.raises(UserError, match="Give an image"):
        vae.reconstruction(Given(), "")


# Words


def test_what_a_run_folder_says_is_no_markup(vae: RunView, tmp_path: Path):
    folder = write_run(tmp_path / "<b>run", *RICH["gan"])
    run = ExploredRun(folder, CPU)
    assert "<b>" not in heading(run) + about(run) and "&lt;b&gt;run" in heading(run)
    assert "VAE · mlp · digits" in heading(vae.run) or "VAE · conv · digits" in heading(vae.run)
    assert "fid_reference" in about(vae.run) and "not to be compared" in about(vae.run)
    assert "no encoder" in about(run) and "not to be compared" not in about(run)


def test_latents_that_were_never_fitted_are_said(tmp_path: Path):
    view = view_of(write_run(tmp_path, "model=vae", "model/density=gaussian", is_fitted=False))
    for ask in (lambda: view.samples(view.wanted(0, 16, None, 1)), lambda: view.directions, lambda: view.map("")):
        with pytest.raises(UserError, match="not fitted to its weights"):
            ask()
