"""Run folders of strangers: nothing that their configs name is imported or called, wherever it stands in them."""

import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import yaml
from conftest import composed
from hostile_targets import CANARY, EVIL_MODULE, HOSTILE, MORE, PLACES, filled, put
from hypothesis import strategies
from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError
from jobs.config_types import LIBRARIES
from jobs.evaluation import evaluate
from jobs.kept_config import check_kept, read_config
from run_folder.choices import CONF, containers
from run_folder.settings import as_dict

from .programs import FORK
from .tally import Tally

TREES = 10  # of the fuzzer, for each target of the list
OWN_CHECK = re.compile(r"config\.yaml: \S+ is .*, expected ", re.DOTALL)
NAMED = {*LIBRARIES, *re.findall(r"_target_: *(\S+)", "\n".join(path.read_text() for path in CONF.rglob("*.yaml")))}


def hostile(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """As many hostile targets of a list, and trees in which a fuzzer puts such and others anywhere."""
    received, sent = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: sent.send(Stranger(folder).attack(tries, drawn)), daemon=True)
    process.start()  # a child: what it might import stays there
    sent.close()  # so that its end is noticed here
    tallies: list[Tally] = received.recv()
    process.join()
    return tallies


class Stranger:
    """A run folder that is changed by a stranger, who has put a module beside it that tells when it is imported."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.run.mkdir()
        self.path = self.run / "config.yaml"
        (self.run / "evil_module.py").write_text(EVIL_MODULE.format(canary=str(folder / CANARY)))
        sys.path.insert(0, str(self.run))
        self.sound = as_dict(composed("network=mlp", run_dir=Path("here")))
        evaluation = as_dict(composed("run=there", "accelerator=cpu", config="evaluate"))
        self.evaluation: DictConfig = OmegaConf.create({**evaluation, "folder": "none", "run": str(self.run)})

    def attack(self, tries: int, drawn: random.Random) -> list[Tally]:
        by_command = Tally("hostile", "targets of a list, by evaluate.py")
        elsewhere = Tally("hostile", f"the same in {len(PLACES)} places of a config")
        known: list[tuple[str, dict[str, Any]]] = [*HOSTILE, *((target, {"_args_": []}) for target in MORE)]
        for target, arguments in drawn.sample(known, min(tries, len(known))):
            node = {"_target_": target, **filled(arguments, self.run)}
            self.path.write_text(yaml.safe_dump(put(self.sound, PLACES[0], node)))
            by_command.add(self.taken(target, lambda: evaluate(self.evaluation)))
            for place in PLACES:
                config = put(self.sound, place, node)
                elsewhere.add(self.taken(f"{target} at {place}", lambda kept=config: check_kept(kept, self.path)))
        return [by_command, elsewhere, self.fuzzed(TREES * tries, drawn.randrange(2**32))]

    def taken(self, what: str, use: Callable[[], object]) -> str | None:
        """What happened where a hostile target was not refused by the check that is there for it; None: it was."""
        try:
            use()
        except Exception as error:
            known = isinstance(error, ConfigError) and OWN_CHECK.search(str(error))
            return self.deed(what) if known else f"{what}: it ended only with {error!r}"
        return f"{what}: taken"

    def deed(self, what: str) -> str | None:
        """Whether the stranger's module was imported, or something written."""
        left = [path.name for path in self.folder.iterdir() if path != self.run]
        return f"{what}: done, {left}" if left or "evil_module" in sys.modules else None

    def fuzzed(self, tries: int, seed: int) -> Tally:
        """Trees anywhere in a sound config: refused, or nothing in them is built that conf/ does not name."""
        tally = Tally("hostile", "trees of a fuzzer")
        self.path.write_text(yaml.safe_dump(self.sound))
        read_config(self.run)  # what a sound config has imported is no stranger's deed
        places = ["", *(place for place, node in containers(self.sound) if isinstance(node, dict))]

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=tries, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(strategies.sampled_from(places), KEYS, TREE)
        def fuzz(place: str, key: str, tree: Any) -> None:
            tally.tries += 1
            self.path.write_text(yaml.safe_dump(put(self.sound, f"{place}.{key}".lstrip("."), tree)))
            assert (fault := self.built(place, key)) is None, fault

        try:
            fuzz()
        except Exception as error:
            tally.lost.append(f"{type(error).__name__}: {error}")
        return tally

    def built(self, place: str, key: str) -> str | None:
        """What would be built of a config that conf/ does not name; None: it is refused, or there is no such thing."""
        known = {name.partition(".")[0] for name in [*NAMED, *sys.modules]}
        try:
            config = read_config(self.run)
        except ConfigError:
            strange = {name for name in sys.modules if name.partition(".")[0] not in known}
            return f"{strange} were imported" if strange else self.deed(f"{key} in {place}")
        plain = OmegaConf.to_container(config)
        targets = [node["_target_"] for _, node in containers(plain) if isinstance(node, dict) and "_target_" in node]
        strange = {str(target) for target in targets if target not in NAMED}
        if strange or "${" in str(plain) or "_args_" in str(plain):
            return f"{key} in {place} is taken: {strange}"
        return self.deed(f"{key} in {place}")


MODULES = ["os", "subprocess", "builtins", "shutil", "torch", "pathlib", "evil_module", "train", "jobs.command_line"]
KEYS = strategies.sampled_from(
    ["_target_", "_args_", "_partial_", "_recursive_", "_convert_", "_x_", "optimizer", "extractor", "new", "a b"]
) | strategies.text("abc_.$[]{}:", min_size=1, max_size=6).filter(lambda key: not {*key} & {"."})
NAMES = strategies.sampled_from([*(target for target, _ in HOSTILE), *sorted(NAMED), *MODULES])
VALUES = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | NAMES
    | strategies.sampled_from(["${oc.env:HOME}", "${seed}", "all", "object"])
    | strategies.text(max_size=9)
)
TREE = strategies.recursive(
    VALUES, lambda inner: strategies.dictionaries(KEYS, inner, max_size=4) | strategies.lists(inner, max_size=3)
) | strategies.builds(lambda target, rest: {**rest, "_target_": target}, NAMES, strategies.dictionaries(KEYS, VALUES))
