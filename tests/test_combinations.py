"""Choices, found by walking conf/: each composes and passes the check, and every two of them train together."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from itertools import combinations, pairwise, product
from typing import Any

import pytest
import torch
from allpairspy import AllPairs
from conftest import PROJECT, TinyImages, composed
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from small_models import fit, same
from torch import Tensor

from jobs.building import build_model
from jobs.config_check import check
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.values import Batch

CONF = PROJECT / "conf"
DIGITS = (1, 8, 8)
SHAPES = [DIGITS, (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 128, 128)]
SMALL = {  # by key, wherever it stands
    "width": 4,
    "depth": 2,
    "latent_dim": 4,
    "embedding_dim": 2,
    "num_components": 2,
    "num_steps": 3,
    "num_sampling_steps": 2,
    "num_features": 4,
    "nats": 1e-6,
    "num_positions": 3,
    "num_codes": 5,
    "code_dim": 2,
}
MOST_STEPS = 10  # with free bits a prior learns nothing until the KL is above them


# Walking


def choices(group: str) -> list[str]:
    """The names that a config group can be given; what begins with `_` is part of others."""
    files = (path.relative_to(CONF / group).with_suffix("") for path in (CONF / group).glob("[!_]*.yaml"))
    return sorted(path.as_posix() for path in files)


def experiments() -> list[str]:
    files = (
        path.relative_to(CONF / "experiment").with_suffix("") for path in (CONF / "experiment").rglob("[!_]*.yaml")
    )
    return sorted(path.as_posix() for path in files)


MODELS, NETWORKS, DATA = choices("model"), choices("network"), choices("data")
FAMILIES = [name for name in MODELS if "_target_" in OmegaConf.load(CONF / "model" / f"{name}.yaml")]  # no variants,
BACKBONES = [name for name in NETWORKS if "encoder" in OmegaConf.load(CONF / "network" / f"{name}.yaml")]  # nor here
OTHER_GROUPS = sorted(
    path.name
    for path in CONF.iterdir()
    if path.is_dir() and path.name not in ("model", "network", "data", "experiment")
)


@cache
def composition(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """A composed config, and the group that each choice in it is of."""
    cfg = composed(*overrides)
    for key in OmegaConf.missing_keys(cfg):  # what only the person at the command line knows
        OmegaConf.update(cfg, key, "given")
    return cfg, {key: key.split("@")[0] for key in HydraConfig.get().runtime.choices}


def part_choices(room: str, *overrides: str) -> Iterator[tuple[str, str]]:
    """Each part of a model, or of a network, with each of its choices: `model/loss`, `hinge`."""
    _, groups = composition(*overrides)
    for key, group in groups.items():
        if group.startswith(f"{room}/"):
            for choice in choices(group):
                yield key, choice


def part_of(key: str) -> str:
    """Where a choice lies in its room: `loss` for `model/loss`, `density` for `model/code_density@model.density`."""
    return key.rpartition("@")[2].replace("/", ".").partition(".")[2]


def is_generative(model: str) -> bool:
    return issubclass(get_class(composition(f"model={model}")[0].model._target_), GenerativeModel)


GENERATIVE = [name for name in MODELS if is_generative(name)]


# Composing


@pytest.mark.parametrize("model", MODELS)
def test_every_choice_of_every_part_of_a_model_composes_and_passes_the_check(model: str):
    parts = list(part_choices("model", f"model={model}"))
    assert {part_of(key) for key, _ in parts} >= {
        folder.name
        for folder in (CONF / "model").iterdir()
        if folder.is_dir() and folder.name in composition(f"model={model}")[0].model
    }
    for key, choice in parts:
        cfg, _ = composition(f"model={model}", f"{key}={choice}")
        check(cfg)
        alone = OmegaConf.load(CONF / key.partition("@")[0] / f"{choice}.yaml")
        if "_target_" in alone:
            assert cfg.model[part_of(key)]._target_ == alone._target_, (key, choice)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_choice_of_every_part_of_a_network_composes_and_passes_the_check(network: str):
    for key, choice in part_choices("network", f"network={network}"):
        check(composition(f"network={network}", f"{key}={choice}")[0])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_composes_with_every_network_and_data_set(model: str):
    for network in NETWORKS:
        check(composition(f"model={model}", f"network={network}")[0])
    for data in DATA:
        check(composition(f"model={model}", f"data={data}")[0])


@pytest.mark.parametrize(
    "override",
    [f"{group}={choice}" for group in OTHER_GROUPS for choice in choices(group)]
    + [f"experiment={name}" for name in experiments()],
)
def test_every_other_choice_composes_and_passes_the_check(override: str):
    check(composition(override)[0])


@pytest.mark.parametrize("name", experiments())
def test_search_that_an_experiment_says_has_found_it_is_an_experiment_too(name: str):
    search = composition(f"experiment={name}")[0].recipe.search
    assert search is None or search in experiments()


@pytest.mark.parametrize("name", [name for name in experiments() if name.startswith("best/")])
def test_a_best_recipe_states_as_many_trials_as_its_search_and_those_of_other_families_have(name: str):
    recipe = composition(f"experiment={name}")[0].recipe
    assert recipe.trials == len([trial for trial in experiments() if trial.startswith(f"{recipe.search}/")])
    data = name.partition("_")[2]
    for other in experiments():
        if other.startswith("best/") and other.endswith(f"_{data}"):
            assert composition(f"experiment={other}")[0].recipe.trials == recipe.trials, other


@pytest.mark.parametrize("name", [name for name in experiments() if re.fullmatch("ablation/[^/]+", name)])
def test_an_ablation_goes_from_a_source_to_the_best_recipe_by_one_step_after_another(name: str):
    steps = [step for step in experiments() if step.startswith(f"{name}/")]
    swept = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").hydra.sweeper.params[f"+experiment/{name}"]
    assert [f"{name}/{step}" for step in swept.split(",")] == steps
    settings = [settings_of(f"+experiment/{name}={step.rpartition('/')[2]}", f"experiment={name}") for step in steps]
    data, family = name.removeprefix("ablation/").split("_")
    assert settings[-1] == settings_of(f"experiment=best/{family}_{data}_small")
    assert all(one != other for one, other in pairwise(settings))


def settings_of(*overrides: str) -> dict[str, Any]:
    sections = OmegaConf.to_container(composed(*overrides), resolve=True)
    return {section: sections[section] for section in ("model", "data", "trainer", "every_n_epochs")}


# Training


class PlainLoop:
    """What a model's training step asks of Lightning, and no more: a step takes milliseconds."""

    world_size, is_last_batch, precision_plugin = 1, False, None

    def __init__(self, model: Any) -> None:
        self.fit_loop = self.epoch_loop = self
        self.total_batch_idx = -1
        self.model = model
        optimizers = model.configure_optimizers()
        self.optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        model.trainer = self
        model.optimizers = lambda: self.optimizers
        model.toggled_optimizer = lambda _: nullcontext()
        model.manual_backward = lambda loss: loss.backward()

    def step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.total_batch_idx += 1
        self.model.on_train_batch_start(batch, self.total_batch_idx)
        terms: Any = self.model.training_step(batch, self.total_batch_idx)
        if self.model.automatic_optimization:
            self.optimizers[0].zero_grad()
            terms["loss"].backward()
            self.optimizers[0].step()
        self.model.on_train_batch_end(terms, batch, self.total_batch_idx)


def small(node: Any) -> Any:
    """A config with its sizes, whatever they are of, as in `SMALL`."""
    if isinstance(node, dict):
        return {key: SMALL[key] if key in SMALL else small(value) for key, value in node.items()}
    return node


def model_config(*overrides: str) -> dict[str, Any]:
    """A composed model's config with small sizes, resolved."""
    cfg = OmegaConf.to_container(composition(*overrides)[0], resolve=True)
    assert isinstance(cfg, dict)
    return small(cfg["model"])


@cache
def prepared(shape: tuple[int, int, int]) -> TinyImages:
    datamodule = TinyImages(shape)
    datamodule.setup()
    return datamodule


def images_of_trained(config: dict[str, Any], shape: tuple[int, int, int]) -> Tensor:
    """Images decoded after two steps, or as many as every optimizer needs, by which every network has changed."""
    datamodule = prepared(shape)
    torch.manual_seed(0)
    model: Any = build_model(config, datamodule)
    before = {role: [p.detach().clone() for p in network.parameters()] for role, network in model.networks.items()}
    loop, batches, images_seen = PlainLoop(model), [datamodule.training_images(count) for count in (8, 6)], 0
    for index in range(MOST_STEPS):
        loop.step(batches[index % 2])
        images_seen += len(batches[index % 2][0])
        unchanged = {role for role, network in model.networks.items() if same(before[role], network)}
        if index + 1 >= max(2, model.optimizers_period) and not unchanged:
            break
    assert not unchanged
    assert model.images_seen == images_seen
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        model.fit_latents(*([Batch(*batch) for batch in batches] for _ in range(2)))
        latents = model.sample_latents(5)
        images = model.decode(latents)
    assert latents.z.shape == (5, *model.latent_shape)
    assert images.shape == (5, *shape) and images.dtype == torch.float32
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
    return images


@pytest.mark.parametrize("family", FAMILIES)
def test_every_two_choices_of_parts_and_networks_learn_and_make_images_together(family: str):
    for network, combination in pairwise_covering(family):
        base = model_config(f"model={family}", f"network={network}")
        nodes = {
            part_of(key): model_config(f"model={family}", f"{key}={choice}")[part_of(key)]
            for key, choice in combination.items()
        }
        try:
            images_of_trained(base | nodes, DIGITS)
        except Exception as error:
            error.add_note(f"with network={network} {combination}")
            raise


def pairwise_covering(family: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Networks with choices by key of a family's parts: every two choices of different groups occur in one of them."""
    groups: dict[str, list[str]] = {"network": BACKBONES}
    for key, choice in part_choices("model", f"model={family}"):
        groups.setdefault(key, []).append(choice)
    for row in AllPairs(list(groups.values())):
        network, *chosen = row
        yield network, dict(zip(list(groups)[1:], chosen, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_combinations_that_are_trained_cover_every_two_choices(family: str):
    trained = [{"network": network, **combination} for network, combination in pairwise_covering(family)]
    found = {pair for row in trained for pair in combinations(sorted(row.items()), 2)}
    choices_by_group = [sorted({(group, row[group]) for row in trained}) for group in sorted(trained[0])]
    listed = set(part_choices("model", f"model={family}")) | {("network", name) for name in BACKBONES}
    assert {choice for group in choices_by_group for choice in group} == listed
    assert found == {pair for two in combinations(choices_by_group, 2) for pair in product(*two)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("model", GENERATIVE)
def test_every_model_and_network_makes_images_of_every_shape(model: str, network: str, shape: tuple[int, int, int]):
    images = images_of_trained(model_config(f"model={model}", f"network={network}"), shape)
    assert len(images.flatten(1).unique(dim=0)) > 1  # of other latents, other images; two may be clipped to black


@pytest.mark.parametrize("family", FAMILIES)
def test_every_choice_of_a_part_is_trained_by_lightning(family: str):
    for key, choice in part_choices("model", f"model={family}"):
        config = model_config("network=mlp", f"model={family}") | {
            part_of(key): model_config(f"model={family}", f"{key}={choice}")[part_of(key)]
        }
        model: Any = build_model(config, datamodule := TinyImages(DIGITS))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trainer = fit(model, datamodule)
        assert trainer.fit_loop.epoch_loop.total_batch_idx + 1 == 2 and model.images_seen == 8
        for role in model.networks:
            names = [name for name in before if name.startswith(f"{role}.")]
            assert any(not torch.equal(before[name], model.state_dict()[name]) for name in names), (key, choice, role)
        assert all(value.isfinite() for name, value in trainer.callback_metrics.items()), (key, choice)


@pytest.mark.parametrize("experiment", [name for name in experiments() if name.startswith("published/")])
def test_published_settings_learn_and_make_images(experiment: str):
    size = composition(f"experiment={experiment}")[0].data.get("image_size")
    images_of_trained(model_config(f"experiment={experiment}"), (3, size, size) if size else (1, 28, 28))


@pytest.mark.parametrize("shape", SHAPES[:4], ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("model", [name for name in MODELS if name not in GENERATIVE])
def test_classifiers_learn_and_give_a_logit_for_each_class(model: str, network: str, shape: tuple[int, int, int]):
    datamodule = prepared(shape)
    classifier: Any = build_model(model_config(f"model={model}", f"network={network}"), datamodule)
    fit(classifier, datamodule)
    assert classifier.images_seen == 8
    logits = classifier.eval()(torch.rand(2, *shape))
    assert logits.shape == (2, datamodule.num_classes) and logits.isfinite().all()
    assert classifier.network.features(torch.rand(2, *shape)).shape == (2, SMALL["num_features"])
