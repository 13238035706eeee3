"""All studies on the models that come with the pack, and docs/studies.md, which tells them.

    python dev.py evaluate studies [NAME ...] [--people 8] [--speech FOLDER] [--report-only]

What was measured stays in the folder and is not made again, unless the models, the settings or the measures have changed.
Several processes may share the work, each with names of its own.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.files import complete

from .. import ROOT
from ..recipe import work_folder
from ..studio import Sampling, Studio
from . import dubbing, economy, hearing, silence, speakers, voices
from .study import evaluate, section

STUDIES = {module.STUDY.name: module.STUDY for module in (silence, speakers, dubbing, hearing, economy)}
MODELS = ROOT / "sources/drawn_world/models"
MARKS = ("<!-- from here on: written by `python dev.py evaluate studies` -->", "<!-- up to here -->")


def write(page: Path, told: str) -> None:
    """What stands between MARKS.

    Raises:
        FantasyTalkingError: the page lacks them.
    """
    text = page.read_text(encoding="utf-8")
    if not all(mark in text for mark in MARKS):
        raise FantasyTalkingError(f"{page} lacks the lines {' and '.join(MARKS)}, between which the figures are written.")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    with complete(page) as unfinished:
        unfinished.write_text(f"{before}{MARKS[0]}\n\n{told}\n{MARKS[1]}{after}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`python dev.py evaluate studies …`"""
    parser = argparse.ArgumentParser(prog="dev.py evaluate studies", description=__doc__.splitlines()[0])
    named = {"choices": [[], *STUDIES]}  # none at all is looked up, too
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; none: all", **named)
    parser.add_argument("--folder", type=Path, help="where the figures are kept")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--speech", type=Path, help="a folder of recordings: real voices, for a study of their own")
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where studies.md is")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder, pictures = chosen.folder or work_folder() / "studies", chosen.docs / "studies"
    studies = [replace(study, people=chosen.people) for study in STUDIES.values()]
    try:
        real = [voices.study(chosen.speech)] if chosen.speech else []
        studio = Studio(MODELS, MODELS, Sampling(), "adapter.safetensors")
        if not chosen.report_only:
            for study in [*(each for each in studies if not chosen.names or each.name in chosen.names), *real]:
                evaluate(study, studio, folder)
        told = [line for study in [*studies, *real] for line in section(study, studio, folder, pictures)]
        write(chosen.docs / "studies.md", "\n".join(told))
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
