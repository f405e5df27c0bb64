"""The GAN's algorithm: the alternation of two players, and what each of them sees."""

import pytest
import torch
from conftest import TinyImages
from lightning import Callback
from scipy.stats import kstest, truncnorm
from small_models import SHAPE, build, fit, random_batch, same, weights
from torch import Tensor, nn
from torch.nn.functional import softplus

from callbacks.epoch_seed import EpochSeed
from jobs.composition import PROJECT
from lightning_modules.values import Batch

PENALTIES = sorted(path.stem for path in (PROJECT / "conf/model/penalty").glob("[!_]*.yaml"))
LOSSES = sorted(path.stem for path in (PROJECT / "conf/model/loss").glob("[!_]*.yaml"))


class Recorder(nn.Module):
    """Counts how often a network is called."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        self.calls += 1
        return self.network(z, labels)


def test_discriminator_step_leaves_generator_unchanged():
    model = build("model=gan")
    model.generator_step = lambda real, fake: {}
    before_g, before_d = weights(model.generator), weights(model.discriminator)
    fit(model)
    assert same(before_g, model.generator)
    assert not same(before_d, model.discriminator)
    assert all(parameter.requires_grad for parameter in model.generator.parameters())


def test_generator_step_leaves_discriminator_unchanged():
    model = build("model=gan")
    model.discriminator_step = lambda real, fake: {}
    before_g, before_d = weights(model.generator), weights(model.discriminator)
    fit(model)
    assert not same(before_g, model.generator)
    assert same(before_d, model.discriminator)
    assert all(parameter.requires_grad for parameter in model.discriminator.parameters())


def test_one_generator_forward_serves_both_updates():
    model = build("model=gan", "model.ema_half_life=0")
    model.generator = Recorder(model.generator)
    trainer = fit(model, limit_val_batches=0)
    assert model.generator.calls == trainer.fit_loop.epoch_loop.total_batch_idx + 1 == 2


def test_discriminator_judges_images_in_the_generators_range():
    seen = []
    model = build("model=gan", "model/penalty=none")
    model.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    fit(model, limit_val_batches=0)
    for real, fake, _ in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
        assert real.min() >= -1 and real.max() <= 1
        assert real.min() < -0.9 and real.max() > 0.9  # 0 and 1 are stretched, not left
        assert fake.min() >= -1 and fake.max() <= 1


def test_n_critic_counts_on_from_epoch_to_epoch():
    model = build("model=gan", "model.n_critic=3")  # of two batches an epoch
    before = weights(model.generator)
    fit(model, max_epochs=2)
    assert not same(before, model.generator)


def test_generator_steps_once_in_n_critic_batches():
    model = build("model=gan", "model.n_critic=3")
    steps = []
    original = model.generator_step
    model.generator_step = lambda real, fake: steps.append(real) or original(real, fake)
    trainer = fit(model, TinyImages(SHAPE, batch_size=1), limit_val_batches=0)
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    assert batches == 8
    assert len(steps) == 8 // 3


def test_two_optimizers_have_their_own_learning_rates():
    model = build("model=gan", "model.generator_optimizer.lr=0.5", "model.discriminator_optimizer.lr=0.25")
    generator, discriminator = model.configure_optimizers()
    assert [group["lr"] for group in generator.param_groups] == [0.5]
    assert [group["lr"] for group in discriminator.param_groups] == [0.25]
    owned = [{id(p) for group in o.param_groups for p in group["params"]} for o in (generator, discriminator)]
    assert owned[0] == {id(p) for p in model.generator.parameters()}
    assert owned[1] == {id(p) for p in model.discriminator.parameters()}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_enters_the_discriminators_update(penalty: str):
    updated = {}
    for choice in ("none", penalty):
        model = build("model=gan", f"model/penalty={choice}")
        torch.manual_seed(1)
        fit(model)
        updated[choice] = weights(model.discriminator)
    differs = any(not torch.equal(a, b) for a, b in zip(updated["none"], updated[penalty], strict=True))
    assert differs == (penalty != "none")


@pytest.mark.parametrize("loss", LOSSES)
def test_generator_is_given_real_logits_only_where_its_loss_needs_them(loss: str):
    model = build("model=gan", f"model/loss={loss}")
    real, fake = random_batch(seed=1), random_batch(seed=2)
    given, judged = [], []
    original = model.loss.generator
    model.loss.generator = lambda fake_logits, real_logits: (
        given.append((fake_logits, real_logits)) or original(fake_logits, real_logits)
    )
    model.discriminator.register_forward_hook(lambda module, inputs, output: judged.append(inputs[0]))
    model.generator_objective(real, fake)
    ((fake_logits, real_logits),) = given
    assert torch.equal(fake_logits, model.critic(fake))
    if model.loss.needs_real_logits:
        assert torch.equal(real_logits, model.critic(real))
    else:
        assert real_logits is None
        assert torch.equal(torch.cat(judged[:-1]), fake.images)  # nor are real images judged for nothing


def test_players_objectives_are_the_formulas_at_their_logits():
    model = build("model=gan", "model.penalty.share=1.0", "model.penalty.weight=3.0")
    real, fake = random_batch(seed=1), random_batch(seed=2)
    images = real.images.clone().requires_grad_()
    real_logits, fake_logits = model.discriminator(images, None), model.discriminator(fake.images, None)
    (gradient,) = torch.autograd.grad(real_logits.sum(), images, retain_graph=True)
    expected = {
        "loss_discriminator": softplus(-real_logits).mean() + softplus(fake_logits).mean(),
        "penalty": 1.5 * gradient.square().flatten(1).sum(1).mean(),  # R1: at the real images
        "d_real": real_logits.sigmoid().mean(),
        "d_fake": fake_logits.sigmoid().mean(),
    }
    terms = model.discriminator_objective(real, fake)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(model.generator_objective(real, fake), {"loss_generator": softplus(-fake_logits).mean()})


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
@torch.no_grad()
def test_validation_losses_are_those_of_the_averaged_generator_on_held_out_images(loss: str):
    model = build("model=gan", f"model/loss={loss}", "model/augmentation=diff_augment", "model.ema_ramp_up=10")
    fit(model, max_epochs=3)
    averaged = model.averages["generator"].module
    assert not same(weights(model.generator), averaged)
    model.eval()
    batch = random_batch(8)
    torch.manual_seed(5)
    terms = model.validation_step((batch.images, batch.labels), 0)

    torch.manual_seed(5)
    fakes = averaged(torch.randn(8, *model.latent_shape), None).tanh()
    real_logits, fake_logits = (model.discriminator(images, None) for images in (batch.images * 2 - 1, fakes))
    if loss == "relativistic":
        expected = {
            "loss_discriminator": softplus(fake_logits - real_logits).mean(),
            "loss_generator": softplus(real_logits - fake_logits).mean(),
        }
    else:
        expected = {
            "loss_discriminator": softplus(-real_logits).mean() + softplus(fake_logits).mean(),
            "loss_generator": softplus(-fake_logits).mean(),
        }
    expected |= {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-6)


class Validated(Callback):
    """Keeps the terms of each validation step, and what mode the model was in."""

    def __init__(self) -> None:
        self.training: list[bool] = []

    def on_validation_batch_start(self, trainer, pl_module, *_) -> None:
        self.training.append(pl_module.training or pl_module.averages.training)


def test_lightning_validates_in_evaluation_mode():
    validated = Validated()
    fit(build("model=gan"), None, validated)
    assert validated.training == [False, False]  # two batches


def test_decoded_images_are_the_generators_tanh_in_unit_range():
    model = build("model=gan")
    latents = model.sample_latents(50)
    raw = model.generator(latents.z, None)
    torch.testing.assert_close(model.decode(latents), (raw.tanh() + 1) / 2)
    assert Batch(model.decode(latents)).images.min() >= 0 and model.decode(latents).max() <= 1


def test_every_network_and_the_penalty_are_compiled(monkeypatch: pytest.MonkeyPatch):
    model, compiled = build("model=gan"), []
    penalty = model.penalty
    monkeypatch.setattr(nn.Module, "compile", lambda network, mode: compiled.append((network, mode)))
    monkeypatch.setattr(torch, "compile", lambda part: ("compiled", part))
    model.compile_networks()
    assert compiled == [(model.generator, "reduce-overhead"), (model.discriminator, "reduce-overhead")]
    assert model.penalty == ("compiled", penalty)


@pytest.mark.parametrize("threshold", [0.3, 2.0])
def test_truncated_latents_are_a_normal_without_its_tails(threshold: float):
    model = build("model=gan", f"model.truncation={threshold}").eval()
    torch.manual_seed(0)
    z = model.sample_latents(2000).z
    assert z.abs().max() <= threshold and z.shape == (2000, *model.latent_shape)
    assert kstest(z.flatten().numpy(), truncnorm(-threshold, threshold).cdf).pvalue > 0.01
    assert model.latents_from == f"prior, truncated at {threshold:g}"


def test_latents_are_truncated_outside_training_alone():
    truncated, free = build("model=gan", "model.truncation=0.1"), build("model=gan")
    for module in (truncated, free):  # val, which is drawn for between epochs, is truncated
        fit(module, None, EpochSeed(0), max_epochs=2)
    assert same(weights(truncated.generator), free.generator)
    assert same(weights(truncated.discriminator), free.discriminator)
    drawn = []
    for model in (truncated.train(), free.train(), free.eval()):
        torch.manual_seed(0)
        drawn.append(model.sample_latents(50).z)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2]) and drawn[0].abs().max() > 2
    assert truncated.eval().sample_latents(50).z.abs().max() <= 0.1
    assert free.latents_from == "prior"
