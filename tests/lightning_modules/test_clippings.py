"""Clipping of gradients: the norm that is left, in both kinds of optimization and under fp16."""

from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision
from small_models import build, fit, same, weights
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from lightning_modules.clippings import NoClipping, NormClipping

MODELS = {"vae": ["encoder", "decoder"], "gan": ["generator", "discriminator"]}


def parameters_with(*gradients: Tensor | None) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(3)) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    return parameters


def test_larger_gradients_keep_their_direction_and_get_the_norm():
    before = [torch.tensor([3.0, 0, 0]), torch.tensor([0, 4.0, 0])]  # norm 5 together
    first, second = parameters_with(*(gradient.clone() for gradient in before))
    NormClipping(max_norm=2.0)([first, second])
    torch.testing.assert_close(first.grad, before[0] * 2 / 5)
    torch.testing.assert_close(second.grad, before[1] * 2 / 5)


@pytest.mark.parametrize("clipping", [NormClipping(max_norm=5.1), NoClipping()])
def test_smaller_gradients_are_left_as_they_are(clipping: Any):
    first, second, without = parameters_with(torch.tensor([3.0, 0, 0]), torch.tensor([0, 4.0, 0]), None)
    clipping([first, second, without])
    assert first.grad.tolist() == [3, 0, 0] and second.grad.tolist() == [0, 4, 0] and without.grad is None


class Norms(Callback):
    """Keeps the norm of all gradients of an optimizer, for each of its steps."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_train_start(self, trainer, pl_module) -> None:
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda stepped, *_: self.norms.append(norm_of(stepped)))


def norm_of(optimizer: torch.optim.Optimizer) -> float:
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return float(get_total_norm(gradients))


@pytest.mark.parametrize("model", MODELS)
def test_every_optimizers_gradients_are_clipped_together(model: str):
    free, clipped = Norms(), Norms()
    fit(build(f"model={model}"), None, free)
    fit(build(f"model={model}", "model/clipping=norm", "model.clipping.max_norm=0.01"), None, clipped)
    assert len(free.norms) == len(clipped.norms) == 2 * (2 if model == "gan" else 1)
    assert min(free.norms) > 0.011
    assert clipped.norms == pytest.approx([0.01] * len(clipped.norms), rel=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_a_bound_that_is_never_reached_changes_no_bit(model: str):
    trained = []
    for clipping in (["none"], ["norm", "model.clipping.max_norm=1e9"]):
        module = build(f"model={model}", f"model/clipping={clipping[0]}", *clipping[1:])
        torch.manual_seed(0)
        fit(module, max_epochs=2)
        trained.append(module)
    for role in MODELS[model]:
        assert same(weights(trained[0].networks[role]), trained[1].networks[role])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_under_fp16_it_is_the_true_gradients_that_are_clipped(model: str, fused: bool):
    optimizers = {"vae": ["optimizer"], "gan": ["generator_optimizer", "discriminator_optimizer"]}[model]
    overrides = [f"model.{name}.fused={str(fused).lower()}" for name in optimizers]
    trained: list[Any] = []
    norms: list[Norms] = []
    for clipping in ("none", "norm"):
        module = build(f"model={model}", f"model/clipping={clipping}", *overrides)
        if clipping == "norm":
            module.clipping.max_norm = max(norms[0].norms) * 2  # never reached by true gradients, by scaled ones always
        norms.append(Norms())
        torch.manual_seed(0)
        precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
        fit(module, None, norms[-1], plugins=[precision])
        trained.append(module)
    assert norms[0].norms and norms[1].norms == pytest.approx(norms[0].norms, rel=1e-3)
    for role in MODELS[model]:
        assert same(weights(trained[0].networks[role]), trained[1].networks[role])
