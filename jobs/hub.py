"""The Hugging Face hub: an exported folder goes up to a repository there, and one of these comes down to be loaded."""

import re
import shlex
from pathlib import Path
from typing import Any

from foundation.errors import ConfigError, UserError, first_line
from foundation.extras import require
from foundation.programs import override, program
from run_folder.layout import CARD, CHECKPOINTS, CONFIG, DATA, GRAPHS, METRICS, SAMPLES, WEIGHTS

from .paths import at_home

SCHEME = "hf://"  # hf://owner/name, hf://owner/name@revision
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
READ = [CONFIG, DATA, METRICS, WEIGHTS, CARD]  # all that is fetched of a repository, whatever else lies there
WRITTEN = [*READ, SAMPLES, *GRAPHS]  # all that is uploaded of a folder, whatever else lies there
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404  # answers of the hub


class HubError(UserError):
    """The hub did not do what was asked of it; the message says why, what is safe, and what to do."""


def local_folder(run: str | Path) -> Path:
    """The folder of a run: one that is here, or a copy of a repository of the hub. Raises ConfigError and HubError."""
    if is_on_hub(run):
        return fetched(str(run))
    return Path(at_home("run", str(run)) if str(run).startswith("~") else run)


def is_on_hub(run: str | Path) -> bool:
    return str(run).startswith(SCHEME)


def check_hub(repository: str) -> None:
    """Raise ConfigError for an upload that could not be done, as far as that is known without asking the hub."""
    require("hub", "hub", "huggingface_hub")
    check_repository("hub", repository)
    from huggingface_hub import get_token

    if get_token() is None:
        raise ConfigError(
            "hub: no token of the Hugging Face hub is known here. Make one that may write at "
            "https://huggingface.co/settings/tokens, then `hf auth login`, or set HF_TOKEN"
        )


def check_repository(setting: str, repository: str) -> None:
    """Raise ConfigError for what is no name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    expected = f"{setting}: expected owner/name, the name of letters, digits, -, _ and ., got {repository!r}"
    if not REPOSITORY.fullmatch(repository):
        raise ConfigError(expected)
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"{expected}: {first_line(error)}") from error


def upload(folder: Path, repository: str, private: bool) -> str:
    """Upload an exported folder to a repository, which is made if there is none; returns its address.

    Raises HubError, which says how to go on: the folder stays as it is.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi(library_name="vae-vs-gan")
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=f"Upload {folder.name}",
            allow_patterns=WRITTEN,
        )
    except hub_failures() as error:
        again = shlex.join([*program("export"), override("run", folder), f"hub={repository}"])
        raise HubError(
            f"hub: {folder} is written and whole, but was not uploaded to {repository}: {reason(error)}. "
            f"Then give: {again}{' private=true' if private else ''}"
        ) from error
    return str(address)


def fetched(run: str) -> Path:
    """A local copy of a repository's config, records and weights: data, and no code. Raises ConfigError and HubError.

    What was fetched before is taken from the hub's cache where the hub can't be reached.
    """
    require("run", "hub", "huggingface_hub")
    repository, _, revision = run.removeprefix(SCHEME).partition("@")
    check_repository("run", repository)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=READ))
    except hub_failures() as error:
        raise HubError(f"run: {run} was not fetched: {reason(error)}") from error
    if not (folder / WEIGHTS).is_file() or (folder / CHECKPOINTS).exists():
        raise HubError(f"run: {run} is no run that export.py has written: it needs {WEIGHTS}, and no {CHECKPOINTS}/")
    return folder


def hub_failures() -> tuple[type[Exception], ...]:
    """What the hub's library raises for what the hub answers, a network that fails, and files that can't be read."""
    from httpx2 import HTTPError  # of a network that fails; what the hub answers is one, too

    return (HTTPError, OSError, RuntimeError, ValueError)


def reason(error: Exception) -> str:
    """Why the hub was of no use, and what to do."""
    response: Any = getattr(error, "response", None)
    answer = getattr(response, "status_code", None)
    if answer == UNAUTHORIZED:
        return "it does not take the token, or there is no such repository to who has none: `hf auth login`"
    if answer == FORBIDDEN:
        return "the token may not do that: it must be one that may write, of somebody of that owner"
    if answer == NOT_FOUND:
        return "there is no such repository or revision, or it is private and the token is not let in"
    if answer is not None:
        return f"it answered {first_line(error)}"
    why = first_line(error.__cause__ or error)
    return why if isinstance(error, ValueError | RuntimeError) else f"the hub could not be reached ({why})"
