"""How large the page may be: bytes for its pictures, lines for its charts, rows for its tables.

A page of any number of runs stays one that can be sent: pictures become smaller and are links in the end, charts show
the best models, tables their first rows. report.md and results.csv have all of it.
"""

from dataclasses import dataclass, replace

from .tables import Table

LARGEST_PAGE = 5_000_000  # bytes
PICTURES = 2_300_000  # bytes, of all pictures as they stand in the page
MOST_MODELS = 60  # with an entry of their own, samples or not, and in a chart of seeds
MOST_LINES = 32  # models in a chart of curves: as many as there are colours and dashes
MOST_ROWS, MOST_COLUMNS = 100, 26  # of a table on the page


@dataclass
class Allowance:
    """Bytes that pictures may take. What some leave is there for those that come after them."""

    left: int

    def each(self, count: int, share: float = 1.0) -> int:
        """What each of so many pictures may take of a share of all that is left."""
        return int(share * max(self.left, 0) / max(count, 1))

    def spend(self, size: int) -> None:
        self.left -= size


def for_page(table: Table) -> Table:
    """A table with as many rows and columns as the page has room for, and a note of what is left out."""
    rows, columns = len(table.rows), len(table.headings)
    if rows <= MOST_ROWS and columns <= MOST_COLUMNS:
        return table
    said = []
    if rows > MOST_ROWS:
        said.append(f"{rows:,} rows the first {MOST_ROWS}")
    if columns > MOST_COLUMNS:
        said.append(f"{columns:,} columns the first {MOST_COLUMNS}")
    return replace(
        table,
        headings=table.headings[:MOST_COLUMNS],
        rows=[row[:MOST_COLUMNS] for row in table.rows[:MOST_ROWS]],
        fixed=[row[:MOST_COLUMNS] for row in table.fixed],
        note=f"{table.note} Of {' and of '.join(said)} are shown here; report.md has all.",
    )
