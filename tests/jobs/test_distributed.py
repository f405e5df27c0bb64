"""Two processes on the CPU (gloo): one model, the noise and the images of each its own, scores as of one process."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, RICH, SMALL_PICTURES, TinyImages
from s3_servers import environment, s3_server
from small_data import write_images

from datamodules.pixels import to_unit_range
from datamodules.shard_writing import write_shards
from datamodules.sources import FolderSource
from foundation.errors import ConfigError
from jobs import machine
from jobs.composition import composed
from jobs.machine import LostProcessError
from jobs.resuming import ResumptionFrom
from jobs.run import Run
from jobs.run_start import save_config
from run_folder.checkpoints import CheckpointError
from run_folder.settings import as_dict
from train import train

PROBE = """
import sys, json, hashlib
sys.path.insert(0, {project!r})
import torch
from jobs.command_line import run
from jobs import building
from lightning import Callback
from train import main

class Witness(Callback):
    noise, seen = None, []
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.current_epoch == 0:
            self.seen += [hashlib.md5(image.numpy().tobytes()).hexdigest() for image in batch[0]]
    def on_train_epoch_start(self, trainer, module):
        state = torch.get_rng_state()
        self.noise = torch.randn(4).tolist()
        torch.set_rng_state(state)
    def on_train_epoch_end(self, trainer, module):
        weights = [*module.named_parameters(), *module.named_buffers()]
        told = {{name: value.double().sum().item() for name, value in weights}}
        with open(f"rank_{{trainer.global_rank}}.json", "w") as file:
            json.dump({{"weights": told, "noise": self.noise, "seen": self.seen}}, file)

build = building.build_callbacks
building.build_callbacks = lambda *given: [*build(*given), Witness()]
run(main)
"""


def start(script: str, folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    path = folder / "probe.py"
    path.write_text(script.format(project=str(PROJECT)))
    return subprocess.run(
        [sys.executable, str(path), "trainer.accelerator=cpu", "every_n_epochs=1", *overrides, *SMALL_PICTURES],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


FSDP = [
    ["model=vae", "trainer=fsdp", "model.ema_half_life=0"],
    ["model=vqvae", "trainer=fsdp"],
    ["model=gan", "trainer=fsdp", "model/penalty=r1", "model/constraint=spectral_norm", "model.ema_half_life=1000"],
]


@pytest.mark.parametrize("choices", [*FSDP, *([*choices, "trainer=ddp"] for choices in RICH.values())], ids=" ".join)
def test_two_processes_train_one_model_each_on_its_own_share(choices: list[str], tmp_path: Path):
    result = start(
        PROBE, tmp_path, *choices, "trainer.max_epochs=2", "network.encoder.width=4",
        "network.decoder.width=4", "hydra.run.dir=run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]  # buffers too
    assert first["noise"] != second["noise"]
    assert len(first["seen"]) == len(second["seen"]) == 599
    assert len({*first["seen"], *second["seen"]}) >= 1190  # 1,197 images, one shown twice, and a few that are equal
    assert len({*first["seen"]} & {*second["seen"]}) <= 5

    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert record["images_seen"] == 2 * 2 * 599
    assert "sync_dist" not in result.stderr
    assert result.stdout.count("tested checkpoints/") == 1
    # One process scores the same weights the same.
    again = subprocess.run(
        [sys.executable, str(PROJECT / "evaluate.py"), "run=run", "accelerator=cpu"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    alone = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    for name, score in record["scores"].items():
        assert alone["scores"][name]["value"] == pytest.approx(score["value"], rel=1e-4, abs=1e-6), name
    for name, value in record["test"].items():
        if (
            "model=vae" in choices and name != "test/loss"
        ):  # a GAN's depend on fakes, which each process draws for itself
            assert alone["test"][name] == pytest.approx(value, rel=0.02, abs=0.05), name


@pytest.mark.slow
def test_two_processes_stream_every_image_once_and_resume_exactly_from_a_bucket(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
):
    """From the bucket both read by way of one cache, which has room for half of it."""
    files = FolderSource(write_images(tmp_path / "images", ["a", "b"], count=80), 8, 3, "white", 11, 12, 0)
    write_shards(files, tmp_path / "shards", (3, 8, 8), 0.002, {})
    expected = sorted(  # as the processes see them
        hashlib.md5(to_unit_range(files.read(key)[0]).numpy().tobytes()).hexdigest() for key in files.splits["train"]
    )
    common = [
        "data=stream", "data.num_workers=0", "trainer=ddp", "network=mlp", "network.encoder.width=8",
        "network.decoder.width=8", "data.batch_size=16", "data.cache_gb=2e-5", "scores=none",
    ]  # fmt: skip

    def trained(name: str, root: Path | str, epochs: int, *overrides: str) -> dict[str, float]:
        result = start(
            PROBE, tmp_path, *common, f"data.root={root}", f"trainer.max_epochs={epochs}",
            f"hydra.run.dir={tmp_path / name}", *overrides,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
        assert first["weights"] == second["weights"]
        assert overrides or sorted(first["seen"] + second["seen"]) == expected
        return first["weights"]

    whole = trained("near", tmp_path / "shards", 2)
    with s3_server(free_port, tmp_path) as server:
        url = server.put("bucket", tmp_path / "shards")
        for variable, value in environment(server.endpoint).items():
            monkeypatch.setenv(variable, value)
        trained("far", url, 1)
        assert trained("far", url, 2, f"ckpt_path={tmp_path / 'far'}/checkpoints/last.ckpt") == whole


def test_process_that_has_lost_another_says_so_and_how_to_go_on(tmp_path: Path):
    cfg = composed("trainer=ddp", "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null", run_dir=tmp_path)
    run = Run(cfg)
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [::1]:7. This is"
    nccl = torch.distributed.DistBackendError("NCCL error in: c10d.cpp:7\nncclRemoteError")
    for error in (RuntimeError(gloo), nccl):
        with pytest.raises(LostProcessError, match=r"^process 0 has lost another.*start it anew with: ") as caught, \
             run.stoppable():  # fmt: skip
            raise error
        assert "python train.py trainer=ddp" in str(caught.value)
        assert "hydra." not in str(caught.value)  # which Lightning gives its other processes
    with pytest.raises(RuntimeError, match=r"^shapes"), run.stoppable():
        raise RuntimeError("shapes do not match")


def test_process_ends_soon_after_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    codes: list[int] = []
    monkeypatch.setattr(machine, "PATIENCE", 0.05)
    monkeypatch.setattr(machine, "writes", lambda: False)
    monkeypatch.setattr(machine.os, "_exit", codes.append)

    def wait(first: int | None) -> None:
        with monkeypatch.context() as patch:
            patch.delenv(machine.FIRST_PROCESS, raising=False)
            if first is not None:
                patch.setenv(machine.FIRST_PROCESS, str(first))
            with machine.ended_with_first_process(lambda: "go on"):
                time.sleep(0.3)

    wait(os.getppid())
    wait(None)  # another program has started both
    assert codes == []
    wait(os.getpid())  # which is not the parent
    assert codes == [1]
    assert "error: process 0 has lost another" in capfd.readouterr().err
    monkeypatch.setattr(machine, "PATIENCE", 0.6)
    wait(os.getpid())  # it has ended by itself before
    time.sleep(0.5)
    assert codes == [1]


def test_run_of_several_processes_may_be_resumed_on_another_number_of_them(tmp_path: Path):
    save_config(composed("trainer=ddp", "trainer.devices=3"), tmp_path)
    resumption = ResumptionFrom(tmp_path / "checkpoints" / "last.ckpt", images_seen=1, shapes={})
    resumption.check_same_run(as_dict(composed("trainer=ddp", "trainer.devices=3")))
    assert resumption.other_processes == []
    resumption.check_same_run(as_dict(composed("trainer=ddp", "trainer.devices=2", "trainer.num_nodes=2")))
    assert resumption.other_processes == ["trainer.devices=2, before 3", "trainer.num_nodes=2, before 1"]
    with pytest.raises(CheckpointError, match=r"trainer\.devices="):
        resumption.check_same_run(as_dict(composed("trainer.devices=1")))
    with pytest.raises(CheckpointError, match=r"trainer\.strategy="):
        resumption.check_same_run(as_dict(composed("trainer.devices=3", "+trainer.use_distributed_sampler=false")))
    pytorchs_own = ("~trainer.strategy", "+trainer.strategy=ddp_find_unused_parameters_true")  # as earlier versions had
    save_config(composed("trainer=ddp", *pytorchs_own), tmp_path)
    resumption.check_same_run(as_dict(composed("trainer=ddp")))


def test_processes_of_torchrun_are_as_many_as_it_has_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    trainer = composed("trainer=ddp").trainer
    assert (trainer.devices, trainer.num_nodes) == (4, 3)
    assert composed("trainer=ddp", "trainer.devices=8").trainer.devices == 8


def test_sweep_over_several_processes_is_refused(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), "-m", "trainer=ddp", "seed=0", "hydra.sweep.dir=sweep"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    assert "in a sweep (-m)" in result.stderr


def test_processes_started_together_need_one_run_folder(monkeypatch: pytest.MonkeyPatch):
    cfg = composed("trainer=ddp")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"hydra.run.dir=outputs/my_run"):
        machine.check_processes(cfg.trainer)


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.devices=2"],
        ["+trainer.strategy=ddp", "trainer.devices=2"],
        ["trainer=ddp", "trainer.use_distributed_sampler=true"],
        ["+trainer.num_nodes=2"],
    ],
)
def test_processes_whose_images_lightning_would_deal_out_again_are_refused(overrides: list[str], tmp_path: Path):
    cfg = composed("trainer.accelerator=cpu", *overrides, run_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"2 processes need .*: give trainer=ddp trainer\.devices="):
        train(cfg)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_held_out_images_are_dealt_out_once(world_size: int):
    datamodule = TinyImages((1, 4, 4), num_learn=15)
    datamodule.setup()
    shown = []
    for rank in range(world_size):
        place = property(lambda self, rank=rank: (rank, world_size))
        module = type("Placed", (TinyImages,), {"_rank_and_world_size": place})((1, 4, 4), num_learn=15)
        module.setup()
        shown += [image for images, _ in module.val_dataloader() for image in images]
    assert len(shown) == len(datamodule.split("val").images)
    assert {image.numpy().tobytes() for image in shown} == {
        image.numpy().tobytes() for image in datamodule.split("val").images
    }


def test_jobs_at_once_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    assert [machine.threads_of_a_job(8, jobs) for jobs in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "available_cores", lambda: 6)
    monkeypatch.setattr(machine, "jobs_at_once", lambda: 3)
    before = torch.get_num_threads()
    try:
        machine.use_machine(tf32=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_users_own_number_of_threads_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(machine, "available_cores", lambda: 6)
    before = torch.get_num_threads()
    machine.use_machine(tf32=False)
    assert torch.get_num_threads() == before
