"""What `explore.py` does: it opens runs, and serves a page on them to this machine alone."""

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from foundation.errors import ConfigError
from foundation.extras import require
from jobs.config_check import check
from jobs.hub import is_on_hub, local_folder
from jobs.machine import device_of
from jobs.stopping import Stopped, end_with_threads, ended_by_signals

from .explored_run import ExploredRun
from .real_images import RealImages
from .views import RunView

if TYPE_CHECKING:
    import gradio

ADDRESS = "127.0.0.1"
REMOVING = 1.0  # seconds for its folder at the end, into which what is still being computed may write
LARGEST_UPLOAD = 50_000_000  # bytes
# Read by Gradio as it is imported, or later by what it imports.
WITHOUT_NETWORK = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def explore(cfg: DictConfig) -> None:
    """Serve the page until it is ended. Raises UserError before that, where a run can't be opened."""
    check(cfg)
    require_gradio()
    check_port(cfg.port)
    views = open_runs(cfg)  # a run of the hub is fetched here, and nothing is asked of the network after this
    stay_offline()
    with ended_by_signals(lambda: "nothing is lost"), tempfile.TemporaryDirectory(prefix="explorer-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # pictures and uploads, which nobody else is to read, and none stays
        page = None
        try:
            page = launch(views, cfg.seed, cfg.port, cfg.browser)
            print(f"explore at {page.local_url}    (this machine alone; Ctrl-C ends it)", flush=True)
            page.block_thread()
        except Stopped as end:
            end_with_threads(end, partial(leave_nothing, page, folder))


def require_gradio() -> None:
    """Raise ConfigError where Gradio is not installed."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # before the hub's library is imported for a run that is there
    require("explore.py", "explorer", "gradio")


def stay_offline() -> None:
    """Have Gradio, which is imported after this, and what it imports ask nobody anything."""
    os.environ.update(WITHOUT_NETWORK)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:  # imported to fetch a run, it has read its environment
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def check_port(port: int | None) -> None:
    """Raise ConfigError if another program has the port."""
    if port is None:
        return
    with socket.socket() as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((ADDRESS, port))
        except OSError as error:
            raise ConfigError(
                f"port: {port} can't be used ({error.strerror}); choose another, or port=null for any that is free"
            ) from error


def open_runs(cfg: DictConfig) -> list[RunView]:
    """The runs that are asked for, one after the other; those of the hub are fetched. Raises UserError."""
    asked = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    device = device_of(cfg.accelerator)
    runs = [
        ExploredRun(local_folder(run), device, cfg.checkpoint, on_hub=run if is_on_hub(run) else None) for run in asked
    ]
    root = cfg.data.root
    if root is not None and not any("root" in run.config.data for run in runs):
        raise ConfigError("data.root: the data of these runs comes with scikit-learn; leave data.root away")
    return [RunView(run, RealImages(run, root)) for run in runs]


def launch(views: list[RunView], seed: int, port: int | None, browser: bool) -> "gradio.Blocks":
    """Serve the page in threads of their own."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own page whether it is there
    from .page import THEME, build_page

    page = build_page(views, seed)
    page.launch(
        server_name=ADDRESS,
        server_port=port or free_port(),
        inbrowser=browser,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=THEME,
        css=files(__package__).joinpath("page.css").read_text(encoding="utf-8"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=LARGEST_UPLOAD,
    )
    return page


def leave_nothing(page: "gradio.Blocks | None", folder: str) -> None:
    """Close the page, whoever looks at it or waits for it, and remove its folder."""
    logging.disable()  # uvicorn would show a traceback of each request that this cuts off
    if page is not None:
        page.server.force_exit = True  # or uvicorn waits until browsers close their connections
        page.close(verbose=False)  # waits for what is being computed, but 5 s at most
    until = time.monotonic() + REMOVING
    while Path(folder).exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as trying:
        trying.bind((ADDRESS, 0))
        return trying.getsockname()[1]
