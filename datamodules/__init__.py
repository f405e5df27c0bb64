"""The data: files, splits and batches."""
