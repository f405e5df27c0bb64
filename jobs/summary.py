"""The results of a run as lines of text for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from run_folder.layout import CURVES, METRICS, PICTURES
from run_folder.records import RunRecord, Score, read_record
from scoring.protocol import Protocol
from scoring.published import published_under
from scoring.scorer import TRUSTED_ABOVE


def summary(run_dir: Path, dashboards: Sequence[str]) -> str:
    """A finished run's scores, and where its results are; `dashboards`: what shows those that trackers have."""
    record = read_record(run_dir / METRICS, RunRecord)
    run_dir = run_dir.resolve()
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    shown_terms = {name: value for name, value in record.test.items() if name != "test/loss"} or record.test
    terms = [f"{name} {value:.4g}" for name, value in shown_terms.items()]
    return "\n".join(
        [
            "",
            f"{record.model} {record.network} on {record.data}, seed {record.seed}: "
            f"{record.epochs} epochs, {record.images_seen:,} images, {record.seconds:.0f} s, "
            f"tested {record.checkpoint} of epoch {record.checkpoint_epoch}",
            *score_table(record.scores, record.protocols, record.extractor_accuracy, record.notes),
            *(["  " + "   ".join(terms)] if terms else []),
            *(f"  health     {entry.kind} in epoch {entry.epoch}: {entry.text}" for entry in record.health or []),
            f"  pictures   {shown / PICTURES}",
            f"  scores     {shown / METRICS}   curves {shown / CURVES}",
            *(f"  dashboard  {command}" for command in dashboards),
        ]
    )


def score_table(
    scores: Mapping[str, Score],
    protocols: Mapping[str, Protocol],
    extractor_accuracy: Mapping[str, float | None],
    notes: Mapping[str, list[str]],
) -> list[str]:
    """Scores as lines of text: value, spread over draws of fakes, floor; a table for each protocol.

    What is to be known of them stands beside them or below. `extractor_accuracy` and `notes` are by the name of the
    scores, such as reference.
    """
    lines = []
    for key, protocol in protocols.items():
        lines.append(f"  protocol {key:<22} {'value':>9}   {'± std':<8} {'floor':>9}")
        lines += [
            f"{_score_line(name, score):<66}{_doubt(name, extractor_accuracy)}".rstrip()
            for name, score in scores.items()
            if score.protocol == key
        ]
        for published in published_under(protocol):
            lines.append(f"  published {published.score}, {published.model}: {published.text} ({published.source})")
    return lines + [f"  {name}: {note}" for name, of_these in notes.items() for note in of_these]


def _doubt(score: str, extractor_accuracy: Mapping[str, float | None]) -> str:
    """What stands beside a score whose extractor is often wrong about the real test images, or may be."""
    for name, accuracy in extractor_accuracy.items():
        if score.endswith(f"_{name}") and accuracy is None:
            return "extractor's accuracy unknown"
        if score.endswith(f"_{name}") and accuracy is not None and accuracy < TRUSTED_ABOVE:
            return f"extractor right about {accuracy:.0%} of test"
    return ""


def _score_line(name: str, score: Score) -> str:
    spread = f"± {score.std:.2g}" if score.std is not None else ""
    floor = f"{score.floor:.4g}" if score.floor is not None else ""
    return f"  {name:<31} {score.value:>9.4g}   {spread:<8} {floor:>9}".rstrip()
