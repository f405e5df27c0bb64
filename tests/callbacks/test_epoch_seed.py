"""The randomness of training: its own in every epoch and process, the same again when a run is repeated."""

from itertools import product
from types import SimpleNamespace

import torch

from callbacks.epoch_seed import EpochSeed


def noise(seed: int, epoch: int, rank: int) -> torch.Tensor:
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
    EpochSeed(seed).on_train_epoch_start(trainer, None)
    return torch.randn(4)


def test_noise_differs_between_epochs_processes_and_seeds():
    drawn = {place: noise(*place) for place in product((0, 1, 2), (0, 1, 2, 1000), (0, 1, 7))}
    assert len({tuple(values.tolist()) for values in drawn.values()}) == len(drawn)


def test_noise_of_an_epoch_is_the_same_again():
    first = noise(seed=3, epoch=5, rank=1)
    noise(seed=3, epoch=6, rank=1)
    assert torch.equal(noise(seed=3, epoch=5, rank=1), first)


def test_noise_is_the_same_in_every_validation_and_test():
    callback, drawn = EpochSeed(4), []
    for epoch, start in enumerate((callback.on_validation_start, callback.on_validation_start, callback.on_test_start)):
        start(SimpleNamespace(current_epoch=epoch, global_rank=0), None)
        drawn.append(torch.randn(4))
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_epochs_of_a_run_have_their_own_noise(train_in, monkeypatch):
    from lightning_modules.vae import VAE

    drawn, step = [], VAE.training_step

    def watched(self, batch, batch_idx):
        drawn.append((self.trainer.current_epoch, torch.get_rng_state()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(VAE, "training_step", watched)
    train_in("run", "network=mlp", "trainer.max_epochs=2", "scores=none")
    states = {epoch: [state for at, state in drawn if at == epoch] for epoch in (0, 1)}
    assert len(states[0]) == len(states[1]) > 5
    assert len({tuple(state.tolist()) for _, state in drawn}) == len(drawn)
