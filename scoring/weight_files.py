"""Weights that others trained, as files: found on this machine or fetched, and checked before anything loads them."""

import hashlib
from pathlib import Path

import torch

from foundation.errors import UserError


class WeightsError(UserError):
    """An extractor's weights are missing or not the right ones; the message says which and what to do."""


def find_weights(choice: str, weights: str | None, url: str, file_name: str, sha256_prefix: str) -> Path:
    """The weights that scores=<choice> needs.

    The file at `weights`, else `file_name` in torch's hub folder, else what is fetched to there from `url`. Raises
    WeightsError unless its sha256 begins with `sha256_prefix`.
    """
    folder = torch.hub.get_dir()
    if not weights and folder.startswith("~"):
        raise WeightsError(
            f"scores={choice} needs weights, and there is no home folder to keep them in. Say where: set the variable "
            "TORCH_HOME to a folder, or scores.extractor.weights=<their path>"
        )
    path = Path(weights).expanduser() if weights else Path(folder) / "checkpoints" / file_name
    if not path.is_file():
        if weights:
            raise WeightsError(
                f"scores.extractor.weights: there is no file {path}; give the path of the extractor's weights"
            )
        fetch_weights(choice, url, path, sha256_prefix)
    found = sha256(path)
    if not found.startswith(sha256_prefix):
        raise WeightsError(
            f"{path} is not the expected network: its sha256 is {found}, expected to begin with {sha256_prefix}. "
            "Delete it to have it fetched again; for another file set scores.extractor.sha256_prefix="
        )
    return path


def fetch_weights(choice: str, url: str, path: Path, sha256_prefix: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256_prefix)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"scores={choice} needs weights that can't be fetched ({error}). Put the file from {url} to {path}, or set "
            "scores.extractor.weights=<its path>, or use scores=reference, which needs no download"
        ) from error


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
