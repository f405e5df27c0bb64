"""The page stays one that can be sent, however many runs it is of."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import Page, make_run

from reports import allowance, write_report
from reports.allowance import LARGEST_PAGE, MOST_COLUMNS, MOST_ROWS, Allowance, for_page
from reports.page import link_to
from reports.pictures import LinkedPicture, picture_of
from reports.run_folders import find_runs
from reports.tables import Cell, Heading, Table

MODELS = 60


def noise(seed: int, side: int) -> Image.Image:
    """Nothing is harder to make small."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def make_sweep(top: Path) -> None:
    """As many models as a large grid has, with pictures as large as colour photographs make them."""
    for place in range(MODELS):
        run = make_run(top / f"run_{place:02d}", "gan" if place % 2 else "vae", "digits", 0, 3.0 + place, lr=place)
        for name in (
            "samples_fixed_final",
            "interpolation_slerp_final",
            "reconstructions_final",
            "nearest_train_final",
        ):
            noise(place, 620 if name.startswith("samples") else 400).save(run / "pictures" / f"{name}.png")
        for epoch in range(1, 5 if place < 6 else 1):
            noise(place + epoch, 620).save(run / "pictures" / f"samples_fixed_epoch_{epoch:04d}.png")
        record = json.loads((run / "metrics.json").read_text())
        record["classes"] = {source: {str(name): 0.1 for name in range(10)} for source in ("real", "generated")}
        (run / "metrics.json").write_text(json.dumps(record))


@pytest.mark.slow
def test_a_page_of_sixty_models_is_small_and_has_pictures_of_the_best(tmp_path: Path):
    make_sweep(tmp_path)
    path = write_report([tmp_path])
    assert path.stat().st_size < LARGEST_PAGE
    text = path.read_text()
    page = Page(text)
    assert page.problems == []
    pictures = [attributes for tag, attributes in page.tags if tag == "img" and attributes.get("src")]
    first_screen = [one for one in pictures if "Samples from the same latents" in (one["alt"] or "")]
    assert len(first_screen) == MODELS and all(int(one["width"] or 0) >= 64 for one in first_screen)
    assert all(int(one["width"] or 0) >= 200 for one in first_screen[:4])  # those that are seen at first
    assert "Of 60 models the charts of seeds show all, and those of curves the 32 best." in text
    assert 'class="browser"' in text and "Losses over training" in text  # nothing had to go


@pytest.mark.slow
def test_a_page_that_is_too_large_leaves_out_what_is_needed_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for seed in range(2):
        make_run(tmp_path / f"{seed}", "gan", "digits", seed, 3.0)
    whole = write_report([tmp_path]).read_text()
    losses = "Losses over training"
    assert losses in whole
    monkeypatch.setattr("reports.page.LARGEST_PAGE", len(whole.encode()) - 100)
    smaller = write_report([tmp_path]).read_text()
    assert "<summary>" + losses not in smaller and "Every seed" in smaller and 'class="browser"' in smaller
    assert "To keep this page small it leaves out: losses." in smaller


def test_a_picture_that_has_no_room_is_a_link_to_its_file(tmp_path: Path):
    folder = make_run(tmp_path / "javascript:alert(1)", "gan", "digits", 0, 3.0)
    noise(0, 620).save(folder / "pictures" / "samples_fixed_final.png")
    (run,) = find_runs([tmp_path])
    found = picture_of(run, "samples_fixed_final", "a", "b", Allowance(10_000), 1_000)
    assert isinstance(found, LinkedPicture)
    link = link_to(found.path, tmp_path / "report")
    assert link == "../javascript%3Aalert%281%29/pictures/samples_fixed_final.png"
    assert link_to(found.path, folder.parent) == link.removeprefix("../")


def test_what_pictures_leave_is_there_for_the_next():
    allowance = Allowance(1000)
    assert allowance.each(4, share=0.5) == 125
    allowance.spend(600)
    assert allowance.each(4) == 100
    allowance.spend(600)
    assert allowance.each(4) == 0


def test_tables_are_shortened_and_say_so():
    def table(rows: int, columns: int) -> Table:
        return Table("a", [Heading(str(place)) for place in range(columns)], [[Cell("x")] * columns] * rows, "Note.")

    fits = table(MOST_ROWS, MOST_COLUMNS)
    assert for_page(fits) is fits
    shortened = for_page(table(2000, 61))
    assert len(shortened.rows) == MOST_ROWS and {len(row) for row in shortened.rows} == {MOST_COLUMNS}
    assert len(shortened.headings) == MOST_COLUMNS
    expected = f"Note. Of 2,000 rows the first {MOST_ROWS} and of 61 columns the first {MOST_COLUMNS} are shown here"
    assert shortened.note == f"{expected}; report.md has all."
    assert allowance.PICTURES < LARGEST_PAGE / 2  # charts and tables have as much
