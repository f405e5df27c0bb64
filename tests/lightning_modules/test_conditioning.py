"""Conditioning: what labels change, what they leave alone, and that models without them do not look at them."""

from dataclasses import replace

import pytest
import torch
from conftest import TinyImages
from small_models import NUM_CLASSES, SHAPE, build, fit, random_batch
from torch import Tensor, nn

from callbacks.interpolation import Interpolation
from callbacks.sample_grid import SampleGrid
from lightning_modules.conditioning import LabelConditioning, NoConditioning
from lightning_modules.values import Batch, Latents

LABEL = ["model/conditioning=label", "model.conditioning.embedding_dim=4"]
MODELS = ["vanilla_vae", "gan"]


def relabelled(labels: Tensor) -> Tensor:
    return (labels + 1) % NUM_CLASSES


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_labels_are_part_of_the_latents_and_all_that_is_random_in_images(name: str):
    model = build(f"model={name}", *LABEL).eval()
    latents = model.sample_latents(8)
    assert latents.z.shape == (8, *model.latent_shape) and latents.labels.shape == (8,)
    images = model.decode(latents)
    torch.manual_seed(7)  # a generator that decode could draw from
    assert torch.equal(model.decode(latents), images)
    changed = model.decode(replace(latents, labels=relabelled(latents.labels)))
    assert (changed - images).flatten(1).abs().amax(1).min() > 1e-4  # of every image
    torch.testing.assert_close(model.decode(latents[2:5]), images[2:5])


@pytest.mark.parametrize("name", MODELS)
def test_drawn_labels_are_all_classes_and_given_ones_are_kept(name: str):
    model = build(f"model={name}", *LABEL)
    torch.manual_seed(0)
    counts = model.sample_latents(3000).labels.bincount()
    torch.testing.assert_close(counts / 3000, torch.full((NUM_CLASSES,), 1 / NUM_CLASSES), atol=0.04, rtol=0)
    given = torch.tensor([2, 0, 2])
    assert torch.equal(model.sample_latents(3, given).labels, given)


@pytest.mark.parametrize("name", MODELS)
def test_labels_are_drawn_before_what_is_drawn_of_them(name: str):
    model = build(f"model={name}", *LABEL)
    torch.manual_seed(0)
    found = model.sample_latents(4)
    torch.manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (4,))
    assert torch.equal(found.labels, labels) and torch.equal(found.z, model.sample_z(4, labels))


@torch.no_grad()
def test_encoder_and_likelihood_are_told_the_label():
    model = build("model=vanilla_vae", *LABEL).eval()
    batch = random_batch(6)
    other = replace(batch, labels=relabelled(batch.labels))
    assert (model.posterior(batch).mean - model.posterior(other).mean).abs().amax(1).min() > 1e-5
    encoded = model.encode(batch)
    assert torch.equal(encoded.labels, batch.labels) and torch.equal(encoded.z, model.posterior(batch).mean)
    right, wrong = (
        model.likelihood.log_prob(model.parameters_of(Latents(encoded.z, labels)), batch.images)
        for labels in (batch.labels, other.labels)
    )
    assert (right - wrong).abs().min() > 1e-4


@torch.no_grad()
def test_importance_weights_of_a_conditional_vae_are_of_each_image_with_its_own_label():
    model = build("model=vanilla_vae", *LABEL, "model.latent_dim=2", "model.ema_half_life=0").eval()
    model.decoder.vectors.weight.mul_(10)
    batch = random_batch(5)
    torch.manual_seed(0)
    together = model.log_importance_weights(batch, 20_000, at_once=20_000).logsumexp(0)
    alone = torch.cat([model.log_importance_weights(batch[i : i + 1], 20_000, 20_000).logsumexp(0) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=0.1, rtol=0)
    swapped = model.log_importance_weights(replace(batch, labels=relabelled(batch.labels)), 20_000, 20_000).logsumexp(0)
    assert (swapped - together).abs().max() > 1


@torch.no_grad()
def test_discriminators_logit_is_the_output_of_the_label():
    model = build("model=gan", *LABEL)
    batch = random_batch(7)
    outputs = model.discriminator.network(batch.images)
    assert outputs.shape == (7, NUM_CLASSES)
    logits = model.critic(batch)
    assert logits.shape == (7, 1)
    assert logits[:, 0].tolist() == [outputs[row, label].item() for row, label in enumerate(batch.labels)]


def test_fakes_have_the_labels_of_the_real_batch():
    model, pairs = build("model=gan", *LABEL), []
    original = model.discriminator_objective
    model.discriminator_objective = lambda real, fake: pairs.append((real, fake)) or original(real, fake)
    fit(model, limit_val_batches=0)
    assert len(pairs) == 2
    for real, fake in pairs:
        assert torch.equal(real.labels, fake.labels)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_without_conditioning_labels_are_not_looked_at(name: str):
    model = build(f"model={name}").eval()
    assert model.num_classes is None and model.sample_latents(4).labels is None
    assert model.sample_latents(4, torch.zeros(4, dtype=torch.int64)).labels is None
    batch = random_batch()
    unlabelled = Batch(batch.images)
    if name == "gan":
        assert torch.equal(model.critic(batch), model.critic(unlabelled))
    else:
        assert torch.equal(model.encode(batch).z, model.encode(unlabelled).z)
        assert model.encode(batch).labels is None


def test_networks_without_labels_have_the_backbones_own_weights():
    conditioning, backbone = NoConditioning(), nn.Linear(3, 2)
    network = conditioning.decoder(lambda image_shape, latent_dim: backbone, SHAPE, 3)
    z = torch.randn(4, 3)
    assert torch.equal(network(z, None), backbone(z)) and torch.equal(network(z, torch.ones(4)), backbone(z))
    assert len(list(network.parameters())) == len(list(backbone.parameters()))


def test_label_conditioning_asks_backbones_for_a_channel_a_vector_and_an_output_a_class_more():
    asked: list[dict] = []

    def backbone(**sizes) -> nn.Module:
        asked.append(sizes)
        return nn.Identity()

    conditioning = LabelConditioning(num_classes=5, embedding_dim=6)
    conditioning.encoder(backbone, (3, 4, 8), num_outputs=2)
    conditioning.decoder(backbone, (3, 4, 8), latent_dim=7)
    conditioning.discriminator(backbone, (3, 4, 8))
    assert asked == [
        {"image_shape": (4, 4, 8), "num_outputs": 2},
        {"image_shape": (3, 4, 8), "latent_dim": 13},
        {"image_shape": (3, 4, 8), "num_outputs": 5},
    ]


def test_label_plane_is_a_channel_beside_the_images_own():
    network = LabelConditioning(5, 6).encoder(lambda image_shape, num_outputs: nn.Identity(), (3, 4, 8), 2)
    images, labels = torch.rand(2, 3, 4, 8), torch.tensor([4, 1])
    seen = network(images, labels)
    assert torch.equal(seen[:, :3], images)
    assert torch.equal(seen[:, 3].flatten(1), network.planes.weight[labels])


@pytest.mark.parametrize("name", MODELS)
def test_label_embeddings_are_trained(name: str):
    model = build(f"model={name}", *LABEL)
    before = {key: value.clone() for key, value in model.state_dict().items() if "planes" in key or "vectors" in key}
    fit(model)
    assert len(before) >= (2 if name == "vanilla_vae" else 1)
    for key, value in before.items():
        assert not torch.equal(value, model.state_dict()[key]), key


def test_sample_grid_of_a_conditional_model_has_a_class_for_each_column():
    model, drawn = build("model=gan", *LABEL).eval(), []
    original = model.decode
    model.decode = lambda latents: drawn.append(latents.labels) or original(latents)
    SampleGrid(seed=0, columns=5, rows=3).draw(model, TinyImages(SHAPE))
    assert len(drawn) == 2  # fixed and fresh
    for labels in drawn:
        assert labels.view(3, 5).tolist() == [[0, 1, 2, 0, 1]] * 3


def test_interpolation_of_a_conditional_model_keeps_one_label_in_a_row():
    model, drawn = build("model=gan", *LABEL).eval(), []
    original = model.decode
    model.decode = lambda latents: drawn.append(latents.labels) or original(latents)
    torch.manual_seed(3)
    Interpolation(seed=0, rows=6, steps=4).draw(model, TinyImages(SHAPE))
    assert len(drawn) == 2  # line and slerp
    for labels in drawn:
        rows = labels.view(6, 4)
        assert torch.equal(rows, rows[:, :1].expand(6, 4)) and len(rows[:, 0].unique()) > 1
