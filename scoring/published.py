"""Published protocols that can be followed here, and the numbers that were published under them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from foundation.errors import ConfigError

PUBLISHED = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("published.yaml"))))


class PublishedScore(NamedTuple):
    """A number from a paper: `score` is its name here; `protocol` is null where none of ours is the source's.

    `std`: over whatever the source repeats; null where it states none.
    """

    model: str
    data: str
    score: str
    value: float
    std: float | None
    source: str
    protocol: str | None
    remark: str | None = None

    @property
    def text(self) -> str:
        """The value with its standard deviation, as it is shown."""
        return f"{self.value}" if self.std is None else f"{self.value} ± {self.std}"


def published_scores(protocol: str | None) -> list[PublishedScore]:
    """All that was published under a protocol, with sources in full; of None, what compares with none of ours."""
    scores = [PublishedScore(**score) for score in PUBLISHED["scores"]]
    return [score._replace(source=PUBLISHED["sources"][score.source]) for score in scores if score.protocol == protocol]


def published_num_fakes(protocol: str, num_fakes: int | None) -> int:
    """How many fakes a published protocol asks for. Raises ConfigError for an unknown one, or another number."""
    known = PUBLISHED["protocols"]
    if protocol not in known:
        raise ConfigError(f"scores.protocol: expected null or one of {', '.join(known)}, got {protocol}")
    asked = known[protocol]["num_fakes"]
    if num_fakes not in (None, asked):
        raise ConfigError(f"scores.protocol={protocol} asks for {asked:,} fakes, not scores.num_fakes={num_fakes}")
    return asked


def published_under(protocol: Mapping[str, Any]) -> list[PublishedScore]:
    """The numbers that were published under the same conditions as a score's protocol states."""
    return [
        score
        for name, asked in PUBLISHED["protocols"].items()
        if all(protocol.get(key) == value for key, value in asked.items() if key != "about")
        for score in published_scores(name)
    ]


def check_matches_published(published: str, **facts: str) -> None:
    """Raise ConfigError, naming the difference, if a score is not what a published protocol asks for."""
    asked = PUBLISHED["protocols"][published]
    for name, value in facts.items():
        if value != asked[name]:
            raise ConfigError(
                f"scores.protocol={published} asks for {name} {asked[name]}, not {value}: {asked['about']}"
            )
