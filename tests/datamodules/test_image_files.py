"""Listing the images of a folder: what is one, what is passed over, and that nothing else is opened."""

import os
from pathlib import Path

import pytest
from small_data import write_image

from datamodules.image_datamodule import DataError
from datamodules.image_files import endings, list_images, passed_over


def listed(folder: Path) -> list[str]:
    return list_images(folder, "data.root").paths


def told(folder: Path) -> str:
    return passed_over(list_images(folder, "data.root").passed_over)


def test_what_other_programs_leave_is_passed_over_and_counted(tmp_path: Path):
    for name in ("a/1.png", "2.JPG", ".hidden.png", "._2.jpg", ".ipynb_checkpoints/2-checkpoint.png",
                 "@eaDir/1.png/SYNOFILE_THUMB_M.png", "__MACOSX/1.png", "a/@eaDir/1.png"):  # fmt: skip
        write_image(tmp_path / name, 0)
    for name in ("notes.txt", "more.TXT", "labels.json", "README", "film.mpg", "data.h5", "figure.eps"):
        (tmp_path / name).write_text("no image")
    assert listed(tmp_path) == ["2.JPG", "a/1.png"]
    counts = list_images(tmp_path, "data.root").passed_over
    assert counts == {"hidden": 3, "@eaDir": 2, "__MACOSX": 1, ".txt": 2, ".json": 1, "without ending": 1,
                      ".mpg": 1, ".h5": 1, ".eps": 1}  # fmt: skip
    assert told(tmp_path).startswith("passed over: 3 hidden, 2 @eaDir, 2 .txt, ") and told(tmp_path).endswith(
        "3 others"
    )


def test_nothing_passed_over_is_no_words(tmp_path: Path):
    write_image(tmp_path / "1.png", 0)
    assert told(tmp_path) == ""


def test_every_ending_that_pillow_decodes_is_an_image(tmp_path: Path):
    assert {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".avif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".ppm",
            ".pgm", ".tga", ".ico"} <= endings()  # fmt: skip
    assert not {".pdf", ".txt", ".npz", ".mp4", ".mpg", ".h5", ".eps", ""} & endings()


def test_pipes_and_links_to_nothing_are_not_opened(tmp_path: Path):
    write_image(tmp_path / "1.png", 0)
    os.mkfifo(tmp_path / "2.png")  # opening it would wait for ever
    (tmp_path / "3.png").symlink_to("nowhere.png")
    assert listed(tmp_path) == ["1.png"]
    assert told(tmp_path) == "passed over: 1 pipes or devices, 1 links to nothing"


def test_links_are_followed_and_each_image_is_listed_once(tmp_path: Path):
    for number in range(3):
        write_image(tmp_path / "all" / f"{number}.png", number)
        write_image(tmp_path / "store" / f"blob{number}.bin.png", number)
    root = tmp_path / "root"
    root.mkdir()
    (root / "one").symlink_to(tmp_path / "all")
    (root / "two").symlink_to(tmp_path / "all")
    (root / "back").symlink_to(root)
    (root / "x.png").symlink_to(tmp_path / "store" / "blob0.bin.png")
    (root / "y.png").symlink_to(tmp_path / "store" / "blob0.bin.png")
    (root / "z.png").symlink_to(tmp_path / "all" / "2.png")
    assert listed(root) == ["one/0.png", "one/1.png", "one/2.png", "x.png"]
    assert told(root) == "passed over: 2 folders that were listed before, 2 links to images that were listed"


def test_link_to_a_file_that_is_no_image_by_its_own_name_is_one_by_the_links(tmp_path: Path):
    write_image(tmp_path / "1.png", 0)
    os.rename(tmp_path / "1.png", tmp_path / "blob")
    (tmp_path / "1.png").symlink_to("blob")
    assert listed(tmp_path) == ["1.png"]


def test_folder_that_cannot_be_listed_is_named_with_its_option(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone can't be listed \(No such file or directory\); images= wants"):
        list_images(tmp_path / "gone", "images")
