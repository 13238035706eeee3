"""Held-out clips through the pack's own nodes on the host, and what is measured in what they show.

    python dev.py evaluate small [--clips 24] [--seeds 3] [--part I/N] [--report-only]

Every video that was made stays in the folder, with its measures; what exists already is not made again, unless the models,
the settings or the measures have changed. Several processes may share the work, each with a `--part` of its own.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fantasytalking_core.errors import FantasyTalkingError

from . import FRAMES, ROOT, evidence, measures
from .recipe import work_folder
from .records import DRAWN, SETTINGS, STRANGER, Archive, Job, Record, jobs
from .studio import Clip, Sampling, Studio, held_out

CLIPS, SEEDS = 24, 3


def other(number: int, count: int) -> int:
    """The clip whose speech drives another portrait."""
    return (number + count // 2) % count


def measure(job: Job, heard: int, frames: np.ndarray, clip: Clip, loud: Sequence[np.ndarray]) -> Record:
    """Everything about one video `[F, H, W, 3]`.

    Args:
        heard: the clip whose speech drove it.
        clip: whose portrait it shows.
        loud: of every clip, see `measures.loudness`.
    """
    places = measures.Places.of(clip.look, clip.landmarks)
    opening = measures.mouth_opening(frames, clip.reference, places)
    fit = measures.synchrony(opening, loud[heard])
    steady = measures.steadied(frames, clip.reference, places.face)
    heads = measures.identity_distances(steady, clip.reference, places)
    subject, background = measures.motion(frames, places.person)
    return Record(
        job.setting,
        job.clip,
        job.seed,
        heard,
        opening.tolist(),
        fit.r,
        fit.lag,
        fit.best,
        [measures.correlation(opening, each) for index, each in enumerate(loud) if index != heard],
        measures.correlation(opening, loud[job.clip]),
        float(heads.mean()),
        float(heads.max()),
        subject,
        background,
        measures.expression_motion(steady, places.face),
        float(opening.std()),
    )


def evaluate(
    folder: Path,
    clips: Sequence[Clip],
    seeds: int,
    sampling: Sampling,
    settings: Sequence[str] = tuple(SETTINGS),
    part: tuple[int, int] = (1, 1),
) -> None:
    """Make and measure what is missing, or that of every n-th clip.

    Args:
        part: i and n, i from 1 on.
    """
    archive, studio = Archive(folder, sampling, clips), None
    loud = [measures.loudness(clip.speech, FRAMES) for clip in clips]
    index, parts = part
    mine = [job for job in jobs(len(clips), seeds, settings) if job.clip % parts == index - 1]
    for done, job in enumerate(mine, 1):
        if archive.record(job) is not None:
            continue
        setting, clip = SETTINGS.get(job.setting), clips[job.clip]
        swapped = setting.other_speech if setting else job.setting == STRANGER
        heard = other(job.clip, len(clips)) if swapped else job.clip
        frames = archive.frames(job)
        if frames is None:
            studio = studio or (Studio(folder / "models", folder / "runs", sampling) if job.setting not in DRAWN else None)
            if setting is not None:
                frames = studio.film(clip, clips[heard].speech, setting, job.seed)
            else:
                frames = clips[heard].frames if job.setting in DRAWN else studio.through_vae(clip.frames)
            archive.keep_frames(job, frames)
            frames = archive.frames(job)
        record = measure(job, heard, frames, clip, loud)
        archive.keep(job, record)
        logging.info("%d of %d: %s, synchrony %.2f, lag %d", done, len(mine), job.name, record.synchrony, record.lag)


def _part(text: str) -> tuple[int, int]:
    index, parts = map(int, text.split("/"))
    if not 1 <= index <= parts:
        raise argparse.ArgumentTypeError(f"{text} is no part: expected I/N with 1 ≤ I ≤ N")
    return index, parts


def main(arguments: list[str]) -> int:
    """`python dev.py evaluate small …`"""
    parser = argparse.ArgumentParser(prog="dev.py evaluate small", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=work_folder(), help="the working folder of the training")
    parser.add_argument("--clips", type=int, default=CLIPS, help="held-out clips")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=tuple(SETTINGS), help="only these")
    parser.add_argument("--steps", type=int, default=Sampling.steps)
    parser.add_argument("--audio-cfg", type=float, default=Sampling.audio_cfg)
    parser.add_argument("--identity-strength", type=float, default=Sampling.identity_strength)
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="every N-th clip only, without a report")
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where evidence.md is")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sampling = Sampling(steps=chosen.steps, audio_cfg=chosen.audio_cfg, identity_strength=chosen.identity_strength)
    try:
        clips = held_out(chosen.folder, chosen.clips)
        if not chosen.report_only:
            evaluate(chosen.folder, clips, chosen.seeds, sampling, chosen.settings, chosen.part)
        if chosen.part == (1, 1):
            evidence.report(Archive(chosen.folder, sampling, clips), clips, chosen.seeds, sampling, chosen.docs)
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
