"""Where data is: in a folder of this machine, or behind the URL of a bucket."""

REMOTE = ("s3://", "gs://", "r2://", "azure://", "hf://", "local:")  # what litdata fetches shards from


def is_remote(root: str) -> bool:
    """Whether data is fetched from a URL. `local:<folder>` is fetched like one: from a slow disk to a cache."""
    return root.startswith(REMOTE)
