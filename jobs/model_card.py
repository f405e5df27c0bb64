"""README.md of an exported run: what it is, for people and, in its front matter, for the Hugging Face hub.

The front matter has the form of huggingface_hub's ModelCardData, which reads it; writing it takes no more than yaml, so
that an export needs no extra.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from omegaconf import DictConfig

from foundation.markdown import block, code, one_line, plain
from foundation.programs import program
from run_folder.layout import DECODER, ENCODER, GRAPHS, METRICS, ONNX, SAMPLES
from run_folder.records import DataRecord, RunRecord, Score

LIBRARY = "vae-vs-gan"
ON_HUB = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist", "imagenette": "frgfm/imagenette"}
UNCONDITIONAL, CONDITIONAL = "unconditional-image-generation", "conditional-image-generation"
NOT_STATED = "unknown"  # the hub's word for it
WIDEST = 1000  # characters of a line in the front matter
DIGITS = 6  # of a number in the front matter
SHOWN = ("extractor", "likelihood", "num_real", "num_fakes", "num_images")  # of a protocol; metrics.json has all of it


def card(
    title: str,
    record: RunRecord,
    config: DictConfig,
    data: DataRecord | None,
    files: Sequence[str],
    license: str,
    place: str,
) -> str:
    """The whole card. `files`: what lies beside it; `place`: the run= by which a reader has it."""
    sections = [
        front_matter(title, record, config, license),
        summary(title, record, data),
        debugged(config),
        [f"![Samples, not picked]({SAMPLES})"] if SAMPLES in files else [],
        usage(config, files, place),
        scores(record),
        making(record, config, data),
        limits(record, data),
        ["## Licence", "", "Not stated." if license == NOT_STATED else f"{code(license)}, of the weights."],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def front_matter(title: str, record: RunRecord, config: DictConfig, license: str) -> list[str]:
    facts = metadata(title, record, is_conditional(config), license)
    return ["---", yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=WIDEST).rstrip("\n"), "---"]


def metadata(title: str, record: RunRecord, conditional: bool, license: str) -> dict[str, Any]:
    """What the hub knows of a model, in the order in which huggingface_hub writes it."""
    task = CONDITIONAL if conditional else UNCONDITIONAL
    hub_data = ON_HUB.get(record.data or "")
    tags = [record.model, record.network, record.data, "image-generation", "pytorch", "lightning"]
    results = [result(name, score, record, task) for name, score in record.scores.items() if math.isfinite(score.value)]
    facts = {
        "datasets": [hub_data] if hub_data else None,
        "library_name": LIBRARY,
        "license": license,
        "pipeline_tag": None if conditional else task,  # the hub has no word for the other
        "tags": list(dict.fromkeys(tag for tag in tags if tag)),
        "model-index": [{"name": title, "results": grouped(results)}],
    }
    return {name: value for name, value in facts.items() if value is not None}


def result(name: str, score: Score, record: RunRecord, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a score was measured on, and the score, whose name says by what: no FID here is taken for another."""
    protocol = record.protocols.get(score.protocol, {})
    on = {
        "task": {"type": task},
        "dataset": {
            "name": str(protocol.get("data") or record.data),
            "type": ON_HUB.get(record.data or "", str(record.data)),
            "split": str(protocol.get("split", "test")),
        },
    }
    short = name.removeprefix("test/")
    arguments = {
        "protocol": score.protocol,
        "std_over_draws": rounded(score.std),
        "floor": rounded(score.floor),
        "weights": score.weights,
        "latents": score.latents,
        **{key: value for key, value in protocol.items() if key in SHOWN},
    }
    metric = {
        "type": short,
        "value": rounded(score.value),
        "name": f"{short} ({measured_by(protocol)}; protocol {score.protocol})",
        "args": {key: value for key, value in arguments.items() if value is not None},
    }
    return on, metric


def measured_by(protocol: Mapping[str, Any]) -> str:
    """What a score of a protocol is measured in, in words that keep it apart from published scores."""
    if extractor := protocol.get("extractor"):
        other = "" if "inception" in str(extractor).lower() else ", not Inception's"
        return f"features of {extractor}{other}"
    likelihood = protocol.get("likelihood")
    return f"likelihood: {likelihood}" if likelihood else "of this project"


def grouped(results: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Those measured on the same, together, as the hub wants them."""
    groups: list[dict[str, Any]] = []
    for on, metric in results:
        group = next((one for one in groups if {key: one[key] for key in on} == on), None)
        if group is None:
            group = {**on, "metrics": []}
            groups.append(group)
        group["metrics"].append(metric)
    return groups


def rounded(value: float | None) -> float | int | None:
    return (
        value if value is None or isinstance(value, int) or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
    )


def summary(title: str, record: RunRecord, data: DataRecord | None) -> list[str]:
    parameters = ", ".join(f"{plain(name)} {count:,}" for name, count in record.parameters.items())
    pixels = "" if data is None or data.image_shape is None else f" ({shape_of(data)})"
    return [
        f"# {plain(title)}",
        "",
        f"{plain(record.model)} ({plain(record.network)}) on {plain(record.data)}{pixels}, seed {record.seed}: "
        f"{record.epochs} epochs, "
        f"{record.images_seen:,} images, {record.seconds or 0:,.0f} s. Parameters: {parameters}.",
    ]


def debugged(config: DictConfig) -> list[str]:
    """What a card says first of a run that is no result."""
    preset = debug_preset(config)
    return (
        [] if preset is None else [f"**A debug run ({code(f'debug={preset}')}): no result, and not to be published.**"]
    )


def debug_preset(config: DictConfig) -> str | None:
    """The preset by which a run was made to look for faults, and not for a result; None of others."""
    preset = config.get("choices", {}).get("debug")
    return None if preset is None else str(preset)


def usage(config: DictConfig, files: Sequence[str], place: str) -> list[str]:
    evaluate = " ".join(program("evaluate"))
    labels = ", labels=[0, 1])  # or names of classes" if is_conditional(config) else ")"
    lines = [
        "## Use",
        "",
        "```bash",
        f"{evaluate} run={place} samples=64 out=samples/   # images of it",
        f"{evaluate} run=path/to/this/folder   # its scores again, for which its data is needed",
        "```",
        "",
        "```python",
        "from evaluate import load_run",
        "",
        f'images = load_run("{place}").sample(16{labels}',
        "```",
    ]
    graphs = [name for name in GRAPHS if name in files]
    if graphs:
        given = " and `labels`" if is_conditional(config) else ""
        lines += ["", "For programs without this project, compared with the model to 1e-5 when they were written:", ""]
        lines += [f"* `{name}`: {description_of(name, given)}" for name in graphs]
    return lines


def description_of(graph: str, given: str) -> str:
    """What one of the networks' files is; `given` is what its network takes besides."""
    network, ending = graph.split(".")
    ways = {DECODER: f"`z`{given} to `images`", ENCODER: f"`images`{given} to `z`, the likeliest latents"}
    kind = "ONNX" if f".{ending}" == ONNX else "a program of `torch.export`"
    return f"{ways[network]}, of any number of rows: {kind}"


def scores(record: RunRecord) -> list[str]:
    return [
        "## Scores",
        "",
        "| score on test | value | floor | protocol | weights, latents |",
        "|---|---|---|---|---|",
        *(row_of(name, score) for name, score in record.scores.items()),
        "",
        f"± is over draws of fakes, the floor what as many training images score; the protocols are in `{METRICS}`.",
        *(comparable(record)),
    ]


def comparable(record: RunRecord) -> list[str]:
    """Which scores are not to be taken for published ones."""
    used = {str(protocol["extractor"]) for protocol in record.protocols.values() if "extractor" in protocol}
    own = sorted(name for name in used if "inception" not in name.lower())
    listed = " and ".join(map(code, own))
    return [f"Those in features of {listed} do not compare with published FIDs, which are Inception's."] if own else []


def row_of(name: str, score: Score) -> str:
    spread = "" if score.std is None else f" ± {score.std:.2g}"
    floor = "" if score.floor is None else f"{score.floor:.4g}"
    cells = [plain(name.removeprefix("test/")), f"{score.value:.4g}{spread}", floor, code(score.protocol)]
    return f"| {' | '.join(cells)} | {plain(', '.join(filter(None, (score.weights, score.latents))))} |"


def making(record: RunRecord, config: DictConfig, data: DataRecord | None) -> list[str]:
    """The command, the version, the machine, the images and the search that a model came of."""
    made_by = record.provenance
    where = [f"by version {record.version}"]
    if made_by is not None:
        where += [f"commit {made_by.commit[:12]}{' with changes' if made_by.changed else ''}"] if made_by.commit else []
        where += [f"on {made_by.device}"] if made_by.device else []
        where += [f"{library} {version}" for library, version in made_by.libraries.items()]
    command = block(one_line(record.command or " ".join(program("train"))), "bash")
    lines = ["## How it was made", "", *command, "", f"Trained {plain(', '.join(where))}."]
    if data is not None:
        splits = ", ".join(f"{split.images:,} {plain(name)}" for name, split in data.splits.items())
        lines += [f"Images: {splits}. It learned from train alone, and was chosen by val."]
    trials, search = config.get("recipe", {}).get("trials"), config.get("recipe", {}).get("search")
    if trials and search:
        lines += [f"Its settings are the best on val of {trials} that were tried ({code(search)})."]
    return lines


def limits(record: RunRecord, data: DataRecord | None) -> list[str]:
    """What is not to be expected of a model, and what was noticed of this one."""
    size = "" if data is None or data.image_shape is None else f", and makes images of {shape_of(data)}"
    notes = [note for several in record.notes.values() for note in several]
    noticed = [f"Noticed while it was trained: {notice.text}." for notice in record.health or ()]
    return [
        "## Limits",
        "",
        f"* It knows the images of its data set and nothing else{size}.",
        "* Scores were measured before the weights were rounded to half precision.",
        *(f"* {plain(text)}" for text in (*notes, *noticed)),
    ]


def is_conditional(config: DictConfig) -> bool:
    return config.get("choices", {}).get("model/conditioning", "none") != "none"


def shape_of(data: DataRecord) -> str:
    assert data.image_shape is not None
    channels, height, width = data.image_shape
    return f"{height}x{width} pixels, {channels} channel{'s' if channels > 1 else ''}"
