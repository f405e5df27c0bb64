"""One owner of the randomness of training: it starts anew, from the seed, with every epoch."""

import torch
from lightning import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds the global generators at the start of each training epoch, differently on each device.

    So a resumed run draws what the uninterrupted one would have drawn, and what happens between epochs
    (validation, pictures, scores) can't change a weight.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed(self.seed)  # the same noise each time: what differs is the weights

    on_test_start = on_validation_start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 1_009 + trainer.global_rank)
