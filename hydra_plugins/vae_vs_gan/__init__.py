"""Sweepers of this project: Hydra takes plugins from `hydra_plugins` alone, and imports all of them at its start."""
