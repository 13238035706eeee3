"""A cache while it is made: video by video, clip by clip, so that it is whole whenever the work ends."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from ..errors import FantasyTalkingError
from ..motion import MotionRanges
from .cache import INDEX, NULL, Entry, Index, Sample, save_null_text
from .clips import Clip, Ending, read_clips
from .encoders import Encoders
from .placement import Shape
from .samples import check_supply, make_sample
from .side_file import SideFile

MIN_CONFIDENCE = 0.9
"""Of the face, in the mean over a clip's frames (§4.1)."""
SAVE_EVERY = 10.0
"""Seconds between two times that the index is written, which grows with the data set."""
REST = "the rest is shorter than a clip."
UNFINISHED = "not finished: run prepare again to go on."


@dataclass(frozen=True)
class PrepareSettings(Shape):
    """What the clips are like.

    Attributes:
        min_confidence: clips whose face is less sure are left out.
        dtype: of the tensors that take the space.
    """

    min_confidence: float = MIN_CONFIDENCE
    dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_confidence <= 1:
            raise FantasyTalkingError(f"min_confidence is {self.min_confidence:g}, expected 0 to 1.")


class Unwritable(FantasyTalkingError):
    """The cache can't be written: no reason to go on with the next video."""


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"The cache '{cache}' can't be written ({error.strerror or error}): make room or choose another place. All "
            "samples so far are kept: run prepare again to go on."
        ) from error


class Work:
    """A cache while it is made: its samples by video, and what was left out."""

    def __init__(self, cache: Path, settings: PrepareSettings, encoders: Encoders) -> None:
        self.cache, self.settings, self.encoders = cache, settings, encoders
        self.samples: dict[str, dict[float, Entry]] = {}
        self.left_out: dict[str, str] = {}
        self.ranges, self.widths, self.saved = MotionRanges(), {}, time.monotonic()
        if (cache / INDEX).exists():
            self._go_on(Index.load(cache))
        with writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
            self.save()
            if encoders.text is not None and not (cache / NULL).exists():
                save_null_text(cache, encoders.text("").to("cpu", settings.dtype))

    def _go_on(self, index: Index) -> None:
        before, now = _made_with(index), _made_with(self._index())
        pairs = [(key, before.get(key), now.get(key)) for key in {**before, **now}]
        if differ := "; ".join(f"{key} was {old}, is {new}" for key, old, new in pairs if old != new):
            raise FantasyTalkingError(f"'{self.cache}' holds a cache of another kind ({differ}): choose a new folder.")
        self.ranges, self.left_out = index.ranges, dict(index.left_out)
        for entry in index.samples:
            self.samples.setdefault(entry.source, {})[entry.start] = entry
        there = next((entry for entry in index.samples if (self.cache / entry.file).is_file()), None)
        if there is not None:
            self.widths = _widths(Sample.load(self.cache / there.file))

    def entries(self) -> list[Entry]:
        return [entry for _, clips in sorted(self.samples.items()) for _, entry in sorted(clips.items())]

    def _index(self) -> Index:
        shape = self.settings
        return Index(
            shape.frames, shape.fps, shape.width, shape.height, dict(self.encoders.models), self.ranges,
            tuple(self.entries()), dict(sorted(self.left_out.items())),
        )

    def save(self) -> Index:
        index = self._index()
        index.save(self.cache)
        self.saved = time.monotonic()
        return index

    def video(self, path: Path, source: str, tell: Callable[[str], None]) -> None:
        """All clips of a video, but those that are there already."""
        tell(source)
        if any(not (self.cache / entry.file).is_file() for entry in self.samples.get(source, {}).values()):
            self._forget(source)  # someone deleted samples to have the video done anew
        if self.samples.get(source) and source not in self.left_out:
            return
        for name in [name for name in self.left_out if name == source or name.startswith(f"{source} at ")]:
            del self.left_out[name]
        self.left_out[source] = UNFINISHED
        reasons: dict[str, str] = {}
        try:
            side, ending = SideFile.beside(path), Ending()
            self._clips(path, source, side, ending, reasons, tell)
            try:
                side.check_frames(ending.frames)
            except FantasyTalkingError:
                self._forget(source)
                raise
            if source not in self.samples and not reasons:
                raise FantasyTalkingError(f"it lasts {ending.rest:.2f} s: too short for a clip of {self.settings.seconds:.2f} s.")
            if source not in self.samples and len(set(reasons.values())) == 1:
                raise FantasyTalkingError(next(iter(reasons.values())))
            del self.left_out[source]
            if ending.rest:
                reasons[_place(source, ending.start)] = REST
        except Unwritable:
            raise
        except FantasyTalkingError as error:
            self.left_out[source] = str(error)
            if source not in self.samples:
                reasons.clear()  # the one reason says it all
        self.left_out.update(reasons)

    def _clips(
        self, path: Path, source: str, side: SideFile, ending: Ending, reasons: dict[str, str], tell: Callable[[str], None]
    ) -> None:
        check_supply(side, self.encoders, path)
        caption, text = read_caption(path), side.get("text")
        text = self.encoders.text(caption) if text is None and self.encoders.text else text
        for clip in read_clips(path, self.settings, ending):
            tell(_place(source, clip.start))
            if clip.start in self.samples.get(source, {}):
                continue
            try:
                sample = make_sample(clip, side, text, self.encoders, self.settings.min_confidence, self.settings.dtype)
                self._fits(sample)
            except FantasyTalkingError as error:
                reasons[_place(source, clip.start)] = str(error)
                continue
            with writing(self.cache):
                self._add(sample, source, clip, caption)

    def _add(self, sample: Sample, source: str, clip: Clip, caption: str) -> None:
        number = round(clip.start / self.settings.seconds)
        entry = Entry(f"{_file_name(source)}-{number:05d}.safetensors", source, clip.start, caption)
        if not (self.cache / NULL).exists():  # no text encoder: the rows that a prompt is padded with
            save_null_text(self.cache, torch.zeros_like(sample.text[:1]))
        sample.save(self.cache / entry.file)
        self.samples.setdefault(source, {})[clip.start] = entry
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def _fits(self, sample: Sample) -> None:
        """Refuse features of another width than those of the samples before, which no training could join."""
        widths = _widths(sample)
        for name, width in widths.items():
            if width != self.widths.setdefault(name, width):
                known = self.widths[name]
                raise FantasyTalkingError(f"its {name} features are {width} wide, those of the other samples {known}.")

    def _forget(self, source: str) -> None:
        for entry in self.samples.pop(source, {}).values():
            (self.cache / entry.file).unlink(missing_ok=True)


def read_caption(video: Path) -> str:
    """The prompt in `<video's name>.txt` beside a video, empty where there is none."""
    path = video.with_suffix(".txt")
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise FantasyTalkingError(f"'{path.name}' can't be read as UTF-8 text: save it as UTF-8.") from error


def _made_with(index: Index) -> Mapping[str, str]:
    sizes = {"frames": index.frames, "fps": index.fps, "width": index.width, "height": index.height}
    return {name: str(value) for name, value in {**sizes, **index.models}.items()}


def _widths(sample: Sample) -> dict[str, int]:
    widths = {"text": sample.text.shape[-1], "speech": sample.speech.shape[-1]}
    return widths if sample.face is None else {**widths, "face": sample.face.shape[-1]}


def _place(source: str, start: float) -> str:
    return f"{source} at {start:.2f} s"


def _file_name(source: str) -> str:
    """Readable, and different for every source on every system."""
    readable = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(source).stem)[:40]
    return f"{readable}-{sha256(source.encode()).hexdigest()[:8]}"
