"""Bad input: exit code, one clear message, no traceback, nothing trained, nothing lost."""

import contextlib
import errno
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, SMALL_PICTURES, needs_real
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import _save_config
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import evaluate
import export
import report
import train
from foundation.atomic import DiskFullError
from foundation.errors import ConfigError
from foundation.programs import override
from jobs.command_line import (
    OWN_SWITCH,
    TRACEBACK_SWITCH,
    end_with,
    is_of_hydras_folder,
    is_the_users,
    message_of,
    quiet_libraries,
    run,
)
from jobs.run_start import claim, save_config, sole_use
from jobs.stopping import Stopped, end_by_sigterm, ended_by_signals
from jobs.sweeps import folder_name
from run_folder.checkpoints import read_checkpoint

SHORT = [
    "network=mlp",
    "network.encoder.width=8",
    "network.decoder.width=8",
    "trainer.max_epochs=1",
    *SMALL_PICTURES,
]


@pytest.fixture(autouse=True)
def children_are_heard_of_as_before():
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)  # which a stopped program need not put back


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call a program as from the command line, in an empty folder: (exit code, standard error)."""

    def program(*arguments: str, of=train) -> tuple[int, str]:
        for switch in (TRACEBACK_SWITCH, OWN_SWITCH):  # run sets them, and programs of later tests would inherit them
            monkeypatch.setenv(switch, "0")
        monkeypatch.setattr(sys, "argv", [f"{of.__name__}.py", *arguments])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        code = 0
        try:
            run(of.main, "config" if of is train else of.__name__)
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: no network
    return program


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(result: tuple[int, str], *told: str) -> None:
    code, message = result
    assert code != 0
    assert "Traceback" not in message, message
    assert message.count("error: ") == 1, message
    for part in told:
        assert part in message, message
    assert not list(Path.cwd().rglob("*.ckpt"))
    assert not list(Path.cwd().rglob("config.yaml"))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=gann"], ["gann", "gan", "vae"]),
        (["data=cifar"], ["cifar", "imagenette"]),
        (["model.latent_dimm=3"], ["latent_dimm"]),
        (["modle=gan"], ["modle"]),
        (["+model.latent_dimm=3"], ["model.latent_dimm", "latent_dim"]),
        (["model.latent_dim=abc"], ["model.latent_dim", "a whole number", "'abc'"]),
        (["model.latent_dim=2.5"], ["model.latent_dim", "a whole number", "2.5"]),
        (["model.optimizer.lr=fast"], ["model.optimizer.lr", "a number", "'fast'"]),
        (["model.optimizer.betas=[0,0.9]"], ["model.optimizer.betas", "written with a point", "got 0"]),
        (["model.optimizer.betas=[0.9,1.5]"], ["model.optimizer.betas", "below 1,", "1.5"]),
        (["trainer.precision=17"], ["trainer.precision", "'bf16-mixed'", "17"]),
        (["callbacks.last_checkpoint=null"], ["callbacks.last_checkpoint"]),
        (["model.optimizer.lr=-1"], ["model.optimizer.lr", "more than 0", "-1"]),
        (["model=gan", "model.penalty.share=0"], ["model.penalty.share", "more than 0"]),
        (["model=gan", "model.penalty.share=1.5"], ["model.penalty.share", "at most 1", "1.5"]),
        (["data.batch_size=0"], ["data.batch_size", "at least 1", "0"]),
        (["network=mlp", "network.encoder.width=wide"], ["encoder.width", "a whole number", "'wide'"]),
        (["network=mlp", "network.encoder.width=[8,8]"], ["width names 2 hidden layers", "depth is 3"]),
        (["trainer.max_epochs=-1"], ["trainer.max_epochs", "at least 1", "-1"]),
        (["trainer.max_epochs=ten"], ["trainer.max_epochs", "a whole number", "'ten'"]),
        (["seed=x"], ["seed", "a whole number", "'x'"]),
        (["trainer.accelerator=gpu"], ["gpu"]),
        (["trainer.accelerator=abacus"], ["trainer.accelerator", "abacus", "cpu"]),
        (["trainer.check_val_every_n_epoch=3"], ["every_n_epochs=10", "3"]),
        (["network.encoder.activation=relu"], ["network.encoder.activation", "'relu'"]),
        (["network.encoder.width=0"], ["network.encoder.width", "at least 1", "0"]),
        (["network=mlp", "network.encoder.width=[8,0]", "network.encoder.depth=2"], ["width[1]", "at least 1"]),
        (["model/likelihood=gaussian", "model.likelihood.scale=0"], ["model.likelihood.scale", "more than 0"]),
        (["+trainer.strategy=ropes"], ["ropes"]),
        (["data=imagenette", "data.image_size=3"], ["3x3"]),
        (["data=mnist", "data.root=nowhere"], ["MNIST", "nowhere/MNIST/raw", "data.root="]),
        (["data=imagenette", "data.root=nowhere"], ["nowhere/imagenette2-160", "data.root="]),
        (["data=mnist", "scores=inception"], ["6726825d.pth", "scores.extractor.weights=", "scores=reference"]),
        (["scores.extractor._target_=callbacks.nothing"], ["callbacks.nothing"]),
        (["ckpt_path=none.ckpt"], ["none.ckpt", "last.ckpt"]),
        (["+trainer.fast_dev_run=true"], ["trainer.fast_dev_run", "trainer.max_epochs=1"]),
        (["trainer.default_root_dir=other"], ["trainer.default_root_dir", "hydra.run.dir="]),
        (["callbacks.best_checkpoint.dirpath=other"], ["callbacks.best_checkpoint.dirpath", "hydra.run.dir="]),
        (["callbacks.last_checkpoint.filename=latest"], ["callbacks.last_checkpoint.filename", "is last, got latest"]),
        (["callbacks.last_checkpoint._target_=lightning.pytorch.callbacks.ModelCheckpoint"], ["RunCheckpoint"]),
        (["+callbacks.last_checkpoint.monitor=val/elbo"], ["callbacks.last_checkpoint.monitor"]),
        (["+trainer.limit_val_batches=0"], ["trainer.limit_val_batches", "at least 1", "0"]),
        (["+trainer.limit_test_batches=0.0"], ["trainer.limit_test_batches", "more than 0", "0.0"]),
        (["hydra.run.dir=/dev/null/run"], ["/dev/null/run: Not a directory", "hydra.run.dir="]),
        (["trainer.max_epochs="], ["max_epochs"]),
        (["model=[vae"], ["[vae"]),
        (["model=classifier", "scores=reference"], ["Classifier makes no images", "SampleScores"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else "",
)  # fmt: skip
def test_bad_override_is_refused(overrides: list[str], told: list[str], call):
    if "trainer.accelerator=gpu" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert_refused(call(*overrides), *told)


@pytest.fixture
def finished(call, tmp_path: Path) -> Path:
    """The folder of a finished run."""
    assert call(*SHORT, f"hydra.run.dir={tmp_path / 'finished'}", "every_n_epochs=1") == (0, "")
    return tmp_path / "finished"


def broken(finished: Path, kind: str) -> Path:
    path = finished.parent / "broken" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    whole = (finished / "checkpoints" / "last.ckpt").read_bytes()
    if kind == "foreign":
        torch.save({"model": torch.zeros(3)}, path)
    elif kind == "unsafe":
        torch.save({"state_dict": Path("x")}, path)
    else:
        content = {
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
            "text": b"not a checkpoint",
            "table": b"epoch,step\n0,1197\n",
        }
        path.write_bytes(content[kind])
    return path


def test_bad_checkpoints_are_refused_and_earlier_results_untouched(finished: Path, call):
    before = files(finished)
    longer = [*SHORT, "trainer.max_epochs=2"]
    for kind in ("empty", "truncated", "text", "table", "foreign", "unsafe"):
        path = broken(finished, kind)
        code, message = call(*longer, f"ckpt_path={path}")
        assert code == 1 and str(path) in message and "Traceback" not in message, (kind, message)
        shutil.rmtree(path.parents[1])
    last = finished / "checkpoints" / "last.ckpt"
    every = "every_n_epochs=1"
    code, message = call(*longer, every, "model=gan", f"ckpt_path={last}")
    assert code == 1 and "is of a run with model=VAE, not GAN" in message
    code, message = call(*longer, every, "model.latent_dim=5", f"ckpt_path={last}")
    assert code == 1 and "model.latent_dim=64, not 5" in message
    code, message = call(*longer, every, "model.rate.beta=4.0", f"ckpt_path={last}")
    assert code == 1 and "model.rate.beta=1.0, not 4.0" in message
    code, message = call(*longer, every, "seed=3", f"ckpt_path={last}")
    assert code == 1 and "seed=0, not 3" in message
    code, message = call(*longer, every, "trainer.precision=bf16-mixed", f"ckpt_path={last}")
    assert code == 1 and "trainer.precision=32-true, not bf16-mixed" in message
    code, message = call(*SHORT, f"ckpt_path={last}")
    assert code == 1 and "has completed 1 epochs and trainer.max_epochs is 1" in message
    assert files(finished) == before


def test_run_folder_that_holds_a_run_is_left_alone(finished: Path, call):
    before = files(finished)
    code, message = call(*SHORT, f"hydra.run.dir={finished}")
    assert code == 1 and "already holds a run" in message and "ckpt_path=" in message
    assert files(finished) == before


@needs_real("MNIST")
def test_damaged_mnist_is_refused(call, tmp_path: Path):
    from conftest import DATA_ROOT

    raw = tmp_path / "data" / "MNIST" / "raw"
    shutil.copytree(DATA_ROOT / "MNIST" / "raw", raw)
    damaged = raw / "train-labels-idx1-ubyte"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert_refused(call("data=mnist", f"data.root={tmp_path / 'data'}"), "train-labels-idx1-ubyte is damaged", "Delete")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_run_folder_is_refused(call, tmp_path: Path):
    (tmp_path / "closed").mkdir(mode=0o555)
    assert_refused(call(f"hydra.run.dir={tmp_path / 'closed' / 'run'}"), "closed/run")


def test_run_folder_that_can_not_be_written_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("run_folder.kept_config.seal", full)
    with pytest.raises(DiskFullError, match=rf"^{tmp_path}/config\.yaml: no room is left on .*hydra\.run\.dir="):
        save_config(OmegaConf.create({"seed": 0}), tmp_path)
    with pytest.raises(ConfigError, match=r"^/dev/null/run: Not a directory\. .*hydra\.run\.dir="):
        save_config(OmegaConf.create({"seed": 0}), Path("/dev/null/run"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: Permission denied\. .*hydra\.run\.dir="):
        claim(tmp_path, resumed_from=None)


class Faulty:
    """A constructor that fails by itself, or because of what the user gave."""

    def __init__(self, error: str) -> None:
        raise {"bug": ValueError, "user": ConfigError}[error]("what is wrong")


def fault(**section: object) -> Exception:
    with pytest.raises(InstantiationException) as caught:
        instantiate(section)
    return caught.value


def test_error_of_the_user_is_its_message_and_a_bug_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    ours = f"{__name__}.Faulty"
    assert message_of(fault(_target_=ours, error="user")) == "what is wrong"
    assert is_the_users(fault(_target_=ours, error="user"))
    assert not is_the_users(fault(_target_=ours, error="bug"))
    with pytest.raises(ValueError, match="what is wrong"):
        end_with(ValueError("what is wrong"))
    library = fault(_target_="lightning.Trainer", strategy="ropes")  # raises ValueError
    assert is_the_users(library) and "ropes" in message_of(library)
    with pytest.raises(SystemExit):
        end_with(MisconfigurationException("no such device"))
    assert capsys.readouterr().err.startswith("error: no such device\n")


def test_error_of_a_file_names_that_file_and_gives_no_advice_on_run_folders(tmp_path: Path):
    with pytest.raises(OSError) as caught:
        (tmp_path / "absent").read_bytes()
    assert is_the_users(caught.value)
    assert message_of(caught.value) == f"{tmp_path / 'absent'}: No such file or directory"


def no_room_left(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "samples.npz")


@pytest.mark.parametrize(
    ("program", "function", "arguments"),
    [
        (evaluate, "jobs.evaluation.evaluate", ["run=a run", "samples=3"]),
        (export, "jobs.exporting.export", ["run=a run", "out=there"]),
        (report, "reports.write_report", ["there"]),
    ],
)
def test_full_disk_is_told_with_the_command_to_give_again(
    program, function: str, arguments: list[str], call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(function, no_room_left)
    if program is report:
        monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
        with pytest.raises(SystemExit, match="1"):
            report.main()
        message = capsys.readouterr().err
    else:
        code, message = call(*arguments, of=program)
        assert code == 1
    command = shlex.join(["python", f"{program.__name__}.py", *arguments])
    assert "samples.npz" in message and "Make room, and give " in message
    assert f" again: {command}\n" in message and "hydra.run.dir" not in message and "Traceback" not in message


def test_full_disk_is_told_once_what_goes_on():
    told = str(DiskFullError("no room", "go on with: python train.py"))
    assert told == "no room. Make room; go on with: python train.py"
    assert pickle.loads(pickle.dumps(DiskFullError("no room", "go on"))).remedy == "go on"  # by a launcher's processes


def raised_by(action: Callable[[], object]) -> OSError:
    with pytest.raises(OSError) as caught:
        action()
    return caught.value


def test_folder_that_hydra_can_not_make_is_told_with_how_to_choose_another_and_no_other_file_is(tmp_path: Path):
    (tmp_path / "file").touch()
    assert not is_of_hydras_folder(raised_by(lambda: (tmp_path / "file" / "run").mkdir()))
    assert not is_of_hydras_folder(raised_by(lambda: (tmp_path / "absent").read_bytes()))
    assert is_of_hydras_folder(raised_by(lambda: _save_config(OmegaConf.create({}), "a", tmp_path / "file" / "run")))


@pytest.mark.parametrize(
    ("option", "told"),
    [("hydra.run.dir", "hydra.sweep.dir="), ("folder", "folder="), ("out", "out="), ("run", "evaluate the copy")],
)
def test_folder_that_can_not_be_written_is_told_with_the_setting_that_chose_it(option: str, told: str, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory") as caught, sole_use(tmp_path / "file" / "run", option):
        pass
    assert told in str(caught.value) and ("hydra.run.dir" in str(caught.value)) == (option == "hydra.run.dir")


def test_evaluation_that_can_not_be_written_says_what_to_do(finished: Path, call):
    (finished / "evaluation").touch()
    code, message = call(f"run={finished}", of=evaluate)
    assert code == 1 and "evaluate the copy" in message and "hydra.run.dir" not in message


def test_bad_job_of_a_sweep_is_told_and_the_others_finish(call, tmp_path: Path):
    code, message = call("-m", *SHORT, "model.latent_dim=4,abc,5,no", "every_n_epochs=1", "hydra.sweep.dir=sweep")
    assert code == 1
    assert "'abc'" in message and "'no'" in message and "Traceback" not in message
    assert len(list((tmp_path / "sweep").rglob("metrics.json"))) == 2


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["run=nowhere"], ["nowhere", "config.yaml"]),
        ([], ["run", "run folder"]),
        (["run=finished", "samples=abc"], ["samples", "a whole number", "'abc'"]),
        (["run=finished", "data.root=x"], ["data.root"]),
        (["run=finished", "accelerator=abacus"], ["abacus"]),
        (["run=finished", "out=samples.txt"], ["samples.txt", ".npz"]),
        (["run=finished", "samples=0", "out=a.npz"], ["samples", "at least 1"]),
        (["run=finished", "checkpoint=other.ckpt"], ["other.ckpt"]),
        (["run=finished", "out=finished"], ["finished", "exists already"]),
        (["run=finished", "rum=3"], ["rum"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else "",
)
def test_evaluate_refuses_bad_input(overrides: list[str], told: list[str], finished: Path, call):
    before = files(finished)
    code, message = call(*overrides, of=evaluate)
    assert code == 1 and "Traceback" not in message and message.count("error: ") == 1
    for part in told:
        assert part in message
    assert files(finished) == before


def test_traceback_can_be_asked_for(tmp_path: Path):
    environment = os.environ | {TRACEBACK_SWITCH: "1"}
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), "seed=x"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and "Traceback" in result.stderr and "ConfigError" in result.stderr


def test_help_names_every_choice_of_every_group():
    shown = subprocess.run(
        [sys.executable, "train.py", "--help"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    words = set(re.findall(r"[\w/@.]+", shown.stdout))
    for path in sorted((PROJECT / "conf").glob("*/**/[!_]*.yaml")):
        group = path.relative_to(PROJECT / "conf").parent
        if group.parts[0] not in ("experiment", "hydra"):
            assert path.stem in words, path
            assert {str(group), f"{group}@network.encoder.norm", f"{group}@model.density"} & words, group


@pytest.mark.parametrize("program", ["train.py", "evaluate.py", "explore.py"])
def test_help_does_not_wait_for_the_heavy_libraries(program: str):
    command = [sys.executable, "-X", "importtime", str(PROJECT / program), "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and f"python {program} " in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "hydra" in imported and not imported & {"torch", "lightning", "numpy", "matplotlib"}


def test_training_is_quiet_and_waits_for_no_compiler_that_nobody_asked_for(tmp_path: Path):
    program = "import sys; from jobs.command_line import run; from train import main; run(main); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program, *SHORT, "hydra.run.dir=run"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert "INFO" not in result.stderr and "GPU available" not in result.stdout + result.stderr
    imported = result.stdout.splitlines()[-1].split()
    assert "lightning_modules.vae" in imported and "torch._inductor.compile_fx" not in imported


def test_program_ends_with_exit_code_one_and_no_traceback(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), "seed=x"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "error: seed: expected a whole number, got 'x'" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_whose_exception_is_swallowed_ends_the_program_all_the_same(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("jobs.stopping.REPEAT_AFTER", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    swallowed = 0
    try:
        with pytest.raises(Stopped) as caught, ended_by_signals(lambda: "resume"):
            try:
                os.kill(os.getpid(), number)
                time.sleep(1)
            except Stopped:
                swallowed += 1
            time.sleep(10)
        assert swallowed == 1 and caught.value.code == 128 + number and caught.value.advice == "resume"
        assert pickle.loads(pickle.dumps(caught.value)).code == 128 + number  # a launcher's processes send it on
        time.sleep(0.2)  # nothing comes after the end
    finally:
        signal.signal(signal.SIGINT, before)


def test_second_signal_does_not_cut_short_what_the_first_leaves_to_be_done():
    done = []
    with pytest.raises(Stopped) as caught, ended_by_signals(lambda: "resume"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("cleaned up")
    assert done == ["cleaned up"] and caught.value.code == 128 + signal.SIGTERM


def test_a_sweep_s_end_is_not_cut_short_by_a_second_signal_and_an_ignored_one_stays_ignored():
    before, done = signal.getsignal(signal.SIGTERM), []
    try:
        end_by_sigterm("go on")
        with pytest.raises(Stopped, match="stopped by SIGTERM") as caught:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("cleaned up")
        assert (caught.value.advice, done) == ("go on", ["cleaned up"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_by_sigterm("go on")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("ending", [SystemExit(), AttributeError("half torn down")])  # the first is Lightning's
def test_a_signal_that_is_swallowed_ends_the_program_with_its_advice_at_the_next_error(ending: BaseException):
    with pytest.raises(Stopped) as caught, ended_by_signals(lambda: "go on with: this"):
        with contextlib.suppress(Stopped):  # as Python does in a `__del__`
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        raise ending
    assert (caught.value.code, caught.value.advice) == (128 + signal.SIGTERM, "go on with: this")


@pytest.mark.parametrize(
    ("program", "arguments"),
    [(train, ["ckpt_path=nowhere.ckpt"]), (evaluate, ["run=nowhere"]), (export, ["run=nowhere", "out=mine"])],
    ids=["train", "evaluate", "export"],
)
def test_programs_keep_the_memory_that_they_free(program, arguments: list[str], call, monkeypatch: pytest.MonkeyPatch):
    kept = []
    monkeypatch.setattr("jobs.command_line.keep_freed_memory", lambda: kept.append(program))
    code, message = call(*arguments, of=program)
    assert code == 1 and "nowhere" in message
    assert kept == [program]


LOADING = """
import signal, time, torch
from jobs.stopping import ended_by_signals
from torch.utils.data import DataLoader

with ended_by_signals(lambda: "resume"):
    batches = iter(DataLoader(torch.zeros(10**6), num_workers=2))
    try:
        for batch in batches:
            print("a batch", flush=True)
            time.sleep(0.1)
    finally:
        time.sleep(1)  # while the workers are lost
        print("cleaned up", flush=True)
"""


def test_end_of_a_process_group_is_not_taken_for_the_loss_of_workers():
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "a batch\n"
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert output.endswith("cleaned up\n") and "killed by signal" not in errors, errors
    assert process.returncode == 128 + signal.SIGTERM


COMPUTING = """
import os, signal, threading, time, torch
from jobs.stopping import Stopped, end_with_threads, ended_by_signals

def compute():
    while True:
        torch.ones(200, 200) @ torch.ones(200, 200)

def clean_up():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)  # longer than until the signal is repeated
    print("cleaned up")

with ended_by_signals(lambda: "nothing is lost"):
    try:
        threading.Thread(target=compute, daemon=True).start()
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except Stopped as end:
        end_with_threads(end, clean_up)
"""


def test_stopped_program_whose_threads_compute_cleans_up_and_ends_with_its_code():
    program = f"import jobs.stopping; jobs.stopping.REPEAT_AFTER = 0.2\n{COMPUTING}"
    result = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (128 + signal.SIGTERM, "cleaned up\n"), result.stderr
    assert result.stderr == "stopped by SIGTERM; nothing is lost\n"


def test_ctrl_c_that_a_library_turns_into_an_error_is_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def main() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise OmegaConfBaseException("'NoneType' object has no attribute")

    monkeypatch.setenv(TRACEBACK_SWITCH, "0")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 130 and capsys.readouterr().err == "stopped by Ctrl-C\n"


def start(tmp_path: Path, *overrides: str) -> subprocess.Popen:
    """train.py as a shell starts it, for which Ctrl-C is not ignored."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "train.py"), *SHORT, *overrides], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def stop(process: subprocess.Popen, number: signal.Signals, sign: Path) -> str:
    """Send a signal once a file is there; returns the standard error."""
    deadline = time.monotonic() + 300
    while not sign.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    time.sleep(1.0)  # into the middle of it
    process.send_signal(number)
    _, message = process.communicate(timeout=120)
    return message


@pytest.mark.parametrize(
    ("number", "name", "overrides", "sign"),
    [
        (signal.SIGTERM, "SIGTERM", ["trainer.max_epochs=10_000"], "checkpoints/last.ckpt"),
        (signal.SIGINT, "Ctrl-C", ["trainer.max_epochs=10_000"], "checkpoints/last.ckpt"),
        (signal.SIGTERM, "SIGTERM", ["scores.repeats=1_000_000"], "pictures/charts/loss_curves.png"),
    ],
    ids=["SIGTERM while training", "Ctrl-C while training", "SIGTERM while testing"],
)
def test_stopped_run_says_the_command_that_goes_on_and_it_does(
    number: signal.Signals, name: str, overrides: list[str], sign: str, tmp_path: Path
):
    folder = tmp_path / "a run's, = folder"
    with start(tmp_path, *overrides, override("hydra.run.dir", folder)) as process:
        message = stop(process, number, folder / sign)
    assert process.returncode == 128 + number, message
    assert f"stopped by {name}; go on with: python train.py " in message and "Traceback" not in message
    assert json.loads((folder / "status.json").read_text())["message"] == f"stopped by {name}"
    images_seen = read_checkpoint(folder / "checkpoints" / "last.ckpt")["images_seen"]
    assert images_seen > 0
    command = shlex.split(message.split("go on with: ")[1])
    if name == "Ctrl-C":
        return  # it is the same command
    shorter = [f"trainer.max_epochs={images_seen // 1197 + 1}"] if "max_epochs" in overrides[0] else []
    again = [sys.executable, str(PROJECT / "train.py"), *command[2:], *shorter, "scores.repeats=1"]
    result = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (folder / "metrics.json").exists() and not (folder / "status.json").exists()


def test_run_that_is_stopped_before_its_first_checkpoint_starts_anew(tmp_path: Path):
    """What keeps its first epoch from ending is never needed again, and its folder is not in the way."""
    with start(tmp_path, "trainer.max_epochs=2", "data.batch_size=1", "hydra.run.dir=run") as process:
        message = stop(process, signal.SIGINT, tmp_path / "run" / "trackers.json")
    assert process.returncode == 130 and "no epoch had ended yet, start it anew with: python train.py " in message
    assert "hydra.run.dir" not in message and "data.batch_size=1" in message


def test_training_whose_output_nobody_reads_any_more_ends_as_any_other(tmp_path: Path):
    command = f"{sys.executable} {PROJECT / 'train.py'} {' '.join(SHORT)} hydra.run.dir=run 2>&1 | head -1"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True)
    assert (tmp_path / "run" / "metrics.json").is_file() and not (tmp_path / "run" / "status.json").exists()


def test_output_that_can_not_encode_a_sign_loses_no_run(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), *SHORT, "scores.repeats=2", "hydra.run.dir=run"], cwd=tmp_path,
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"testing last.ckpt ?" in result.stdout and b"   ? " in result.stdout  # "...", and a score's spread
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("model=vae data=digits seed=0", "vae-digits/seed0"),
        ("model/loss=hinge", "model.loss-hinge"),
        ("experiment=paper/gan_mnist seed=1", "experiment-paper.gan_mnist/seed1"),
        ("network.encoder.width=[256,128]", "network.encoder.width-256-128_3"),
        ("+model.x=-1", "+model.x-1_3"),
        ("data.root=there seed=0 trainer.accelerator=gpu logger=wandb callbacks.likelihood=null", "seed0"),
        ("seed=0 sweep.resume=there +trainer.profiler=simple", "seed0"),
        ("seed=x'y model=vae", "vae_3"),
        ("model=no/thing seed=0", "no.thing/seed0"),
        ("data.root=there", "3"),
        ("", "3"),
    ],
)
def test_sweep_folders_are_named_by_what_decides_the_weights(overrides: str, expected: str):
    assert folder_name(overrides.split(), 3) == expected


def test_jobs_that_differ_in_nothing_that_decides_the_weights_have_names_of_their_own():
    assert folder_name(["compile=true", "seed=0"], 3, swept=["compile"]) == "compile-true/seed0"


def test_long_folder_names_are_cut_and_stay_apart():
    names = {folder_name(["x" * 500], number) for number in range(3)}
    assert len(names) == 3 and all(len(name) < 250 for name in names)


def test_a_thread_that_a_full_disk_ends_prints_no_traceback(monkeypatch: pytest.MonkeyPatch):
    def fail(error: Exception) -> None:
        raise error

    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    quiet_libraries()
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "it is broken")):
        thread = threading.Thread(target=fail, args=[error])
        thread.start()
        thread.join()
    assert [str(ended.exc_value) for ended in printed] == ["[Errno 5] it is broken"]
