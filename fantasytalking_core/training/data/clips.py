"""Videos in: consecutive clips of a file, at the target's frame rate and size, with their sound.

Pictures and sound are read side by side as the clips are asked for, so that memory holds one clip, however long the
video: its pictures in their whole, at the size that they have in the clip, since where they are cut is known when the face
is found. Time starts at the first picture.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch

from ...errors import FantasyTalkingError
from ...speech.waveform import SAMPLE_RATE, SILENCE, Recording, mono_16k, samples_for
from .interlace import progressive
from .placement import Placement, Shape
from .sound_track import DEFAULT, sound_track

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}
MAX_JITTER = 0.02
"""Seconds by which the sound's timestamps may be off before they count as a gap or an overlap."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A stretch of a video.

    Attributes:
        start: in seconds.
        pictures: uint8 `[F, H′, W′, 3]`, the video's in their whole, scaled.
        sources: per frame, the number of the video's frame that it is.
        placement: where in the pictures the frames are; at first in the middle.
        speech: `[int(F / fps · 16000)]` mono samples at 16 kHz, silence where the sound has ended.
    """

    start: float
    pictures: np.ndarray
    sources: torch.Tensor
    placement: Placement
    speech: torch.Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def frames(self) -> torch.Tensor:
        """`[F, H, W, 3]` float32 in [0, 1]."""
        return torch.from_numpy(self.placement.cut(self.pictures)).float().div_(255)

    def time(self, frame: int) -> float:
        """When one of its frames is shown in the video, in seconds."""
        return self.start + frame / len(self) * len(self.speech) / SAMPLE_RATE

    def around(self, x: float, y: float) -> "Clip":
        """The same moments, with the place `(x, y)` of the frames as near to their middle as the pictures allow."""
        return replace(self, placement=self.placement.around(x, y))

    @property
    def silent(self) -> bool:
        return bool(self.speech.abs().max() < SILENCE)


@dataclass
class Ending:
    """What is left when the clips of a video have been read.

    Attributes:
        frames: that the video has.
        start: of what is left after the last whole clip, in seconds.
        rest: how long that is, in seconds.
        notes: what is worth knowing of how the video was read.
    """

    frames: int = 0
    start: float = 0.0
    rest: float = 0.0
    notes: list[str] = field(default_factory=list)


def find_videos(folder: Path) -> list[Path]:
    """The videos in a folder and the folders in it, in a stable order.

    Raises:
        FantasyTalkingError: no such folder, or no videos in it.
    """
    if not folder.is_dir():
        raise FantasyTalkingError(f"There is no folder '{folder}': expected one with videos.")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise FantasyTalkingError(
            f"'{folder}' holds no videos: expected files such as {', '.join(sorted(SUFFIXES)[:5])} in it or its folders."
        )
    return sorted(path for path in found if path.is_file())


def read_clips(path: Path, shape: Shape, ending: Ending | None = None, sound_name: str = DEFAULT) -> Iterator[Clip]:
    """The consecutive whole clips of a video, each made when it is asked for.

    The frame of a clip at an instant is the video's frame nearest to it; a video ends half a frame after its last one.

    Args:
        ending: filled in as the video is read.
        sound_name: which of several sound tracks, see `sound_track`.

    Raises:
        FantasyTalkingError: no pictures, no such sound, or damaged; the clips before the damage have been given.
    """
    ending, start = ending or Ending(), 0.0
    try:
        with av.open(str(path), metadata_errors="replace") as pictures, av.open(str(path), metadata_errors="replace") as sounds:
            sound = _Sound(sounds, sound_track(sounds, sound_name, ending.notes))
            frames = _at_rate(_frames(pictures, ending), shape.fps)
            for number in count():
                start = number * shape.frames / shape.fps
                taken = [frame.placed(shape) for frame in islice(frames, shape.frames)]
                if len(taken) < shape.frames:
                    ending.start, ending.rest = start, len(taken) / shape.fps
                    return
                if number == 0:
                    sound.zero = taken[0].time
                placement = taken[0].placement
                if other := next((each.placement for each in taken if each.placement != placement), None):
                    sizes = " to ".join(f"{width}×{height}" for width, height in (placement.size, other.size))
                    raise FantasyTalkingError(f"changes its pictures after {start:.1f} s, from {sizes}: convert it first.")
                yield Clip(
                    start,
                    np.stack([each.picture for each in taken]),
                    torch.tensor([each.number for each in taken]),
                    placement,
                    sound.speech(start, shape),
                )
    except FantasyTalkingError:
        raise
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        where, reason = f" after {start:.1f} s" if start else "", getattr(error, "strerror", None) or str(error)
        raise FantasyTalkingError(
            f"can't be read{where} ({reason[:120] or type(error).__name__}): the file is damaged or of an unknown format."
        ) from error


class _Placed(NamedTuple):
    """A frame of a clip: its number in the video, its time there in seconds, its whole picture at the clip's scale."""

    number: int
    time: float
    picture: np.ndarray
    placement: Placement


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame of the video: its number, time in seconds, how wide its pixels are, and how to come by its picture."""

    number: int
    time: float
    aspect: float
    picture: Callable[[], np.ndarray]

    def placed(self, shape: Shape) -> _Placed:
        picture = self.picture()
        height, width, _ = picture.shape
        placement = Placement.centred((width, height), self.aspect, shape.width, shape.height)
        return _Placed(self.number, self.time, placement.scaled(picture), placement)


def _frames(file: Any, ending: Ending) -> Iterator[_Frame]:
    stream = file.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise FantasyTalkingError("holds no pictures that FFmpeg can read: expected a video.")
    stream.thread_type = "AUTO"
    rate, aspect = float(stream.average_rate or 25), float(stream.sample_aspect_ratio or 1)
    for number, frame in enumerate(progressive(file.decode(stream), stream, ending.notes)):
        ending.frames = number + 1
        time = number / rate if frame.pts is None else float(frame.pts * frame.time_base)
        turn = round(frame.rotation / 90) % 4  # telephones store upright videos lying
        yield _Frame(number, time, 1 / aspect if turn % 2 else aspect, partial(_upright, frame, turn))


def _upright(frame: Any, turn: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turn))


def _at_rate(frames: Iterator[_Frame], fps: float) -> Iterator[_Frame]:
    """The frame nearest to each instant k / fps from the first frame on; of two equally near ones the earlier."""
    last = next(frames, None)
    if last is None:
        raise FantasyTalkingError("holds no pictures that can be read: the file is damaged.")
    zero, step, k = last.time, 1 / fps, 0
    for frame in frames:
        if frame.time <= last.time:  # a broken timestamp
            continue
        step = frame.time - last.time
        while zero + k / fps <= last.time + step / 2:
            yield last
            k += 1
        last = frame
    while zero + k / fps < last.time + step / 2:
        yield last
        k += 1


class _Sound:
    """A video's sound, read as far as it is needed and forgotten when it is past.

    Attributes:
        zero: the time of the first picture, where the clips' time begins, in seconds.
    """

    def __init__(self, file: Any, stream: Any) -> None:
        self.rate, self.zero = stream.codec_context.sample_rate, 0.0
        self.blocks, self.to_floats = file.decode(stream), av.AudioResampler(format="fltp")
        self.pieces: deque[tuple[int, np.ndarray]] = deque()
        self.end = 0

    def speech(self, start: float, shape: Shape) -> torch.Tensor:
        """What Wav2Vec2 hears of the clip that begins at `start` (s): as `mono_16k` of the whole sound."""
        begin, end = max(0, int(start) - 1), math.ceil(start + shape.seconds) + 1  # all that `mono_16k` looks at
        samples = torch.from_numpy(self._between(begin * self.rate, end * self.rate))
        if samples.abs().max() < SILENCE:  # said by whoever reads the clip
            return torch.zeros(samples_for(shape.frames, shape.fps))
        return mono_16k(Recording(samples[None], self.rate), shape.frames, shape.fps, start - begin)

    def _between(self, begin: int, end: int) -> np.ndarray:
        """Mean of all channels from one sample to another, silent where there are none; time only goes on."""
        while self.end < end and (block := next(self.blocks, None)) is not None:
            self._read(block)
        while self.pieces and self.pieces[0][0] + len(self.pieces[0][1]) <= begin:
            self.pieces.popleft()
        samples = np.zeros(end - begin, np.float32)
        for at, piece in self.pieces:
            inside = piece[max(begin - at, 0) : max(end - at, 0)]
            samples[max(at - begin, 0) :][: len(inside)] = inside
        return samples

    def _read(self, block: Any) -> None:
        """Put a block at its time, or right after the one before where timestamps are only rounded."""
        if block.sample_rate != self.rate:
            raise FantasyTalkingError(f"changes its sound from {self.rate} to {block.sample_rate} Hz: convert it first.")
        at = self.end if block.pts is None else round((float(block.pts * block.time_base) - self.zero) * self.rate)
        if self.pieces and abs(at - self.end) <= MAX_JITTER * self.rate:
            at = self.end
        for floats in self.to_floats.resample(block):
            self.pieces.append((at, floats.to_ndarray().mean(0)))
            at += floats.samples
        self.end = at
