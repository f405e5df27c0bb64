"""Which split and which class each image file of a folder belongs to."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from foundation.programs import typed

from .image_datamodule import DataError
from .image_files import Listing, list_images, no_images

SPLITS = {  # names of folders, in any case, and what they hold
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
CLASSLESS = "images"  # the class of what lies in no sub-folder
SHARE = 1 / 10  # of the images is held out for test, and as many for val
MAX_HELD_OUT = 10_000  # unless another number is asked for
MIN_HELD_OUT = 2  # of which a distribution has a spread


class Names(NamedTuple):
    """What a program calls the settings of a folder's splits, for its messages."""

    root: str = "data.root"
    num_val: str = "data.num_val"
    num_test: str = "data.num_test"


OF_DATA = Names()


class SplitFiles(NamedTuple):
    """Image files by split, relative to the folder, in the order in which their images are kept."""

    train: list[str]
    val: list[str]
    test: list[str]
    official: bool  # whether train/, test/ and val/ say which split an image belongs to
    origins: dict[str, str]  # by split: where its images come from, in words
    passed_over: Counter[str]  # how much else lies there, by what it is

    @property
    def class_names(self) -> tuple[str, ...]:
        paths = [*self.train, *self.val, *self.test]
        return tuple(sorted({self.class_of(path) for path in paths}))

    def class_of(self, path: str) -> str:
        folders = path.split(os.sep)[:-1]
        if self.official:
            folders = folders[1:]  # the first one is the split
        return folders[0] if folders else CLASSLESS


def split_files(root: Path, num_val: int | None, num_test: int | None, seed: int, names: Names = OF_DATA) -> SplitFiles:
    """Each file in its official split, or in one that `seed` and its path decide. Raises DataError.

    A file that is added moves no other. `num_val` and `num_test` ask for exact numbers instead of a tenth: then an
    added file may take the place of one, which moves from test to val or train, or from val to train, never back.
    """
    folders = split_folders(root, names)
    official = bool(folders)
    given, passed_over = _official(root, folders, names) if official else _undivided(root, names)
    train, val, test = (given.get(split, []) for split in ("train", "val", "test"))
    _check_official_count(names.num_val, num_val, root, val)
    _check_official_count(names.num_test, num_test, root, test)
    origins = {split: f"{name}/" for split, name in folders.items()}
    share = share_held_out(len(train))
    drawn = f"drawn{' from ' + origins['train'] if official else ''} by split_seed={seed}"
    total = len(train)
    if not test:
        test, train = hold_out_files(train, num_test, share, f"{seed} test")
        origins["test"] = drawn
        share /= 1 - share  # of what is left
    if not val:
        val, train = hold_out_files(train, num_val, share, f"{seed} val")
        origins["val"] = drawn
    if not train:
        raise DataError(
            f"{root / folders.get('train', '')} has {total} images, too few to hold out "
            f"{0 if 'test' in folders else num_test or MIN_HELD_OUT} for test and "
            f"{0 if 'val' in folders else num_val or MIN_HELD_OUT} for val, and to have some left to learn from. "
            f"Add images, or give smaller {names.num_test} and {names.num_val}"
        )
    return SplitFiles(train, val, test, official, origins, passed_over)


def split_folders(root: Path, names: Names = OF_DATA) -> dict[str, str]:
    """The folders of train, of test and, where there is one, of val, by what they hold; {} where there are none.

    Where there are only train/ and val/, val/ is the test split. Raises DataError where a folder can't be meant.
    """
    try:
        inside = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root} can't be listed ({error.strerror}); {names.root}= wants a folder of images") from error
    found: dict[str, list[str]] = defaultdict(list)
    for name in inside:
        if name.lower() in SPLITS:
            found[SPLITS[name.lower()]].append(name)
    for split, same in found.items():
        if len(same) > 1:
            raise DataError(f"{root} has {_folders(same)}, and each may be {split}: leave one there, or rename it")
    folders = {split: same[0] for split, same in found.items()}
    if not folders or (folders.keys() == {"train"} and len(inside) > 1):  # a class may be called train
        return {}
    if "train" not in folders:
        raise DataError(
            f"{root} has {_folders(folders.values())} and no train/: put the images to learn from into train/, or, if "
            f"that is a class, rename it; to use its images alone, set "
            f"{typed(names.root, root / next(iter(folders.values())))}"
        )
    if "test" not in folders and "val" in folders:
        folders["test"] = folders.pop("val")
    return folders


def _folders(names: Iterable[str]) -> str:
    return " and ".join(f"{name}/" for name in names)


def _official(root: Path, folders: dict[str, str], names: Names) -> tuple[dict[str, list[str]], Counter[str]]:
    """The files of each split folder, and what else was found. Raises DataError."""
    listings: dict[str, Listing] = {}
    for split, name in folders.items():
        listing = list_images(root / name, names.root)
        if not listing.paths:
            raise no_images(root / name, listing, names.root)
        if split != "train" and len(listing.paths) < MIN_HELD_OUT:
            raise DataError(f"{root / name} has one image, and {split} needs at least {MIN_HELD_OUT}: add some")
        for other, earlier in listings.items():
            if listing.shares_files(earlier):
                raise DataError(
                    f"{root}: {_folders([folders[other], name])} share images, by links; no image may be in two"
                )
        listings[split] = listing
    beside = list_images(root, names.root, without=folders.values())
    passed_over = sum((listing.passed_over for listing in (beside, *listings.values())), Counter())
    if beside.paths:
        passed_over[f"images beside {_folders(folders.values())}"] += len(beside.paths)
    files = {
        split: [os.path.join(folders[split], path) for path in listing.paths] for split, listing in listings.items()
    }
    return files, passed_over


def _undivided(root: Path, names: Names) -> tuple[dict[str, list[str]], Counter[str]]:
    """All files, as train, and what else was found. Raises DataError."""
    listing = list_images(root, names.root)
    if not listing.paths:
        raise no_images(root, listing, names.root)
    _check_no_deeper_splits(root, listing.paths, names)
    return {"train": listing.paths}, listing.passed_over


def _check_no_deeper_splits(root: Path, paths: list[str], names: Names) -> None:
    """Raise DataError where train/ and test/ lie side by side further down: the test images would be learned from."""
    found: dict[str, dict[str, str]] = defaultdict(dict)  # by parent
    for folder in {os.path.dirname(path) for path in paths}:
        parts = folder.split(os.sep)
        for depth, name in enumerate(parts):
            if split := SPLITS.get(name.lower()):
                found[os.sep.join(parts[:depth])][split] = name
    for parent, splits in found.items():
        if "train" in splits and len(splits) > 1:
            raise DataError(
                f"{root / parent} has {_folders(sorted(splits.values()))}, which are read as splits only where they "
                f"lie in {names.root}= itself. Set {typed(names.root, root / parent)}, or move them up"
            )


def _check_official_count(option: str, count: int | None, root: Path, paths: list[str]) -> None:
    if paths and count not in (None, len(paths)):
        folder = root / paths[0].split(os.sep)[0]
        raise DataError(f"{option}: {count} are asked for, and {folder} has {len(paths)}; leave it null")


def share_held_out(total: int) -> float:
    """A tenth, halved until it is about 10,000 images at most: so it hardly ever changes when images are added."""
    share = SHARE
    while share * total > MAX_HELD_OUT:
        share /= 2
    return share


def hold_out_files(paths: list[str], count: int | None, share: float, salt: str) -> tuple[list[str], list[str]]:
    """Those files whose number in [0, 1), a hash of path and salt, is below `share`; and the others, sorted.

    With a `count` so many with the smallest numbers. In their order, which is as good as drawn.
    """
    numbers = {path: number_of(path, salt) for path in paths}
    in_order = sorted(paths, key=numbers.__getitem__)
    if count is None:
        found = sum(number < share for number in numbers.values())
        count = max(MIN_HELD_OUT, min(found, len(paths) // 2))  # of a handful, not all
    return in_order[:count], sorted(in_order[count:])


def number_of(path: str, salt: str) -> float:
    """A number in [0, 1) of a path, the same on every machine."""
    digest = hashlib.blake2b(f"{salt} {Path(path).as_posix()}".encode(errors="surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest()) / 2**64
