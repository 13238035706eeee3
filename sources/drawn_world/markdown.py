"""How figures are told: tables, means with their errors, and the part of a page that a command writes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.files import complete


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean ± standard error."""
    if not values:
        return ""
    mean = f"{np.mean(values):{sign}.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else mean


def write_between(page: Path, marks: tuple[str, str], told: str, new: str = "") -> None:
    """Write what stands between two lines of a page; the words around it are a person's.

    Args:
        new: the page where there is none.

    Raises:
        FantasyTalkingError: the page lacks the lines.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else new
    if not all(mark in text for mark in marks):
        raise FantasyTalkingError(f"{page} lacks the lines {' and '.join(marks)}, between which the figures are written.")
    before, rest = text.split(marks[0], 1)
    _, after = rest.split(marks[1], 1)
    with complete(page) as unfinished:
        unfinished.write_text(f"{before}{marks[0]}\n\n{told}\n{marks[1]}{after}", encoding="utf-8")
