"""Images written as shards, which `data=stream` reads."""

import shlex
from pathlib import Path

from omegaconf import DictConfig

from datamodules.places import by_s3_tool, is_remote
from datamodules.shard_writing import write_shards
from datamodules.sources import source_of
from foundation.errors import ConfigError
from foundation.extras import require
from foundation.programs import override, program

from .config_check import check
from .run_start import sole_use


def prepare(cfg: DictConfig) -> None:
    """What `prepare.py` does. Raises UserError."""
    check(cfg)
    require("prepare.py", "stream", "litdata")
    if is_remote(cfg.out):
        raise ConfigError(
            f"out: shards are written to a folder, not to {cfg.out}; give one, and copy it when it is finished"
            f"{by_s3_tool('<folder>', cfg.out)}"
        )
    out = Path(cfg.out).expanduser()
    source = source_of(
        cfg.images, Path(cfg.root), cfg.image_size, cfg.channels, cfg.background, cfg.num_val, cfg.num_test,
        cfg.split_seed,
    )  # fmt: skip
    source.splits  # noqa: B018, raises what is wrong with the images before a folder is made
    decides = ("image_size", "channels", "background", "num_val", "num_test", "split_seed")
    with sole_use(out, "out"):
        index = write_shards(
            source,
            out,
            (cfg.channels, cfg.image_size, cfg.image_size),
            cfg.shard_mb,
            {**{key: cfg[key] for key in decides}, "images": source.title},
        )
    counts = ", ".join(f"{split.images:,} {name}" for name, split in index.splits.items())
    size = sum(shard.bytes for split in index.splits.values() for shard in split.shards) / 1e9
    told = f"; {source.passed_over}" if source.passed_over else ""
    print(f"{out}: {counts}; {len(index.class_names):,} classes; {size:.3g} GB{told}")
    print(f"  {shlex.join([*program('train'), 'data=stream', override('data.root', out)])}")
