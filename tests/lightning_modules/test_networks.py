"""The networks: the report's parameter counts, every image size, and mirrored shapes."""

from functools import partial

import pytest
import torch
from conftest import TinyImages, composed
from torch import Tensor, nn

from foundation.errors import ConfigError
from jobs.building import build_model
from lightning_modules.networks import conv, fixup, mlp, resnet
from lightning_modules.networks.norms import GroupNorm
from lightning_modules.networks.pyramid import channels, resolutions

CONVOLUTIONAL = [conv, resnet, fixup]


def pair(family, shape: tuple[int, int, int], **options) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder, from latents of 5 and to 7 outputs."""
    if family is fixup:
        options["depth"] = 1
    return family.Encoder(shape, 7, **options), family.Decoder(shape, 5, **options)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_report_vae_has_its_parameter_count_to_the_unit():
    model = build_model(composed("experiment=paper/vae_mnist").model, TinyImages((1, 28, 28)))
    assert count(model.encoder) + count(model.decoder) == count(model) - count(model.averages) == 1_474_784


def test_report_gan_has_its_parameter_counts_to_the_unit():
    model = build_model(composed("experiment=paper/gan_mnist").model, TinyImages((1, 28, 28)))
    assert count(model.generator) == 1_486_352
    assert count(model.discriminator) == 1_460_225


def test_report_experiments_on_imagenette_differ_in_the_data_alone():
    for model in ("vae", "gan"):
        mnist, imagenette = (composed(f"experiment=paper/{model}_{data}") for data in ("mnist", "imagenette"))
        assert mnist.network == imagenette.network
        assert mnist.model == imagenette.model
        assert mnist.trainer.max_epochs == imagenette.trainer.max_epochs == 10


@pytest.mark.parametrize(
    ("size", "stages", "widths"),
    [(8, 2, [64, 128]), (28, 2, [64, 128]), (32, 3, [32, 64, 128]), (64, 4, [32, 64, 128, 256]),
     (128, 5, [32, 64, 128, 256, 256])],
)  # fmt: skip
def test_pyramid_ends_at_four_to_seven_pixels_with_dcgan_widths(size: int, stages: int, widths: list[int]):
    assert len(resolutions(size, size)) - 1 == stages
    assert 4 <= resolutions(size, size)[-1][0] <= 7 or stages == 2
    assert channels(32, stages) == widths


def test_halving_rounds_down_from_the_image_to_its_base():
    assert resolutions(45, 61) == [(45, 61), (22, 30), (11, 15), (5, 7)]
    assert resolutions(7, 4) == [(7, 4), (3, 2), (1, 1)]


@pytest.mark.parametrize(("height", "width"), [(3, 64), (64, 3), (1, 1)])
def test_image_of_which_halving_leaves_nothing_is_refused(height: int, width: int):
    with pytest.raises(ConfigError, match=rf"{height}x{width} pixels, because it halves each side twice.* below 4"):
        resolutions(height, width)


SIZES = [(size, size) for size in (4, 5, 6, 7, 9, 15, 17, 28, 30, 33, 100)] + [(45, 61), (16, 18), (31, 8), (64, 96)]


@pytest.mark.parametrize("family", CONVOLUTIONAL)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_size_is_decoded_and_all_its_pixels_are_seen(family, height: int, width: int):
    torch.manual_seed(0)
    encoder, decoder = pair(family, (2, height, width), width=2, activation=nn.SiLU, norm=nn.Identity)
    images = decoder(torch.randn(3, 5)).detach()
    assert images.shape == (3, 2, height, width)
    outputs = encoder(images.requires_grad_())
    assert outputs.shape == (3, 7)
    outputs.square().sum().backward()
    assert (images.grad != 0).all()


def test_mlp_takes_a_width_for_each_layer():
    encoder = mlp.Encoder((1, 2, 2), 3, width=[5, 6], depth=2, activation=nn.ReLU, norm=nn.Identity)
    assert [layer.out_features for layer in encoder if isinstance(layer, nn.Linear)] == [5, 6, 3]


def test_mlp_refuses_widths_that_contradict_the_depth():
    with pytest.raises(ConfigError, match=r"names 2 hidden layers .* but depth is 3"):
        mlp.Encoder((1, 2, 2), 3, width=[5, 6], depth=3, activation=nn.ReLU, norm=nn.Identity)


def test_activation_is_the_one_that_was_chosen():
    model = build_model(composed("network=mlp", "network/activation=gelu").model, TinyImages((1, 8, 8)))
    kinds = {type(layer) for network in model.networks.values() for layer in network.modules()}
    assert nn.GELU in kinds and nn.LeakyReLU not in kinds


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_encoder_without_norm_judges_each_image_for_itself(family):
    encoder, _ = pair(family, (1, 16, 16), width=4, activation=nn.ReLU, norm=lambda _: nn.Identity())
    images = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(encoder(images)[:2], encoder(images[:2]))


def shapes(network: nn.Module, kind: type[nn.Module], inputs: Tensor) -> list[tuple[int, ...]]:
    """Of what each layer of a kind gives for one input, (C, H, W) each."""
    found: list[tuple[int, ...]] = []
    for layer in network.children():
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda layer, inputs, output: found.append(tuple(output.shape[1:])))
    network(inputs)
    return found


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_each_stage_halves_the_sides_and_has_the_pyramids_width(family):
    down = [(3, 48, 32), (6, 24, 16), (12, 12, 8), (24, 6, 4)]
    encoder, decoder = pair(family, (2, 96, 64), width=3, activation=nn.ReLU, norm=nn.BatchNorm2d)
    image, z = torch.rand(2, 2, 96, 64), torch.randn(2, 5)
    if family is conv:
        assert shapes(encoder, nn.Conv2d, image) == down
        assert shapes(decoder, nn.ConvTranspose2d, z) == [*down[2::-1], (2, 96, 64)]
    elif family is fixup:
        assert shapes(encoder, fixup.ResidualBlock, image) == down
        assert shapes(decoder, fixup.ResidualBlock, z) == down[::-1]
    else:
        assert shapes(encoder, resnet.ResidualBlock, image) == [*down, down[-1]]
        assert shapes(decoder, resnet.ResidualBlock, z) == [*down[2::-1], (3, 96, 64)]


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d, partial(GroupNorm, group_size=2)])
def test_branches_of_fixup_start_at_zero(norm):
    for network in pair(fixup, (1, 20, 20), width=3, activation=nn.SiLU, norm=norm):
        blocks = [module for module in network.modules() if isinstance(module, fixup.ResidualBlock)]
        assert len(blocks) == 2
        for block in blocks:
            last = block.residual[-1]
            x = torch.randn(4, last.in_channels, 5, 5)
            assert torch.equal(block(x), x)
            last.weight.data.normal_()
            assert (block(x) - x).abs().mean() > 0.1


def test_fixup_scales_its_branches_by_their_number_and_keeps_variances_between_them():
    torch.manual_seed(0)
    encoder = fixup.Encoder((3, 64, 64), 1, width=32, depth=2, activation=nn.ReLU, norm=nn.Identity)
    blocks = [module for module in encoder if isinstance(module, fixup.ResidualBlock)]
    assert len(blocks) == 8
    for block in blocks:
        first = block.residual[2]
        expected = (2 / (9 * first.in_channels) / len(blocks)) ** 0.5
        assert first.weight.std().item() == pytest.approx(expected, rel=0.03)
    x = torch.randn(200, 32, 8, 8)
    assert fixup.pointwise(32, 256)(x).var().item() == pytest.approx(1, rel=0.1)


def test_mlp_without_norm_has_the_weights_and_names_that_it_always_had():
    torch.manual_seed(0)
    encoder = mlp.Encoder((1, 2, 2), 3, width=5, depth=2, activation=nn.ReLU, norm=nn.Identity)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    images = torch.rand(6, 1, 2, 2)
    assert torch.equal(encoder(images), plain(images))


def test_norm_of_an_mlp_is_of_its_hidden_layers():
    options = {"width": 6, "depth": 2, "activation": nn.Identity}
    decoder = mlp.Decoder((1, 2, 3), 4, norm=nn.BatchNorm2d, **options)
    hidden = decoder[1](decoder[0](torch.randn(50, 4)))
    torch.testing.assert_close(hidden.mean(dim=0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden.var(dim=0, correction=0), torch.ones(6), atol=1e-2, rtol=0)
    encoder = mlp.Encoder((1, 2, 3), 4, norm=partial(GroupNorm, group_size=3), **options)
    hidden = encoder[2](encoder[1](torch.rand(50, 6))).view(50, 2, 3)  # two groups of three units each
    torch.testing.assert_close(hidden.mean(dim=2), torch.zeros(50, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("channels", "size", "groups"),
    [(64, 16, 4), (48, 16, 3), (40, 16, 2), (37, 16, 1), (8, 16, 1), (1, 1, 1), (6, 1, 6), (36, 5, 6)],
)
def test_groups_are_as_many_as_have_the_size_and_are_equal(channels: int, size: int, groups: int):
    assert GroupNorm(channels, group_size=size).num_groups == groups


@pytest.mark.parametrize(
    ("family", "shape", "spreads", "outputs"),
    [
        (conv, (1, 8, 8), [0.42393, 0.46498], [-0.46315, 0.04352, -0.52214, -0.0413]),
        (conv, (3, 64, 48), [0.16545, 0.19584], [0.04232, -0.34217, -0.16361, -0.51831]),
        (resnet, (1, 8, 8), [0.29491, 0.28424], [0.29272, -0.00953, 0.08832, -0.04142]),
        (resnet, (3, 64, 48), [0.27615, 0.32336], [-0.13574, -0.20279, -0.24346, -0.09482]),
    ],
)
def test_seed_makes_the_network_that_it_always_made(family, shape, spreads: list[float], outputs: list[float]):
    torch.manual_seed(0)
    options = {"width": 3, "activation": nn.SiLU, "norm": nn.BatchNorm2d}
    encoder, decoder = family.Encoder(shape, 2, **options), family.Decoder(shape, 2, **options)
    images = decoder(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
    assert images.flatten(1).std(dim=1).tolist() == pytest.approx(spreads, abs=2e-5)
    assert encoder(images.sigmoid()).flatten().tolist() == pytest.approx(outputs, abs=2e-5)
