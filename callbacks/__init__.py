"""Lightning's callbacks: scores, pictures, curves, checkpoints, the record of a run."""
