"""docs/evidence.md: the evaluation's records as tables, plots and sheets of frames.

Only what stands between MARKS is written; the words around it are a person's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from fantasytalking_core.errors import FantasyTalkingError

from . import FRAMES, SIZE, figures, markdown, measures, single_videos
from .records import (
    COMPARED_WITH,
    NEUTRAL,
    SETTINGS,
    STRANGER,
    THROUGH_VAE,
    TRUTH,
    Archive,
    Job,
    Record,
    jobs,
)
from .studio import Clip, Sampling

MARKS = ("<!-- from here on: written by `python dev.py evaluate small` -->", "<!-- up to here -->")
ROWS = {
    TRUTH: "the drawn clip itself",
    THROUGH_VAE: "the same through the VAE",
    "clip": "clip stage only",
    "frame": "frame stage only",
    NEUTRAL: "both",
    "no_identity": "both, trained without identity",
    "no_face": "both, but the face is not given",
}
PAPER = {  # Table 2: Sync-C, SD, IDC
    "clip": ("1.98", "13.66", ""),
    "frame": ("3.54", "8.22", ""),
    NEUTRAL: ("3.15", "13.78", "0.989"),
    "no_identity": ("", "", "0.945"),
}
PAIRS = (
    ("no_identity", "identity distance", "is farther from the reference where identity was not trained"),
    ("no_face", "identity distance", "is farther from the reference where the face is not given"),
    ("frame", "subject motion", "moves more with the frame stage only"),
    ("clip", "synchrony", "is in better synchrony with the clip stage only"),
    ("frame", "synchrony", "is in better synchrony with the frame stage only"),
)
"""Each against the neutral setting: which, by what measure, and what it means if that rises."""
PAPER_SD = {0.1: "8.12", 0.5: "13.78", 1.0: "18.14"}
"""Table 4: SD at both coefficients."""
LEVELS = (0.1, 0.5, 1.0)
NEAR = 4
"""Frames within which the best lag is called near."""
SHOWN = 6
"""Clips in the plots and on the sheet."""
Records = dict[str, list[Record]]
NEW = """# Evidence: what the small model does

(What these figures say: written by hand.)

{}
{}
"""


def report(archive: Archive, clips: Sequence[Clip], seeds: int, sampling: Sampling, docs: Path) -> None:
    """Write the page and its pictures from what has been measured.

    Raises:
        FantasyTalkingError: nothing has been measured of the neutral setting.
    """
    found: Records = {name: [] for name in (*COMPARED_WITH, *SETTINGS)}
    for job in jobs(len(clips), seeds):
        if (record := archive.record(job)) is not None:
            found[job.setting].append(record)
    if not found[NEUTRAL]:
        raise FantasyTalkingError("Nothing has been measured with these models and settings: run evaluate small.")
    pictures = docs / "evidence"
    pictures.mkdir(parents=True, exist_ok=True)
    _draw(pictures, found, archive, clips)
    markdown.write_between(docs / "evidence.md", MARKS, section(found, len(clips), sampling), NEW.format(*MARKS))


def section(found: Records, clips: int, sampling: Sampling) -> str:
    """All that is written: tables, and the pictures' places."""
    counts = sorted({len(found[name]) for name in SETTINGS} - {0})
    seeds = len({record.seed for record in found[NEUTRAL]})
    settings = ", ".join(f"{name} {value:g}" for name, value in asdict(sampling).items())
    return "\n".join(
        [
            f"{clips} held-out clips (people, voices and sentences that were never trained on) × {seeds} seeds; "
            f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} videos in every row. All figures are mean ± "
            f"standard deviation over these videos; standard errors are over the clips. Sampling: {settings}.",
            "",
            "### The two stages, and identity (the paper's Table 2)",
            "",
            *ablation(found),
            "",
            "### The speech that is heard",
            "",
            *speech(found),
            "",
            single_videos.told(found),
            "",
            "![Best lags](evidence/lags.png)",
            "",
            "![Mouth and loudness over time](evidence/mouths.png)",
            "",
            "### Motion intensity (the paper's Table 4)",
            "",
            *intensity(found),
            "",
            "![Motion over ω](evidence/omega.png)",
            "",
            "### Frames",
            "",
            "Every fourth frame; the first one is the reference that the model is given.",
            "",
            "![Held-out clips](evidence/clips.jpg)",
            "",
            "![One clip with every setting](evidence/settings.jpg)",
            "",
        ]
    )


def ablation(found: Records) -> list[str]:
    """A row for every variant, the paper's figures beside it."""
    columns: dict[str, tuple[Callable[[Record], float], int]] = {
        "synchrony": (lambda r: r.synchrony, 2),
        "subject motion": (lambda r: r.subject, 3),
        "background motion": (lambda r: r.background, 3),
        "identity distance": (lambda r: r.identity, 2),
        "mouth's movement": (lambda r: 1000 * r.mouth, 2),
    }
    head = ["", *columns, "paper: Sync-C", "SD", "IDC"]
    rows = [
        [label, *(_spread(map(of, found[name]), digits) for of, digits in columns.values()), *PAPER.get(name, ("", "", ""))]
        for name, label in ROWS.items()
        if found[name]
    ]
    return [
        *markdown.table(head, rows),
        "",
        "Synchrony: correlation of the mouth's opening, read from the picture, with the loudness of the speech. Motion: "
        f"pixels per frame of {SIZE} × {SIZE}, mean absolute optical flow inside and outside of the person, where there is "
        "something to be seen moving. Identity distance: mean "
        "distance in Lab from the reference, over the head once it is held still; 0 is the same, "
        f"a drawn clip of another person is at {_spread((r.identity for r in found[STRANGER]), 0)}. "
        "Mouth's movement: standard deviation of its opening, in thousandths of the picture.",
        *(line for name, column, what in PAIRS for line in _paired(found, name, columns[column][0], what)),
    ]


def speech(found: Records) -> list[str]:
    """With which speech the lips go: that which drove them, that of other clips, that of the portrait's own clip."""

    def near(records: Sequence[Record]) -> str:
        return f"{np.mean([abs(record.lag) <= NEAR for record in records]):.0%}" if records else ""

    rows = [
        ["with the speech that drives it", _spread((r.synchrony for r in found[NEUTRAL]), 2)],
        ["with the speech of the other clips, which did not", _spread((x for r in found[NEUTRAL] for x in r.with_others), 2)],
        ["driven by another clip's speech: with that", _spread((r.synchrony for r in found["other_speech"]), 2)],
        ["driven by another clip's speech: with the clip's own", _spread((r.with_own for r in found["other_speech"]), 2)],
    ]
    lags = [record.lag for record in found[NEUTRAL]]
    return [
        *markdown.table(["correlation of the mouth", "mean ± standard deviation"], rows),
        "",
        f"The lag at which the correlation is best, within ±{measures.MAX_LAG} frames: median {np.median(lags):g}, within "
        f"{NEAR} frames of 0 in {near(found[NEUTRAL])} of the videos (the drawn clips: {near(found[TRUTH])}). Correlation "
        f"there: {_spread((r.best for r in found[NEUTRAL]), 2)}.",
    ]


def _at_levels(found: Records, coefficient: str) -> dict[float, list[Record]]:
    """Those of each value of a coefficient that was measured, the other one at 0.5: the same clips and seeds at each."""
    measured = {value: found[NEUTRAL if value == 0.5 else f"{coefficient}_{value}"] for value in LEVELS}
    videos = {value: {(r.clip, r.seed): r for r in records} for value, records in measured.items() if records}
    in_all = set.intersection(*map(set, videos.values()))
    return {value: [each[key] for key in sorted(in_all)] for value, each in videos.items() if in_all}


def intensity(found: Records) -> list[str]:
    """ω_l and ω_b at three values each, the other one at 0.5."""
    head = ["", "expression motion", "mouth's movement", "subject motion", "background motion", "synchrony", "paper: SD"]
    rows = []
    for coefficient, sign in (("expression", "ω_l"), ("body", "ω_b")):
        for value, records in _at_levels(found, coefficient).items():
            rows.append(
                [
                    f"{coefficient} {sign} = {value}",
                    _spread((r.expression for r in records), 3),
                    _spread((1000 * r.mouth for r in records), 2),
                    _spread((r.subject for r in records), 3),
                    _spread((r.background for r in records), 3),
                    _spread((r.synchrony for r in records), 2),
                    PAPER_SD[value],
                ]
            )
    return [
        *markdown.table(head, rows),
        "",
        "Expression motion: flow inside of the face once the head is held still, pixels per frame. The same clips and seeds at "
        "each value of a coefficient. The paper moves both together.",
        *_rising(found, "expression", "expression motion", lambda r: r.expression),
        *_rising(found, "body", "subject motion", lambda r: r.subject),
    ]


def _rising(found: Records, coefficient: str, name: str, of: Callable[[Record], float]) -> list[str]:
    """In how many of the videos a measure rises from each value to the next."""
    series = [[of(r) for r in records] for records in _at_levels(found, coefficient).values()]
    if len(series) < len(LEVELS):
        return []
    steps = [np.mean(np.greater(later, earlier)) for earlier, later in pairwise(series)]
    shares = " and ".join(f"{share:.0%}" for share in steps)
    return ["", f"The same clip and seed, {coefficient} 0.1 to 0.5 and 0.5 to 1.0: {name} rises in {shares} of the pairs."]


def _paired(found: Records, name: str, of: Callable[[Record], float], what: str) -> list[str]:
    """How a setting differs from the neutral one for the same clip and seed."""
    first, second = ({(r.clip, r.seed): of(r) for r in found[each]} for each in (NEUTRAL, name))
    change = {key: second[key] - first[key] for key in first if key in second}
    if not change:
        return []
    share = np.mean([value > 0 for value in change.values()])
    mean, error = _mean_and_error([(clip, value) for (clip, _), value in change.items()])
    return ["", f"The same clip and seed {what} in {share:.0%} of the pairs: {mean:+.3f} ± {error:.3f} (standard error)."]


def _spread(values, digits: int) -> str:
    values = np.array(list(values))
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}" if len(values) else ""


def _draw(folder: Path, found: Records, archive: Archive, clips: Sequence[Clip]) -> None:
    seed = min(record.seed for record in found[NEUTRAL])
    of_clips = {record.clip: record for record in found[NEUTRAL] if record.seed == seed}
    shown = [of_clips[clip] for clip in sorted(of_clips)[:SHOWN]]
    figures.curves(
        folder / "mouths.png",
        [
            (
                f"clip {r.clip}\nr {r.synchrony:.2f}",
                np.array(r.opening),
                measures.loudness(clips[r.heard].speech, len(r.opening)),
            )
            for r in shown
        ],
    )
    lags = [record.lag for record in found[NEUTRAL]]
    others = _lags_with_others(found[NEUTRAL], clips)
    figures.histogram(
        folder / "lags.png", {"the speech that drives it": lags, "another clip's speech": others}, measures.MAX_LAG
    )
    lines: dict[str, Callable[[Record], float]] = {
        "expression motion": lambda r: r.expression,
        "subject motion": lambda r: r.subject,
    }
    panels = []
    for coefficient in ("expression", "body"):
        at = _at_levels(found, coefficient)
        series = {
            name: [_mean_and_error((r.clip, of(r)) for r in records) for records in at.values()] for name, of in lines.items()
        }
        panels.append((coefficient, list(at), series))
    figures.levels(folder / "omega.png", panels)
    figures.contact(
        folder / "clips.jpg",
        [
            row
            for r in shown
            for row in (
                (f"clip {r.clip}\ndrawn", clips[r.clip].frames),
                (f"clip {r.clip}\nmodel\nr {r.synchrony:.2f}", _frames(archive, r)),
            )
        ],
    )
    lively = max(shown, key=lambda record: record.subject).clip
    rows = [(ROWS[TRUTH].replace(" ", "\n", 2), clips[lively].frames)]
    for name in SETTINGS:
        rows += [
            (f"{name.replace('_', ' ')}\nr {r.synchrony:.2f}", _frames(archive, r))
            for r in found[name]
            if (r.clip, r.seed) == (lively, seed)
        ]
    figures.contact(folder / "settings.jpg", rows)


def _lags_with_others(records: Sequence[Record], clips: Sequence[Clip]) -> list[int]:
    """Best lags with the speech of the clip after that which drove it."""
    loud = [measures.loudness(clip.speech, FRAMES) for clip in clips]
    return [measures.synchrony(np.array(r.opening), loud[(r.heard + 1) % len(clips)]).lag for r in records]


def _mean_and_error(values: Iterable[tuple[int, float]]) -> tuple[float, float]:
    """Mean and its standard error, of values by clip: those of one clip are no independent ones, whatever their seeds."""
    by_clip = defaultdict(list)
    for clip, value in values:
        by_clip[clip].append(value)
    means = [np.mean(each) for each in by_clip.values()]
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0


def _frames(archive: Archive, record: Record) -> np.ndarray:
    return archive.frames(Job(record.setting, record.clip, record.seed))
