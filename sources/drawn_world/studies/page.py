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

from .. import ROOT
from ..markdown import write_between
from ..recipe import SHIPPED, work_folder
from ..studio import Sampling, Studio
from . import dubbing, economy, hearing, silence, speakers, voices
from .study import Study, evaluate, section

STUDIES = {module.STUDY.name: module.STUDY for module in (silence, speakers, dubbing, hearing, economy)}
MARKS = ("<!-- from here on: written by `python dev.py evaluate studies` -->", "<!-- up to here -->")


def main(arguments: list[str]) -> int:
    """`python dev.py evaluate studies …`"""
    parser = argparse.ArgumentParser(prog="dev.py evaluate studies", description=__doc__.splitlines()[0])
    named = {"choices": [[], *STUDIES]}  # none at all is looked up, too
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; none: all", **named)
    parser.add_argument("--folder", type=Path, help="where the figures are kept")
    parser.add_argument("--people", type=int, default=Study.people)
    parser.add_argument("--speech", type=Path, help="a folder of recordings: real voices, for a study of their own")
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where studies.md is")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder, pictures = chosen.folder or work_folder() / "studies", chosen.docs / "studies"
    studies = [replace(study, people=chosen.people) for study in STUDIES.values()]
    try:
        real = [voices.study(chosen.speech)] if chosen.speech else []
        studio = Studio(SHIPPED, SHIPPED, Sampling(), "adapter.safetensors")
        if not chosen.report_only:
            for study in [*(each for each in studies if not chosen.names or each.name in chosen.names), *real]:
                evaluate(study, studio, folder)
        told = [line for study in [*studies, *real] for line in section(study, studio, folder, pictures)]
        write_between(chosen.docs / "studies.md", MARKS, "\n".join(told))
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
