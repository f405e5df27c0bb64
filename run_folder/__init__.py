"""What a run leaves in its folder: the one contract between what writes it and what reads it."""
