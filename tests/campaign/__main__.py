import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# In the place of this folder, in which Python looks first: the project, and what its tests share.
sys.path[:1] = [str(TESTS.parent), str(TESTS)]
os.environ.pop("HYDRA_FULL_ERROR", None)  # errors are looked at as a person sees them, without tracebacks
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: children can be forked of one thread only


def main() -> None:
    """Run parts of the campaign, print their table, and end with 1 if anything was lost."""
    import campaign
    from campaign import signals
    from campaign.parts import PARTS
    from campaign.tally import Tally, table

    parser = argparse.ArgumentParser(description=campaign.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; by default all of them")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--scale", choices=["short", "full"], default="full", help="how many tries")
    parser.add_argument("--tries", type=int, help="as many of each part")
    parser.add_argument(
        "--soon", type=float, default=signals.SOON, metavar="SECONDS", help="in which what is stopped has to have ended"
    )
    parser.add_argument("--out", type=Path, help="a file for the table, as Markdown")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; choose of {', '.join(PARTS)}")

    signals.SOON = arguments.soon
    tallies: list[Tally] = []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="campaign_") as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"  # the user's is left alone
        for part in arguments.parts or PARTS:
            folder = Path(scratch, part)
            folder.mkdir()
            begin = time.monotonic()
            tries = arguments.tries or PARTS[part].tries[arguments.scale]
            tallies += PARTS[part].attack(tries, random.Random(f"{arguments.seed} {part}"), folder)
            seconds[part] = time.monotonic() - begin
            print(f"{part}: {seconds[part]:.0f} s", file=sys.stderr, flush=True)
    text = table(tallies, seconds)
    print(text)
    if arguments.out:
        arguments.out.write_text(f"{text}\n")
    sys.exit(any(tally.lost for tally in tallies))


if __name__ == "__main__":
    main()
