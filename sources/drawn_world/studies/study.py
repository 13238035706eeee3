"""What a study is, the folder that keeps what was measured, and its table."""

import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fantasytalking_core.files import complete

from .. import figures, markdown, measures
from ..studio import Studio

Row = dict[str, float]
Made = dict[str, tuple[Row, np.ndarray]]
"""By the rows' names what was measured, and the frames `[F, H, W, 3]` that it was measured in."""
COLUMNS, ENLARGED = 8, 2
"""Of the sheet of frames that shows the first person."""


@dataclass(frozen=True)
class Study:
    """One claim.

    Attributes:
        name: of its files.
        heading, note: over and below its table.
        rows: by studio and the number of a person.
        people: that it is made of.
    """

    name: str
    heading: str
    note: str
    rows: Callable[[Studio, int], Made]
    people: int = 8

    def made_with(self, studio: Studio) -> str:
        """What its figures depend on, in short."""
        sources = [inspect.getsource(inspect.getmodule(self.rows)), inspect.getsource(measures)]
        parts = [json.dumps(asdict(studio.sampling)), *sources, *studio.files()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def evaluate(study: Study, studio: Studio, folder: Path) -> None:
    """Make and measure what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(_paths(study, studio, folder)):
        if path.is_file():
            continue
        made = study.rows(studio, number)
        if number == 0:
            every = max(len(frames) for _, frames in made.values()) // COLUMNS
            shown = [(_label(name), frames) for name, (_, frames) in made.items()]
            figures.contact(path.with_suffix(".jpg"), shown, max(every, 1), ENLARGED)
        with complete(path) as partial:
            partial.write_text(json.dumps({name: row for name, (row, _) in made.items()}), encoding="utf-8")
        logging.info("%s, person %d: %s", study.name, number, {name: row for name, (row, _) in made.items()})


def _paths(study: Study, studio: Studio, folder: Path) -> list[Path]:
    """Of the figures of each person."""
    made_with = study.made_with(studio)
    return [folder / f"{study.name}-{number:02}-{made_with}.json" for number in range(study.people)]


def _label(name: str) -> str:
    return name.replace(": ", "\n").replace(", ", "\n")


def section(study: Study, studio: Studio, folder: Path, pictures: Path) -> list[str]:
    """Heading, table and note in Markdown; mean ± standard error over the people. Its frames go to `pictures`."""
    paths = _paths(study, studio, folder)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    if not found:
        return []
    columns = list(dict.fromkeys(column for each in found for row in each.values() for column in row))
    rows = [
        [name, *(spread([each[name][column] for each in found if column in each[name]]) for column in columns)]
        for name in found[0]
    ]
    shown = paths[0].with_suffix(".jpg")
    sheet = []
    if shown.is_file():
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / f"{study.name}.jpg").write_bytes(shown.read_bytes())
        sheet = ["", f"![{study.heading}]({pictures.name}/{study.name}.jpg)"]
    table = markdown.table(["", *columns], rows)
    return [f"## {study.heading}", "", f"{len(found)} held-out people. {study.note}", "", *table, *sheet, ""]


def spread(values: Sequence[float]) -> str:
    """With as many digits as are worth it."""
    return markdown.spread(values, 2 if values and abs(np.mean(values)) < 10 else 1)
