"""Which split and which class each image file of a folder belongs to."""

import os
from pathlib import Path
from typing import NamedTuple

from .image_datamodule import DataError, hold_out

CLASSLESS = "images"  # the class of what lies in no sub-folder
MAX_HELD_OUT = 10_000  # unless another number is asked for


class SplitFiles(NamedTuple):
    """Image files by split, relative to the folder, in the order in which their images are kept."""

    train: list[str]
    val: list[str]
    test: list[str]
    official: bool  # whether train/, test/ and val/ say which split an image belongs to

    @property
    def class_names(self) -> tuple[str, ...]:
        paths = [*self.train, *self.val, *self.test]
        return tuple(sorted({self.class_of(path) for path in paths}))

    def class_of(self, path: str) -> str:
        folders = path.split(os.sep)[:-1]
        if self.official:
            folders = folders[1:]  # the first one is the split
        return folders[0] if folders else CLASSLESS


def split_files(paths: list[str], root: Path, num_val: int | None, num_test: int | None, seed: int) -> SplitFiles:
    """Each file in its official split, or in one that is drawn by `seed` where there is none. Raises DataError.

    `num_val` and `num_test`: how many are drawn; None is a tenth of the images, at most 10,000.
    """
    train, val, test, official = official_splits(paths)
    _check_official_count("num_val", num_val, root, val)
    _check_official_count("num_test", num_test, root, test)
    tenth = max(1, min(len(train) // 10, MAX_HELD_OUT))
    drawn_test = 0 if test else num_test or tenth
    drawn_val = 0 if val else num_val or tenth
    if drawn_test + drawn_val >= len(train):
        raise DataError(
            f"{root / 'train' if official else root} has {len(train)} images, too few to hold out "
            f"{drawn_test} for test and {drawn_val} for val, and to have some left to learn from. Add images, or give "
            "smaller data.num_test and data.num_val"
        )
    if not test:
        test, train = _draw(drawn_test, train, seed)
    if not val:
        val, train = _draw(drawn_val, train, seed)
    return SplitFiles(train, val, test, official)


def official_splits(paths: list[str]) -> SplitFiles:
    """Files of train/ and test/, of train/ and val/, which is then test, or of all three; else all are train."""
    train, val, test = ([path for path in paths if path.startswith(name + os.sep)] for name in ("train", "val", "test"))
    if not train or not (val or test):
        return SplitFiles(paths, [], [], official=False)
    return SplitFiles(train, val, test, official=True) if test else SplitFiles(train, [], val, official=True)


def _check_official_count(option: str, count: int | None, root: Path, paths: list[str]) -> None:
    if paths and count not in (None, len(paths)):
        folder = root / paths[0].split(os.sep)[0]
        raise DataError(f"data.{option}: {count} are asked for, and {folder} has {len(paths)}; leave it null")


def _draw(count: int, paths: list[str], seed: int) -> tuple[list[str], list[str]]:
    """`count` of the files, drawn by `seed`, and the others."""
    drawn, others = hold_out(count, len(paths), seed)
    return [paths[index] for index in drawn], [paths[index] for index in others]
