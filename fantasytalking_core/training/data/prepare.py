"""A folder of videos to a cache of training samples (§4.1): clips → features of a clip → sample → cache."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ...adapter.motion import MotionRanges
from ...errors import FantasyTalkingError
from .cache import Cache, Entry, Index, Unwritable, save_null_text, writing
from .clips import Ending, find_videos, read_clips
from .encoders import Encoders
from .features import Features
from .placement import Shape
from .sample import make_sample

RANGE = (0.05, 0.95)
"""Quantiles of the variances that map to 0 and to 1: single wild clips do not decide what 1 means."""
MIN_SAMPLES = 8
"""With fewer known variances, the ranges are the defaults."""
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
    """

    min_confidence: float = MIN_CONFIDENCE
    dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_confidence <= 1:
            raise FantasyTalkingError(f"min_confidence is {self.min_confidence:g}, expected 0 to 1.")


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
    cache = Cache(cache_folder, settings, encoders.models)
    with writing(cache_folder):
        if encoders.text is not None and not cache.has_null_text:
            save_null_text(cache_folder, encoders.text("").to("cpu", settings.dtype))
    try:
        for number, path in enumerate(videos):
            source = path.relative_to(folder).as_posix()
            add_video(cache, path, source, settings, encoders, partial(progress, number, len(videos)))
        cache.ranges = ranges(cache_folder, cache.entries())
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
    for clip in read_clips(path, settings, ending):
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
    try:
        features.side.check_frames(ending.frames)
    except FantasyTalkingError:
        cache.forget(source)
        raise
    return ending


def place(source: str, start: float) -> str:
    """A clip by its video and when it begins (s)."""
    return f"{source} at {start:.2f} s"


def ranges(cache: Path, entries: list[Entry]) -> MotionRanges:
    """The range of both variances over all samples; the default where too few are known or all are alike."""
    motion = [_motion(cache / entry.file) for entry in entries]
    found = {}
    for index, name in enumerate(("expression", "body")):
        known = torch.tensor([float(pair[index]) for pair in motion if torch.isfinite(pair[index])], dtype=torch.float64)
        if len(known) >= MIN_SAMPLES:
            low, high = (float(torch.quantile(known, q)) for q in RANGE)
            if 0 <= low < high:
                found[name] = (low, high)
    return MotionRanges(**found)


def _motion(path: Path) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("motion")
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' is damaged: delete it and run prepare again.") from error
