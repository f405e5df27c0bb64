"""Which split each image of a folder is in: by the names of folders, or by a hash of its path."""

from pathlib import Path

import pytest
from small_data import PLAIN, write_image, write_images

from datamodules import folder_splits
from datamodules.folder import Folder
from datamodules.folder_splits import SplitFiles, hold_out_files, number_of, share_held_out, split_files
from datamodules.image_datamodule import DataError


def split(root: Path, seed: int = 0, num_val: int | None = None, num_test: int | None = None) -> SplitFiles:
    return split_files(root, num_val, num_test, seed)


def summary(root: Path) -> str:
    datamodule = Folder(root=str(root), image_size=8, channels=3, batch_size=4, seed=0, split_seed=0, **PLAIN,
                        background="white", num_val=None, num_test=None, memory_share=0.25)  # fmt: skip
    datamodule.setup()
    return datamodule.summary


def names(count: int) -> list[str]:
    return [f"{number:06d}.png" for number in range(count)]


# Drawn splits


def test_a_file_that_is_added_moves_no_other(tmp_path: Path):
    for seed in range(5):
        root = write_images(tmp_path / str(seed), ["."], count=100)
        before = split(root, seed)
        for number in range(30):
            write_image(root / f"more{number}.png", number)
        after = split(root, seed)
        for name in ("train", "val", "test"):
            assert set(getattr(before, name)) <= set(getattr(after, name))
        assert len(after.train + after.val + after.test) == 130


def test_with_exact_numbers_no_image_moves_towards_test_when_one_is_added(tmp_path: Path):
    rank = {"train": 0, "val": 1, "test": 2}
    root = write_images(tmp_path / "some", ["."], count=60)
    for number in range(20):
        before = split(root, num_val=10, num_test=10)
        write_image(root / f"more{number}.png", number)
        after = split(root, num_val=10, num_test=10)
        assert len(after.val) == len(after.test) == 10
        place = {path: rank[name] for name in rank for path in getattr(after, name)}
        for name in rank:
            assert all(place[path] <= rank[name] for path in getattr(before, name))


def test_about_a_tenth_is_test_and_as_much_is_val():
    paths = names(20_000)
    share = share_held_out(len(paths))
    test, others = hold_out_files(paths, None, share, "0 test")
    val, train = hold_out_files(others, None, share / (1 - share), "0 val")
    deviation = (20_000 * 0.1 * 0.9) ** 0.5
    assert abs(len(test) - 2000) < 4 * deviation and abs(len(val) - 2000) < 4 * deviation
    assert sorted([*train, *val, *test]) == paths and train == sorted(train)


def test_share_is_a_tenth_until_that_is_too_many():
    assert share_held_out(5) == share_held_out(100_000) == 0.1
    assert share_held_out(100_001) == share_held_out(200_000) == 0.05
    for total in (10**6, 10**7):
        assert folder_splits.MAX_HELD_OUT / 2 < share_held_out(total) * total <= folder_splits.MAX_HELD_OUT


def test_numbers_of_paths_are_the_same_everywhere():
    assert number_of("a/0.png", "0 test") == pytest.approx(0.2580542333803128, abs=1e-12)
    assert number_of("a/0.png", "1 test") != number_of("a/0.png", "0 test")
    numbers = sorted(number_of(name, "x") for name in names(1000))
    assert max(abs(number - (rank + 0.5) / 1000) for rank, number in enumerate(numbers)) < 1.63 / 1000**0.5  # KS, 1 %


@pytest.mark.parametrize("count", [5, 6, 15, 30])
def test_val_and_test_have_two_images_at_least(count: int, tmp_path: Path):
    for seed in range(20):
        files = split(write_images(tmp_path / str(count), ["."], count=count), seed)
        assert len(files.val) >= 2 and len(files.test) >= 2 and files.train


def test_few_images_beside_an_official_test_split_are_told(tmp_path: Path):
    root = write_images(tmp_path / "few", ["train"], count=15)
    write_images(root, ["test"], count=150)
    files = split(root)
    assert len(files.val) >= 2 and len(files.test) == 150
    assert summary(root) == (
        f"data: {len(files.train)} train (train/), {len(files.val)} val (drawn from train/ by split_seed=0), "
        f"150 test (test/); 1 class; from {root}"
    )


# Official splits


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize("test", ["test", "Testing", "valid", "Validation", "dev", "VAL"])
def test_splits_are_known_by_many_names(train: str, test: str, tmp_path: Path):
    root = write_images(tmp_path / "given", [f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b"], count=10)
    files = split(root)
    assert len(files.test) == 20 and all(path.startswith(f"{test}/") for path in files.test)
    assert all(path.startswith(f"{train}/") for path in files.train + files.val)
    assert files.class_names == ("a", "b")
    assert files.origins["test"] == f"{test}/" and files.origins["train"] == f"{train}/"


def test_all_three_by_other_names(tmp_path: Path):
    files = split(write_images(tmp_path / "given", ["Train/a", "Dev/a", "Testing/a"], count=4))
    assert [len(part) for part in files[:3]] == [4, 4, 4]
    assert all(path.startswith("Dev/") for path in files.val)


def test_linked_folders_are_splits_and_what_lies_beside_is_told(tmp_path: Path):
    root = write_images(tmp_path / "linked", ["all/a"], count=20)
    for number in range(10):
        write_image(root / "test" / "a" / f"{number}.png", 100 + number)
    (root / "train").mkdir()
    (root / "train" / "a").symlink_to("../all/a")
    files = split(root)
    assert len(files.train + files.val) == 20 and len(files.test) == 10 and files.class_names == ("a",)
    assert all(path.startswith("test/") for path in files.test)
    assert "10 test (test/)" in summary(root) and "passed over: 20 images beside test/ and train/" in summary(root)


def test_a_split_that_is_itself_a_link_is_one(tmp_path: Path):
    elsewhere = write_images(tmp_path / "elsewhere", ["a"], count=10)
    root = write_images(tmp_path / "root", ["train/a"], count=10)
    (root / "test").symlink_to(elsewhere)
    assert split(root).test == [f"test/a/{number}.png" for number in range(10)]


@pytest.mark.parametrize("target", ["../test/a", "../test", "../all"])
def test_splits_that_share_images_by_links_are_refused(target: str, tmp_path: Path):
    root = write_images(tmp_path / "shared", ["test/a", "train/b"], count=10)
    if target == "../all":
        write_images(root, ["all"], count=10)
        (root / "test" / "c").symlink_to(target)
    (root / "train" / "a").symlink_to(target)
    with pytest.raises(DataError, match="test/ and train/ share images, by links; no image may be in two"):
        split(root)


def test_files_that_are_links_to_one_image_are_not_in_two_splits(tmp_path: Path):
    root = write_images(tmp_path / "shared", ["test/a", "train/a"], count=10)
    write_image(tmp_path / "one.png", 1)
    for name in ("train", "test"):
        (root / name / "a" / "one.png").symlink_to(tmp_path / "one.png")
    with pytest.raises(DataError, match="share images"):
        split(root)


def test_a_class_may_be_called_train(tmp_path: Path):
    files = split(write_images(tmp_path / "vehicles", ["car", "plane", "train"], count=10))
    assert files.class_names == ("car", "plane", "train") and not files.official


def test_train_alone_is_a_split_whose_folders_are_classes(tmp_path: Path):
    files = split(write_images(tmp_path / "only", ["train/cat", "train/dog"], count=20))
    assert files.class_names == ("cat", "dog") and files.official
    assert files.origins["test"] == "drawn from train/ by split_seed=0"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["test/a"], r"has test/ and no train/: .*data\.root=.*test"),
        (["a", "b", "Valid/a"], r"has Valid/ and no train/"),
        (["train/a", "training/a", "test/a"], r"has train/ and training/, and each may be train"),
        (["train/a", "val/a", "dev/a"], r"has dev/ and val/, and each may be val"),
        (["pets/train/a", "pets/test/a"], r"pets has test/ and train/, which are read as splits only .*data\.root="),
        (
            ["cats/Train", "cats/valid", "dogs/Train", "dogs/valid"],
            r"s has Train/ and valid/, which are read as splits",
        ),
    ],
)
def test_splits_that_cannot_be_meant_so_are_refused(folders: list[str], message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        split(write_images(tmp_path / "odd", folders, count=5))


def test_an_empty_split_and_one_of_a_single_image_are_refused(tmp_path: Path):
    root = write_images(tmp_path / "odd", ["train/a"], count=5)
    (root / "test").mkdir()
    (root / "test" / "notes.txt").write_text("soon")
    with pytest.raises(DataError, match=r"odd/test has no images \(passed over: 1 \.txt\)"):
        split(root)
    write_image(root / "test" / "1.png", 1)
    with pytest.raises(DataError, match=r"odd/test has one image, and test needs at least 2"):
        split(root)


def test_what_is_passed_over_is_said_in_one_line(tmp_path: Path):
    root = write_images(tmp_path / "odd", ["."], count=30)
    for number in range(5):
        (root / f"{number}.txt").write_text("a caption")
    write_image(root / "@eaDir" / "0.png" / "SYNOFILE_THUMB_M.png", 0)
    line = summary(root)
    assert "\n" not in line and line.endswith("; 1 class; from " + str(root) + "; passed over: 5 .txt, 1 @eaDir")
