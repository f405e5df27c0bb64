"""What a picture says of the run it is of: model, data, seed, epoch and score, as far as they are known."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from run_folder.records import Score

from .score_callback import ScoreCallback
from .sheets import BETWEEN
from .trainer_facts import callbacks_of


class Identified(Callback):
    """A callback that knows what the run is called by: `identity` has its model, network, data and seed.

    `changes` says what of the model is otherwise than in its training, such as `truncation=0.7`.
    """

    def __init__(self, identity: Mapping[str, Any], changes: Sequence[str] = ()) -> None:
        self.identity, self.changes = identity, changes


def run_facts(trainer: Trainer, module: LightningModule) -> list[str]:
    """Lines: `vae (conv) · digits · seed 0`, and `epoch 80 · val/fid_reference 3.24` where either is known."""
    epoch = epoch_of(trainer, module)
    moment = ["" if epoch is None else f"epoch {epoch}", score_in_words(trainer)]
    return [line for line in (identity_in_words(trainer, module), BETWEEN.join(filter(None, moment))) if line]


def identity_in_words(trainer: Trainer, module: LightningModule) -> str:
    """`vae (conv) · digits · seed 0`; of a run that nobody has named the classes of its model and its data."""
    known = [callback for callback in callbacks_of(trainer) if isinstance(callback, Identified)]
    identity = known[0].identity if known else {}
    data = getattr(trainer, "datamodule", None)
    names = [
        str(identity.get("model") or type(module).__name__),
        str(identity.get("data") or ("" if data is None else type(data).__name__)),
    ]
    if identity.get("network"):
        names[0] = f"{names[0]} ({identity['network']})"
    if identity.get("seed") is not None:
        names.append(f"seed {identity['seed']}")
    return BETWEEN.join(filter(None, [*names, *(known[0].changes if known else ())]))


def epoch_of(trainer: Trainer, module: LightningModule) -> int | None:
    """The epoch, counted from 1, after which weights are as they are; of tested ones that of their checkpoint."""
    if trainer.training:
        return trainer.current_epoch + 1
    return getattr(module, "restored_epoch", None) or None


def score_in_words(trainer: Trainer) -> str:
    """The first score of the model as it is now, `test/fid_reference 4.58 ± 1`; empty where it has none."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, ScoreCallback):
            scores = callback.results if trainer.testing else callback.val_results
            for name, score in scores.items():
                return in_words(name, score)
    return ""


def in_words(name: str, score: Score | float) -> str:
    value, std = (score.value, score.std) if isinstance(score, Score) else (score, None)
    return f"{name} {value:.4g}" + (f" ± {std:.2g}" if std is not None else "")
