"""How cost grows: the measured beside the predicted, what is left out, and the plan on paper."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

from benchmarks import plan, scaling
from benchmarks.cost import cost_of, work_of
from benchmarks.hosts import why_not

REASON = why_not()
DIGITS = ["--data", "digits", "--network", "mlp", "--steps", "3", "--accelerator", "cpu", "--json", "out.json"]


def told(folder: Path, *words: str) -> dict[str, list[dict[str, float]]]:
    command = [sys.executable, str(PROJECT / "benchmarks" / "scaling.py"), *words, *DIGITS]
    result = subprocess.run(
        [*command, "--overrides", "data.batch_size=32"], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "out.json").read_text())


@pytest.mark.slow
def test_cost_grows_as_measured_and_as_predicted(tmp_path: Path):
    rows = told(tmp_path, "width", "processes", "pixels", "--model", "vae")
    assert [row["processes"] for row in rows["processes"]] == [1, 2]
    assert rows["pixels"] == []  # of one size alone
    operations = [row["MFLOP/image"] for row in rows["width"]]
    assert operations == sorted(operations) and operations[-1] > 100 * operations[0]  # sixteen times as wide
    predicted = [row["predicted"] for row in rows["width"]]
    assert predicted == sorted(predicted, reverse=True)
    for row in [*rows["width"], *rows["processes"]]:
        assert row["measured/predicted"] == pytest.approx(row["images/s"] / row["predicted"])
    alone, two = rows["processes"]
    assert alone["network ms"] == 0 < two["network ms"] and two["MB a step by the model"] > 0


@pytest.mark.engines
@pytest.mark.skipif(REASON is not None, reason=f"hosts: {REASON}")
def test_hosts_send_what_the_model_says(tmp_path: Path):
    rows = told(tmp_path, "hosts", "--model", "gan")["hosts"]
    assert [row["hosts"] for row in rows] == [1, 2, 2, 2]
    for row in rows[1:]:
        assert row["MB a step sent"] == pytest.approx(row["MB a step by the model"], rel=0.05)
    assert rows[3]["network MB/s"] < 200 / 8 * 1.1 < rows[1]["network MB/s"]
    assert rows[3]["images/s"] < rows[1]["images/s"]


def test_unknown_axis_is_refused(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scaling.py", "colour"])
    with pytest.raises(SystemExit):
        scaling.parse()
    assert "there is no axis colour; choose from batch, width, pixels" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["scaling.py"])
    assert scaling.parse().axes == []


@pytest.mark.parametrize(
    ("axis", "words", "reason"),
    [
        ("hosts", [], "made by root alone"),
        ("hosts", ["--accelerator", "gpu"], "hosts are tried on the CPU"),
        ("pixels", ["--data", "mnist"], "only Imagenette comes in several sizes"),
    ],
)
def test_axis_that_can_t_be_measured_is_left_out_with_a_reason(
    axis: str, words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(scaling, "why_not", lambda: "network namespaces are made by root alone")
    monkeypatch.setattr(sys, "argv", ["scaling.py", axis, *words])
    scaling.main()
    assert f"left out: {'network namespaces are ' * ('root' in reason)}{reason}" in capsys.readouterr().out


SMALL = ["--network", "conv", "--width", "8", "--size", "64", "--classes", "10"]


def planned(*words: str):
    given = plan.parse([*SMALL, *words])
    work = work_of(plan.config(given), plan.facts_of_images(given.size, given.classes), given.batch, "bf16-mixed")
    return given, work, plan.Machine(1e12 * given.tflops * given.achieved, 1e9 * given.hbm, 12e-6, starts_ahead=True)


def test_plan_waits_for_the_slowest():
    for words, limit in (
        (["--storage", "1"], "storage"),
        (["--storage", "1e9", "--between", "0.01"], "network"),
        (["--storage", "1e9"], "starts"),
    ):
        given, work, machine = planned(*words)
        assert plan.bound(given, work, cost_of(work, machine, plan.network_of(given))) == limit
    given, work, machine = planned("--storage", "1")
    read = 8 * 32 * (3 * 64 * 64 + 8)  # bytes of a node's step
    assert plan.step_seconds(given, work, machine) == pytest.approx(read / 1e6)


def test_plan_sends_through_nvlink_alone_within_one_node():
    assert plan.network_of(planned("--nodes", "1", "--nvlink", "300")[0]).bytes_per_second == 300e9
    network = plan.network_of(planned("--nodes", "2", "--nvlink", "300", "--between", "800")[0])
    assert network.bytes_per_second == 100e9 and network.processes == 16


def test_plan_shards_what_does_not_fit():
    given, work, _ = planned()
    assert "DDP:" in plan.memory(given, plan.config(given), work)[0]
    given, work, _ = planned("--gpu-memory", str(work.state_bytes / 1e9 * 3))
    assert "FSDP:" in plan.memory(given, plan.config(given), work)[0]


def test_plan_names_the_nearest_limit_first():
    given, work, machine = planned("--batch", "64")
    assert plan.what_breaks(given, work, machine)[2].startswith("1. 2.00. The batch: 4,096 images")
    given, work, machine = planned("--batch", "8", "--storage", "1", "--epochs", "200")
    assert plan.what_breaks(given, work, machine)[2].startswith("1. 1.00. Storage: a node reads 1 MB/s of 1.")
