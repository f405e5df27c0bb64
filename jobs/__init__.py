"""What one command does: train a model, or evaluate a finished one; and the parts both are built from."""
