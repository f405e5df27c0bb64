"""The Hugging Face hub, by a stand-in for it: what goes up, what comes down, and what is said when it can't."""

import shutil
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
from conftest import PROJECT, composed
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from evaluate import load_run
from foundation.errors import ConfigError, UserError
from jobs.evaluation import evaluate
from jobs.exporting import export
from jobs.hub import HubError, check_repository
from jobs.kept_config import read_config
from run_folder.kept_config import write_config

ZOO = PROJECT / "zoo" / "vae_digits"


class Hub:
    """What the hub was asked for, and folders by repository."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    def asked(self, call: str, **given: Any) -> None:
        self.calls.append((call, given))
        if self.failure is not None:
            raise self.failure

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        self.asked("create_repo", repo_id=repo_id, private=private, exist_ok=exist_ok)
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **given: Any) -> None:
        self.asked("upload_folder", **given)

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked("snapshot_download", repo_id=repo_id, revision=revision, allow_patterns=allow_patterns)
        return str(self.folders[repo_id])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    return hub


def exported(out: Path | str, *overrides: str, run: Path | str = ZOO) -> None:
    export(composed(f"run={run}", f"out={out}", *overrides, config="export"))


def test_a_folder_is_uploaded_when_it_is_whole(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    exported(tmp_path / "mine", "hub=me/mine", "private=true", "license=mit")
    (created, about), (uploaded, what) = hub.calls
    assert created == "create_repo" and about == {"repo_id": "me/mine", "private": True, "exist_ok": True}
    assert uploaded == "upload_folder" and what["repo_id"] == "me/mine" and what["folder_path"] == tmp_path / "mine"
    files = {path.name for path in (tmp_path / "mine").iterdir()}
    assert files <= set(what["allow_patterns"]) and ".lock" not in what["allow_patterns"]
    card = (tmp_path / "mine" / "README.md").read_text()
    assert 'load_run("hf://me/mine")' in card and "run=hf://me/mine samples=64" in card
    assert "https://huggingface.co/me/mine\n  run=hf://me/mine" in capsys.readouterr().out


def test_an_exported_folder_is_uploaded_as_it_is_and_nothing_else_in_it(hub: Hub, tmp_path: Path):
    shutil.copytree(ZOO, tmp_path / "mine")
    (tmp_path / "mine" / "private.txt").write_text("mine")
    exported("", "hub=me/mine", run=tmp_path / "mine")
    assert hub.calls[1][1]["folder_path"] == tmp_path / "mine"
    assert "private.txt" not in hub.calls[1][1]["allow_patterns"] and len(list((tmp_path / "mine").iterdir())) == 7


def test_what_can_not_be_uploaded_is_refused_before_anything_is_written(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for overrides, says in (
        (["hub=mine"], "hub: expected owner/name.*got 'mine'"),
        (["hub=a/b/c"], "hub: expected owner/name"),
        (["hub=me/mine..git"], "hub: expected owner/name.*got 'me/mine..git'"),
        (["hub='me/my model'"], "hub: expected owner/name"),
        (["private=true"], "private: .*give hub=owner/name too"),
    ):
        with pytest.raises(ConfigError, match=says):
            exported(tmp_path / "mine", *overrides)
    for overrides in ([], ["hub=me/mine", "onnx=true"]):
        with pytest.raises(ConfigError, match="out: say which folder is to be written"):
            exported("", *overrides)
    (tmp_path / "run").mkdir()
    shutil.copy(ZOO / "config.yaml", tmp_path / "run")
    with pytest.raises(ConfigError, match=r"no folder that export\.py has written"):
        exported("", "hub=me/mine", run=tmp_path / "run")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ConfigError, match=r"hub: no token.*settings/tokens, then `hf auth login`, or set HF_TOKEN"):
        exported(tmp_path / "mine", "hub=me/mine")
    assert not hub.calls and not (tmp_path / "mine").exists()


def test_a_debug_run_is_marked_and_not_published(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    shutil.copytree(ZOO, run)
    config = read_config(ZOO)
    OmegaConf.update(config, "choices.debug", "fast", force_add=True)
    write_config(run / "config.yaml", config)
    for out in ("", tmp_path / "mine"):
        with pytest.raises(ConfigError, match=r"hub: .* was made with debug=fast.* is not published"):
            exported(out, "hub=me/mine", run=run)
    assert not hub.calls and not (tmp_path / "mine").exists()
    exported(tmp_path / "mine", run=run)
    assert "debug=fast: it is no result" in capsys.readouterr().out
    assert "A debug run (`debug=fast`)" in (tmp_path / "mine" / "README.md").read_text()
    with pytest.raises(ConfigError, match="is not published"):  # nor is an export of it
        exported("", "hub=me/mine", run=tmp_path / "mine")


class Answer:
    """As much of an HTTP response as errors of the hub's library ask for."""

    def __init__(self, status_code: int) -> None:
        self.status_code, self.request, self.headers = status_code, None, dict[str, str]()


def answered(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    return kind("what the hub said\nand more", response=Answer(status))


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (answered(HfHubHTTPError, 401), "does not take the token"),
        (answered(HfHubHTTPError, 403), "the token may not do that"),
        (answered(HfHubHTTPError, 500), "it answered what the hub said"),
        (httpx2.ConnectError("Name or service not known"), "could not be reached .Name or service not known"),
        (ConnectionError("offline mode is enabled"), "could not be reached .offline mode"),
    ],
)
def test_an_upload_that_fails_loses_nothing_and_says_how_to_go_on(
    failure: Exception, says: str, hub: Hub, tmp_path: Path
):
    hub.failure, out = failure, tmp_path / "mine"
    with pytest.raises(HubError, match=rf"{out} is written and whole.*{says}") as raised:
        exported(out, "hub=me/mine", "private=true")
    assert (out / "README.md").is_file() and "and more" not in str(raised.value)
    again = str(raised.value).partition("Then give: python export.py ")[2]
    hub.failure = None
    export(composed(*again.split(), config="export"))
    assert hub.calls[-1][0] == "upload_folder" and hub.calls[-2][1]["private"] is True


def test_a_model_of_the_hub_is_loaded_from_weights_and_config_alone(hub: Hub, tmp_path: Path):
    hub.folders["me/mine"] = ZOO
    images = load_run("hf://me/mine@v1", device="cpu").sample(3, seed=0)
    assert images.equal(load_run(ZOO, device="cpu").sample(3, seed=0))
    ((_, asked),) = hub.calls
    assert asked["revision"] == "v1" and asked["repo_id"] == "me/mine"
    assert set(asked["allow_patterns"]) == {
        "config.yaml",
        "data.json",
        "metrics.json",
        "weights.safetensors",
        "README.md",
    }
    cfg = composed("run=hf://me/mine", f"out={tmp_path / 's.npz'}", "samples=3", "accelerator=cpu", config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)
    assert (tmp_path / "s.npz").is_file() and hub.calls[1][1]["revision"] is None


def test_a_model_of_the_hub_is_not_scored_in_its_cache(hub: Hub):
    with pytest.raises(ConfigError, match=r"run: scores are written into the run folder.*hf download"):
        evaluate(composed("run=hf://me/mine", config="evaluate"))
    assert not hub.calls


def test_what_a_repository_holds_besides_is_never_loaded(hub: Hub, tmp_path: Path):
    for name, missing, added in (("pickled", "weights.safetensors", ""), ("checkpoints", "", "checkpoints")):
        folder = hub.folders[f"me/{name}"] = tmp_path / name
        shutil.copytree(ZOO, folder)
        (folder / missing).unlink() if missing else (folder / added).mkdir()
        with pytest.raises(HubError, match=rf"hf://me/{name} is no run that export\.py has written"):
            load_run(f"hf://me/{name}")


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (answered(RepositoryNotFoundError, 404), "there is no such repository or revision, or it is private"),
        (answered(RepositoryNotFoundError, 401), "or there is no such repository to who has none"),
        (LocalEntryNotFoundError("no network and no cache\nfor long"), "could not be reached .no network and no cache"),
    ],
)
def test_what_can_not_be_fetched_is_said(failure: Exception, says: str, hub: Hub):
    hub.failure = failure
    with pytest.raises(HubError, match=f"run: hf://me/mine was not fetched: .*{says}"):
        load_run("hf://me/mine")


def test_names_of_repositories_are_checked_as_the_hub_does():
    with pytest.raises(HFValidationError):
        huggingface_hub.utils.validate_repo_id("me/-mine")
    with pytest.raises(ConfigError, match="run: expected owner/name"):
        check_repository("run", "me/-mine")
    check_repository("run", "me/mine-1.0")
    with pytest.raises(UserError, match="run: expected owner/name"):
        load_run("hf://mine")


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.extras.find_spec", lambda package: None)
    for ask, setting, extra in (
        (lambda: exported(tmp_path / "out", "hub=me/mine"), "hub", "hub"),
        (lambda: exported(tmp_path / "out", "onnx=true"), "onnx", "onnx"),
        (lambda: load_run("hf://me/mine"), "run", "hub"),
    ):
        with pytest.raises(ConfigError, match=rf"{setting}: this needs .*extra `{extra}`.*pip install '\.\[{extra}\]'"):
            ask()
    assert not (tmp_path / "out").exists()
    exported(tmp_path / "out", "pt2=false")
    assert (tmp_path / "out" / "README.md").is_file()  # a plain export needs none
