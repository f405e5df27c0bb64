"""What makes training quick changes nothing that is computed; and the benchmark measures the same mathematics."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DATA_ROOT, PROJECT, RICH, TinyImages, needs_real
from lightning import Trainer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from benchmarks import loops, peers, variants
from benchmarks.loops import GANStep, NotebookGANStep, OneOptimizerStep
from benchmarks.throughput import matches
from benchmarks.timing import StepTimer, seconds_of
from callbacks.epoch_seed import EpochSeed
from callbacks.readback import ReadbackQueue
from datamodules.image_datamodule import IndexedLoader, LabelledImages, TensorImageDataset, fits
from datamodules.pixels import to_unit_range
from jobs.building import build_model
from jobs.composition import composed
from lightning_modules.gan import signed
from lightning_modules.image_model import ImageModel
from lightning_modules.priors import diagonal_normal
from lightning_modules.values import Batch

SMALL = ["network.encoder.width=8", "network.decoder.width=8"]


def built(*overrides: str, shape: tuple[int, int, int] = (1, 8, 8)) -> ImageModel:
    torch.manual_seed(0)
    return build_model(composed(*overrides).model, TinyImages(shape))


def fit(model: ImageModel, datamodule: TinyImages, folder: Path, **options) -> Trainer:
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[EpochSeed(0)], num_sanity_val_steps=0,
        **options,
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule)
    return trainer


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", ["vae", "gan"])
def test_bare_loop_of_the_benchmark_computes_what_the_project_computes(name: str, network: str, tmp_path: Path):
    overrides = [f"model={name}", f"network={network}", *SMALL]
    ours, theirs = built(*overrides), built(*overrides)
    fit(ours, datamodule := TinyImages((1, 8, 8)), tmp_path)
    step = (OneOptimizerStep if name == "vae" else GANStep)(theirs.train(), "32-true")
    order = datamodule.train_dataloader()
    torch.manual_seed(0)  # as at the start of epoch 0
    for images, labels in order:
        step(Batch(to_unit_range(images), labels))
    for key, weight in theirs.state_dict().items():
        torch.testing.assert_close(weight, ours.state_dict()[key], msg=key)


def test_notebook_step_descends_the_same_losses_with_one_generator_forward_more():
    model = built("model=gan", "network=mlp", *SMALL).train()
    forwards = []
    model.generator.register_forward_hook(lambda *_: forwards.append(1))
    batch = Batch(torch.rand(4, 1, 8, 8))
    GANStep(model, "32-true")(batch)
    assert len(forwards) == 1
    NotebookGANStep(model, "32-true")(signed(batch))
    assert len(forwards) == 3


def test_loops_beside_ours_mirror_images_where_it_does():
    datamodule = TinyImages((3, 4, 4))
    datamodule.prepare_data()
    datamodule.setup()
    images = datamodule.split("train").images
    for mirrors in (False, True):
        datamodule.horizontal_flip = mirrors
        torch.manual_seed(0)
        batches = loops.shuffled(datamodule, torch.device("cpu"))
        bare = torch.cat([next(batches).images for _ in range(40)])
        notebook = torch.stack([loops.TransformedSamples(datamodule, signed=False)[0][0] for _ in range(40)])
        known = to_unit_range(torch.cat([images, images.flip(3)]))
        assert bare.shape == (160, 3, 4, 4)
        where = (bare[:, None] == known).flatten(2).all(dim=2).float().argmax(dim=1)
        assert (where >= len(images)).any() == mirrors and (where < len(images)).any()
        assert len(notebook.unique(dim=0)) == 1 + mirrors


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_steps_within_the_backward_pass_are_the_same_steps(name: str):
    batches = [Batch(torch.rand(4, 1, 8, 8)) for _ in range(3)]
    weights = []
    for fused in (False, True):
        model = built(f"model={name}", "network=mlp", *SMALL).train()
        step = loops.bare_step(model, "32-true")
        if fused:
            assert variants.with_fused_backward(step)
        torch.manual_seed(1)
        for batch in batches:
            step(batch)
        assert not fused or all(weight.grad is None for weight in model.parameters())  # freed as soon as they are used
        weights.append(model.state_dict())
    for key, weight in weights[0].items():
        torch.testing.assert_close(weights[1][key], weight, msg=key)


@pytest.mark.slow
def test_compiled_step_learns_what_the_plain_one_learns():
    batch, weights = Batch(torch.rand(4, 1, 8, 8)), []
    for compiled in (False, True):
        model = built("model=vae", "network=mlp", *SMALL).train()
        model.bound.num_samples = 1
        step = loops.bare_step(model, "32-true")
        if compiled:
            assert variants.with_compiled_step(step)
        model.posterior = without_noise(model.posterior)  # compiled noise is other noise
        step(batch)
        weights.append(model.state_dict())
    for key, weight in weights[0].items():
        torch.testing.assert_close(weights[1][key], weight, rtol=1e-3, atol=1e-4, msg=key)


def without_noise(posterior):
    def narrow(batch):
        mean = posterior(batch).mean
        return diagonal_normal(mean, torch.full_like(mean, 1e-6))

    return narrow


def test_adversarial_steps_are_not_compiled_whole():
    assert not variants.with_compiled_step(loops.bare_step(built("model=gan", "network=mlp", *SMALL), "32-true"))


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pythae: it is not installed here; pip install pythae"):
        peers.check_installed(["pythae"])
    peers.check_installed([])


def test_pythae_trains_our_networks_by_our_loss():
    pytest.importorskip("pythae")
    datamodule = TinyImages((1, 8, 8), batch_size=2)
    datamodule.prepare_data()
    datamodule.setup()
    cfg = composed("model=vae", "network=mlp", *SMALL, "data.batch_size=2", "trainer.accelerator=cpu")
    steps: list[object] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: steps.append(optimizer))
    assert seconds_of(peers.pythae, cfg, datamodule, warm_up=1, steps=20) > 0
    hook.remove()
    assert len(steps) == 21  # of 4 batches an epoch
    assert not peers.pythae(composed("model=gan", "network=mlp", *SMALL), datamodule, StepTimer(lambda _: 1))


def test_filters_of_the_benchmark_choose_cells():
    cell = ("gan", "mlp", "mnist")
    assert matches(cell, []) and matches(cell, ["gan"]) and matches(cell, ["mnist", "vae", "gan"])
    assert not matches(cell, ["vae"]) and not matches(cell, ["gan", "imagenette"])
    with pytest.raises(SystemExit, match="gans"):
        matches(cell, ["gans"])


@pytest.mark.slow
def test_benchmark_says_what_data_it_lacks(tmp_path: Path):
    (tmp_path / "none").mkdir()
    command = [sys.executable, str(PROJECT / "benchmarks" / "throughput.py"), "vae", "mlp", "mnist"]
    result = subprocess.run(
        [*command, "--data-root", str(tmp_path / "none"), "--json", "out.json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    assert "MNIST" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty"])
def test_compiled_penalty_has_the_gradient_of_the_plain_one(penalty: str, monkeypatch: pytest.MonkeyPatch):
    model = built("model=gan", f"model/penalty={penalty}", *SMALL)
    real, fake, gradients = Batch(torch.rand(4, 1, 8, 8)), Batch(torch.rand(4, 1, 8, 8)), []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        torch.manual_seed(0)
        model.discriminator.zero_grad()
        model.penalty(model.critic, real, fake).backward()
        gradients.append([p.grad.clone() for p in model.discriminator.parameters() if p.grad is not None])
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    for plain, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, compiled)


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_convolutions_are_kept_in_the_quick_layout_through_a_checkpoint(name: str, tmp_path: Path):
    model = built(f"model={name}", *SMALL, shape=(3, 32, 32))
    trainer = fit(model, TinyImages((3, 32, 32)), tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    restored = built(f"model={name}", *SMALL, shape=(3, 32, 32))
    restored.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    for module in (model, restored):
        weights = [p for p in module.parameters() if p.dim() == 4 and p.shape[1] > 1]
        assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


class Waits(TorchDispatchMode):
    """Counts what would make a GPU be waited for: a tensor's value asked for by Python."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["vae", "beta_vae", "gan", "wgan_gp"])
def test_a_step_asks_for_no_value(name: str, tmp_path: Path):
    model = built(f"model={name}", "network=conv", *SMALL)
    counter, step = Waits(), type(model).training_step

    def watched(self, batch, batch_idx):
        with counter:
            return step(self, batch, batch_idx)

    model.training_step = watched.__get__(model)
    fit(model, TinyImages((1, 8, 8)), tmp_path)
    assert counter.count == 0


def test_scalars_come_in_order_and_each_with_its_context():
    readbacks: ReadbackQueue[str] = ReadbackQueue()
    readbacks.add("first", {"loss": torch.tensor(1.5), "kl": torch.tensor(2.0)})
    readbacks.add("second", {"loss": torch.tensor(0.5)})
    assert list(readbacks.pop_arrived()) == [("first", {"loss": 1.5, "kl": 2.0}), ("second", {"loss": 0.5})]
    assert list(readbacks.pop_arrived(wait=True)) == []


def test_scalars_that_have_not_come_are_left_until_they_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("callbacks.readback.Readback.has_arrived", False)
    readbacks: ReadbackQueue[str] = ReadbackQueue()
    readbacks.add("now", {"loss": torch.tensor(1.0)})
    assert list(readbacks.pop_arrived()) == []
    assert list(readbacks.pop_arrived(wait=True)) == [("now", {"loss": 1.0})]


@pytest.mark.parametrize("name", ["vae", "gan", "wgan_gp"])
@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 1000])
def test_odd_batches_train(batch_size: int, network: str, name: str, tmp_path: Path):
    # 16 images to learn from, 8 of them held out: a last batch of 2, of 3, one batch of all, and batches of one
    model = built(f"model={name}", f"network={network}", *SMALL)
    datamodule = TinyImages((1, 8, 8), batch_size=batch_size)
    fit(model, datamodule, tmp_path)
    assert model.images_seen == 8
    assert all(p.isfinite().all() for p in model.parameters())


def test_images_stay_in_memory_without_a_gpu():
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    assert not fits(images, torch.device("cpu"))


def test_images_go_to_a_gpu_that_has_room(monkeypatch: pytest.MonkeyPatch):
    images = torch.zeros(100, dtype=torch.uint8)
    for free, expected in ((400, True), (399, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert fits(images, torch.device("cuda")) == expected


@pytest.mark.parametrize("conditioning", ["none", "label"])
@pytest.mark.parametrize("name", [path.stem for path in sorted((PROJECT / "conf" / "model").glob("[!_]*.yaml"))])
def test_bare_loop_trains_every_generative_model_as_its_own_steps_would(name: str, conditioning: str):
    if "augmentation@" in (PROJECT / "conf" / "model" / f"{name}.yaml").read_text():
        return  # a classifier
    options = [f"model/conditioning={conditioning}", "model.ema_half_life=100"]
    model = built(f"model={name}", "network=mlp", *SMALL, *options)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    step = loops.bare_step(model.train(), "32-true")
    for _ in range(getattr(model, "n_critic", 1)):
        step(Batch(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])))
    assert model.images_seen == 4 * getattr(model, "n_critic", 1)
    learned = {key.split(".")[0] for key, weight in model.state_dict().items() if not torch.equal(weight, before[key])}
    assert {"averages", *model.networks} <= learned


def test_batches_come_in_the_sampler_s_order_each_image_once():
    data = LabelledImages(torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1), torch.arange(7))
    for sampler in ([4, 2, 6, 0, 1, 5, 3], range(1, 7, 2)):
        loader = IndexedLoader(TensorImageDataset(data), batch_size=3, sampler=sampler)
        batches = list(loader)
        assert torch.cat([labels for _, labels in batches]).tolist() == list(sampler)
        assert [len(images) for images, _ in batches] == [3] * (len(sampler) // 3) + [1] * (len(sampler) % 3)
        assert len(batches) == len(loader)
        plain = DataLoader(loader.dataset, batch_size=3, sampler=sampler, collate_fn=lambda batch: batch)
        assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(batches, plain, strict=True))


def test_a_batch_is_gathered_by_index():
    data = LabelledImages(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.arange(5))
    images, labels = TensorImageDataset(data).__getitems__([3, 0])
    assert images.flatten().tolist() == labels.tolist() == [3, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    # Compiled noise is other noise, and the compiled penalty's augmentation would draw it.
    [["model=vae"], ["model=gan"], RICH["vae"], [*RICH["gan"], "model/augmentation=none"]],
    ids=" ".join,
)
def test_compiled_networks_compute_the_same_and_keep_their_names(choices: list[str], tmp_path: Path):
    plain, compiled = (built(*choices, "network=mlp", *SMALL) for _ in range(2))
    compiled.compile_networks()
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    with contextlib.chdir(tmp_path):
        for model in (plain, compiled):
            fit(model, TinyImages((1, 8, 8)), tmp_path)
    for key, weight in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], weight, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.slow
@needs_real("MNIST")
def test_benchmark_s_json_has_what_the_table_has(tmp_path: Path):
    command = [sys.executable, str(PROJECT / "benchmarks" / "throughput.py"), "gan", "mlp", "mnist", "--images", "300"]
    result = subprocess.run(
        [*command, "--turns", "1", "--warm-up", "1", "--threads", "1", "--accelerator", "cpu",
         "--data-root", str(DATA_ROOT), "--overrides", *SMALL, "--json", "out.json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (cell,) = json.loads((tmp_path / "out.json").read_text())["cells"]
    assert cell["cell"] == "gan mlp mnist" and "gan mlp mnist" in result.stdout
    speeds = cell["images_per_second"]
    assert set(speeds) == {"project", "bare", "notebook"}
    assert cell["of_bare"] == pytest.approx(speeds["project"]["median"] / speeds["bare"]["median"])
    assert cell["limit_images_per_second"] > speeds["project"]["median"]
    assert cell["loader_images_per_second"] > speeds["project"]["median"]
