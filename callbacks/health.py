"""A training that has gone wrong is noticed while it goes on, and warned of, or stopped."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval
from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from foundation.errors import UserError
from foundation.programs import typed
from foundation.progress import say
from foundation.ranges import Count, Images, Seed, Size
from lightning_modules.generative_model import GenerativeModel, HasLikelihood
from lightning_modules.image_model import ImageModel
from run_folder.judgements import Judgement, is_early
from run_folder.layout import CHECKPOINTS, LAST
from run_folder.records import HealthRecord

from .cadence import is_due
from .collapse import CollapseCheck
from .gradient_norms import gradient_norms, without_finite_moments
from .readback import ReadbackQueue
from .score_callback import RecordedCallback
from .symptoms import (
    BlindDiscriminator,
    ExplodingGradients,
    ExplodingTerms,
    NoGradient,
    SaturatedDiscriminator,
    Streak,
    Symptom,
    Watch,
    infinite_moments,
)

AGAINST_COLLAPSE = {  # by whether the model has a likelihood
    False: "model/penalty=r1, model/loss=non_saturating or a lower learning rate",
    True: "model/rate=warm_up, model/rate=free_bits or a smaller model.rate.beta",
}


class HealthError(UserError):
    """Training was stopped for what was noticed; `found` says what."""

    def __init__(self, message: str, found: list[HealthRecord]) -> None:
        super().__init__(message)
        self.found = found


class Health(RecordedCallback):
    """Notices gradients that explode or are gone, a discriminator that is saturated or blind, and samples or latents
    that collapsed.

    Terms and gradients are looked at every so many batches, and read once they have come: training never waits.
    Samples (those that val was scored by) and latents are judged at the run's cadence, by the limits that reports go
    by. Each kind is reported once a run. With `action` of "stop" the run ends with the epoch, after its checkpoints.
    """

    def __init__(
        self,
        action: Literal["warn", "stop"],
        every_n_batches: Count,
        patience: Count,
        gradient_factor: Annotated[float, Gt(1)],
        gradient_share: Annotated[float, Interval(ge=0, lt=1)],
        judged_from: Annotated[float, Interval(ge=0, le=1)],
        checks: Count,
        num_images: Annotated[Images, Ge(2)],
        batch_size: Size,
        seed: Seed,
    ) -> None:
        """Numbers in a row are `patience` looks at terms and gradients, and `checks` of samples and latents."""
        super().__init__()
        self.action, self.every_n_batches = action, every_n_batches
        self._gradient_factor = gradient_factor
        self.judged_from, self.checks = judged_from, checks
        self._check = CollapseCheck(num_images, batch_size, seed)
        self.found: list[HealthRecord] = []
        self.details = {"health": self.found}
        self._watches: list[Watch] = [
            ExplodingGradients(gradient_factor, patience),
            ExplodingTerms(),
            NoGradient(),
            SaturatedDiscriminator(gradient_share, patience),
            BlindDiscriminator(patience),
        ]
        self._streaks: dict[str, Streak] = {}  # of judgements, by kind
        self._scalars: dict[str, Tensor] = {}
        self._readbacks: ReadbackQueue[tuple[int, int]] = ReadbackQueue()  # with images seen, and the epoch
        self._is_trained = False
        self._stops = False

    def state_dict(self) -> dict[str, Any]:
        return {"found": [entry.model_dump() for entry in self.found]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._is_trained:  # the checkpoint that is tested knows what was found until it was written
            self.found[:] = [HealthRecord(**entry) for entry in state_dict["found"]]

    def on_fit_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._stop_if_asked(trainer)  # a run that is resumed
        self._raise_if_stopped(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: ImageModel, optimizer: Optimizer) -> None:
        if self._looks_within(trainer, pl_module, pl_module.optimizers_period):
            self._scalars |= gradient_norms(optimizer, pl_module) | pl_module.gradient_terms()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: ImageModel, outputs: Mapping[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        if not self._looks_within(trainer, pl_module, pl_module.optimizers_period):
            return
        self._scalars |= {name: value.detach() for name, value in outputs.items()}
        if self._looks_within(trainer, pl_module, 1):
            self._readbacks.add((pl_module.images_seen, trainer.current_epoch + 1), self._scalars)
            self._scalars = {}
            self._look(trainer, wait=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._look(trainer, wait=True)
        self._look_at_moments(trainer, pl_module)
        if is_due(trainer) and trainer.is_global_zero and isinstance(pl_module, GenerativeModel):
            self._judge(trainer, pl_module)
        self._stop_if_asked(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._is_trained = True

    def teardown(self, trainer: Trainer, pl_module: ImageModel, stage: str) -> None:
        self._raise_if_stopped(trainer)  # now that the fit has ended cleanly, instead of its test

    def _looks_within(self, trainer: Trainer, model: ImageModel, batches: int) -> bool:
        """Whether the batch in work, or one of the `batches - 1` after it, is looked at.

        The first is: by then every optimizer has stepped once, and gradients are what later ones are compared with.
        """
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return trainer.is_global_zero and (model.optimizers_period - done) % self.every_n_batches < batches

    def _look(self, trainer: Trainer, wait: bool) -> None:
        scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        for (images_seen, epoch), scalars in self._readbacks.pop_arrived(wait):
            if scales:  # in float16 an infinite gradient is a step that is passed over, by design
                scalars = {name: value for name, value in scalars.items() if isfinite(value)}
            for symptom in filter(None, [watch.look(scalars) for watch in self._watches]):
                self._report(symptom, images_seen, epoch, symptom.advice)

    def _look_at_moments(self, trainer: Trainer, model: ImageModel) -> None:
        """What gradients between two looks have left in the optimizers."""
        if trainer.is_global_zero:
            networks = without_finite_moments(trainer.optimizers, model)
            if symptom := infinite_moments(networks, self._gradient_factor):
                self._report(symptom, model.images_seen, trainer.current_epoch + 1, symptom.advice)

    def _judge(self, trainer: Trainer, model: GenerativeModel) -> None:
        """Judge samples and latents, once the model has had time to learn, and unless it still learns fast."""
        assert trainer.max_epochs is not None  # the config names it
        epoch = trainer.current_epoch + 1
        is_learning = self._check.is_learning(trainer)
        if is_early(model.images_seen) or epoch < self.judged_from * trainer.max_epochs:
            return
        judgements = [] if is_learning else self._check(trainer, model)
        collapses = {found.kind: found for found in judgements if found.is_collapse}
        for kind in dict.fromkeys([*self._streaks, *collapses]):
            if self._streaks.setdefault(kind, Streak(self.checks)).is_full(kind in collapses):
                advice = AGAINST_COLLAPSE[isinstance(model, HasLikelihood)]
                self._report(collapses[kind], model.images_seen, epoch, advice)

    def _report(self, seen: Symptom | Judgement, images_seen: int, epoch: int, advice: str) -> None:
        """Keep what was found and print it, the first time."""
        if any(earlier.kind == seen.kind for earlier in self.found):
            return
        entry = HealthRecord(
            kind=seen.kind,
            text=seen.text,
            images_seen=images_seen,
            epoch=epoch,
            measured=seen.measured,
            threshold=seen.threshold,
        )
        self.found.append(entry)
        say(f"health: {_said(entry)}. Try {advice}")

    def _stop_if_asked(self, trainer: Trainer) -> None:
        """Have the fit end with this epoch, in all processes if the first one found something."""
        if self.action == "stop" and trainer.strategy.broadcast(bool(self.found)):
            self._stops = trainer.should_stop = True

    def _raise_if_stopped(self, trainer: Trainer) -> None:
        if not self._stops:
            return
        self._stops = False
        last = Path(trainer.default_root_dir) / CHECKPOINTS / LAST
        raise HealthError(
            f"stopped by health: {'; '.join(map(_said, self.found))}. Checkpoints are kept, and nothing was tested. "
            f"Change what was advised, or go on with {typed('ckpt_path', last)} callbacks.health.action=warn",
            self.found,
        )


def _said(entry: HealthRecord) -> str:
    return f"{entry.kind} in epoch {entry.epoch}, after {entry.images_seen:,} images: {entry.text}"
