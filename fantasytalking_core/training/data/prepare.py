"""A folder of videos to a cache of training samples (§4.1): clips → features of a clip → sample → cache."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ...errors import FantasyTalkingError
from .cache import Cache, Index, Unwritable, save_null_text, writing
from .clips import Ending, find_videos, read_clips
from .encoders import Encoders
from .features import Features
from .interlace import FILTER
from .placement import Shape
from .sample import make_sample
from .sound_track import DEFAULT

MIN_CONFIDENCE = 0.9
"""Of the face, in the mean over a clip's frames (§4.1)."""
REST = "the rest is shorter than a clip."
UNFINISHED = "not finished: run prepare again to go on."

Progress = Callable[[int, int, str], None]
"""Called with the videos done, the videos in all and where the work is."""


@dataclass(frozen=True)
class PrepareSettings(Shape):
    """What the clips are like.

    Attributes:
        min_confidence: clips whose face is less sure are left out.
        dtype: of the tensors that take the space.
        sound: which of several sound tracks is heard: its number from 1, its language or its title.
    """

    min_confidence: float = MIN_CONFIDENCE
    dtype: torch.dtype = torch.float16
    sound: str = DEFAULT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_confidence <= 1:
            raise FantasyTalkingError(f"min_confidence is {self.min_confidence:g}, expected 0 to 1.")
        if not self.sound:
            raise FantasyTalkingError("The sound track has no name: expected a number from 1, a language or a title.")

    def made(self) -> Mapping[str, str]:
        """What decides the samples beside the shape, as the index has it."""
        return {
            "placement": "face",
            "cuts": "left out",
            "interlaced": FILTER,
            "sound": self.sound,
            "motion": "log",
            "min_confidence": f"{self.min_confidence:g}",
            "dtype": str(self.dtype).removeprefix("torch."),
        }


def prepare(
    folder: Path,
    cache_folder: Path,
    settings: PrepareSettings,
    encoders: Encoders,
    progress: Progress = lambda done, total, where: None,
) -> Index:
    """Make or complete the cache of the videos in `folder` and in the folders in it.

    A video is cut into consecutive clips. A clip that is no good, or a video that can't be read, is left out and named
    with the reason in the index. Videos without a sample, and those with an error, are tried again the next time.
    Whenever the work ends, also by an error or Ctrl+C, the cache is whole as far as it goes.

    Raises:
        FantasyTalkingError: no videos, a cache of other settings or models, or one that can't be written.
    """
    videos = find_videos(folder)
    if cache_folder.resolve() == folder.resolve():
        raise FantasyTalkingError(f"'{cache_folder}' is the folder of the videos: choose another one for the cache.")
    alignment = {} if encoders.face is None else {"face_alignment": "five points"}
    cache = Cache(cache_folder, settings, encoders.models, {**settings.made(), **alignment})
    with writing(cache_folder):
        if encoders.text is not None and not cache.has_null_text:
            save_null_text(cache_folder, encoders.text("").to("cpu", settings.dtype))
    try:
        for number, path in enumerate(videos):
            source = path.relative_to(folder).as_posix()
            add_video(cache, path, source, settings, encoders, partial(progress, number, len(videos)))
    except BaseException:
        with suppress(OSError):  # the first error is the one to be told
            cache.save()
        raise
    progress(len(videos), len(videos), "")
    with writing(cache_folder):
        return cache.save()


def add_video(
    cache: Cache, path: Path, source: str, settings: PrepareSettings, encoders: Encoders, tell: Callable[[str], None]
) -> None:
    """All clips of a video, but those that are there already; what is left out is named in the cache.

    Raises:
        FantasyTalkingError: the cache can't be written.
    """
    tell(source)
    if cache.is_complete(source):
        return
    for name in [name for name in cache.left_out if name == source or name.startswith(f"{source} at ")]:
        del cache.left_out[name]
    cache.left_out[source] = UNFINISHED
    reasons: dict[str, str] = {}
    try:
        ending = add_clips(cache, path, source, settings, encoders, reasons, tell)
        if source not in cache.samples and not reasons:
            raise FantasyTalkingError(f"it lasts {ending.rest:.2f} s: too short for a clip of {settings.seconds:.2f} s.")
        if source not in cache.samples and len(set(reasons.values())) == 1:
            raise FantasyTalkingError(next(iter(reasons.values())))
        del cache.left_out[source]
        if ending.rest:
            reasons[place(source, ending.start)] = REST
    except Unwritable:
        raise
    except FantasyTalkingError as error:
        cache.left_out[source] = str(error)
        if source not in cache.samples:
            reasons.clear()  # the one reason says it all
    cache.left_out.update(reasons)


def add_clips(
    cache: Cache,
    path: Path,
    source: str,
    settings: PrepareSettings,
    encoders: Encoders,
    reasons: dict[str, str],
    tell: Callable[[str], None],
) -> Ending:
    """The clips of a video as samples; `reasons` is filled with the places of those that are no good.

    Raises:
        FantasyTalkingError: the video, its side file or its caption can't be read, or the cache can't be written.
    """
    features, ending = Features(path, encoders), Ending()
    try:
        for clip in read_clips(path, settings, ending, settings.sound):
            tell(place(source, clip.start))
            if cache.holds(source, clip):
                continue
            try:
                sample = make_sample(clip, features, settings.min_confidence, settings.dtype)
                cache.check_widths(sample)
            except FantasyTalkingError as error:
                reasons[place(source, clip.start)] = str(error)
                continue
            cache.add(sample, source, clip, features.caption)
    finally:
        if source in cache.samples:
            cache.note(source, [*ending.notes, *features.notes])
    try:
        features.side.check_frames(ending.frames)
    except FantasyTalkingError:
        cache.forget(source)
        raise
    return ending


def place(source: str, start: float) -> str:
    """A clip by its video and when it begins (s)."""
    return f"{source} at {start:.2f} s"
