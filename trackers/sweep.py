"""The report of a sweep to each of its trackers that takes files, as a run of its own beside those of the jobs."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from .tracker import TrackedRun, Tracker

REPORT = "report"


def track_report(config: DictConfig, sweep_dir: Path, page: Path) -> None:
    """Send a page to the trackers of a sweep's config. One that fails is told of; the others get it."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    with open_dict(own):
        own.run_dir = str(sweep_dir)
    for name, node in own.get("logger", {}).items():
        try:
            tracker = instantiate(node) if node is not None else None
            if isinstance(tracker, Tracker) and tracker.takes_files:
                tracker.begin(TrackedRun(name=REPORT, group=sweep_dir.name))
                tracker.log_file(page)
                tracker.close("finished")
        except Exception as error:
            print(f"logger.{name}: the report was not sent there: {error}", flush=True)
