"""Curves: units, levels to compare with, and axes that make no mountains of molehills."""

import math
from io import BytesIO
from math import log

import pytest
from conftest import TinyImages, composed

from callbacks.curve_figure import draw_curves, is_logarithmic, limits
from jobs.building import build_model
from lightning_modules.terms import Level, Term

SEEN = [1000, 2000, 3000]


def panels(curves: dict, terms: dict) -> dict:
    return {axes.get_title(): axes for axes in draw_curves(curves, terms, ["vae · digits"]).axes if axes.get_title()}


def model_of(*overrides: str):
    datamodule = TinyImages((1, 8, 8))
    return build_model(composed("network=mlp", *overrides).model, datamodule)


@pytest.mark.parametrize("value", [1.386, -160.0, 1e-6, 4e5])
def test_noise_around_a_constant_looks_flat(value: float):
    values = [value * (1 + error) for error in (0.001, -0.001, 0.0005)]
    low, high = limits(values, Term("loss"))
    assert low < min(values) and max(values) < high
    assert max(values) - min(values) < 0.02 * (high - low)


def test_an_axis_holds_all_values_bounds_and_levels():
    low, high = limits([0.49, 0.51], Term("D(x)", level=Level(0.5, "0.5"), low=0, high=1))
    assert low < 0 < 1 < high < 1.2
    low, high = limits([-30.0, -20.0], Term("loss", level=Level(0.0, "0")))
    assert low < -30 and 0 < high < 5
    low, high = limits([3.0, 3.0], Term("constant"))
    assert low < 3 < high
    assert limits([0.0, 0.0], Term("nothing"))[0] < 0


def test_ratios_are_drawn_on_a_log_scale_where_they_matter_and_are_large():
    of_factors = Term("FID", by_factors=True)
    assert is_logarithmic([200.0, 3.0], of_factors)
    assert not is_logarithmic([20.0, 3.0], of_factors)
    assert not is_logarithmic([200.0, 0.0], of_factors)
    assert not is_logarithmic([200.0, 3.0], Term("loss"))


@pytest.mark.parametrize(
    ("loss", "levels"),
    [
        ("non_saturating", {"the discriminator's loss": 2 * log(2), "the generator's loss": log(2),
                            "D(x): real images": 0.5, "D(G(z)): fakes": 0.5}),
        ("wasserstein", {"the discriminator's loss": 0.0}),
    ],
)  # fmt: skip
def test_levels_of_a_gan_are_those_of_its_loss(loss: str, levels: dict[str, float]):
    model = model_of("model=gan", f"model/loss={loss}")
    names = ("loss_discriminator", "loss_generator", "d_real", "d_fake")
    found = panels({f"train/{name}": (SEEN, [0.6, 0.7, 0.65]) for name in names}, model.terms)
    assert list(found) == [model.terms[name].title for name in names]
    dashed = {title: line.get_ydata()[0] for title, axes in found.items() for line in axes.lines
              if line.get_linestyle() == "--"}  # fmt: skip
    assert dashed == pytest.approx(levels)
    assert all(axes.get_xlabel() == "training images seen" for axes in found.values())


def test_terms_of_a_vae_are_in_nats_and_a_term_that_nobody_knows_is_drawn():
    model = model_of("model=vae")
    curves = {"train/kl": (SEEN, [1.0, 2.0, 3.0]), "val/kl": (SEEN[1:2], [1.5]), "train/odd_term": (SEEN, [1, 2, 3])}
    found = panels(curves, model.terms)
    assert list(found) == ["KL(q(z|x) ‖ p(z))", "odd term"]
    assert found["KL(q(z|x) ‖ p(z))"].get_ylabel() == "nats per image" and found["odd term"].get_ylabel() == ""
    assert [line.get_label() for line in found["KL(q(z|x) ‖ p(z))"].lines] == ["train", "val"]


@pytest.mark.parametrize("model", ["vae", "vanilla_vae", "gan", "wgan_gp", "vaegan", "vqvae", "classifier"])
def test_every_term_of_a_step_is_known(model: str):
    import torch

    built = model_of(f"model={model}")
    batch = (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert built.eval().validation_step(batch, 0).keys() <= built.terms.keys()


@pytest.mark.parametrize("values", [[math.nan] * 3, [1.0, math.nan, math.inf], [-1e308, 1e308]])
def test_curves_of_a_run_that_diverged_are_drawn(values: list[float]):
    figure = draw_curves({"train/loss": ([1, 2, 3][: len(values)], values)}, {})
    figure.savefig(BytesIO())
