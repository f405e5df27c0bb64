"""The VAE-GAN's algorithm: three players, what each of them descends, and the features that they share."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TinyImages
from small_models import SHAPE, build, fit, random_batch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import softplus

from callbacks.curves import Curves
from lightning_modules.generative_model import Encodes, HasLikelihood
from lightning_modules.vaegan import VAEGAN
from lightning_modules.values import Latents

PLAYERS = ("encoder", "decoder", "discriminator")
PENALTY_FREE = ["model=vaegan", "model/penalty=none", "model.latent_dim=4", "model.ema_half_life=0"]


def small(*overrides: str) -> Any:
    return build("model=vaegan", "model.latent_dim=4", *overrides)


def test_while_one_plays_the_others_weights_need_no_gradients():
    model = small()
    model.trainer = SimpleNamespace(optimizers=model.configure_optimizers(), barebones=False)
    frozen = next(model.discriminator.parameters()).requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for player, optimizer in zip(PLAYERS, model.trainer.optimizers, strict=True):
        with pytest.raises(KeyError), model.toggled_optimizer(optimizer):
            for other in PLAYERS:
                needs = {p.requires_grad for p in getattr(model, other).parameters() if p is not frozen}
                assert needs == {other == player}
            raise KeyError
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert not frozen.requires_grad


def test_each_step_changes_its_player_and_no_other():
    model, changed = small(), {}

    def watched(player: str) -> Any:
        original = getattr(model, f"{player}_step")

        def step(*inputs: Any) -> Any:
            before = {name: value.detach().clone() for name, value in model.named_parameters()}
            result = original(*inputs)
            after = dict(model.named_parameters())
            changed[player] = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
            return result

        return step

    for player in PLAYERS:
        setattr(model, f"{player}_step", watched(player))
    fit(model, limit_val_batches=0)
    assert changed == {player: {player} for player in PLAYERS}
    assert all(p.requires_grad for player in PLAYERS for p in getattr(model, player).parameters())


def test_optimizers_own_their_players():
    model = small("model/prior=mixture", "model/likelihood=gaussian_learned")
    owned = [{id(p) for group in one.param_groups for p in group["params"]} for one in model.configure_optimizers()]
    expected = [(model.encoder, model.prior), (model.decoder, model.likelihood), (model.discriminator,)]
    assert owned == [{id(p) for network in networks for p in network.parameters()} for networks in expected]


def features_of(model: Any, images: Tensor) -> Tensor:
    """A second implementation: what goes into the discriminator's last linear layer."""
    seen = []
    last = [layer for layer in model.discriminator.modules() if isinstance(layer, torch.nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.discriminator(images * 2 - 1, torch.zeros(len(images), dtype=torch.int64))
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("conditioning", ["none", "label"])
@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
@torch.no_grad()
def test_features_are_what_the_discriminators_last_layer_sees(network: str, conditioning: str):
    widths = ["network.encoder.width=4", "network.decoder.width=4"]
    model = build("model=vaegan", f"network={network}", *widths, f"model/conditioning={conditioning}")
    images = random_batch().images
    assert torch.equal(model.features(images), features_of(model, images))


@torch.no_grad()
def test_features_do_not_go_through_the_augmentation():
    model, images = small("model/augmentation=diff_augment"), random_batch().images
    assert model.training and torch.equal(model.features(images), model.features(images))
    assert (model.feature_distance(images, images) == 0).all()


@torch.no_grad()
def test_feature_distance_is_the_formula_and_knows_no_size_of_features():
    model = small("model.feature_scale=0.5")
    images, others = random_batch(seed=1).images, random_batch(seed=2).images
    expected, found = features_of(model, images), features_of(model, others)
    scale = 0.5 * expected.square().mean().sqrt()
    normal = Normal(found, scale)
    log_prob = normal.log_prob(expected).sum(dim=1) + expected.shape[1] * (scale * (2 * torch.pi) ** 0.5).log()
    distance = model.feature_distance(images, others)
    torch.testing.assert_close(distance, -log_prob, rtol=1e-4, atol=1e-4)
    first = next(layer for layer in model.discriminator.modules() if isinstance(layer, torch.nn.Linear))
    hidden = [layer for layer in model.discriminator.modules() if isinstance(layer, torch.nn.Linear)][-2]
    assert hidden is not first
    hidden.weight.mul_(7)
    hidden.bias.mul_(7)
    torch.testing.assert_close(model.feature_distance(images, others), distance, rtol=1e-4, atol=1e-4)


def test_encoder_descends_the_kl_and_the_features_and_nothing_adversarial():
    model = small("model.rate.beta=2.0", "model.pixel_weight=0.5")
    batch = random_batch()
    model.critic = None  # asked of nothing
    torch.manual_seed(0)
    z, terms = model.encoder_objective(batch)
    torch.manual_seed(0)
    posterior = model.posterior(batch)
    assert torch.equal(z, posterior.rsample())
    kl = kl_divergence(posterior, Independent(Normal(torch.zeros(4), torch.ones(4)), 1)).mean()
    parameters = model.decoder(z, None)
    features = model.feature_distance(batch.images, parameters.sigmoid()).mean()
    pixels = -model.likelihood.log_prob(parameters, batch.images).mean()
    expected = {"loss_encoder": 2 * kl + features + 0.5 * pixels, "kl": kl, "features": features, "pixels": pixels}
    torch.testing.assert_close(terms, expected)


def test_decoder_descends_the_weighted_features_and_the_adversarial_loss():
    model = small("model.feature_weight=0.25", "model.pixel_weight=0.5", "model.ema_half_life=0")
    batch = random_batch(6)
    z = torch.randn(6, 4)
    torch.manual_seed(0)
    fake, terms = model.decoder_objective(batch, z)
    found = torch.autograd.grad(terms["loss_decoder"], list(model.decoder.parameters()))

    torch.manual_seed(0)
    drawn = model.latent_prior().sample((6,))
    reconstructed, sampled = model.decoder(z, None), model.decoder(drawn, None)
    fakes = torch.cat([reconstructed[:3], sampled[3:]]).sigmoid() * 2 - 1
    loss = softplus(-model.discriminator(fakes, None)).mean()
    loss = loss + 0.25 * model.feature_distance(batch.images, reconstructed.sigmoid()).mean()
    loss = loss - 0.5 * model.likelihood.log_prob(reconstructed, batch.images).mean()
    expected = torch.autograd.grad(loss, list(model.decoder.parameters()))
    torch.testing.assert_close(fake.images, fakes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_adversarial_gradient_reaches_the_decoder_and_not_the_encoder():
    model = build(*PENALTY_FREE, "model.feature_weight=0.0")
    batch = random_batch(6)
    z, _ = model.encoder_objective(batch)
    _, terms = model.decoder_objective(batch, z.detach())
    terms["loss_decoder"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in model.decoder.parameters())


def test_discriminator_is_given_detached_fakes_of_the_labels_of_the_real_images():
    model, seen = small("model/conditioning=label"), []
    original = model.discriminator_step
    model.discriminator_step = lambda real, fake: seen.append((real, fake)) or original(real, fake)
    fit(model, TinyImages(SHAPE), limit_val_batches=0)
    for real, fake in seen:
        assert real.images.min() < -0.5 and real.images.max() > 0.5  # signed
        assert not fake.images.requires_grad and fake.images.shape == real.images.shape
        assert torch.equal(real.labels, fake.labels)


def test_it_encodes_and_interpolates_and_has_no_likelihood_of_pixels():
    model = small().eval()
    assert isinstance(model, Encodes) and not isinstance(model, HasLikelihood) and model.interpolates
    batch = random_batch()
    latents = model.encode(batch)
    assert torch.equal(latents.z, model.posterior(batch).mean)
    assert torch.equal(model.decode(latents), model.decoder(latents.z, None).sigmoid())


@torch.no_grad()
def test_density_is_fitted_to_the_posteriors():
    model = small("model/density=gaussian_mixture", "model.density.num_components=1").eval()
    batch = random_batch(64)
    model.fit_latents([batch] * 50, [batch])
    assert model.latents_from == "gaussian_mixture of 1"
    torch.testing.assert_close(model.density.means[0], model.posterior(batch).mean.mean(0), atol=0.1, rtol=0)
    assert model.decode(Latents(model.sample_latents(5).z)).shape == (5, *SHAPE)


def test_averages_are_used_outside_training():
    model = small("model.ema_half_life=1000", "model.ema_ramp_up=10")
    fit(model, max_epochs=3)
    assert model.weights_used == "averaged (EMA)"
    z = torch.randn(3, 4)
    with torch.no_grad():
        averaged = model.eval().decode(Latents(z))
        raw = model.decoder(z, None).sigmoid()
    assert not torch.equal(averaged, raw)


def test_the_adversarial_gradient_is_measured_where_it_is_logged_and_nowhere_else(monkeypatch: pytest.MonkeyPatch):
    measured: list[int] = []
    norm = VAEGAN.unscaled_norm

    def noted(self: VAEGAN, gradient: torch.Tensor) -> torch.Tensor:
        measured.append(self.trainer.fit_loop.epoch_loop.total_batch_idx + 1)
        return norm(self, gradient)

    monkeypatch.setattr(VAEGAN, "unscaled_norm", noted)
    logged: list[dict[str, float]] = []
    monkeypatch.setattr("callbacks.curves.log_scalars", lambda trainer, scalars, time: logged.append(scalars))
    trainer = fit(build("model=vaegan"), None, Curves(), max_epochs=6, log_every_n_steps=4)
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    # Until the first point any batch may be the last of the run, which has one then.
    assert measured == [1, 2, 3, *range(4, batches + 1, 4)] and len(measured) > 4
    assert all(point["train/adversarial_gradient"] > 0 for point in logged) and len(logged) == batches // 4
