"""What every room stands on: the error that is the user's to mend, and files that are written whole or not at all."""
