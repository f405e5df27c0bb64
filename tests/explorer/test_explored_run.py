"""What the explorer draws of a run: what is seen can be drawn again, and what a model can't do is said."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, RICH, composed
from exported_runs import write_run
from hydra.core.hydra_config import HydraConfig

from datamodules.pixels import to_uint8
from explorer.directions import main_directions, moves, plane, traversals
from explorer.explored_run import ExploredRun, Place, Wanted, save_latents
from foundation.errors import UserError
from jobs.evaluation import evaluate
from lightning_modules.values import Latents

CPU = torch.device("cpu")
FOUR = ("vae", "gan", "vaegan", "vqvae of labels")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory):
    """Runs of models that learned nothing, by family; conditional ones end in "of labels"."""
    asked = {"vae": ["model=vae"], "gan": ["model=gan"], "vaegan": ["model=vaegan"]}
    asked |= {f"{name} of labels": overrides for name, overrides in RICH.items()}
    made: dict[str, ExploredRun] = {}

    def run(name: str) -> ExploredRun:
        if name not in made:
            folder = write_run(tmp_path_factory.mktemp("run") / name.replace(" ", "_"), *asked[name])
            made[name] = ExploredRun(folder, CPU)
        return made[name]

    return run


def evaluated(command: str, out: Path) -> np.ndarray:
    """The images that a printed command writes, (N, H, W, C)."""
    words = shlex.split(command)
    assert words[:2] == ["python", "evaluate.py"] and words[-1] == "out=samples/"
    cfg = composed(*words[2:-1], f"out={out}", "accelerator=cpu", config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)
    return np.load(out)["arr_0"]


def in_file(images: torch.Tensor) -> np.ndarray:
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vae", Wanted(seed=3, count=9)),
        ("gan", Wanted(seed=3, count=9, truncation=0.5)),
        ("gan", Wanted(seed=4, count=9)),
        ("vae of labels", Wanted(seed=3, count=20)),
        ("gan of labels", Wanted(seed=3, count=9, label="7", truncation=0.3)),
        ("vqvae of labels", Wanted(seed=0, count=9, label="7")),
    ],
)
def test_printed_command_draws_what_is_shown(name: str, wanted: Wanted, run_of, tmp_path: Path):
    run = run_of(name)
    shown = in_file(run.images(run.draw(wanted)))
    assert np.array_equal(evaluated(run.command(wanted), tmp_path / "a.npz"), shown)
    other = in_file(run.images(run.draw(Wanted(wanted.seed + 1, wanted.count, wanted.label, wanted.truncation))))
    assert not np.array_equal(shown, other)


@pytest.mark.parametrize("name", ["vae", "vae of labels"])
def test_tempered_samples_are_drawn_again_from_their_latents(name: str, run_of, tmp_path: Path, monkeypatch):
    run, wanted = run_of(name), Wanted(seed=3, count=20, temperature=0.5)
    monkeypatch.chdir(tmp_path)
    save_latents(run.draw(wanted), tmp_path / "latents.npz")
    command = run.command(wanted)
    assert "latents=latents.npz" in command
    assert np.array_equal(evaluated(command, tmp_path / "a.npz"), in_file(run.images(run.draw(wanted))))


def test_temperature_is_the_distance_from_the_mean_of_all_latents(run_of):
    run = run_of("vae of labels")
    mean = run.spread[0]
    as_drawn, half, none = (run.draw(Wanted(0, 50, temperature=t)) for t in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half.z - mean, (as_drawn.z - mean) / 2)
    torch.testing.assert_close(none.z, mean.expand(50, -1))
    assert torch.equal(half.labels, as_drawn.labels)


def test_truncation_holds_for_one_drawing_alone(run_of):
    run = run_of("gan")
    before = run.draw(Wanted(0, 200))
    assert run.draw(Wanted(0, 200, truncation=0.4)).z.abs().max() <= 0.4 < before.z.abs().max()
    assert torch.equal(run.draw(Wanted(0, 200)).z, before.z)


def test_drawing_leaves_the_global_generators_alone(run_of):
    run = run_of("vae")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run.draw(Wanted(0, 4))
    main_directions(run, 2)
    assert torch.equal(torch.rand(3), expected)


def test_classes_stand_in_columns_and_rows_are_full(run_of):
    run = run_of("gan of labels")
    wanted = run.in_whole_rows(Wanted(0, 64))
    assert run.columns(wanted) == 10 and wanted.count == 60
    assert run.draw(wanted).labels.view(-1, 10).tolist() == [list(range(10))] * 6
    of_seven = run.in_whole_rows(Wanted(0, 64, label="7"))
    assert run.columns(of_seven) == 8 and run.draw(of_seven).labels.unique().tolist() == [7]
    assert run.columns(Wanted(0, 36)) == 10 and run_of("gan").columns(Wanted(0, 36)) == 6


@pytest.mark.parametrize("way", ["straight line", "great circle"])
def test_walk_leads_from_one_sample_to_the_other_in_the_class_of_the_first(way: str, run_of):
    run, wanted = run_of("gan of labels"), Wanted(0, 20)
    start, end = run.place(wanted, 3), run.place(wanted, 15)
    path = run.walk(start, end, 5, way)
    torch.testing.assert_close(path.z[[0, -1]], run.draw(wanted).z[[3, 15]])
    assert path.labels.tolist() == [3] * 5
    assert start.words == "image 3 of seed 0, of class 3"


def test_what_each_family_cannot_do_is_said(run_of):
    assert [run_of(name).encodes for name in FOUR] == [True, False, True, True]
    assert "no encoder" in run_of("gan").limits[0] and "without labels" in run_of("gan").limits[1]
    assert "codes" in run_of("vqvae of labels").limits[0] and len(run_of("vqvae of labels").limits) == 1
    assert run_of("vae of labels").limits == []
    assert [run_of(name).truncates for name in FOUR] == [False, True, False, False]
    assert [run_of(name).is_tempered for name in FOUR] == [True, False, True, False]


def test_an_image_is_encoded_with_its_class(run_of):
    run, image = run_of("vae of labels"), torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    place = run.encoded(image, "4", "mine")
    torch.testing.assert_close(place.latents.z, run.model.encode(image, [4]))
    assert place.latents.labels.tolist() == [4] and place.words == "mine"
    with pytest.raises(UserError, match="has to be given"):
        run.encoded(image, None, "mine")


class OnlyTwo(torch.nn.Module):
    """A decoder that moves three of four latents: z[2] moves one pixel by 0.3, z[0] by 0.1, z[3] two pixels by 0.1."""

    def decode(self, latents: Latents) -> torch.Tensor:
        z = latents.z
        pixels = torch.zeros(len(z), 1, 2, 2)
        pixels = pixels.index_put((torch.arange(len(z)), *[torch.tensor(0)] * 3), 0.5 + 0.3 * z[:, 2])
        first = torch.stack([0.1 * z[:, 0], 0.1 * z[:, 3], 0.1 * z[:, 3]], dim=1)
        return pixels + torch.cat([torch.zeros(len(z), 1), first], dim=1).view(-1, 1, 2, 2)


@pytest.mark.parametrize("encodes", [True, False])
def test_directions_are_those_that_move_pixels_most(encodes: bool):
    run = StandIn(encodes)
    found = main_directions(run, 3)
    assert found.are_axes == encodes
    torch.testing.assert_close(found.shares, torch.tensor([0.09, 0.02, 0.01]) / 0.12, atol=0.05, rtol=0)
    expected = torch.eye(4)[[2, 3, 0]]
    torch.testing.assert_close(found.vectors.abs(), expected, atol=0.25, rtol=0)
    if encodes:
        assert torch.equal(found.vectors, expected) and found.names == ["z[2]", "z[3]", "z[0]"]


class StandIn:
    """As much of an ExploredRun as its directions need, of latents N(0, 1)."""

    spread = torch.zeros(4), torch.ones(4)

    def __init__(self, encodes: bool) -> None:
        self.encodes = encodes
        self.model = type("Model", (), {"module": OnlyTwo(), "device": CPU, "draw": self.draw})

    @staticmethod
    def draw(n: int, seed: int) -> Latents:
        return Latents(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)))


def test_sliders_rows_and_map_lead_along_the_directions(run_of):
    found = main_directions(run_of("gan"), 4)
    first, second, third, _ = found.vectors
    torch.testing.assert_close(moves(found, [1, 0, -2, 0]), first - 2 * third)
    rows = traversals(found, 3, 5).view(4, 5, -1)
    torch.testing.assert_close(rows[1], torch.tensor([-3, -1.5, 0, 1.5, 3]).view(-1, 1) * second)
    grid = plane(found, 2, 3).view(3, 3, -1)
    torch.testing.assert_close(grid[0, 2], 2 * first + 2 * second)  # right and up
    torch.testing.assert_close(grid[2, 1], -2 * second)
    assert grid[1, 1].abs().max() == 0


def test_a_place_is_moved_and_keeps_its_class():
    place = Place(Latents(torch.ones(1, 2), torch.tensor([3])), "here")
    moved = place.moved(torch.tensor([[1.0, -1.0]]))
    assert moved.latents.z.tolist() == [[2, 0]] and moved.latents.labels.tolist() == [3] and moved.words == "here"


def test_runs_of_the_zoo_are_explored():
    run = ExploredRun(PROJECT / "zoo" / "vae_digits", CPU)
    assert run.record is not None and run.record.data == "digits" and run.name == "vae_digits"
    shares = main_directions(run, 16).shares
    assert shares.sum() == pytest.approx(1, abs=1e-5) and shares[0] > 1.5 / 16  # some carry more than others


@pytest.mark.parametrize("content", ["", "{}", None])
def test_a_run_without_a_record_is_explored_all_the_same(content: str | None, tmp_path: Path):
    folder = write_run(tmp_path / "run", "model=gan")
    if content is not None:
        (folder / "metrics.json").write_text(content)
    assert ExploredRun(folder, CPU).record is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="is no run folder"):
        ExploredRun(tmp_path, CPU)
