"""What curves and pictures are called on TensorBoard, which sorts them by name and groups them by its first part.

`val/elbo` of metrics.csv is `3 losses/elbo val`: beside `3 losses/elbo train`, below the scores, above the clock.
"""

from collections.abc import Collection

SCORES, SAMPLES, LOSSES = "1 scores", "2 samples", "3 losses"
RECONSTRUCTIONS, INTERPOLATIONS, FIGURES = "4 reconstructions", "5 interpolations", "6 figures"
TEST, RATES, NORMS, CLOCK = "7 test", "8 learning rates", "9 gradient norms", "10 clock"
GROUPS = {"learning_rate": RATES, "gradient_norm": NORMS}
PICTURES = {"samples": SAMPLES, "reconstruction": RECONSTRUCTIONS, "interpolation": INTERPOLATIONS}  # by how they begin
HIDDEN = ("epoch",)  # it rises in jumps, and the axis has images seen
SCORED = ("fid_", "kid_", "accuracy")  # what val is scored by


def is_shown(name: str) -> bool:
    return name not in HIDDEN


def tag_of(name: str) -> str:
    """The tag of a scalar of metrics.csv; others keep their names."""
    first, _, rest = name.partition("/")
    if name == "seconds":
        return f"{CLOCK}/{name}"
    if first in GROUPS:
        return f"{GROUPS[first]}/{rest}"
    if first == "test":
        return f"{TEST}/{rest}"
    if first in ("train", "val"):
        return f"{SCORES if rest.startswith(SCORED) else LOSSES}/{rest} {first}"
    return name


def picture_tag(name: str) -> str:
    group = next((group for begin, group in PICTURES.items() if name.startswith(begin)), FIGURES)
    return f"{group}/{name}"


def layout(names: Collection[str]) -> dict[str, dict[str, list[object]]]:
    """Custom scalars: a chart for each quantity, with all its splits; one for all learning rates, and so on.

    `names`: those of metrics.csv, of all scalars so far.
    """
    charts: dict[str, dict[str, list[str]]] = {group: {} for group in (SCORES, LOSSES, TEST, RATES, NORMS, CLOCK)}
    homes = {quantity_of(name): tag_of(name).partition("/")[0] for name in names if name.startswith(("train/", "val/"))}
    for name in sorted(filter(is_shown, names)):
        group = homes.get(quantity_of(name), tag_of(name).partition("/")[0])
        chart = group.partition(" ")[2] if group in (RATES, NORMS, CLOCK) else quantity_of(name)
        if group in charts:
            charts[group].setdefault(chart, []).append(tag_of(name))
    return {
        group: {chart: ["Multiline", tags] for chart, tags in shown.items()} for group, shown in charts.items() if shown
    }


def quantity_of(name: str) -> str:
    return name.partition("/")[2]
