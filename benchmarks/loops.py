"""Three ways to train the same model on the same data with the same mathematics: this project's, a bare PyTorch
loop, and the loop of the widespread notebooks.
"""

import contextlib
import io
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer, seed_everything
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from datamodules.image_datamodule import DataError, ImageDataModule
from datamodules.pixels import to_unit_range
from foundation.allocator import keep_freed_memory
from jobs.building import build_callbacks, build_loggers, build_model, shorten_steps
from jobs.processes import started_together
from lightning_modules.gan import GAN, signed
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from lightning_modules.vaegan import VAEGAN
from lightning_modules.values import Batch

from .timing import StepTimer

LOOPS = ("project", "bare", "notebook")


def ready(cfg: DictConfig) -> ImageDataModule:
    """The data, read; ends the program with a message if it is not there."""
    datamodule = instantiate(cfg.data)
    try:
        datamodule.prepare_data()
        datamodule.setup()
    except DataError as error:
        raise SystemExit(f"error: {error} (benchmarks take data.root from --data-root)") from error
    return datamodule


class Stopwatch(Callback):
    """Times the steps within epochs: not the last of one, after which it is validated and saved."""

    def __init__(self, timer: StepTimer) -> None:
        self.timer = timer

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        if trainer.is_last_batch:
            self.timer.pause(pl_module.device)
        elif not self.timer.begins_step(pl_module.device):
            trainer.should_stop = True


class Terminal(io.StringIO):
    """Where a progress bar is drawn without being seen: a terminal, as it believes."""

    def isatty(self) -> bool:
        return True


def project(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer, watchers: Sequence[Callback] = ()) -> bool:
    """train.py's training: its callbacks, loggers and progress bar, nothing scored or drawn."""
    if steps_of_an_epoch(cfg, datamodule) < 2:
        raise SystemExit("error: an epoch of one batch is too short to time: data.batch_size=")
    keep_freed_memory()  # as train.py does
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(Terminal()),
        contextlib.redirect_stderr(Terminal()),  # by which the bar decides whether it is seen
    ):
        cfg = cfg.copy()
        cfg.run_dir = cfg.trainer.default_root_dir = folder
        callbacks = [*build_callbacks(cfg, datamodule), *watchers, Stopwatch(timer)]
        seed_everything(cfg.seed, verbose=False)
        model = build_model(cfg.model, datamodule)
        if cfg.compile:
            model.compile_networks()
        trainer = instantiate(
            cfg.trainer, max_epochs=10_000, callbacks=callbacks, logger=build_loggers(cfg.logger),
            enable_progress_bar=True,
        )  # fmt: skip
        shorten_steps(trainer)
        trainer.fit(model, datamodule=datamodule)
    return True


def steps_of_an_epoch(cfg: DictConfig, datamodule: ImageDataModule) -> int:
    return -(-len(datamodule.split("train").images) // (cfg.data.batch_size * started_together()))


def bare(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """A plain loop on tensors in memory."""
    seed_everything(cfg.seed, verbose=False)
    device = device_of(cfg)
    model = build_model(cfg.model, datamodule).to(device).train()
    if cfg.compile:
        model.compile_networks()
    step = bare_step(model, cfg.trainer.precision)
    return train(step, shuffled(datamodule, device), timer, device)


def bare_step(model: ImageModel, precision: str) -> Callable[[Batch], Tensor]:
    """One training step without Lightning; returns a loss. Raises ValueError for models that no loop is written for."""
    if isinstance(model, GenerativeModel) and model.automatic_optimization:
        return OneOptimizerStep(model, precision)
    if isinstance(model, GAN):
        return GANStep(model, precision)
    if isinstance(model, VAEGAN):
        return VAEGANStep(model, precision)
    raise ValueError(f"no bare loop is written for {type(model).__name__}")


def notebook(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """As in most notebooks: transforms sample by sample, the loss read back from each step, another
    generator forward for the generator's step, unfused Adam, the default memory layout.
    """
    seed_everything(cfg.seed, verbose=False)
    cfg = cfg.copy()
    for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
        if name in cfg.model:
            cfg.model[name].fused = False
    device = device_of(cfg)
    model = build_model(cfg.model, datamodule).to(device, memory_format=torch.contiguous_format).train()
    precision = cfg.trainer.precision
    step = NotebookGANStep(model, precision) if isinstance(model, GAN) else bare_step(model, precision)
    dataset = TransformedSamples(datamodule, signed=isinstance(model, GAN))
    loader = DataLoader(dataset, batch_size=min(cfg.data.batch_size, len(dataset)), shuffle=True, drop_last=True)
    batches = (Batch(images.to(device), labels.to(device)) for _ in itertools.count() for images, labels in loader)
    return train(lambda batch: step(batch).detach().cpu(), batches, timer, device)


class TransformedSamples(Dataset):
    """Samples as torchvision's data sets give them: each time a PIL image of the array, then its transforms."""

    def __init__(self, datamodule: ImageDataModule, signed: bool) -> None:
        data = datamodule.split("train")
        self.arrays = data.images.permute(0, 2, 3, 1).squeeze(-1).numpy()  # (H, W) or (H, W, 3)
        self.labels = data.labels.tolist()
        mirrored = [transforms.RandomHorizontalFlip()] if datamodule.horizontal_flip else []
        binarized = [transforms.Lambda(torch.bernoulli)] if datamodule.binarize else []
        to_signed = [transforms.Normalize(0.5, 0.5)] if signed else []
        self.transform = transforms.Compose([*mirrored, transforms.ToTensor(), *binarized, *to_signed])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def shuffled(datamodule: ImageDataModule, device: torch.device) -> Iterator[Batch]:
    """Whole batches of float images in [0, 1], in a new order each epoch, without end."""
    images, labels = (tensor.to(device) for tensor in datamodule.split("train"))
    size = min(datamodule.batch_size, len(images))
    while True:
        order = torch.randperm(len(images), device=device)
        for index in order[: len(order) // size * size].split(size):
            yield Batch(to_unit_range(datamodule.as_seen_in_training(images[index])), labels[index])


def train(step: Callable[[Batch], Tensor], batches: Iterator[Batch], timer: StepTimer, device: torch.device) -> bool:
    while timer.begins_step(device):
        step(next(batches))
    return True


class OneOptimizerStep:
    """One step of a model that Lightning would optimize. Returns the loss."""

    def __init__(self, model: GenerativeModel, precision: str) -> None:
        self.model, self.precision = model, precision
        self.optimizer = cast(torch.optim.Optimizer, model.configure_optimizers())

    def __call__(self, batch: Batch) -> Tensor:
        self.model.images_seen += len(batch)
        with autocast(batch.images.device, self.precision):
            loss = self.loss_of(batch)
        self.descend(self.optimizer, loss)
        self.model.update_averages()
        return loss

    def loss_of(self, batch: Batch) -> Tensor:
        return cast(dict[str, Tensor], self.model.training_step((batch.images, batch.labels), 0))["loss"]

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        descend(optimizer, loss)


class VAEGANStep:
    """One step of each of the three players, in turn. Returns the discriminator's loss."""

    def __init__(self, model: VAEGAN, precision: str) -> None:
        self.model, self.precision = model, precision
        self.players = [model.encoder, model.decoder, model.discriminator]
        self.optimizers = model.configure_optimizers()

    def __call__(self, batch: Batch) -> Tensor:
        model = self.model
        model.images_seen += len(batch)
        with self.step_of(0), autocast(batch.images.device, self.precision):
            z, terms = model.encoder_objective(batch)
            descend(self.optimizers[0], terms["loss_encoder"])
        with self.step_of(1), autocast(batch.images.device, self.precision):
            fake, terms = model.decoder_objective(batch, z.detach())
            descend(self.optimizers[1], terms["loss_decoder"])
        with self.step_of(2), autocast(batch.images.device, self.precision):
            terms = model.discriminator_objective(signed(batch), fake.detach())
            loss = terms["loss_discriminator"] + terms["penalty"]
            descend(self.optimizers[2], loss)
        model.update_averages()
        return loss

    @contextmanager
    def step_of(self, player: int) -> Iterator[None]:
        """No gradients for the other players' weights."""
        for index, network in enumerate(self.players):
            network.requires_grad_(index == player)
        yield
        for network in self.players:
            network.requires_grad_(True)


class GANStep:
    """One step of the discriminator, and in one call of `n_critic` one of the generator and its average.

    A single generator forward serves both. Returns the discriminator's loss.
    """

    def __init__(self, model: GAN, precision: str) -> None:
        self.model, self.precision, self.calls = model, precision, 0
        self.optimizer_g, self.optimizer_d = model.configure_optimizers()

    def __call__(self, batch: Batch) -> Tensor:
        model, real = self.model, self.real(batch)
        model.images_seen += len(batch)
        self.calls += 1
        with autocast(batch.images.device, self.precision):
            with torch.set_grad_enabled(self.calls % model.n_critic == 0):
                fake = self.fakes(real)
            terms = model.discriminator_objective(real, fake.detach())
            loss = terms["loss_discriminator"] + terms["penalty"]
        self.descend(self.optimizer_d, loss)
        if self.calls % model.n_critic == 0:
            self.generator_step(real, fake)
            model.update_averages()
        return loss

    def descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        descend(optimizer, loss)

    def real(self, batch: Batch) -> Batch:
        return signed(batch)

    def fakes(self, real: Batch) -> Batch:
        return self.model.fakes(self.model.sample_latents(len(real), real.labels))

    def generator_step(self, real: Batch, fake: Batch) -> None:
        self.model.discriminator.requires_grad_(False)
        with autocast(real.images.device, self.precision):
            loss = self.model.generator_objective(real, fake)["loss_generator"]
        self.descend(self.optimizer_g, loss)
        self.model.discriminator.requires_grad_(True)


class NotebookGANStep(GANStep):
    """The generator runs anew for its own step, whose backward pass also fills the discriminator's gradients."""

    def real(self, batch: Batch) -> Batch:
        return batch  # its samples come signed

    def generator_step(self, real: Batch, fake: Batch) -> None:
        with autocast(real.images.device, self.precision):
            loss = self.model.generator_objective(real, self.fakes(real))["loss_generator"]
        self.descend(self.optimizer_g, loss)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def device_of(cfg: DictConfig) -> torch.device:
    return Trainer(accelerator=cfg.trainer.accelerator, devices=1, logger=False, barebones=True).strategy.root_device
