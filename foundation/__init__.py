"""What every room stands on: the error that is the user's to mend, files written whole or not at all, and limits."""
