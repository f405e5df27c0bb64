"""Packages that only an extra of this project's installs."""

from importlib.util import find_spec

from .errors import ConfigError


def require(setting: str, extra: str, *packages: str) -> None:
    """Raise ConfigError, which says how to install them, unless these packages are there; none of them is imported."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"{setting}: this needs {' and '.join(missing)}, which the extra `{extra}` installs: "
            f"pip install '.[{extra}]' from the checkout, or pip install {' '.join(missing)}"
        )
