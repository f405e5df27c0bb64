"""Commands that are printed for copying: a shell and Hydra take of them what was meant."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from foundation.programs import typed


@pytest.mark.parametrize("path", ["runs/a", "my runs/a b", "it's", "a,b=c", "$HOME/*", 'a"b', "back\\slash"])
def test_a_path_that_is_typed_is_the_path_that_is_read(path: str):
    (word,) = shlex.split(f"{typed('ckpt_path', Path(path))}")
    assert OverridesParser.create().parse_override(word).value() == path
