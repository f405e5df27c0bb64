"""One report on any number of runs: what won, by how much, how sure that is; tables, curves, pictures.

python report.py multirun/…
python report.py outputs multirun --out comparison
"""

import argparse
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path

from foundation.atomic import no_room
from foundation.errors import UserError
from foundation.printing import print_anywhere


def main() -> None:
    print_anywhere()
    arguments = parsed()
    from reports import write_report  # pandas, scipy and Altair: not for --help

    try:
        print(f"report: {write_report(arguments.folders, arguments.out)}")
    except (UserError, OSError) as error:
        again = f". Make room, and give it again: {shlex.join(['python', *sys.argv])}" if no_room(error) else ""
        print(f"error: {error}{again}", file=sys.stderr)
        sys.exit(1)


def parsed() -> argparse.Namespace:
    """What the command line says; for an option that there is not it ends the program, with the nearest one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=folder, help="folders that hold runs of train.py, at any depth")
    parser.add_argument("--out", type=folder, help="where index.html, report.md and results.csv go; "
                                                   "by default report/ in the first folder")  # fmt: skip
    arguments, unknown = parser.parse_known_args()
    settings = [str(path) for path in arguments.folders if "=" in str(path) and not path.exists()]
    for argument in [*unknown, *settings]:  # the latter as the other programs have them
        name, _, value = argument.partition("=")
        near = get_close_matches(f"--{name.lstrip('-')}", ["--out", "--help"], n=1)
        offered = f"; did you mean {' '.join([near[0], value]).strip()}?" if near else ""
        parser.error(f"{argument}: there is no such option{offered}")
    return arguments


def folder(path: str) -> Path:
    return Path(path).expanduser()  # a shell leaves the ~ of --out=~/report as it is


if __name__ == "__main__":
    main()
