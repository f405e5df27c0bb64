"""metrics.json: what was trained, at what cost, and how good it is; and the scores for the trackers."""

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from lightning_modules.image_model import ImageModel
from run_folder.layout import METRICS
from run_folder.provenance import provenance
from run_folder.records import ProvenanceRecord, RunRecord, project_version, write_record
from trackers.tracker import Tracker

from .checkpoints import best_val_score
from .divergence import check_can_be_scored
from .early_stopping import why_stopped
from .run_facts import Identified
from .score_callback import Measured, gather
from .trainer_facts import callbacks_of, whole_epochs


class RunRecorder(Identified):
    """Measures time and memory of the fit, and writes the run's record after its test.

    `identity` opens the record (model, network, data, seed). `command` is that which makes the run again.
    """

    def __init__(self, identity: dict[str, Any], command: str | None) -> None:
        super().__init__(identity)
        self.command = command
        self.seconds = 0.0  # of training, pictures and val scores included, over all parts of a resumed run
        self.images_seen = 0
        self._since: float | None = None  # the clock at the start of the present fit
        self._peak_memory = 0  # over all parts, too
        self._is_trained = False
        self._provenance: ProvenanceRecord | None = None

    def setup(self, trainer: Trainer, pl_module: ImageModel, stage: str) -> None:
        if self._provenance is None and trainer.is_global_zero:  # before hours in which the checkout may change
            self._provenance = provenance(trainer.strategy.root_device)

    def on_fit_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._since = time.monotonic()
        reset_peak_memory()

    def on_fit_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self.seconds, self._since = self.elapsed(), None
        self.images_seen = pl_module.images_seen  # by the last weights; those that are tested may be earlier
        self._peak_memory = max(self._peak_memory, peak_memory_bytes())
        self._is_trained = True

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.elapsed(), "peak_memory_bytes": max(self._peak_memory, peak_memory_bytes())}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        if self._is_trained:  # the checkpoint that is tested knows the cost until it was written
            return
        self.seconds = state_dict["seconds"]
        self._peak_memory = int(state_dict.get("peak_memory_bytes", 0))

    def on_test_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        check_can_be_scored(pl_module)  # whether or not training was watched

    def on_test_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if not trainer.is_global_zero:
            return
        measured = gather(callbacks_of(trainer))
        results = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        write_record(Path(trainer.default_root_dir) / METRICS, self.record(trainer, pl_module, measured, results))
        scores = {name: value for name, value in results.items() if name in measured.scores}
        for logger in trainer.loggers:
            if isinstance(logger, Tracker):
                logger.log_scores(scores or results, list(measured.protocols))

    def record(
        self, trainer: Trainer, model: ImageModel, measured: Measured, results: Mapping[str, float]
    ) -> RunRecord:
        """The record of a run whose test has ended with these results, some of which are scores."""
        reason = why_stopped(callbacks_of(trainer)) or why_amid_an_epoch(trainer)
        counts = {name: sum(p.numel() for p in net.parameters()) for name, net in model.networks.items()}
        fields = {**self.identity} | {  # whose choice of scores gives way to what they measured
            "scores": measured.scores,
            "parameters": {"total": sum(counts.values()), **counts},
            "images_seen": self.images_seen,
            "epochs": whole_epochs(trainer),
            "seconds": round(self.seconds, 2),
            "peak_memory_bytes": self._peak_memory,
            "best_val_score": best_val_score(callbacks_of(trainer)),
            "protocols": measured.protocols,
            **measured.details,
            "test": {name: value for name, value in results.items() if name not in measured.scores},
            **({"stopped_early": reason} if reason else {}),
            "checkpoint_epoch": model.restored_epoch,
            "checkpoint": str(Path(str(trainer.ckpt_path)).relative_to(trainer.default_root_dir)),
            "version": project_version(),
            "command": self.command,
            "provenance": self._provenance,
        }
        return RunRecord(**fields)

    def elapsed(self) -> float:
        """Seconds of earlier parts and, between start and end of a fit, of this one."""
        return self.seconds + (time.monotonic() - self._since if self._since is not None else 0.0)


def why_amid_an_epoch(trainer: Trainer) -> str | None:
    """Why a run has a part of an epoch, besides whole ones; None where it has none."""
    if trainer.is_last_batch:
        return None
    return f"a limit of steps or of time was reached amid epoch {whole_epochs(trainer) + 1}"


def peak_memory_bytes() -> int:
    """The most memory in use since the fit began: of the GPU where there is one, else of the process.

    Elsewhere than on Linux a process's peak can't be reset: there it is the peak since the process began.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(peak[1]) * 1024
    import resource  # of Unix alone

    since_begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return since_begin if sys.platform == "darwin" else since_begin * 1024


def reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or not allowed: see peak_memory_bytes
        Path("/proc/self/clear_refs").write_text("5")
