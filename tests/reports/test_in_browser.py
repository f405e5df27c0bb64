"""The page in Chromium: accessible at any width, light and dark; its samples are looked through by keyboard."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import chromium, needs_chromium, opened
from PIL import Image
from playwright.sync_api import Browser, Page
from report_runs import make_run

from reports import write_report

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
CLASSES = ("a", "b", "c")
SIDE, PADDING, COLUMNS, ROWS = 8, 2, 6, 2
DRAWN_ALL = "[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg'))"
SIZE_OF_STAGE = "reel => { const canvas = reel.querySelector('canvas'); return canvas.width / canvas.height; }"
COLOUR = "reel => [...reel.querySelector('canvas').getContext('2d').getImageData(3, 3, 1, 1).data].slice(0, 3)"

pytestmark = [needs_chromium, pytest.mark.slow]


def grid(greys: list[int]) -> Image.Image:
    """A row of tiles of these greys, and a second one of the same, each with white around it."""
    step = SIDE + PADDING
    pixels = np.full((ROWS * step + PADDING, COLUMNS * step + PADDING), 255, dtype=np.uint8)
    for place, grey in enumerate(greys * ROWS):
        row, column = divmod(place, COLUMNS)
        top, left = row * step + PADDING, column * step + PADDING
        pixels[top : top + SIDE, left : left + SIDE] = grey
    return Image.fromarray(pixels)


def grey_of(seed: int, epoch: int, column: int) -> int:
    return 100 * seed + 30 * epoch + 5 * (column % len(CLASSES))


def make_sweep(top: Path) -> None:
    """A model that knows classes and one that doesn't, two seeds of each; a run that failed."""
    for seed in range(2):
        for model, conditioning in (("gan", "LabelConditioning"), ("vae", "NoConditioning")):
            of_part = {"_target_": f"lightning_modules.conditioning.{conditioning}"}
            run = make_run(top / f"{model} {seed}", model, "digits", seed, 3.0 + seed, conditioning=of_part)
            config = yaml.safe_load((run / "config.yaml").read_text())
            config["callbacks"] = {"sample_grid": {"columns": COLUMNS, "rows": ROWS}}
            (run / "config.yaml").write_text(yaml.safe_dump(config))
            for epoch in (1, 2, 3):
                picture = grid([grey_of(seed, epoch, column) for column in range(COLUMNS)])
                name = "final" if epoch == 3 else f"epoch_{epoch:04d}"
                picture.save(run / "pictures" / f"samples_fixed_{name}.png")
            grid([20 * column for column in range(COLUMNS)]).save(run / "pictures" / "nearest_train_final.png")
            frames = [Image.new("RGB", (60, 20), (shade, 0, 0)) for shade in (50, 150, 250)]
            frames[0].save(run / "pictures" / "training.webp", save_all=True, append_images=frames[1:], duration=100)
            record = json.loads((run / "metrics.json").read_text())
            shares = {"real": dict.fromkeys(CLASSES, 1 / 3), "generated": {"a": 0.5 + seed / 4, "b": 0.25, "c": 0.0}}
            (run / "metrics.json").write_text(json.dumps(record | {"classes": shares}))
            split = {"images": 1, "sha256": "0"}
            (run / "data.json").write_text(json.dumps({"splits": {"test": split}, "class_names": CLASSES}))
    failed = top / "failed"
    failed.mkdir()
    end = {"status": "failed", "message": "no", "model": "gan", "network": "mlp", "data": "digits", "seed": 7}
    (failed / "status.json").write_text(json.dumps(end))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("browsed")
    make_sweep(top)
    return write_report([top])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    with opened(browser, report) as shown:
        yield shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_serious(width: int, scheme: str, browser: Browser, report: Path):
    with opened(browser, report, width, scheme) as page:
        page.wait_for_function(DRAWN_ALL)
        page.evaluate("document.querySelectorAll('details').forEach(folded => { folded.open = true; })")
        page.evaluate(AXE)
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 20
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert not serious, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious]


@pytest.mark.parametrize(("width", "most"), [(1400, 0), (390, 0), (320, 0)])
def test_page_is_no_wider_than_its_window(width: int, most: int, browser: Browser, report: Path):
    with opened(browser, report, width) as page:
        page.wait_for_function(DRAWN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= most


def captions(page: Page) -> list[str]:
    return page.locator(".reel > p.soft:first-of-type").all_text_contents()


def test_samples_are_looked_through_by_keyboard(page: Page):
    assert captions(page) == ["seed 0, tested model"] * 2
    reels = page.locator(".reel")
    assert reels.nth(0).evaluate(COLOUR) == pytest.approx([grey_of(0, 3, 0)] * 3, abs=2)
    page.locator("[name=seed]").focus()
    page.keyboard.press("ArrowDown")
    page.locator("[name=stage]").focus()
    page.keyboard.press("Home")
    assert captions(page) == ["seed 1, epoch 1"] * 2
    assert reels.nth(0).evaluate(COLOUR) == pytest.approx([grey_of(1, 1, 0)] * 3, abs=2)
    assert page.locator("[name=stage]").get_attribute("aria-valuetext") == "epoch 1"
    assert page.locator(".bars:visible [data-class=a] .value").all_text_contents() == ["75 % / 33.3 %"] * 2


def test_a_class_is_shown_of_models_that_know_classes(page: Page):
    reels = page.locator(".reel")
    assert [round(reels.nth(place).evaluate(SIZE_OF_STAGE)) for place in (0, 1)] == [3, 3]  # 6 x 2 tiles
    page.locator("[name=class]").select_option("b")
    assert captions(page) == ["seed 0, tested model, class b", "seed 0, tested model, all classes: it knows none"]
    assert reels.nth(0).evaluate(COLOUR) == pytest.approx([grey_of(0, 3, 1)] * 3, abs=2)
    assert reels.nth(1).evaluate(COLOUR) == pytest.approx([grey_of(0, 3, 0)] * 3, abs=2)
    assert reels.nth(0).evaluate(SIZE_OF_STAGE) == pytest.approx(4, abs=0.2)  # two columns of two tiles, in a row


def test_training_can_be_played(page: Page):
    page.locator("[name=play]").focus()
    page.keyboard.press("Enter")
    assert captions(page) == ["seed 0, epoch 1"] * 2
    page.wait_for_function("document.querySelector('[name=play]').textContent === 'Play'")
    assert captions(page) == ["seed 0, tested model"] * 2


def test_samples_open_large(page: Page):
    page.locator(".stage").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog p").text_content() == "Samples of gan (mlp), seed 0, tested model"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_without_scripts_pictures_stand_below_each_other(browser: Browser, report: Path):
    with opened(browser, report, script=False) as page:
        assert not page.locator(".controls").is_visible()
        assert page.locator(".reel .frame:visible").count() == 2 and page.locator(".bars:visible").count() == 2
        page.locator(".rest summary").first.click()
        assert page.locator(".reel .frame:visible").count() == 2 + 5  # two seeds of three stages
        page.locator(".film summary").first.click()
        assert page.locator(".film img:visible").count() == 1


def test_print_has_all_charts_and_no_controls(browser: Browser, report: Path, tmp_path: Path):
    with opened(browser, report) as page:
        page.emulate_media(media="print")
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        assert page.evaluate(DRAWN_ALL)  # also those that nobody has scrolled to
        assert page.locator(".reel canvas:visible").count() == 2 and not page.locator(".controls").is_visible()
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
