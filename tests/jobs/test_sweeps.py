"""Sweeps as people run them: presets, a stopped one resumed, launchers for many jobs at once, and their objective."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, SMALL_PICTURES
from omegaconf import OmegaConf

from foundation.errors import ConfigError
from jobs.command_line import command_of_run
from jobs.composition import composed
from jobs.config_check import check
from jobs.sweeps import resumed
from train import train

SHORT = [
    "network=mlp", "network.encoder.width=16", "network.decoder.width=16", "every_n_epochs=1",
    "trainer.accelerator=cpu", "scores.repeats=1", "callbacks.likelihood=null", *SMALL_PICTURES,
]  # fmt: skip
EXPERIMENTS = PROJECT / "conf" / "experiment"
BEST = sorted(path.stem for path in (EXPERIMENTS / "best").glob("*.yaml"))


def start(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), *overrides], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_stopped_sweep_is_resumed(tmp_path: Path):
    overrides = ["-m", "seed=0,1,2", *SHORT, "hydra.sweep.dir=sweep", "trainer.max_epochs=20"]
    command = [sys.executable, str(PROJECT / "train.py"), *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as run:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("sweep/*/seed1/checkpoints/last.ckpt")):
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    (first,), (second,) = (list(tmp_path.glob(f"sweep/*/seed{seed}")) for seed in (0, 1))
    assert (first / "metrics.json").is_file() and not (second / "metrics.json").exists()
    before = (first / "metrics.json").stat().st_mtime_ns
    stopped_at = torch.load(second / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]

    result = start(tmp_path, "sweep.resume=sweep")
    assert result.returncode == 0, result.stderr
    assert "finished before" in result.stdout and "resuming: python train.py -m" in result.stdout
    assert (first / "metrics.json").stat().st_mtime_ns == before
    (third,) = tmp_path.glob("sweep/*/seed2")
    assert len([path for path in tmp_path.glob("sweep/*/*") if (path / "config.yaml").exists()]) == 3
    for run_dir in (second, third):
        assert json.loads((run_dir / "metrics.json").read_text())["epochs"] == 20
    assert (tmp_path / "sweep" / "report" / "index.html").is_file()

    assert stopped_at < 19  # so that there was something to continue
    unbroken = start(tmp_path, "seed=1", *SHORT, "hydra.run.dir=unbroken", "trainer.max_epochs=20")
    assert unbroken.returncode == 0, unbroken.stderr
    for name, weight in weights(tmp_path / "unbroken").items():
        assert torch.equal(weight, weights(second)[name]), name


def test_failed_and_untested_jobs_are_tried_again(tmp_path: Path):
    overrides = ["-m", "seed=0,1", *SHORT, "hydra.sweep.dir=sweep", "trainer.max_epochs=1"]
    assert start(tmp_path, *overrides).returncode == 0
    (first,), (second,) = (list(tmp_path.glob(f"sweep/*/seed{seed}")) for seed in (0, 1))
    (first / "metrics.json").unlink()  # as if it had been stopped while it was tested
    (second / "metrics.json").write_text('{"scores": ')  # damaged,
    for checkpoint in (second / "checkpoints").iterdir():  # and with nothing to continue from
        checkpoint.unlink()
    result = start(tmp_path, "sweep.resume=sweep")
    assert result.returncode == 0, result.stderr
    for run_dir in (first, second):
        record = json.loads((run_dir / "metrics.json").read_text())
        assert record["epochs"] == 1 and record["images_seen"] == 1197 and record["scores"]


def test_resuming_repeats_the_command_of_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    overrides = {"task": ["model=vae,gan", "seed=0,1"], "hydra": ["hydra.sweep.dir=there", "hydra/launcher=joblib"]}
    OmegaConf.save({"hydra": {"overrides": overrides}}, tmp_path / "multirun.yaml")
    given = [f"sweep.resume={tmp_path}", "hydra.launcher.n_jobs=2"]
    assert resumed(given) == [
        "--multirun", "model=vae,gan", "seed=0,1", "hydra/launcher=joblib", f"hydra.sweep.dir={tmp_path}", *given,
    ]  # fmt: skip
    assert "resuming: python train.py -m model=vae,gan seed=0,1" in capsys.readouterr().out
    assert resumed(["model=gan"]) == ["model=gan"]


def test_what_would_make_other_jobs_can_not_be_added_to_a_resumed_sweep(tmp_path: Path):
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"], "hydra": []}}}, tmp_path / "multirun.yaml")
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=3 would make other jobs"):
        resumed([f"sweep.resume={tmp_path}", "trainer.max_epochs=3"])
    for added in ("model=gan", "trainer=ddp", "hydra.sweeper.params.seed=3,4", "hydra.sweep.dir=there",
                  "compile=true,false", "run_dir=there", "callbacks.best_checkpoint.mode=max"):  # fmt: skip
        with pytest.raises(ConfigError, match="would make other jobs"):
            resumed([f"sweep.resume={tmp_path}", added])
    for added in ("data.root=there", "trainer.accelerator=gpu", "callbacks.interpolation=null", "logger=csv",
                  "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"):  # fmt: skip
        assert resumed([f"sweep.resume={tmp_path}", added, "seed=0,1"])[-1] == added


def test_only_the_folder_of_a_sweep_can_be_resumed(tmp_path: Path):
    with pytest.raises(ConfigError, match="is not the folder of a sweep"):
        resumed([f"sweep.resume={tmp_path}"])
    result = start(tmp_path, "-m", "sweep.resume=nowhere")
    assert result.returncode == 1 and "sweep.resume: nowhere" in result.stderr and "Traceback" not in result.stderr


def test_job_returns_its_best_score_on_val(tmp_path: Path):
    cfg = composed(*SHORT, "trainer.max_epochs=3", run_dir=tmp_path / "run")
    objective = train(cfg)
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/fid_reference")
    scores = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(scores) == 3
    assert objective == record["best_val_score"] == pytest.approx(min(scores))


def test_job_without_scores_returns_nothing(tmp_path: Path):
    assert train(composed(*SHORT[:5], "scores=none", "trainer.max_epochs=1", run_dir=tmp_path / "run")) is None


def asked(url: str, question: dict | None = None) -> dict:
    """The JSON answer of a server on this machine, once it is there."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = json.dumps(question).encode() if question is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    deadline = time.monotonic() + 180
    while True:
        try:
            with direct.open(request, timeout=10) as answer:
                found = json.load(answer)
                if found:
                    return found
                problem = f"only {found}"
        except OSError as error:
            problem = str(error)
        assert time.monotonic() < deadline, f"no answer from {url}: {problem}"
        time.sleep(0.5)


def test_dashboard_of_a_sweep_has_named_curves_and_sorts_runs_by_score(tmp_path: Path, free_port: int):
    scores = {}
    for seed in (0, 1, 2):
        run_dir = tmp_path / f"vae-mlp-digits/seed{seed}"
        train(composed(*SHORT, f"seed={seed}", "trainer.max_epochs=1", run_dir=run_dir))
        scores[seed] = json.loads((run_dir / "metrics.json").read_text())["scores"]["test/fid_reference"]["value"]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(free_port)]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{free_port}/data"
        tags = asked(f"{address}/plugin/scalars/tags")
        for seed in scores:
            assert "3 losses/elbo train" in tags[f"vae-mlp-digits/seed{seed}"]
            run = urllib.parse.quote(f"vae-mlp-digits/seed{seed}", safe="")
            points = asked(f"{address}/plugin/scalars/scalars?run={run}&tag=1%20scores%2Ffid_reference%20val")
            assert [point[1] for point in points] == [1197]  # training images seen
        order = [{"metric": {"group": "", "tag": "7 test/fid_reference"}, "order": "ORDER_ASC"}]
        question = {
            "experimentName": "", "startIndex": 0, "sliceSize": 10, "colParams": order,
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        }  # fmt: skip
        groups = asked(f"{address}/plugin/hparams/session_groups", question)["sessionGroups"]
        assert [int(group["hparams"]["seed"]) for group in groups] == sorted(scores, key=scores.get)
        assert all(group["hparams"]["model"] == "vae" for group in groups)
    finally:
        server.terminate()
        server.wait(timeout=30)
        print((tmp_path / "server.log").read_text())


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_run_beside_each_other(launcher: str, tmp_path: Path):
    extra = launcher.split("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{extra}_launcher", reason=f"pip install -e '.[{extra}]'")
    at_once = {"joblib": "hydra.launcher.n_jobs=2", "submitit_local": "hydra.launcher.timeout_min=5"}[launcher]
    result = start(
        tmp_path, "-m", "data.device=auto,cpu", *SHORT, f"hydra/launcher={launcher}", at_once, "trainer.max_epochs=1",
        "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    # What decides no weights is in the folders' names where it tells jobs apart: in other processes, too.
    runs = [run for place in ("auto", "cpu") for run in tmp_path.glob(f"sweep/*data.device-{place}*")]
    assert len(runs) == 2 and all((run / "metrics.json").is_file() for run in runs)
    assert (tmp_path / "sweep" / "report" / "index.html").is_file()


@pytest.mark.slow
def test_a_sweep_whose_jobs_are_in_other_processes_is_told_to_end(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install -e '.[joblib]'")
    command = [
        sys.executable, str(PROJECT / "train.py"), "-m", "seed=0,1", *SHORT, "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2", "trainer.max_epochs=100000", "hydra.sweep.dir=sweep",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as sweep:
        try:
            until(lambda: len(list(tmp_path.glob("sweep/*/*/checkpoints/last.ckpt"))) == 2)
            sweep.terminate()
            _, said = sweep.communicate(timeout=60)
            resume = f"stopped by SIGTERM; go on with: python train.py sweep.resume={tmp_path / 'sweep'}"
            assert (sweep.returncode, resume in said) == (128 + signal.SIGTERM, True), said
            assert "Traceback" not in said, said
            until(lambda: not processes_of(sweep.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(sweep.pid, signal.SIGKILL)


def until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)


def processes_of(group: int) -> list[str]:
    """The commands of a process group, but for those that have ended."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [rest[-1] for found, state, *rest in rows if int(found) == group and not state.startswith("Z")]


@pytest.mark.parametrize(
    ("preset", "model", "jobs"),
    [("paper", "vanilla_vae", 20), ("paper", "gan", 20), ("quick", "gan", 10), ("search/imagenette_mlp", "gan", 36)],
)
def test_presets_compose_and_count_their_jobs(preset: str, model: str, jobs: int):
    check(composed(f"experiment={preset}", f"model={model}"))
    params = OmegaConf.load(PROJECT / "conf" / "experiment" / f"{preset}.yaml").hydra.sweeper.params
    count = 1
    for values in params.values():
        count *= len(str(values).split(","))
    assert count == jobs


def trials_of(search: str) -> int:
    """How many jobs a sweep of conf/experiment has; of `glob(*)` as many as its group has files."""
    count = 1
    for key, values in OmegaConf.load(EXPERIMENTS / f"{search}.yaml").hydra.sweeper.params.items():
        folder = PROJECT / "conf" / key.removeprefix("+")
        count *= len(list(folder.glob("*.yaml"))) if values == "glob(*)" else len(str(values).split(","))
    return count


@pytest.mark.parametrize("name", BEST)
def test_a_best_recipe_states_how_many_trials_its_search_has(name: str):
    recipe = composed(f"experiment=best/{name}").recipe
    assert recipe.trials == trials_of(recipe.search) > 1


def test_families_that_are_compared_were_searched_equally():
    compared = OmegaConf.load(EXPERIMENTS / "fair.yaml").hydra.sweeper.params["+experiment/best"].split(",")
    assert len(compared) == 3
    assert len({composed(f"experiment=best/{name}").recipe.trials for name in compared}) == 1


@pytest.mark.parametrize("name", [name for name in BEST if name.endswith("_mnist_small")])
def test_a_job_of_the_fair_sweep_is_the_best_experiment_of_its_name(name: str):
    job = composed("experiment=fair", f"+experiment/best={name}", "seed=1")
    assert command_of_run() == f"python train.py experiment=fair +experiment/best={name} seed=1 hydra.mode=RUN"
    alone = composed(f"experiment=best/{name}", "seed=1")
    assert command_of_run() == f"python train.py experiment=best/{name} seed=1"
    one, other = (OmegaConf.to_container(cfg, resolve=True) for cfg in (job, alone))
    assert {key: one[key] for key in one if key != "choices"} == {key: other[key] for key in other if key != "choices"}


@pytest.mark.parametrize("data", ["mnist", "imagenette"])
@pytest.mark.parametrize("model", ["vanilla_vae", "gan"])
def test_the_paper_s_sweep_trains_what_its_single_experiments_train(model: str, data: str):
    swept = composed("experiment=paper", f"model={model}", f"data={data}")
    single = composed(f"experiment=paper/{model.removeprefix('vanilla_')}_{data}")
    for section in ("model", "network", "data", "trainer", "scores", "every_n_epochs"):
        one, other = (OmegaConf.to_container(cfg, resolve=True)[section] for cfg in (swept, single))
        assert one == other, section
