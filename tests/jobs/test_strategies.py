"""Two processes of trainer=ddp train as under PyTorch's DDP, and send the gradients of the optimizer that steps."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT

MODELS = {
    "vae": ["model=vae", "model/prior=mixture", "model/clipping=norm", "model/likelihood=gaussian_optimal"],
    "iwae": ["model=vae", "model/objective=iwae", "model/conditioning=label"],
    "vqvae": ["model=vqvae", "model/codebook=gradient"],
    "gan": ["model=gan", "model/penalty=r1", "model/clipping=norm", "model/conditioning=label"],
    "sngan": ["model=sngan", "model.n_critic=2", "network=conv"],
    "wgan_gp": ["model=wgan_gp", "model.n_critic=2", "network=conv"],
    "relativistic": ["model=r3gan", "network=resnet_bn"],
    "vaegan": ["model=vaegan", "model/augmentation=diff_augment"],
}
SMALL = ["model.ema_half_life=100", "network.encoder.width=4", "network.decoder.width=4", "data.batch_size=16"]
SCRIPT = """
import json, sys
sys.path.insert(0, {project!r})
from tempfile import TemporaryDirectory
from typing import Any
import torch
import torch.distributed as dist
from lightning import Trainer
from callbacks.epoch_seed import EpochSeed
from callbacks.profiler import NoProfiler
from jobs.building import build_datamodule, build_model, shorten_steps
from jobs.composition import composed
from jobs.strategies import GradientAveraging, GradientMean

torch.set_num_threads(1)
sent = []
all_reduce = dist.all_reduce

def counted(tensor, *arguments, **options):
    if options.get("async_op"):  # as gradients are sent, and nothing else is
        sent.append(tensor.numel())
    return all_reduce(tensor, *arguments, **options)

dist.all_reduce = counted

def trained(choices: list[str], strategy: Any) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
    cfg = composed(*choices)
    torch.manual_seed(0)
    datamodule = build_datamodule(cfg.data)
    model = build_model(cfg.model, datamodule)
    if dist.is_initialized() and dist.get_rank() == 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.detach().zero_()  # which the first process's replace
    trainer = Trainer(
        max_epochs=1, limit_train_batches=4, accelerator="cpu", devices=2, strategy=strategy, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        use_distributed_sampler=False, callbacks=[EpochSeed(0)],
        profiler=NoProfiler(),  # for which steps are shortened
    )
    shorten_steps(trainer)
    trainer.fit(model, datamodule=datamodule)
    sizes = [[p.numel() for group in o.param_groups for p in group["params"]] for o in trainer.optimizers]
    return {{name: value.clone() for name, value in model.state_dict().items()}}, sizes

def mean_of_partial_gradients() -> list[list[float] | None]:
    parameters = [torch.nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in (torch.float32,) * 4 + (torch.bfloat16,)]
    rank = dist.get_rank()
    parameters[0].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        parameters[1].grad = torch.tensor([4.0, 6.0])
    parameters[3].grad = torch.ones(2)
    GradientMean(parameters)()
    return [None if p.grad is None else p.grad.tolist() for p in parameters]

found = {{}}
for name, choices in json.loads(sys.argv[1]).items():
    theirs, _ = trained(choices, "ddp_find_unused_parameters_true")
    sent.clear()
    ours, sizes = trained(choices, GradientAveraging())
    numbers = list(sent)
    gathered = [None, None]
    dist.all_gather_object(gathered, {{key: value.double().sum().item() for key, value in ours.items()}})
    found[name] = {{
        "close": {{key: torch.allclose(ours[key].double(), theirs[key].double(), 1e-5, 1e-7) for key in theirs}},
        "same": gathered[0] == gathered[1],
        "sent": numbers,
        "optimizers": [sum(each) + len(each) for each in sizes],
    }}
found["partial"] = mean_of_partial_gradients()
with open(f"rank_{{dist.get_rank()}}.json", "w") as file:
    json.dump(found, file)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has found: they are started once for all tests here."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "script.py").write_text(SCRIPT.format(project=str(PROJECT)))
    models = {name: [*choices, *SMALL] for name, choices in MODELS.items()}
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py",
         json.dumps(models)],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(Path(folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_those_of_ddp_and_only_the_stepping_optimizer_s_gradients_are_sent(
    name: str, found: list[dict[str, Any]]
):
    for process in found:
        of_model = process[name]
        assert of_model["same"]  # in both processes, buffers too
        assert all(of_model["close"].values()), of_model["close"]
        # Each optimizer's own numbers, and one for each parameter, in each of its steps: two a batch of a GAN.
        steps = [2, 4] if "model.n_critic=2" in MODELS[name] else [4] * len(of_model["optimizers"])
        expected = sum(size * times for size, times in zip(of_model["optimizers"], steps, strict=True))
        assert sum(of_model["sent"]) == expected


@pytest.mark.slow
def test_gradient_of_some_processes_is_shared_and_one_of_none_stays_away(found: list[dict[str, Any]]):
    for process in found:
        assert process["partial"] == [[1.5, 3.0], [2.0, 3.0], None, [1.0, 1.0], None]
