"""The VQ-VAE's algorithm: codes, the gradient that passes them, and what is drawn."""

import pytest
import torch
from conftest import TinyImages
from small_models import SHAPE, build, fit, random_batch, same, weights
from torch.nn.functional import mse_loss

from lightning_modules.generative_model import Encodes, HasLikelihood
from lightning_modules.values import Latents
from lightning_modules.vqvae import perplexity

SMALL = ["model=vqvae", "model.num_positions=3", "model.num_codes=5", "model.code_dim=2", "model.density.num_steps=20"]
CODEBOOKS = ["moving_average", "gradient"]


def small(*overrides: str, seed: int = 0):
    return build(*SMALL, *overrides, seed=seed)


def test_codes_are_whole_numbers_below_their_count_and_do_not_interpolate():
    model = small().eval()
    latents = model.encode(random_batch(20))
    assert latents.z.dtype == torch.int64 and latents.z.shape == (20, 3) and latents.labels is None
    assert latents.z.min() >= 0 and latents.z.max() < 5
    assert isinstance(model, Encodes) and not isinstance(model, HasLikelihood) and not model.interpolates


@torch.no_grad()
def test_each_part_of_the_encoders_vector_has_the_nearest_code():
    model, batch = small().eval(), random_batch(20)
    outputs = model.encoder(batch.images, None).view(20, 3, 2)
    distances = torch.cdist(outputs.flatten(0, 1), model.codebook.vectors)
    assert torch.equal(model.encode(batch).z, distances.argmin(dim=1).view(20, 3))


@torch.no_grad()
def test_of_equal_codes_equal_images_are_made():
    model = small().eval()
    codes = torch.tensor([[0, 1, 2], [2, 1, 0], [0, 1, 2]])
    images = model.decode(Latents(codes))
    assert torch.equal(images[0], images[2]) and not torch.equal(images[0], images[1])
    assert torch.equal(images, model.decode(Latents(codes)))


@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_gradient_of_the_encoders_vectors_is_the_decoders_input_gradient_and_the_commitment(codebook: str):
    model, batch = small(f"model/codebook={codebook}", "model.commitment=0.25"), random_batch(6)
    vectors = model.vectors_of(batch).detach().requires_grad_()
    codes = model.codebook.nearest(vectors)
    model.objective(batch, vectors, codes)["loss"].backward()
    quantised = model.codebook(codes).detach().requires_grad_()
    parameters = model.decoder(quantised.flatten(1), None)
    (-model.likelihood.log_prob(parameters, batch.images).mean()).backward()
    expected = quantised.grad + 0.25 * 2 * (vectors - quantised).detach() / 6
    torch.testing.assert_close(vectors.grad, expected)


def test_decoder_sees_the_codes_vectors():
    model, batch = small(), random_batch(6)
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    vectors = model.vectors_of(batch)
    codes = model.codebook.nearest(vectors)
    model.objective(batch, vectors, codes)
    torch.testing.assert_close(seen[0], model.codebook(codes).flatten(1))


def test_objective_is_the_formula():
    model, batch = small("model/codebook=gradient", "model.commitment=0.5"), random_batch(6)
    vectors = model.vectors_of(batch)
    codes = model.codebook.nearest(vectors)
    terms = model.objective(batch, vectors, codes)
    chosen = model.codebook.vectors[codes]
    reconstruction = -model.likelihood.log_prob(model.decoder(chosen.flatten(1), None), batch.images).mean()
    distance = mse_loss(vectors, chosen, reduction="sum") / 6
    torch.testing.assert_close(terms["loss"], reconstruction + 1.5 * distance)
    torch.testing.assert_close(terms["commitment"], distance)
    torch.testing.assert_close(terms["reconstruction"], reconstruction)


@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_training_moves_the_codebook_and_validation_does_not(codebook: str):
    model = small(f"model/codebook={codebook}")
    before = model.codebook.vectors.detach().clone()
    batch = random_batch(6)
    model.eval().validation_step((batch.images, batch.labels), 0)
    assert torch.equal(model.codebook.vectors, before)
    encoder = weights(model.encoder)
    fit(model.train())
    assert not torch.equal(model.codebook.vectors, before) and not same(encoder, model.encoder)


def test_perplexity_of_known_shares():
    assert perplexity(torch.tensor([[0, 1], [2, 3]]), 9).item() == pytest.approx(4)
    assert perplexity(torch.tensor([[1, 1]]), 9).item() == pytest.approx(1)


@pytest.mark.parametrize("density", ["independent", "autoregressive"])
def test_latents_are_drawn_from_the_density_that_is_fitted_to_codes(density: str):
    overrides = [] if density == "autoregressive" else ["~model.density.num_steps"]
    model = build(*SMALL[:-1], f"model/code_density@model.density={density}", *overrides[:0]).eval()
    with pytest.raises(RuntimeError, match="fit_latents"):
        model.sample_latents(3)
    batch = random_batch(40)
    with torch.no_grad():
        model.fit_latents([batch], [random_batch(10, seed=1)])
    latents = model.sample_latents(50)
    assert latents.z.dtype == torch.int64 and latents.z.shape == (50, 3) and latents.labels is None
    assert model.latents_from == f"{density}_codes"
    assert model.decode(latents).shape == (50, *SHAPE)


def test_density_is_no_part_of_what_is_trained():
    model = small()
    before = weights(model.density)
    fit(model, TinyImages(SHAPE))
    assert same(before, model.density)
    owned = {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    assert not owned & {id(p) for p in model.density.parameters()}


def test_prior_is_even_over_all_codes():
    prior = small().latent_prior()
    found = prior.log_prob(torch.tensor([[0, 1, 2], [4, 4, 4]]))
    torch.testing.assert_close(found, torch.full((2,), -3 * torch.tensor(5.0).log().item()))


@torch.no_grad()
def test_codes_of_labels_are_kept_apart():
    model = small("model/conditioning=label").eval()
    batch = random_batch(30)
    model.fit_latents([batch], [batch])
    labels = torch.tensor([0, 1, 2, 0])
    latents = model.sample_latents(4, labels)
    assert torch.equal(latents.labels, labels) and torch.equal(model.encode(batch).labels, batch.labels)
