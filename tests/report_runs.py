"""Run folders with known records, for tests of reports, and a report's page as the tests read it."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

PROTOCOLS = {
    "aaaa1111": {"extractor": "reference/mnist", "data": "Digits", "num_fakes": 300},
    "bbbb2222": {"extractor": "reference/mnist", "data": "MNIST", "num_fakes": 10000},
    "cccc3333": {"extractor": "reference/mnist", "data": "MNIST", "num_fakes": 5000},
    "dddd4444": {"extractor": "inception-v3-compat", "data": "MNIST", "split": "test", "num_fakes": 10000},
}


def config_of(folder: Path, model: str, data: str, seed: int, **settings) -> dict:
    return {
        "seed": seed,
        "run_dir": str(folder),
        "choices": {"model": model, "network": "mlp", "data": data, "experiment": None},
        "recipe": {"trials": 1, "search": None},
        "trainer": {"max_epochs": 2, "default_root_dir": str(folder)},
        "data": {"_target_": f"datamodules.{data}", "root": str(folder), "seed": seed},
        "network": {"encoder": {"width": 8}, "decoder": {"width": 8}},
        "model": {"_target_": f"lightning_modules.{model.upper()}", "_partial_": True, "latent_dim": 4,
                  "generator": {"width": 8}} | settings,
    }  # fmt: skip


def scores_of(fid: float, protocol: str, name: str = "reference") -> dict:
    return {
        f"test/{score}_{name}": {
            "value": value,
            "std": std,
            "floor": floor,
            "protocol": protocol,
            "weights": "averaged (EMA)",
            "latents": "prior",
        }
        for score, value, std, floor in (("fid", fid, 0.25, 0.5), ("recall", 1 / fid, None, None))
    }


def record_of(model: str, data: str, seed: int, fid: float, protocol: str) -> dict:
    return {
        "model": model, "network": "mlp", "data": data, "experiment": None, "seed": seed,
        "scores": scores_of(fid, protocol), "protocols": {protocol: PROTOCOLS[protocol]},
        "parameters": {"total": 1000}, "images_seen": 6000, "epochs": 2, "seconds": 60.0 + 30 * seed,
        "peak_memory_bytes": 2**30, "checkpoint": "checkpoints/best.ckpt", "checkpoint_epoch": 2,
    }  # fmt: skip


def make_run(
    folder: Path, model: str, data: str, seed: int, fid: float | None, protocol: str = "aaaa1111", **settings
) -> Path:
    """A run folder like train.py's; without its end where there is no `fid`."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(folder, model, data, seed, **settings)))
    terms = ["loss_generator", "loss_discriminator"] if model == "gan" else ["loss", "kl"]
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "seconds", "step", *(f"train/{term}" for term in terms), "val/fid_reference"])
        for epoch in range(6):
            score = (fid or 5.0) + 20 / (epoch + 1) ** 3 if epoch % 2 else ""
            writer.writerow([epoch, 10.0 * (epoch + seed), 1000 * (epoch + 1), 1 / (epoch + 1), 0.5 + seed, score])
    if fid is not None:
        (folder / "metrics.json").write_text(json.dumps(record_of(model, data, seed, fid, protocol)))
        noise = np.random.default_rng(seed).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        for name in ("samples_fixed_final", "interpolation_slerp_final"):
            Image.fromarray(noise).save(pictures / f"{name}.png")
    return folder


VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tables as lists of rows of cells' texts, and what else the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self.groups: list[str] = []  # of the table that is read: what is said above each of its headings
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
            self.groups = []
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "small" and self.open[-2] in ("td", "th", "button"):
            self.tables[-1][-1][-1] += "|"

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")
        if tag == "tr" and "colspan" in self.tags[-1][1]:
            self._read_groups()
        elif tag == "thead" and self.groups:
            heads = zip(self.tables[-1][0], self.groups, strict=True)
            self.tables[-1][0] = [f"{head}|{group}" if group else head for head, group in heads]

    def _read_groups(self) -> None:
        texts = self.tables[-1].pop()
        spans = [int(tag["colspan"] or 1) for _, tag in self.tags[-len(texts) :]]
        self.groups = [text for text, span in zip(texts, spans, strict=True) for _ in range(span)]

    def handle_data(self, data):
        if "table" in self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, first: str, number: int = 0) -> list[list[str]]:
        """The number-th table with this heading."""
        return [table for table in self.tables if any(head.startswith(first) for head in table[0])][number]
