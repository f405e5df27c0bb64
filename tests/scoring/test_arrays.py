"""Scores of two arrays of images, without any object of this project around them."""

import numpy as np
import pytest
import torch
from conftest import Pixels, TinyImages

from foundation.errors import ConfigError
from scoring.arrays import scores_of_images
from scoring.features import GivenSamples
from scoring.scorer import Scorer

SHAPE = (1, 6, 5)


def array(seed: int, count: int = 40, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, channels), dtype=np.uint8)


def test_scores_of_arrays_are_those_that_a_run_is_given():
    datamodule = TinyImages(SHAPE, num_learn=40)
    datamodule.num_test = 20
    datamodule.setup()
    fakes = torch.from_numpy(array(1, 20)).permute(0, 3, 1, 2)
    scorer = Scorer(Pixels(SHAPE), datamodule, None, None, batch_size=7, seed=0)
    report = scorer.report(GivenSamples(fakes, 7), repeats=1)
    real, train = (datamodule.split(name).images.permute(0, 2, 3, 1).numpy() for name in ("test", "train"))
    found = scores_of_images(real, fakes.permute(0, 2, 3, 1).numpy(), train, extractor=Pixels(SHAPE), batch_size=3)
    assert set(found) == {"fid", "kid", "precision", "recall", "density", "coverage", "nearest_train"}
    for name, value in found.items():
        assert value == pytest.approx(report.scores[name].value, rel=1e-5, abs=1e-7), name


def test_equal_images_score_as_such():
    real = array(0)
    same = scores_of_images(real, real[::-1], extractor=Pixels(SHAPE))
    assert same["fid"] == pytest.approx(0, abs=1e-6)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    copies = scores_of_images(real, array(1)[:20], train=array(1), extractor=Pixels(SHAPE))
    assert copies["nearest_train"] == pytest.approx(0, abs=1e-6)
    assert "nearest_train" not in scores_of_images(real, array(1), train=real, extractor=Pixels(SHAPE))


def test_forms_of_the_same_images_score_the_same():
    real, fake = array(0), array(1)
    expected = scores_of_images(real, fake, extractor=Pixels(SHAPE))
    for real_again, fake_again in [
        (torch.from_numpy(real), fake[..., 0]),
        (real.transpose(0, 3, 1, 2), fake.transpose(0, 3, 1, 2)),
        (real / 255, np.repeat(fake, 3, axis=3) / 127.5 - 1),
        (real[..., 0], fake),
    ]:
        assert scores_of_images(real_again, fake_again, extractor=Pixels(SHAPE)) == pytest.approx(expected)


def test_extractors_are_chosen_by_name():
    noise = scores_of_images(array(0, 12), array(1, 12))
    assert "fid" not in noise and noise["kid"] < 0.5  # of 64 or more features
    other = scores_of_images(array(0, 12), array(1, 12) // 8)
    assert other["kid"] > 2 * abs(noise["kid"])
    with pytest.raises(ConfigError, match="no none; expected clip, dinov2, inception, reference"):
        scores_of_images(array(0), array(1), extractor="none")


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        (array(0)[0], array(1), r"fake: expected two or more images \(N, 5, 1, 1\)"),
        (array(0)[..., [0, 0]], array(1), r"real: expected images \(N, H, W, C\) of 1 or 3 channels, got .*5, 2"),
        (array(0), array(1)[:, :5], r"fake: expected two or more images \(N, 6, 5, 1\), got uint8 \(40, 5, 5, 1\)"),
        (array(0), array(1)[:1], "fake: expected two or more images"),
        (array(0), array(1, channels=3), "fake: expected grey images"),
        (array(0), array(1) * 1.0 + 300, "not plain which numbers are black and white"),
    ],
)
def test_arrays_of_something_else_are_refused(real: np.ndarray, fake: np.ndarray, says: str):
    with pytest.raises(ConfigError, match=says):
        scores_of_images(real, fake, extractor=Pixels(SHAPE))
