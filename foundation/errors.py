"""Errors that the person at the command line can mend. Everything else is a fault of this program."""


class UserError(Exception):
    """Something the user can put right; the message says what, what was expected, and what to do.

    At the command line it ends the program with that message alone. Any other exception keeps its traceback.
    """


class ConfigError(UserError):
    """A value can't be used; the message names the key, what is allowed, and what was given."""


def first_line(error: BaseException) -> str:
    """What an error of a library says first, or what it is called: others explain themselves at length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
