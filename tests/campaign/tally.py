"""What a part of the campaign has tried, and what was lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """A row of the table: tries of one kind. Those that lost something are told, each in a line."""

    part: str
    what: str
    tries: int = 0
    lost: list[str] = field(default_factory=list)
    not_tried: str | None = None  # why there are no tries

    def add(self, loss: str | None) -> None:
        """Count a try; None: it lost nothing."""
        self.tries += 1
        if loss is not None:
            self.lost.append(" ".join(loss.split()))


def table(tallies: Sequence[Tally], seconds: dict[str, float]) -> str:
    """All rows as Markdown, with the seconds that each part took, and below them what was lost."""
    lines = ["| part | what | tries | survived | lost |", "|---|---|---:|---:|---:|"]
    for tally in tallies:
        what = f"{tally.what} (not tried: {tally.not_tried})" if tally.not_tried else tally.what
        cells = (tally.part, what, tally.tries, tally.tries - len(tally.lost), len(tally.lost))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    took = ", ".join(f"{part} {passed:.0f} s" for part, passed in seconds.items())
    losses = [f"* {tally.part}, {tally.what}: {loss}" for tally in tallies for loss in tally.lost]
    return "\n".join([*lines, "", f"Time: {took}.", *([""] if losses else []), *losses])
