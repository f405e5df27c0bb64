"""The picture at the top of README.md: real images, and the first samples of each trained run in zoo/, not picked.

python -m docs.hooks.comparison --data-root data    # writes docs/comparison.jpg
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from callbacks.sheets import tile
from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_unit_range
from jobs.building import build_datamodule
from jobs.composition import composed
from run_folder.layout import METRICS, SAMPLES
from run_folder.records import RunRecord, read_record

PROJECT = Path(__file__).parents[2]
COLUMNS_IN_ZOO, PADDING = 10, 2  # of samples.png
MNIST = ["vae_mnist_small", "vaegan_mnist_small", "gan_mnist_small"]
IMAGENETTE = ["vae_imagenette", "vaegan_imagenette", "gan_imagenette"]
ROWS = {  # data set: title, columns and rows that are shown, runs
    "mnist": ("MNIST: MLPs of equal size,\nten epochs, no labels", 10, 7, MNIST),
    "imagenette": ("Imagenette 64x64: convolutions;\nVAE-GAN and GAN know the class", 5, 4, IMAGENETTE),
}
NAMES = {"vae": "VAE", "vaegan": "VAE-GAN", "gan": "GAN"}


def draw(data_root: str) -> Figure:
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    cells = figure.subplots(len(ROWS), 4, gridspec_kw={"height_ratios": [7 / 10, 4 / 5]})
    for row, (data, (title, columns, rows, runs)) in zip(cells, ROWS.items(), strict=True):
        datamodule = build_datamodule(composed(f"data={data}", f"data.root={data_root}").data)
        datamodule.prepare_data()
        datamodule.setup()
        row[0].imshow(of_classes(datamodule, columns, rows))
        row[0].set_title("real", fontsize=13)
        row[0].set_ylabel(title, fontsize=11)
        for cell, run in zip(row[1:], runs, strict=True):
            record = read_record(PROJECT / "zoo" / run / METRICS, RunRecord)
            cell.imshow(corner(np.asarray(Image.open(PROJECT / "zoo" / run / SAMPLES).convert("RGB")), columns, rows))
            score = record.scores["test/fid_reference"]
            cell.set_title(f"{NAMES[str(record.model)]}, FID* {score.value:.2g}", fontsize=13)
    for cell in cells.flat:
        cell.set_xticks([])
        cell.set_yticks([])
        for spine in cell.spines.values():
            spine.set_visible(False)
    return figure


def of_classes(datamodule: ImageDataModule, columns: int, rows: int) -> np.ndarray:
    """The first test images of the first classes, a column of each, as `samples.png` has them, (H, W, 3)."""
    images, labels = datamodule.split("test")
    chosen = [(labels == label).nonzero()[:rows, 0] for label in range(columns)]
    numbers = [int(of_class[row]) for row in range(rows) for of_class in chosen]
    return tile(to_unit_range(images[numbers]), columns).permute(1, 2, 0).numpy()


def corner(grid: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """The first columns and rows of a square grid of samples (H, W, 3)."""
    step = (grid.shape[0] - PADDING) // COLUMNS_IN_ZOO
    return grid[: rows * step + PADDING, : columns * step + PADDING]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default="data", help="the folder with MNIST/raw and imagenette2-160")
    draw(parser.parse_args().data_root).savefig(
        PROJECT / "docs" / "comparison.jpg", dpi=110, pil_kwargs={"quality": 88}
    )
