"""Configuration: the yaml files that Hydra composes, what may stand in them, and how errors reach the user."""
