"""A finished run as a small folder to share, which `evaluate.py run=` takes like the run's own."""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from foundation.atomic import PARTIAL, copy_file, write_atomically
from foundation.errors import ConfigError
from foundation.locks import LOCK
from foundation.programs import override, program
from run_folder.checkpoints import export_weights, read_checkpoint
from run_folder.kept_config import write_config
from run_folder.layout import CARD, CONFIG, DATA, METRICS, SAMPLES, WEIGHTS, tested_checkpoint
from run_folder.pictures import FINAL, FIXED, UNREADABLE, bare_grid, find_picture
from run_folder.records import RecordError, RunRecord, read_record, write_record

from .config_check import check
from .graphs import facts_of, graphs_of, program_of, require_onnx, write_onnx, write_pt2
from .hub import SCHEME, check_hub, local_folder, upload
from .kept_config import read_config
from .model_card import card, debug_preset
from .run_data import read_data
from .run_start import sole_use
from .trained_model import load_run

LEFT_OUT: dict[str, str | None] = {"root": "data", "weights": None}  # paths of one machine, and what stands for them
# A path from the root of a disk or from somebody's home folder, alone or within a command; an address is none.
ABSOLUTE = re.compile(r"(?:(?<=[=\[,'\"\s(])|^)(?:[A-Za-z]:[\\/]|~[\w.-]*/|/(?=[^\s/]))[^\s,'\"\])]*")
WRITTEN = {LOCK, WEIGHTS, CONFIG, METRICS, DATA, SAMPLES, CARD}
GRAPHS = (".onnx", ".pt2")  # and networks for other programs
AS_THEY_ARE = {"protocols"}  # of a record: their hashes are of these very texts


def export(cfg: DictConfig) -> None:
    """What `export.py` does. Raises UserError, before anything is written, if there is nothing to export."""
    check(cfg)
    if cfg.private and cfg.hub is None:
        raise ConfigError("private: it is for a repository of the hub; give hub=owner/name too, or leave it away")
    if cfg.hub is not None:
        check_hub(cfg.hub)
    if cfg.onnx:
        require_onnx()
    run_dir = local_folder(cfg.run)
    if cfg.out:
        out = Path(cfg.out)
        write_folder(run_dir, out, cfg)
        size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
        samples = shlex.join([*program("evaluate"), override("run", out), "samples=64", "out=samples/"])
        print(f"{out}: {size:.1f} MB\n  {samples}", flush=True)
    else:
        check_is_export(run_dir, cfg)
        out = run_dir
    if cfg.hub is not None:
        print(f"{upload(out, cfg.hub, cfg.private)}\n  run={SCHEME}{cfg.hub} has it from everywhere")


def check_is_export(run_dir: Path, cfg: DictConfig) -> None:
    """Raise ConfigError unless a folder can be uploaded as it is, without another one being written."""
    if cfg.hub is None or cfg.onnx or cfg.pt2:
        raise ConfigError("out: say which folder is to be written, out=<a new folder>")
    config = read_config(run_dir)
    check_is_result(run_dir, config, cfg.hub)
    if not all((run_dir / name).is_file() for name in (CARD, WEIGHTS, METRICS)):
        raise ConfigError(
            f"out: {run_dir} is a run, and no folder that export.py has written, which hub= would upload as it is; "
            "say which folder is to be written, out=<a new folder>"
        )


def check_is_result(run_dir: Path, config: DictConfig, hub: str | None) -> None:
    """Say that a debug run is none. Raises ConfigError where it would be published."""
    preset = debug_preset(config)
    if preset is None:
        return
    if hub is not None:
        raise ConfigError(
            f"hub: {run_dir} was made with debug={preset}, which is to look for faults: it is no result, and is not "
            "published. Train without debug=, or export it for yourself alone, without hub="
        )
    print(f"{run_dir} was made with debug={preset}: it is no result, which its card says", flush=True)


def write_folder(run_dir: Path, out: Path, cfg: DictConfig) -> None:
    """Write all that is shared of a run into a new folder, or nothing. Raises UserError."""
    config = read_config(run_dir)
    check_is_result(run_dir, config, cfg.hub)
    try:
        record = read_record(run_dir / METRICS, RunRecord)
    except FileNotFoundError as error:
        raise ConfigError(f"run: {run_dir} has no {METRICS}; only a finished run can be exported") from error
    except RecordError as error:
        raise ConfigError(f"run: in {run_dir} {error}; only a finished run can be exported") from error
    if not any(score.latents for score in record.scores.values()):
        raise ConfigError(f"run: {run_dir} has no scores of images that it makes, which the card of an export is about")
    if out.exists() and not is_left_over(out, run_dir):
        raise in_the_way(out)
    checkpoint = read_checkpoint(tested_checkpoint(run_dir))  # the one that the record's scores are of
    with sole_use(out, "out"):
        if (out / CARD).exists():  # another export came before this one; without its card it was killed
            raise in_the_way(out)
        try:
            write_run(out, run_dir, config, record, checkpoint)
            write_graphs(out, cfg.onnx, cfg.pt2)
            write_card(out, cfg.license, f"{SCHEME}{cfg.hub}" if cfg.hub else "path/to/this/folder")
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)  # or it would be in the way of the same command
            raise


def is_left_over(out: Path, run_dir: Path) -> bool:
    """Whether a folder is what an export left that was killed, and nothing that anybody would miss."""
    if not (out / LOCK).exists() or out.samefile(run_dir):
        return False
    return all(
        entry.name in WRITTEN or entry.suffix in GRAPHS or PARTIAL.fullmatch(entry.name) for entry in out.iterdir()
    )


def in_the_way(out: Path) -> ConfigError:
    return ConfigError(f"out: {out} exists already and is left as it is; give another name")


def write_run(out: Path, run_dir: Path, config: DictConfig, record: RunRecord, checkpoint: dict[str, Any]) -> None:
    """Write what the model is loaded by, and what is known of it. Raises OSError and DiskFullError."""
    export_weights(checkpoint, out / WEIGHTS)
    folders = [str(config.get("run_dir", run_dir)), str(run_dir.resolve())]  # where it was made, and where it is now
    portable = OmegaConf.create(without_paths(OmegaConf.to_container(config), folders, LEFT_OUT))
    write_config(out / CONFIG, portable)
    fields = record.model_dump(exclude_unset=True) | {"checkpoint": WEIGHTS}
    plain = {key: value if key in AS_THEY_ARE else without_paths(value, folders, {}) for key, value in fields.items()}
    write_record(out / METRICS, RunRecord.model_validate(plain))
    copy_file(run_dir / DATA, out / DATA)
    copy_file(run_dir / SAMPLES, out / SAMPLES)  # of a run that was exported
    export_samples(find_picture(run_dir, FIXED, FINAL), out / SAMPLES)


def export_samples(picture: Path | None, out: Path) -> None:
    """Write the images of a run's picture of samples alone, if there is one: the card says what they are of."""
    if picture is None:
        return
    try:
        with Image.open(picture, formats=["PNG"]) as opened:
            bare = bare_grid(opened).copy()
    except UNREADABLE as error:
        print(f"{picture} can't be read, and is left out: {error}")
        return
    write_atomically(out, lambda partial: bare.save(partial))


def write_graphs(out: Path, onnx: bool, pt2: bool) -> None:
    """Write an exported model's networks for programs without this project. Raises OSError and UserError."""
    if not (onnx or pt2):
        return
    model = load_run(out, device="cpu")  # with the weights as they were rounded
    facts = facts_of(model, read_record(out / METRICS, RunRecord))
    for graph in graphs_of(model):
        traced = program_of(graph)
        if pt2:
            write_pt2(graph, traced, facts, out)
        if onnx:
            write_onnx(graph, traced, facts, out)


def write_card(out: Path, license: str, place: str) -> None:
    """Write the card of a folder that is complete but for it; the last file, and the sign of that. Raises OSError."""
    record, config, data = read_record(out / METRICS, RunRecord), read_config(out), read_data(out)
    files = [path.name for path in out.iterdir()]
    text = card(out.name, record, config, data, files, license, place)
    write_atomically(out / CARD, lambda file: file.write_text(text, encoding="utf-8"))


def without_paths(node: Any, run_dirs: Sequence[str], left_out: Mapping[str, str | None]) -> Any:
    """Plain values in which the run folder is `.`, whatever machine they were made on.

    `left_out`: what stands in the place of texts of these names. Of any other path from a root or a home folder the
    last name is left.
    """
    if isinstance(node, dict):
        return {
            key: left_out[key]
            if key in left_out and isinstance(value, str)
            else without_paths(value, run_dirs, left_out)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [without_paths(value, run_dirs, left_out) for value in node]
    if isinstance(node, str):
        for run_dir in run_dirs:
            if node == run_dir or node.startswith(f"{run_dir}/"):
                return f".{node.removeprefix(run_dir)}"
        return ABSOLUTE.sub(lambda found: last_name(found[0]), node)
    return node


def last_name(path: str) -> str:
    kind = PureWindowsPath if "\\" in path or path[1:2] == ":" else PurePosixPath
    return kind(path).name
