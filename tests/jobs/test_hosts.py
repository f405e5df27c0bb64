"""Training on several hosts, which are network namespaces: as one process, and on as many hosts as are left."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from conftest import PROJECT, SMALL_PICTURES
from engines import MARK, all_ended, processes, wait_until
from s3_servers import SERVE, environment
from small_data import write_images

from benchmarks.hosts import Host, existing, several_hosts, why_not
from datamodules.shard_writing import write_shards
from datamodules.sources import FolderSource

REASON = why_not()
needs_hosts = pytest.mark.skipif(REASON is not None, reason=f"hosts: {REASON}")
WITNESS = """
import sys, json
sys.path.insert(0, {project!r})
from jobs.command_line import run
from jobs import building
from lightning import Callback
from train import main

class Witness(Callback):
    def on_train_end(self, trainer, module):
        weights = {{name: value.double().sum().item() for name, value in module.state_dict().items()}}
        with open(f"rank_{{trainer.global_rank}}.json", "w") as file:
            json.dump({{"world": trainer.world_size, "weights": weights}}, file)

build = building.build_callbacks
building.build_callbacks = lambda *given: [*build(*given), Witness()]
run(main)
"""
SMALL = [
    "network=mlp", "network.encoder.width=8", "network.decoder.width=8", "trainer=ddp", "trainer.accelerator=cpu",
    "hydra.run.dir=run", *SMALL_PICTURES,
]  # fmt: skip


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex[:12]


def begin(
    hosts: Sequence[Host],
    nodes: str,
    folder: Path,
    mark: str,
    *overrides: str,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> list[subprocess.Popen]:
    """torchrun on each host, one process on each; what they say is in a file with the name of the host."""
    script = folder / "witness.py"
    script.write_text(WITNESS.format(project=str(PROJECT)))
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1", "--max-restarts",
        "0" if ":" not in nodes else "3", "--rdzv-backend", "c10d", "--rdzv-endpoint", "host0:29500",
        "--rdzv-conf", "keep_alive_interval=1,last_call_timeout=2,join_timeout=120",
    ]  # fmt: skip
    begun = []
    for host in hosts:
        with (folder / host.name).open("a") as output:
            process = host.start(
                [*torchrun, str(script), *SMALL, *overrides], cwd=folder, stdout=output, stderr=output,
                env=os.environ | {"OMP_NUM_THREADS": "1", MARK: mark, **variables},
            )  # fmt: skip
            begun.append(process)
    return begun


def told(folder: Path, host: Host) -> str:
    return (folder / host.name).read_text()


@needs_hosts
@pytest.mark.engines
@pytest.mark.parametrize("model", ["vae", "gan"])
def test_hosts_train_one_model_which_scores_as_of_one_process(model: str, tmp_path: Path, mark: str):
    with several_hosts(2, f"test-{mark}") as hosts:
        begun = begin(hosts, "2", tmp_path, mark, f"model={model}", "trainer.max_epochs=2")
        for process, host in zip(begun, hosts, strict=True):
            assert process.wait(300) == 0, told(tmp_path, host)
    assert all_ended(mark) and not existing(f"test-{mark}")
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first["world"] == 2
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert record["images_seen"] == 2 * 2 * 599
    again = subprocess.run(
        [sys.executable, str(PROJECT / "evaluate.py"), "run=run", "accelerator=cpu"], cwd=tmp_path, capture_output=True,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    alone = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    for name, score in record["scores"].items():
        assert alone["scores"][name]["value"] == pytest.approx(score["value"], rel=1e-4, abs=1e-6), name


@needs_hosts
@pytest.mark.engines
@pytest.mark.parametrize("in_bucket", [False, True], ids=["folder", "bucket"])
def test_hosts_stream_from_a_folder_and_from_a_bucket_on_one_of_them(in_bucket: bool, tmp_path: Path, mark: str):
    write_shards(
        FolderSource(write_images(tmp_path / "images", ["a", "b"], count=80), 8, 3, "white", 11, 12, 0),
        tmp_path / "shards", (3, 8, 8), 0.002, {},
    )  # fmt: skip
    root: Path | str = tmp_path / "shards"
    variables = environment("http://host0:5000")
    with several_hosts(2, f"test-{mark}") as hosts:
        if in_bucket:
            serving = os.environ | {MARK: mark}
            with (tmp_path / "server").open("w") as output:
                hosts[0].start([*SERVE, "-H", "0.0.0.0", "-p", "5000"], env=serving, stdout=output, stderr=output)
            copy = [sys.executable, str(PROJECT / "tests" / "s3_servers.py"), "http://host0:5000", "bucket", str(root)]
            copying = hosts[1].start(copy, stdout=subprocess.PIPE, text=True)
            root, _ = copying.communicate(timeout=120)
            assert copying.returncode == 0
        options = [
            "model=vae", "data=stream", f"data.root={str(root).strip()}", "trainer.max_epochs=2", "data.batch_size=16"
        ]  # fmt: skip
        begun = begin(hosts, "2", tmp_path, mark, *options, "data.cache_gb=2e-5", variables=variables)
        for process, host in zip(begun, hosts, strict=True):
            assert process.wait(300) == 0, told(tmp_path, host)
    assert all_ended(mark) and not existing(f"test-{mark}")
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first["world"] == 2
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["images_seen"] == 2 * 2 * 69
    if in_bucket:
        asked = (tmp_path / "server").read_text()
        assert all(f"{host.address} - - " in asked for host in hosts) and "GET /bucket/shards/train/chunk-0-" in asked


@needs_hosts
@pytest.mark.engines
def test_dead_host_ends_the_others_with_a_word_and_the_run_goes_on_with_fewer(tmp_path: Path, mark: str):
    length = ["model=gan", "trainer.max_epochs=60", "every_n_epochs=60", "ckpt_path=last"]
    with several_hosts(3, f"test-{mark}") as hosts:
        begun = begin(hosts, "3", tmp_path, mark, *length)
        wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").is_file, 300, "checkpoint")
        hosts[2].die()
        assert all(process.wait(60) != 0 for process in begun)
        for rank, host in enumerate(hosts[:2]):
            assert f"process {rank} has lost another of those that train together" in told(tmp_path, host)
            assert "go on with the same command and ckpt_path=last" in told(tmp_path, host)
        assert not list(processes(mark)), "processes are left running"
        for process, host in zip(begin(hosts[:2], "2", tmp_path, mark, *length), hosts, strict=False):
            assert process.wait(300) == 0, told(tmp_path, host)
    assert all_ended(mark) and not existing(f"test-{mark}")
    said = told(tmp_path, hosts[0])
    assert "resuming after epoch" in said and "trainer.num_nodes=2, before 3" in said
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and first["world"] == 2
    seen = json.loads((tmp_path / "run" / "metrics.json").read_text())["images_seen"]
    assert 59 * 1197 < seen < 61 * 1200


@needs_hosts
@pytest.mark.engines
def test_torchrun_goes_on_by_itself_with_the_hosts_that_are_left(tmp_path: Path, mark: str):
    with several_hosts(2, f"test-{mark}") as hosts:
        first, _ = begin(
            hosts, "1:2", tmp_path, mark, "model=vae", "trainer.max_epochs=40", "every_n_epochs=40", "ckpt_path=last"
        )
        wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").is_file, 300, "checkpoint")
        hosts[1].die()
        assert first.wait(300) == 0, told(tmp_path, hosts[0])
    assert all_ended(mark) and not existing(f"test-{mark}")
    said = told(tmp_path, hosts[0])
    assert said.count("has lost another") == 1 and "trainer.num_nodes=1, before 2" in said
    assert json.loads((tmp_path / "rank_0.json").read_text())["world"] == 1
    assert (tmp_path / "run" / "metrics.json").is_file()
