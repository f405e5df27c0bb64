"""The two models' algorithms: the ELBO, and the alternation of two players."""

import pytest
import torch
from conftest import TinyImages, composed
from lightning import Trainer
from torch import Tensor, nn

from jobs.building import build_model
from lightning_modules.augmentations import RandomAffine, RandomResizedCrop
from lightning_modules.averaging import ExponentialMovingAverage

SHAPE = (1, 8, 8)
MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]


def build(*overrides: str):
    return build_model(composed(*MLP, *overrides).model, TinyImages(SHAPE))


def fit(model, datamodule=None, **options):
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **({"max_epochs": 1} | options),
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule or TinyImages(SHAPE))
    return trainer


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(before: list[Tensor], network: nn.Module) -> bool:
    return all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_elbo_is_log_likelihood_minus_kl_summed_over_pixels_and_latents():
    model = build("model=vae", "model.latent_dim=3").double()
    images = torch.rand(4, *SHAPE, dtype=torch.float64)
    torch.manual_seed(1)
    terms = model.objective(images)

    torch.manual_seed(1)
    mean, raw = model.encoder(images).chunk(2, dim=1)
    scale = torch.log1p(raw.exp()) + 1e-4
    z = mean + scale * torch.randn_like(scale)
    p = model.decoder(z).sigmoid()
    log_likelihood = (images * p.log() + (1 - images) * (1 - p).log()).sum(dim=(1, 2, 3))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(dim=1)
    expected = {
        "elbo": (log_likelihood - kl).mean(),
        "reconstruction": -log_likelihood.mean(),
        "kl": kl.mean(),
        "loss": -(log_likelihood - kl).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_beta_weighs_the_kl_in_the_loss_and_leaves_the_elbo_alone():
    model = build("model=beta_vae", "model.beta=4")
    terms = model.objective(torch.rand(4, *SHAPE))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 4 * terms["kl"])
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl"])


def test_encoding_is_the_posterior_mean():
    model = build("model=vae")
    images = torch.rand(4, *SHAPE)
    torch.testing.assert_close(model.encode(images), model.posterior(images).mean)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_learned"])
def test_every_likelihood_trains_the_vae(likelihood: str):
    model = build("model=vae", f"model/likelihood={likelihood}")
    images = (TinyImages(SHAPE).read()[0].images[:4] / 255).float()
    losses = []
    optimizer = model.configure_optimizers()
    for _ in range(30):
        loss = model.objective(images)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


class Recorder(nn.Module):
    """Counts how often a network is called."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.network(x)


def test_discriminator_step_leaves_generator_unchanged():
    model = build("model=gan")
    model.generator_step = lambda fake: {}
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
    model = build("model=gan")
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
    model.generator_step = lambda fake: steps.append(1) or original(fake)
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


@pytest.mark.parametrize("penalty", ["none", "r1", "gradient_penalty"])
def test_penalty_enters_the_discriminators_update(penalty: str):
    updated = {}
    for choice in ("none", penalty):
        torch.manual_seed(0)
        model = build("model=gan", f"model/penalty={choice}")
        torch.manual_seed(1)
        fit(model)
        updated[choice] = weights(model.discriminator)
    differs = any(not torch.equal(a, b) for a, b in zip(updated["none"], updated[penalty], strict=True))
    assert differs == (penalty != "none")


def test_average_follows_the_formula_on_the_clock_of_images():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    average = ExponentialMovingAverage(network, half_life=100, ramp_up=1.0)
    average.update(network, batch_size=50, images_seen=50)  # the first update copies
    nn.init.constant_(network.weight, 2.0)
    average.update(network, batch_size=50, images_seen=1000)
    assert average.module.weight.item() == pytest.approx(2 - 0.5**0.5)
    average.update(network, batch_size=100, images_seen=1100)
    assert average.module.weight.item() == pytest.approx(2 - 0.5**1.5)


def test_average_ramps_up_so_that_short_runs_forget_their_start():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    average = ExponentialMovingAverage(network, half_life=10_000, ramp_up=0.05)
    average.update(network, batch_size=10, images_seen=10)
    nn.init.constant_(network.weight, 2.0)
    average.update(network, batch_size=10, images_seen=200)  # a half-life of 10 images
    assert average.module.weight.item() == pytest.approx(1.5)


def test_no_half_life_means_no_averaging():
    network = nn.Linear(3, 2)
    average = ExponentialMovingAverage(network, half_life=0, ramp_up=0.05)
    for images_seen in (10, 20):
        nn.init.normal_(network.weight)
        average.update(network, batch_size=10, images_seen=images_seen)
        torch.testing.assert_close(average.module.weight, network.weight)


def test_gan_decodes_with_averaged_weights_outside_training():
    model = build("model=gan", "model.ema_ramp_up=10")
    fit(model)
    z = model.sample_latents(4)
    torch.testing.assert_close(model.train().decode(z), (model.generator(z) + 1) / 2)
    averaged = model.eval().decode(z)
    torch.testing.assert_close(averaged, (model.averaged_generator(z) + 1) / 2)
    assert not torch.allclose(averaged, model.train().decode(z))


def test_averaged_weights_are_not_trained_or_counted():
    model = build("model=gan")
    assert not any(p.requires_grad for p in model.averaged_generator.parameters())
    assert "averaged_generator" not in model.networks


def test_both_models_count_the_same_images():
    for name in ("vae", "gan", "classifier"):
        model = build(f"model={name}", *(MLP if name == "classifier" else []))
        fit(model, max_epochs=3)
        assert model.images_seen == 3 * 8


@pytest.mark.parametrize("name", ["affine", "resized_crop"])
def test_augmentation_keeps_range_and_shape_and_rests_in_evaluation(name: str):
    augment = build("model=classifier", f"model/augmentation={name}").augmentation
    images = torch.rand(16, 3, 20, 20)
    changed = augment.train()(images)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    assert not torch.equal(changed, images)
    assert torch.equal(augment.eval()(images), images)


def test_affine_without_strength_changes_nothing():
    images = torch.rand(4, 1, 9, 9)
    torch.testing.assert_close(RandomAffine(0.0, 0.0, 0.0)(images), images, atol=1e-5, rtol=0)


def test_crop_of_the_whole_area_is_the_image_or_its_mirror_image_squeezed_by_the_aspect_alone():
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 64, 64)  # brightness is the place, from left to right
    torch.manual_seed(0)
    changed = RandomResizedCrop(smallest_area=1.0)(ramp)
    span = (changed[..., -1] - changed[..., 0]).mean(dim=(1, 2))  # the share of the width that was kept
    assert (span > 0).any() and (span < 0).any()
    assert span.abs().min() > 0.75**0.5 - 0.02 and span.abs().max() > 0.98


def test_crop_takes_at_least_the_smallest_area():
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    rows, columns = ramp, ramp.transpose(2, 3)
    torch.manual_seed(0)
    changed = RandomResizedCrop(smallest_area=0.25)(torch.cat([rows, columns], dim=1))
    width = (changed[:, 0, :, -1] - changed[:, 0, :, 0]).mean(dim=1).abs() * 64 / 63
    height = (changed[:, 1, -1] - changed[:, 1, 0]).mean(dim=1).abs() * 64 / 63
    area = width * height
    assert 0.22 < area.min() < 0.3 and area.max() > 0.85
    assert area.mean().item() == pytest.approx(0.61, abs=0.03)  # (1 + 0.25) / 2 = 0.625, less what was clamped
