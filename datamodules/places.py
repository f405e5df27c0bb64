"""Where data is: in a folder of this machine, or behind the URL of a bucket."""

S3, GOOGLE, LOCAL = "s3://", "gs://", "local:"
READ_HERE = (S3, GOOGLE, LOCAL)  # what shards are fetched from
REMOTE = (*READ_HERE, "r2://", "azure://", "hf://")  # the others are no folders either, and refused by name


def is_remote(root: str) -> bool:
    """Whether data is fetched from a URL. `local:<folder>` is fetched like one: from a slow disk to a cache."""
    return root.startswith(REMOTE)


def by_s3_tool(folder: str, url: str) -> str:
    """`, as in: ` and the command that copies a folder to a bucket, where it is one of S3."""
    return f", as in: aws s3 sync {folder} {url}" if url.startswith(S3) else ""
