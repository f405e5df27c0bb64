"""What the memory can't hold: refused by its size, before it takes any of it, or told of when it fills it."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TinyImages, composed
from hydra.errors import InstantiationException

from foundation.errors import ConfigError
from foundation.memory import is_out_of_memory
from jobs import command_line, memory
from jobs.building import build_model
from jobs.job import run_job
from jobs.memory import COPIES, OutOfMemoryError, check_images_fit
from lightning_modules.vae import VAE
from run_folder.records import EndRecord, read_record
from scoring.scorer import Scorer
from train import train

SHAPE = (1, 8, 8)
SMALL = ["network=mlp", "network.encoder.depth=1", "network.decoder.depth=1", "model.latent_dim=2"]


def parameters(*overrides: str) -> int:
    return sum(p.numel() for p in build_model(composed(*SMALL, *overrides).model, TinyImages(SHAPE)).parameters())


def test_a_model_is_held_against_the_memory_with_what_its_training_keeps(monkeypatch: pytest.MonkeyPatch):
    plain = ["model=vanilla_vae", "model.ema_half_life=0"]
    needed = COPIES * 4 * parameters(*plain)  # float32
    monkeypatch.setattr(memory, "machine_memory", lambda: needed + 8 * 2)  # and the prior's two buffers
    assert parameters(*plain) * COPIES * 4 == needed
    monkeypatch.setattr(memory, "machine_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"model: with the bias of its Linear, \(64,\), it takes .* GB to train"):
        parameters(*plain)


@pytest.mark.parametrize(
    "overrides",
    [
        ["network.encoder.width=65536", "network.encoder.depth=1000"],
        ["model/prior=flow", "model.prior.width=65536", "model.prior.transforms=1000"],
        ["model/density=second_stage", "model.density.width=65536", "model.density.depth=100"],
        ["model=gan", "network.parameters=1e12"],
    ],
    ids=str,
)
def test_sizes_that_are_each_in_their_range_are_refused_where_together_they_are_too_much(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(memory, "machine_memory", lambda: 10**8)
    with pytest.raises(ConfigError, match=r"^model: .*Choose a smaller width"):
        parameters(*overrides)


def test_nothing_is_counted_once_a_model_is_built(monkeypatch: pytest.MonkeyPatch):
    needed = COPIES * 4 * parameters()
    monkeypatch.setattr(memory, "machine_memory", lambda: 2 * needed)
    for _ in range(4):
        parameters()


def test_images_that_are_written_are_held_against_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 2 * 100 * 64)
    check_images_fit(100, SHAPE, "samples")
    with pytest.raises(ConfigError, match="samples: 101 images take"):
        check_images_fit(101, SHAPE, "samples")


# While a run goes on

TINY = ["data=digits", "trainer.max_epochs=2", "every_n_epochs=1", "trainer.accelerator=cpu", "callbacks=base",
        "network=mlp", "network.encoder.width=16", "network.decoder.width=16"]  # fmt: skip
ON_GPU = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 18.50 GiB is "
    "free. Including non-PyTorch memory, this process has 60.60 GiB memory in use."
)


def take_all(*_, **__):
    torch.empty(2**50, dtype=torch.uint8)


def take_all_on_gpu(*_, **__):
    raise torch.OutOfMemoryError(ON_GPU)


def take_all_in_numpy(*_, **__):
    np.empty(2**50, dtype=np.uint8)


@pytest.mark.parametrize("take", [take_all, take_all_on_gpu, take_all_in_numpy])
def test_training_that_fills_the_memory_says_so_and_goes_on_from_its_last_epoch(
    take: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(VAE, "training_step", take_in_epoch(2, take))
    cfg = composed(*TINY, "scores=none", run_dir=tmp_path / "run")
    with pytest.raises(OutOfMemoryError) as raised:
        run_job(train, cfg)
    amount = {take_all: r"1\.13e\+06 GB", take_all_on_gpu: r"20\.00 GiB", take_all_in_numpy: r"1\.00 PiB"}[take]
    words = rf"^out of memory while training, where {amount} more were asked for.*smaller data\.batch_size than 100 or"
    assert re.search(words, str(raised.value)), raised.value
    assert ("(GPU 0 has a total capacity of 79.11 GiB of which 18.50 GiB is free)" in str(raised.value)) == (
        take == take_all_on_gpu
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert str(raised.value).endswith(f"ckpt_path={last}") and "; go on with: python train.py" in str(raised.value)
    end = read_record(tmp_path / "run" / "status.json", EndRecord)
    assert (end.status, end.message) == ("failed", str(raised.value))


def take_in_epoch(epoch: int, take: Callable[..., None]) -> Callable[..., object]:
    step = VAE.training_step

    def wrapped(self, batch, batch_idx):
        return take() if self.trainer.current_epoch == epoch - 1 else step(self, batch, batch_idx)

    return wrapped


def test_scoring_that_fills_the_memory_names_its_own_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Scorer, "glance", take_all)
    with pytest.raises(OutOfMemoryError, match=r"while scoring samples.*smaller scores\.batch_size than 500; no epoch"):
        run_job(train, composed(*TINY, run_dir=tmp_path / "run"))


def test_other_errors_are_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(VAE, "training_step", fail)
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        run_job(train, composed(*TINY, "scores=none", run_dir=tmp_path / "run"))


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError(ON_GPU), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")], ids=repr
)
def test_a_command_that_fills_the_memory_ends_with_one_message(error: Exception, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "run=a"])
    with pytest.raises(SystemExit) as end:
        command_line.end_with(error)
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.startswith("error: out of memory")
    assert "Make room, and give the command again: python evaluate.py run=a" in said and "Traceback" not in said


def test_pictures_that_fill_the_memory_are_not_called_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("callbacks.sample_grid.SampleGrid.draw", take_all)
    with pytest.raises(OutOfMemoryError, match=r"while looking at what the model makes.* Make room; no epoch"):
        run_job(train, composed(*TINY, "callbacks=default", "scores=none", run_dir=tmp_path / "run"))


def test_full_memory_is_seen_in_what_a_library_has_wrapped():
    try:
        try:
            raise MemoryError
        except MemoryError as inner:
            raise InstantiationException("Error in call to target") from inner
    except InstantiationException as error:
        assert is_out_of_memory(error) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(InstantiationException("Error in call to target"))
