"""A minute of speech through Render and through other ways, and what becomes of the person, the lips and the seams.

    python dev.py evaluate long-takes [--seconds 60] [--people 6] [--ways WAY ...] [--report-only]

What was measured stays in the folder and is not made again, unless the models or the settings have changed. Several
processes may share the work, each with `--ways` of its own. The table of docs/long_takes.md is what it writes at the end.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from fantasytalking_core.files import complete
from fantasytalking_core.latent_grid import clip_length_from, latent_frames, video_frames
from fantasytalking_core.sampling import long_take

from . import FPS, LONG_FRAMES, markdown, measures
from .markdown import spread
from .recipe import SHIPPED, work_folder
from .studies.people import person as at_rest
from .studio import Clip, Given, Sampling, Studio
from .world.voices import RATE, speech

ADAPTER = "adapter.safetensors"
PIECE = 69
"""Frames in which synchrony is measured: 3 s, and a clip by itself."""
ENDS = round(10 * FPS)
"""Frames at each end whose likeness is compared."""
SPEECHES = 1000
"""Number of the first person's speech: no test video has it."""
EARLIER = 3
"""Latent frames by which a border may be moved towards silence."""
QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class Scene:
    """One person with all that they are to say.

    Attributes:
        frames: of the take, 4n + 1.
        heard: the encoded speech.
        output: where Render writes.
    """

    studio: Studio
    number: int
    clip: Clip
    given: Given
    frames: int
    heard: object
    output: Path

    @property
    def prompts(self) -> tuple:
        return self.given.positive, self.given.negative

    def speaking(self, positive, negative, heard) -> tuple:
        return self.studio.conditioned(positive, negative, heard, self.given.identity)

    def sampled(self, model, image: torch.Tensor, frames: int, heard, seed: int) -> np.ndarray:
        """By the classic graph, from WanImageToVideo to VAE Decode."""
        *prompts, latent = self.studio.image_to_video(self.given, image, frames)
        return self.studio.pictures(self.studio.sample(model, *self.speaking(*prompts, heard), latent, seed))

    def part(self, start: int, frames: int):
        """The speech from a frame on, encoded by itself."""
        return self.studio.heard(self.clip.speech, frames, start / FPS)


def person(number: int, frames: int) -> Clip:
    """Somebody who was never trained on, and as much speech."""
    said = speech("test", SPEECHES + number, frames / FPS + 1)[: int(frames / FPS * RATE)]
    return at_rest(number, said)


Made = tuple[np.ndarray, list[int]]
"""Frames `[F, 96, 96, 3]` in [0, 1], and those that are the first after a seam."""


def all_at_once(scene: Scene) -> Made:
    model = scene.studio.with_adapter(ADAPTER)
    return scene.sampled(model, scene.given.image, scene.frames, scene.heard, scene.number), []


def clips(scene: Scene) -> Made:
    """Every piece a clip by itself, from the portrait on."""
    model, starts = scene.studio.with_adapter(ADAPTER), range(0, scene.frames - PIECE + 1, PIECE)
    made = [scene.sampled(model, scene.given.image, PIECE, scene.part(start, PIECE), scene.number) for start in starts]
    return np.concatenate(made), list(starts[1:])


def context_windows(scene: Scene) -> Made:
    """All at once, the host's windows of 81 frames that overlap by 30 frames averaged in each step."""
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    with torch.inference_mode():
        model = WanContextWindowsManualNode.execute(
            scene.studio.with_adapter(ADAPTER), context_length=81, context_overlap=30, context_schedule="standard_static",
            context_stride=1, closed_loop=False, fuse_method="pyramid", freenoise=True, retain_first_frame=True,
        ).args[0]  # fmt: skip
    return scene.sampled(model, scene.given.image, scene.frames, scene.heard, scene.number), []


def chain(scene: Scene) -> Made:
    """Each window begins with the last decoded frame."""
    model, made, seams = scene.studio.with_adapter(ADAPTER), scene.clip.frames, []
    while len(made) < scene.frames:
        start = len(made) - 1
        seams += [start + 1] if start else []
        heard, last = scene.part(start, LONG_FRAMES), torch.from_numpy(made[-1:].copy())
        new = scene.sampled(model, last, LONG_FRAMES, heard, scene.number * 1000 + start)
        made = np.concatenate([made[:start] if start == 0 else made, new if start == 0 else new[1:]])
    return made[: scene.frames], [seam for seam in seams if seam < scene.frames]


@dataclass(frozen=True)
class Render:
    """FantasyTalkingRender.

    Attributes:
        quiet: whether a window ends at the quietest moment of its last half second.
        from_file: whether the frames are those of the video file, and not of its latents.
    """

    window: int = long_take.WINDOW
    overlap: int = long_take.OVERLAP
    quiet: bool = False
    from_file: bool = False

    def __call__(self, scene: Scene) -> Made:
        studio, loud = scene.studio, scene.heard.sound.loudness.numpy()
        plan = quietly(loud) if self.quiet else long_take.plan
        studio.module("host.render").plan = plan
        name = f"{self.window}-{self.overlap}{'-quiet' * self.quiet}-{scene.number:02}"
        positive, negative = scene.speaking(*scene.prompts, scene.heard)
        audio = {"waveform": torch.from_numpy(scene.clip.speech)[None, None], "sample_rate": RATE}
        file = studio.run(
            "FantasyTalkingRender", model=studio.with_adapter(ADAPTER), positive=positive, negative=negative, vae=studio.vae,
            start_image=scene.given.image, seed=scene.number, window=self.window, overlap=self.overlap, filename_prefix=name,
            clip_vision_output=scene.given.vision, audio=audio, keep_parts=True, **studio.sampler_settings(),
        )[0].get_stream_source()  # fmt: skip
        (job,) = scene.output.glob(f"{name}.*.job")
        latents = [load_file(path)["latents"] for path in sorted(job.glob("window_*.safetensors"))]
        seams = [video_frames(window.start) for window in plan(scene.frames, self.window, self.overlap)[1:]]
        if self.from_file:
            return frames_of(Path(file)), seams
        return studio.pictures({"samples": torch.cat(latents, dim=2)}), seams


def quietly(loudness: np.ndarray) -> Callable[..., list[long_take.Window]]:
    """`long_take.plan`, but each window may end up to EARLIER latent frames before, where `[F]` is quietest."""

    def around(start: int) -> float:
        seam = video_frames(start)
        return float(loudness[seam - 2 : seam + 2].mean())

    def plan(frames: int, window: int, overlap: int) -> list[long_take.Window]:
        first, *_ = long_take.plan(frames, window, overlap)
        total, size, held = latent_frames(frames), latent_frames(window), overlap // 4
        found = [first]
        while (end := found[-1].start + found[-1].new) < total:
            start = min(range(end, max(end - EARLIER, found[-1].start + 1) - 1, -1), key=around)
            found[-1] = replace(found[-1], new=start - found[-1].start)
            found.append(long_take.Window(start, held, min(size - 1 - held, total - start)))
        return found

    return plan


def frames_of(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]).astype(np.float32) / 255


REFERENCE = "clips of 3 s"
WAYS: dict[str, Callable[[Scene], Made]] = {
    REFERENCE: clips,
    "all at once": all_at_once,
    "Render 81/12": Render(),
    "Render 81/12, its file": Render(from_file=True),
    "Render 33/12": Render(33),
    "context windows": context_windows,
    "chain": chain,
    "Render 81/8": Render(81, 8),
    "Render 81/20": Render(81, 20),
    "Render 33/8": Render(33, 8),
    "Render 81/12, quiet borders": Render(quiet=True),
}


@dataclass(frozen=True)
class Record:
    """What was measured in one take.

    Attributes:
        identity: `measures.identity_distance` in each piece.
        first, last: the same in the first and the last 10 s.
        synchrony: in each piece, `measures.Synchrony.r`.
        seams: mean difference of the two frames at each seam, of 255.
        loudness: of the speech at each seam, ÷ its mean.
        borders: mean difference where a latent frame begins and no window.
        mean, quantile: of the differences of all neighbouring frames.
        seconds: that it took.
    """

    identity: list[float]
    first: float
    last: float
    synchrony: list[float]
    seams: list[float]
    loudness: list[float]
    borders: float
    mean: float
    quantile: float
    seconds: float


def measure(frames: np.ndarray, seams: Sequence[int], clip: Clip, seconds: float) -> Record:
    """All about one take; what is left at its end after the last whole piece counts for the last 10 s only."""
    places = measures.Places.of(clip.look, clip.landmarks)
    opening = measures.mouth_opening(frames, clip.reference, places)
    loud = measures.loudness(clip.speech, len(frames))
    steady = measures.steadied(frames, clip.reference, places.face)
    pieces = [slice(start, start + PIECE) for start in range(0, len(frames) - PIECE + 1, PIECE)]
    change = np.array([255 * np.abs(b - a).mean() for a, b in pairwise(frames)])
    borders = sorted(set(range(0, len(change), 4)) - {seam - 1 for seam in seams})

    def likeness(part: slice) -> float:
        return measures.identity_distance(steady[part], clip.reference, places)

    return Record(
        [likeness(piece) for piece in pieces],
        likeness(slice(ENDS)),
        likeness(slice(-ENDS, None)),
        [measures.synchrony(opening[piece], loud[piece]).r for piece in pieces],
        [float(change[seam - 1]) for seam in seams],
        [float(loud[seam - 2 : seam + 2].mean() / loud.mean()) for seam in seams],
        float(change[borders].mean()),
        float(change.mean()),
        float(np.quantile(change, QUANTILE)),
        seconds,
    )


@dataclass(frozen=True)
class Archive:
    """The takes of a folder, and what was measured in them: each counts for as long as models and settings are the same."""

    folder: Path
    sampling: Sampling
    frames: int

    @cached_property
    def made_with(self) -> str:
        """What all takes depend on, in short."""
        files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(SHIPPED.rglob("*")) if path.is_file()]
        return hashlib.sha256(json.dumps([files, asdict(self.sampling), self.frames]).encode()).hexdigest()[:12]

    def _path(self, way: str, number: int) -> Path:
        return self.folder / f"{way.replace('/', '-').replace(' ', '_')}-{number:02}-{self.made_with}"

    def record(self, way: str, number: int) -> Record | None:
        path = self._path(way, number).with_suffix(".json")
        return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def keep(self, way: str, number: int, frames: np.ndarray, record: Record) -> None:
        path = self._path(way, number)
        with complete(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            np.savez_compressed(file, frames=(frames * 255).round().astype(np.uint8))
        with complete(path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(asdict(record)), encoding="utf-8")


def evaluate(archive: Archive, ways: Sequence[str], people: int) -> None:
    """Make and measure what is missing."""
    import folder_paths

    output = archive.folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    studio: Studio | None = None
    for number in range(people):
        missing = [way for way in ways if archive.record(way, number) is None]
        if not missing:
            continue
        if studio is None:
            studio = Studio(SHIPPED, SHIPPED, archive.sampling)
            folder_paths.set_output_directory(str(output))
        clip = person(number, archive.frames)
        heard = studio.heard(clip.speech, archive.frames)
        scene = Scene(studio, number, clip, studio.given(clip), archive.frames, heard, output)
        for way in missing:
            started = time.monotonic()
            frames, seams = WAYS[way](scene)
            taken = time.monotonic() - started
            record = measure(frames, seams, clip, taken)
            archive.keep(way, number, frames, record)
            logging.info("%s, person %d: %.0f s, synchrony %.2f", way, number, taken, np.mean(record.synchrony))


def table(archive: Archive, people: int) -> str:
    """A row for every way, in Markdown; mean ± standard error over the people."""
    head = [
        "", "people", "identity, first 10 s", "last 10 s", "last ÷ first", "synchrony", f"less {REFERENCE}",
        "its trend in a minute", "seams ÷ mean", "95 % ÷ mean", "other latent borders ÷ mean", "seams above 95 %",
    ]  # fmt: skip
    rows = []
    whole = [archive.record(REFERENCE, number) for number in range(people)]
    for way in WAYS:
        found = {number: record for number in range(people) if (record := archive.record(way, number)) is not None}
        if not found:
            continue
        records = list(found.values())
        less = [
            np.mean(record.synchrony) - np.mean(other.synchrony)
            for number, record in found.items()
            if (other := whole[number]) is not None
        ]
        seams = [each for record in records for each in record.seams]
        rows.append([
            way,
            str(len(records)),
            spread([r.first for r in records], 2),
            spread([r.last for r in records], 2),
            spread([r.last / r.first for r in records], 3),
            spread([float(np.mean(r.synchrony)) for r in records], 3),
            "" if way == REFERENCE else spread(less, 3, sign="+"),
            spread([trend(r.synchrony) for r in records], 3, sign="+"),
            *((
                spread([float(np.mean(r.seams)) / r.mean for r in records], 2),
                spread([r.quantile / r.mean for r in records], 2),
                spread([r.borders / r.mean for r in records], 2),
                f"{sum(each > r.quantile for r in records for each in r.seams)} of {len(seams)}",
            ) if seams else ("", spread([r.quantile / r.mean for r in records], 2), "", "")),
        ])  # fmt: skip
    return "\n".join(markdown.table(head, rows)) + "\n"


def trend(values: Sequence[float]) -> float:
    """Of a straight line through the pieces: how much it rises in a minute."""
    return float(np.polyfit(np.arange(len(values)) * PIECE / FPS / 60, values, 1)[0])


def main(arguments: list[str]) -> int:
    """`python dev.py evaluate long-takes …`"""
    parser = argparse.ArgumentParser(prog="dev.py evaluate long-takes", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the takes are kept")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=tuple(WAYS), metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--report-only", action="store_true", help="make nothing, report what there is")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = chosen.folder or work_folder() / "long_takes"
    archive = Archive(folder, Sampling(), clip_length_from(round(chosen.seconds * FPS)))
    if not chosen.report_only:
        evaluate(archive, chosen.ways, chosen.people)
    sys.stdout.write(table(archive, chosen.people))
    return 0
