"""Batches that could not be computed are found before the first one."""

from typing import Any

import pytest
from conftest import TinyImages
from lightning import Trainer
from small_models import SHAPE, build, fit

from foundation.errors import ConfigError
from jobs.batch_check import check_batches

NORM = "network/norm@network.decoder.norm="


def check(model: Any, batch_size: int, **options: Any) -> None:
    datamodule = TinyImages(SHAPE, batch_size=batch_size)  # 8 train, 8 val, 8 test
    datamodule.setup()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    check_batches(trainer, model, datamodule)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batch_of_one_image_is_refused_where_a_norm_over_the_batch_would_see_one_number(batch_size: int):
    normed = build(f"{NORM}batch")
    with pytest.raises(ConfigError, match=r"data\.batch_size: .* one of the 8 training images"):
        check(normed, batch_size)
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # what it is refused for
        fit(normed, TinyImages(SHAPE, batch_size=batch_size))
    check(normed, 6)
    fit(normed, TinyImages(SHAPE, batch_size=6))
    for other in ("none", "group"):
        check(build(f"{NORM}{other}"), batch_size)
        fit(build(f"{NORM}{other}"), TinyImages(SHAPE, batch_size=batch_size))
    if batch_size == 7:
        check(normed, 7, limit_train_batches=1)  # it is never reached


@pytest.mark.parametrize("split", ["val", "test"])
def test_share_of_a_split_that_is_no_batch_is_refused(split: str):
    model = build()
    with pytest.raises(ConfigError, match=rf"trainer\.limit_{split}_batches: 0\.4 of 2 batches is none"):
        check(model, 4, **{f"limit_{split}_batches": 0.4})
    check(model, 4, **{f"limit_{split}_batches": 0.5})
    check(model, 4, **{f"limit_{split}_batches": 1})
