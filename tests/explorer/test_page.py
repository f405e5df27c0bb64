"""The explorer's page in a browser: what a person clicks is drawn, and nothing is asked of any other machine."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, RICH, composed
from exported_runs import write_run
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from evaluate import load_run
from explorer import serving
from explorer.explored_run import Wanted
from explorer.views import about
from foundation.errors import ConfigError, UserError
from jobs.config_check import check

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [
    *([] if CHROMIUM else ["Chromium (Debian: apt-get install chromium)"]),
    *(name for name in ("gradio", "playwright", "axe_playwright_python") if find_spec(name) is None),
]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"no {', no '.join(MISSING)}")
TABS = ("Samples", "Sliders", "Your image", "Map", "About")
LOCAL = ("127.0.0.1", "::1")


@pytest.fixture(scope="module")
def asked_elsewhere() -> Iterator[list]:
    """Addresses, other than this machine's, that this process connects to or looks up."""
    found: list = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connected(self: socket.socket, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (*LOCAL, "localhost"):
            found.append(address)
            raise OSError("no network here")
        return connect(self, address)

    def looked_up(host, *arguments, **options):
        if host not in (*LOCAL, "localhost", None):
            found.append(host)
            raise socket.gaierror("no network here")
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connected)
        patch.setattr(socket, "getaddrinfo", looked_up)
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, asked_elsewhere: list) -> Iterator[str]:
    """The page of a VAE, a GAN and a VQ-VAE that knows classes."""
    folder = tmp_path_factory.mktemp("explorer")
    vqvae = write_run(folder / "vqvae", *RICH["vqvae"])
    runs = f"run=[{PROJECT / 'zoo/vae_digits'},{PROJECT / 'zoo/gan_digits'},{vqvae}]"
    cfg = composed(runs, "port=null", "browser=false", "accelerator=cpu", config="explore")
    HydraConfig.instance().cfg = None
    check(cfg)
    serving.stay_offline()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "pictures"))
        page = serving.launch(serving.open_runs(cfg), cfg.seed, cfg.port, cfg.browser)
        yield page.local_url
        page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, address: str) -> Iterator:
    """The page, opened at 1,400 pixels. It asks no other machine, and has no errors of its own."""
    with opened(browser, address, width=1400) as tab:
        yield tab


class opened:
    def __init__(self, browser, address: str, width: int, scheme: str = "light") -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.set_default_timeout(90_000)  # ms; as long as other tests leave a core no time
        self.outside: list[str] = []
        self.errors: list[str] = []

    def __enter__(self):
        tab = self.context.new_page()
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("request", self.note)
        tab.goto(self.address)
        tab.wait_for_selector("#samples-2 img", state="attached")
        tab.wait_for_selector("#samples-0 img")
        return tab

    def note(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.outside.append(request.url)

    def __exit__(self, *_) -> None:
        self.context.close()
        assert self.outside == [] and self.errors == []


def pixels(tab, picture: str) -> np.ndarray:
    """What a picture of the page shows, (H, W, 3)."""
    from io import BytesIO

    source = tab.locator(f"#{picture} img").get_attribute("src")
    return np.asarray(Image.open(BytesIO(tab.request.get(source).body())).convert("RGB"))


def until_changed(tab, picture: str, before: str | None) -> str:
    """Wait for a picture that is another than before, and return where it is from."""
    tab.wait_for_function(
        "([id, before]) => { const img = document.querySelector(`#${id} img`); return img && img.src !== before }",
        arg=[picture, before],
    )
    return tab.locator(f"#{picture} img").evaluate("img => img.src")


def click_at(tab, picture: str, column: float, row: float) -> None:
    """Click a picture at shares of its width and height."""
    img = tab.locator(f"#{picture} img")
    box = img.bounding_box()
    img.click(position={"x": box["width"] * column, "y": box["height"] * row})


def open_tab(tab, name: str) -> None:
    tab.get_by_role("tab", name=name).click()


def set_slider(tab, name: str, value: float) -> None:
    number = tab.locator(f"#{name} input[type=number]")
    number.fill(str(value))
    number.press("Enter")
    number.blur()


@pytest.mark.slow
@needs_browser
def test_samples_are_drawn_anew_by_seed_class_and_variety(page, address: str):
    before = page.locator("#samples-0 img").evaluate("img => img.src")
    assert "seed=0" in page.locator("#command-0 textarea").input_value()
    page.locator("#again").click()
    until_changed(page, "samples-0", before)
    page.wait_for_function("document.querySelector('#command-0 textarea').value.includes('seed=1 ')")
    drawn = pixels(page, "samples-1")
    with page.expect_download() as begun:
        page.locator("#latents-1").click()
    assert begun.value.suggested_filename == "latents.npz"
    gan = load_run(PROJECT / "zoo" / "gan_digits", device="cpu")
    assert np.array_equal(np.load(begun.value.path())["arr_0"], gan.draw(64, seed=1).z)
    set_slider(page, "variety-1", 0.2)
    page.wait_for_function("document.querySelector('#command-1 textarea').value.includes('model.truncation=0.2')")
    alike = pixels(page, "samples-1")
    assert alike.std(axis=(0, 1)).mean() > 0 and not np.array_equal(drawn, alike)
    page.locator("#class-2 input").click()
    page.get_by_role("option", name="7", exact=True).click()
    page.wait_for_function("document.querySelector('#command-2 textarea').value.includes('labels=[7]')")


@pytest.mark.slow
@needs_browser
def test_two_clicks_make_a_walk_whose_ends_they_are(page):
    samples = pixels(page, "samples-0")
    assert page.locator("#walk-0").count() == 0
    click_at(page, "samples-0", 0.06, 0.06)
    page.wait_for_selector("#walk-message-0 >> text=From image 0: click another one")
    click_at(page, "samples-0", 0.94, 0.94)
    page.wait_for_selector("#walk-message-0 >> text=From image 0 of seed 0 to image 63 of seed 0.")
    page.wait_for_selector("#walk-0 img")
    walk = pixels(page, "walk-0")
    assert np.array_equal(walk[12:104, 12:104], samples[12:104, 12:104])  # inside of the frame
    assert np.array_equal(walk[12:104, -104:-12], samples[-104:-12, -104:-12])
    middle = page.locator("#here-0 img").evaluate("img => img.src")
    set_slider(page, "along-0", 100)
    until_changed(page, "here-0", middle)
    page.locator("#nearest-0").click()
    page.wait_for_selector("#closest-0 img")


@pytest.mark.slow
@needs_browser
def test_sliders_move_the_image_that_was_clicked(page):
    open_tab(page, "Sliders")
    page.wait_for_selector("#moved-message-1 >> text=From image 0 of seed 0.")
    open_tab(page, "Samples")
    click_at(page, "samples-1", 0.94, 0.94)
    open_tab(page, "Sliders")
    page.wait_for_selector("#moved-message-1 >> text=From image 63 of seed 0.")
    before = until_changed(page, "moved-1", None)
    set_slider(page, "slider-0-1", 2)
    until_changed(page, "moved-1", before)
    page.wait_for_selector("#moved-message-1 >> text=direction 1 +2.0")
    page.locator("#mean-1").click()
    page.wait_for_selector("#moved-message-1 >> text=From the mean of all latents.")


@pytest.mark.slow
@needs_browser
def test_a_vqvae_says_that_it_has_no_walks_and_a_gan_that_it_has_no_encoder(page):
    assert page.get_by_text("Between two of them there is nothing").first.is_visible()
    assert not page.locator("#way-2").is_visible()
    open_tab(page, "Your image")
    assert page.get_by_text("A GAN has no encoder").first.is_visible()


@pytest.mark.slow
@needs_browser
def test_an_image_is_uploaded_reconstructed_and_carried_to_the_sliders(page, tmp_path: Path):
    picture = np.zeros((60, 60), dtype=np.uint8)
    picture[10:50, 25:35] = 255
    Image.fromarray(picture).save(tmp_path / "one.png")
    open_tab(page, "Your image")
    page.locator("#file input[type=file]").set_input_files(tmp_path / "one.png")
    page.wait_for_selector("#reconstruction-message-0 >> text=One.png as the model sees it, its reconstruction")
    page.wait_for_selector("#reconstruction-message-1 >> text=One.png, in the size and colours of this model")
    page.wait_for_selector("#image-wrong-2 >> text=choose its class")
    shown = pixels(page, "reconstruction-0")
    assert shown[100, 100].min() > 150 and shown[100, 10].max() < 20  # the stroke, and what is beside it
    page.locator("#neighbours-0").click()
    page.wait_for_selector("#neighbours-message-0 >> text=nearest among latents")
    page.locator("#carry-0").click()
    open_tab(page, "Sliders")
    page.wait_for_selector("#moved-message-0 >> text=From one.png.")


@pytest.mark.slow
@needs_browser
def test_a_bad_upload_gives_a_message(page, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    open_tab(page, "Your image")
    page.locator("#file input[type=file]").set_input_files(tmp_path / "broken.png")
    for number in range(3):
        page.wait_for_selector(f"#image-wrong-{number} >> text=Broken.png is no readable image")
    page.locator("#take").click()  # and what is given next is shown
    page.wait_for_selector("#reconstruction-message-0 >> text=Held-out image 0")
    assert page.locator("#image-wrong-0").inner_text().strip() == ""


@pytest.mark.slow
@needs_browser
def test_a_click_on_the_map_starts_the_sliders_there(page):
    open_tab(page, "Map")
    page.wait_for_selector("#map-0 img")
    page.wait_for_selector("#map-words-0 >> text=This model has 16 latents")
    click_at(page, "map-0", 0.99, 0.01)
    page.wait_for_selector("#map-message-0 >> text=row 1, column 15 of the map")
    open_tab(page, "Sliders")
    page.wait_for_selector("#moved-message-0 >> text=From row 1, column 15 of the map.")


@pytest.mark.slow
@needs_browser
def test_page_fits_a_telephone(browser, address: str):
    with opened(browser, address, width=390) as tab:
        for name in TABS:
            open_tab(tab, name)
            tab.wait_for_timeout(300)
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_tab_has_a_serious_finding_of_axe(width: int, scheme: str, browser, address: str):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with opened(browser, address, width, scheme) as tab:
        tab.evaluate(axe)
        assert tab.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
        for name in TABS:
            open_tab(tab, name)
            if name == "Your image":  # with what it shows of one
                tab.locator("#take").click()
                tab.wait_for_selector("#reconstruction-0 img")
            tab.wait_for_timeout(300)
            violations = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            serious = [
                (found["id"], node["html"][:200], node["failureSummary"])
                for found in violations
                if found["impact"] in ("serious", "critical")
                for node in found["nodes"]
            ]
            assert not serious, (name, serious)


@pytest.mark.slow
@needs_browser
def test_page_is_served_to_this_machine_alone_and_asks_no_other(page, address: str, asked_elsewhere: list):
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    with pytest.raises(OSError), socket.socket() as other:  # this machine too, as another address of it
        other.settimeout(5)
        socket.SocketType.connect(other, ("127.0.0.2", port))
    for served in ("", "theme.css", "config"):
        text = page.request.get(f"{address}{served}").text()
        assert not re.findall(r"(?:src|href|url\()\s*=?\s*[\"']?https?://(?!127\.0\.0\.1)[^\"')\s]+", text), served
    assert asked_elsewhere == []


@contextmanager
def started(folder: Path, port: int, *program: str | Path) -> Iterator[subprocess.Popen]:
    """A program with the command's arguments as a shell starts it, for which Ctrl-C is not ignored, once it serves."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(PROJECT)}
    arguments = [f"run={PROJECT / 'zoo/gan_digits'}", f"port={port}", "browser=false", "accelerator=cpu"]
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *program, *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in a job in the background it is ignored
    )  # fmt: skip
    try:
        assert has_printed(process, f"explore at http://127.0.0.1:{port}/")
        yield process
    finally:
        process.kill()
        process.communicate()


def has_printed(process: subprocess.Popen, words: str) -> bool:
    assert process.stdout is not None
    return any(line.startswith(words) for line in process.stdout)


def errors_of_end(process: subprocess.Popen) -> str:
    """What a program that was sent a signal has written to standard error; of one that goes on, what it does."""
    try:
        return process.communicate(timeout=60)[1]  # as long as other tests leave a core no time
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # at which faulthandler prints the stack of each thread
        pytest.fail(f"not ended after a minute:\n{process.communicate()[1]}")


@pytest.mark.slow
@needs_browser
def test_command_serves_until_it_is_ended_and_leaves_nothing(tmp_path: Path, free_port: int):
    with started(tmp_path, free_port, PROJECT / "explore.py") as process:
        with pytest.raises(ConfigError, match=f"port: {free_port} can't be used"):
            serving.check_port(free_port)
        process.send_signal(signal.SIGINT)
        errors = errors_of_end(process)
    assert process.returncode == 128 + signal.SIGINT and "Traceback" not in errors, errors
    assert errors.endswith("stopped by Ctrl-C; nothing is lost\n")
    assert list(tmp_path.iterdir()) == []


COMPUTES_FOR_EVER = """
import torch
from explore import command
from explorer.explored_run import ExploredRun

def images(self, latents):
    print("computing", flush=True)
    while True:
        torch.ones(100, 100) @ torch.ones(100, 100)

ExploredRun.images = images
command()
"""


@pytest.mark.slow
@needs_browser
def test_command_ends_as_quietly_while_it_computes_for_a_browser(browser, tmp_path: Path, free_port: int):
    with started(tmp_path, free_port, "-c", COMPUTES_FOR_EVER) as process:
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{free_port}/")
        assert has_printed(process, "computing")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)  # of a person who waits
        errors = errors_of_end(process)
        tab.close()
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in errors, errors
    assert errors.endswith("stopped by SIGTERM; nothing is lost\n")
    assert list(tmp_path.iterdir()) == []


def test_without_gradio_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.extras.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"explore\.py: this needs gradio, .* pip install '\.\[explorer\]'"):
        serving.require_gradio()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["run="], "run: expected a text of at least 1 character"),
        (["run=[]"], "run: expected a text or a list of at least 1, got []"),
        (["run=a", "port=0"], "port: expected at least 1"),
        (["run=a", "seed=-1"], "seed: expected at least 0"),
        (["run=a", "+data.flip=true"], "data.flip: there is no such setting"),
        (["run=a", "+shared=true"], "shared: there is no such setting"),
    ],
)
def test_settings_that_are_none_are_refused(overrides: list[str], says: str):
    with pytest.raises(UserError, match=re.escape(says)):
        check(composed(*overrides, config="explore"))


@pytest.mark.parametrize("page", ["docs/explorer.md", "conf/hydra/help/explore.yaml", "explore.py"])
def test_printed_commands_compose_and_name_runs_that_are_there(page: str):
    lines = re.findall(r"^ *python explore\.py ([^#\n`]*?)(?:  .*|#.*)?$", (PROJECT / page).read_text(), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        given = re.sub(r"<[^>]*>", "zoo/vae_digits", line)
        cfg = composed(*shlex.split(given), config="explore")
        check(cfg)
        for run in [cfg.run] if isinstance(cfg.run, str) else cfg.run:
            assert run.startswith("hf://") or (PROJECT / run / "config.yaml").is_file()


def test_a_run_of_the_hub_is_fetched_and_called_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []
    snapshot = shutil.copytree(PROJECT / "zoo/gan_digits", tmp_path / "0123abcd")

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo_id, revision))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    cfg = composed(f"run=[{PROJECT / 'zoo/gan_digits'},hf://me/mine@v1]", "accelerator=cpu", config="explore")
    HydraConfig.instance().cfg = None
    check(cfg)
    here, there = (view.run for view in serving.open_runs(cfg))
    assert asked == [("me/mine", "v1")] and (here.name, there.name) == ("gan_digits", "mine@v1")
    assert there.images(there.draw(Wanted(0, 3))).equal(here.images(here.draw(Wanted(0, 3))))
    assert "run=hf://me/mine@v1 " in there.command(Wanted(0, 3)) and "0123abcd" not in about(there)


def test_after_that_the_hub_is_asked_nothing(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in serving.WITHOUT_NETWORK:
        monkeypatch.setenv(name, "")
    serving.stay_offline()
    with pytest.raises(huggingface_hub.errors.OfflineModeIsEnabled):
        huggingface_hub.HfApi().model_info("me/mine")


def test_a_data_folder_is_refused_where_no_run_has_one():
    cfg = composed(f"run={PROJECT / 'zoo/gan_digits'}", "data.root=here", "accelerator=cpu", config="explore")
    with pytest.raises(ConfigError, match=r"data\.root: the data of these runs comes with scikit-learn"):
        serving.open_runs(cfg)
