"""From run folders to a report: it reads files, and never needs the models that wrote them."""

from .page import write_report
from .run_folders import ReportError

__all__ = ["ReportError", "write_report"]
