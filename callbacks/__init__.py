"""What looks on while a model trains: pictures, scores, curves, checkpoints."""
