"""Two processes of trainer=ddp and trainer=fsdp train as under PyTorch's DDP."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT

from foundation.errors import ConfigError
from jobs.building import build_datamodule, build_model
from jobs.composition import composed
from jobs.sharding import check_can_be_sharded

WITHOUT_NORMS = ["network/norm@network.encoder.norm=none", "network/norm@network.decoder.norm=none"]
MODELS = {
    "vae": ["model=vae", "model/prior=mixture", "model.prior.num_components=2", "model/clipping=norm", *WITHOUT_NORMS],
    "iwae": ["model=vae", "model/objective=iwae", "model/likelihood=gaussian_optimal", "model/conditioning=label"],
    "vqvae": ["model=vqvae", "model/codebook=gradient"],
    "gan": ["model=gan", "model/penalty=r1", "model/clipping=norm", "model/conditioning=label", *WITHOUT_NORMS],
    "sngan": ["model=sngan", "model.n_critic=2"],
    "wgan_gp": ["model=wgan_gp", "model.n_critic=2", *WITHOUT_NORMS],
    "r3gan": ["model=r3gan", "network=resnet_bn"],
    "vaegan": ["model=vaegan", "model/augmentation=diff_augment", "model/constraint=spectral_norm", *WITHOUT_NORMS],
}
# Of a bias before a batch norm the gradient is 0 but for rounding, which Adam makes a whole step of.
SHARDED = [name for name, choices in MODELS.items() if WITHOUT_NORMS[0] in choices]
SMALL = ["model.ema_half_life=100", "network.encoder.width=4", "network.decoder.width=4", "data.batch_size=16"]
SCRIPT = """
import json, os, sys
sys.path.insert(0, {project!r})
import torch
import torch.distributed as dist
from lightning import Trainer
from lightning_modules.clippings import NormClipping
from callbacks.epoch_seed import EpochSeed
from callbacks.profiler import NoProfiler
from jobs.building import build_datamodule, build_model, shorten_steps
from jobs.composition import composed
from jobs.sharding import Sharding
from jobs.strategies import GradientAveraging, GradientMean

torch.set_num_threads(1)
sent = []
all_reduce = dist.all_reduce

def counted(tensor, *arguments, **options):
    if options.get("async_op"):  # as gradients are sent, and nothing else is
        sent.append(tensor.numel())
    return all_reduce(tensor, *arguments, **options)

dist.all_reduce = counted

def trained(choices, strategy, epochs=1, resumed=None, saved=None):
    cfg = composed(*choices)
    torch.manual_seed(0)
    datamodule = build_datamodule(cfg.data)
    model = build_model(cfg.model, datamodule)
    if dist.is_initialized() and dist.get_rank() == 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.detach().zero_()  # which the first process's replace
    trainer = Trainer(
        max_epochs=epochs, limit_train_batches=4, accelerator="cpu", devices=2, strategy=strategy, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        use_distributed_sampler=False, callbacks=[EpochSeed(0)],
        profiler=NoProfiler(),  # for which steps are shortened
    )
    shorten_steps(trainer)
    trainer.fit(model, datamodule=datamodule, ckpt_path=resumed)
    if saved:
        trainer.save_checkpoint(saved)
    if isinstance(trainer.strategy, Sharding):
        trainer.strategy.gather()  # which the end of the fit has undone
    weights = [*model.named_parameters(), *model.named_buffers()]
    return {{name: value.detach().clone() for name, value in weights}}, trainer

def close(ours, theirs, tolerance):
    pairs = {{key: (ours[key].double(), value.double()) for key, value in theirs.items()}}
    return {{key: torch.allclose(*pair, tolerance, tolerance / 100) for key, pair in pairs.items()}}

def kept(trainer):
    # Numbers of moments in this process.
    states = [state["exp_avg"] for optimizer in trainer.optimizers for state in optimizer.state.values()]
    return sum(local.to_local().numel() if hasattr(local, "to_local") else local.numel() for local in states)

def gradients(trainer):
    found = [p.grad for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]]
    return [gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient for gradient in found]

def mean_of_partial_gradients() -> list[list[float] | None]:
    parameters = [torch.nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in (torch.float32,) * 4 + (torch.bfloat16,)]
    rank = dist.get_rank()
    parameters[0].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        parameters[1].grad = torch.tensor([4.0, 6.0])
    parameters[3].grad = torch.ones(2)
    GradientMean(parameters)()
    return [None if p.grad is None else p.grad.tolist() for p in parameters]

def error_in_forward_pass(choices):
    convolve, calls = torch.nn.Conv2d.forward, []

    def failing(self, images):
        calls.append(1)
        if len(calls) == 6:  # in the second step or a later one
            raise KeyError("here")
        return convolve(self, images)

    torch.nn.Conv2d.forward = failing
    try:
        trained(choices, Sharding())
    except Exception as error:
        return repr(error)
    finally:
        torch.nn.Conv2d.forward = convolve

found = {{}}
models, sharded = map(json.loads, sys.argv[1:])
for name, choices in models.items():
    theirs, _ = trained(choices, "ddp_find_unused_parameters_true")
    sent.clear()
    ours, trainer = trained(choices, GradientAveraging())
    numbers = sum(sent)
    gathered = [None, None]
    dist.all_gather_object(gathered, {{key: value.double().sum().item() for key, value in ours.items()}})
    sizes = [[p.numel() for group in o.param_groups for p in group["params"]] for o in trainer.optimizers]
    found[name] = {{
        "close": close(ours, theirs, 1e-6),
        "same": gathered[0] == gathered[1],
        "sent": numbers,
        "optimizers": [sum(each) + len(each) for each in sizes],
    }}
    if name in sharded:
        whole, norms = kept(trainer), sorted(float(gradient.norm()) for gradient in gradients(trainer))
        ours, trainer = trained(choices, Sharding())
        norms_of_shares = sorted(float(gradient.norm()) for gradient in gradients(trainer))
        for optimizer in trainer.optimizers:
            NormClipping(0.01)([parameter for group in optimizer.param_groups for parameter in group["params"]])
        dist.all_gather_object(gathered, {{key: value.double().sum().item() for key, value in ours.items()}})
        found[name] |= {{
            "sharded close": close(ours, theirs, 1e-4),
            "sharded same": gathered[0] == gathered[1],
            "share of moments": kept(trainer) / whole,
            "norms": [norms, norms_of_shares],
            "clipped": float(torch.stack([gradient.norm() for gradient in gradients(trainer)]).norm()),
        }}
for name in sharded[:2]:
    uninterrupted, _ = trained(models[name], Sharding(), epochs=2)
    trained(models[name], Sharding(), saved=f"{{name}}.ckpt")
    trained(models[name], GradientAveraging(), saved=f"{{name}}_ddp.ckpt")
    for before in (name, f"{{name}}_ddp"):
        for strategy in (Sharding(), GradientAveraging()):
            resumed, _ = trained(models[name], strategy, epochs=2, resumed=f"{{before}}.ckpt")
            found[name][f"{{before}} by {{type(strategy).__name__}}"] = close(
                resumed, uninterrupted, 0.0 if before == name and isinstance(strategy, Sharding) else 1e-4
            )
found["error"] = error_in_forward_pass(models[sharded[0]])
found["partial"] = mean_of_partial_gradients()
with open(f"rank_{{dist.get_rank()}}.json", "w") as file:
    json.dump(found, file)
dist.barrier()  # before one of them, which the other may still wait for, ends
os._exit(0)  # twice in sixty times a process of these two dozen trainings aborted, probably as Python ended
"""


CHOICES = {name: [*choices, *SMALL] for name, choices in MODELS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes, started once for all tests here, leave what they have found and saved."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "script.py").write_text(SCRIPT.format(project=str(PROJECT)))
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py",
         json.dumps(CHOICES), json.dumps(SHARDED)],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def found_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_pytorch_s_ddp_and_each_gradient_is_sent_once(name: str, folder: Path):
    for process in found_in(folder):
        of_model = process[name]
        assert of_model["same"]  # in both processes, buffers too
        assert all(of_model["close"].values()), of_model["close"]
        # Each optimizer's own numbers, and one for each parameter, in each of its steps: two a batch of a GAN.
        steps = [2, 4] if "model.n_critic=2" in MODELS[name] else [4] * len(of_model["optimizers"])
        expected = sum(size * times for size, times in zip(of_model["optimizers"], steps, strict=True))
        assert of_model["sent"] == expected


@pytest.mark.slow
def test_gradient_of_some_processes_is_shared_and_one_of_none_stays_away(folder: Path):
    for process in found_in(folder):
        assert process["partial"] == [[1.5, 3.0], [2.0, 3.0], None, [1.0, 1.0], None]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED)
def test_weights_are_the_same_where_moments_are_shared_out(name: str, folder: Path):
    processes = found_in(folder)
    for process in processes:
        assert process[name]["sharded same"]
        assert all(process[name]["sharded close"].values()), process[name]["sharded close"]
        assert process[name]["share of moments"] == pytest.approx(0.5, abs=0.1)
        # What a generator's step left of its discriminator's gradients, too: it adds none to them.
        whole, shares = process[name]["norms"]
        assert shares == pytest.approx(whole, rel=1e-3, abs=1e-5)
        optimizers = len(process[name]["optimizers"])
        assert process[name]["clipped"] == pytest.approx(0.01 * optimizers**0.5, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED[:2])
def test_checkpoint_of_shares_is_one_of_a_single_process(name: str, folder: Path):
    for process in found_in(folder):
        resumed = {key: weights for key, weights in process[name].items() if " by " in key}
        assert len(resumed) == 4
        for by, weights in resumed.items():
            assert all(weights.values()), (by, weights)
    cfg = composed(*CHOICES[name])
    model = build_model(cfg.model, build_datamodule(cfg.data))
    checkpoint = torch.load(folder / f"{name}.ckpt", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"])
    optimizers = model.configure_optimizers()
    for optimizer, state in zip(
        optimizers if isinstance(optimizers, list) else [optimizers], checkpoint["optimizer_states"], strict=True
    ):
        optimizer.load_state_dict(state)
        for parameter, moments in optimizer.state.items():
            assert moments["exp_avg"].stride() == parameter.stride()  # by which fused optimizers pair them


@pytest.mark.slow
def test_what_ended_a_forward_pass_is_not_hidden_by_weights_that_are_still_whole(folder: Path):
    assert [found["error"] for found in found_in(folder)] == ["KeyError('here')"] * 2


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["model=wgan"], "model/constraint=weight_clipping changes weights"),
        (["trainer.precision=16-mixed", "trainer.accelerator=cpu"], "trainer.precision=16-mixed scales gradients"),
        (["compile=true"], "compile=true has not been tried"),
    ],
)
def test_what_can_t_be_shared_out_is_refused(overrides: list[str], reason: str, tmp_path: Path):
    cfg = composed("trainer=fsdp", "network=mlp", *SMALL, *overrides, run_dir=tmp_path)
    model = build_model(cfg.model, build_datamodule(cfg.data))
    with pytest.raises(ConfigError, match=reason):
        check_can_be_sharded(model, cfg.trainer.precision, cfg.compile)
