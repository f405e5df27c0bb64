"""One report on any number of runs: what won, by how much, how sure that is; tables, curves, pictures.

python report.py multirun/…
python report.py outputs multirun --out comparison
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders that hold runs of train.py, at any depth")
    parser.add_argument("--out", type=Path, help="where index.html, report.md and results.csv go; "
                                                 "by default report/ in the first folder")  # fmt: skip
    arguments = parser.parse_args()
    from foundation.errors import UserError
    from reports import write_report  # pandas, scipy and matplotlib: not for --help

    try:
        print(f"report: {write_report(arguments.folders, arguments.out)}")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
