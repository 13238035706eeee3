"""Video files that are made in parts: each part is a video of its own, and all are joined without encoding again."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch

from ..errors import FantasyTalkingError
from ..files import complete
from ..speech.recording import Recording

QUALITY = {"crf": "18"}
"""Of H.264: hardly to be told from the original, for what comes after to be made of it."""
SOUND_BLOCK = 1.0
"""Seconds of sound that are encoded at a time."""


def frame_rate(fps: float) -> Fraction:
    """As the host's own video files have it."""
    return Fraction(round(fps * 1000), 1000)


def write_part(path: Path, frames: Iterable[torch.Tensor], fps: float, sound: Recording | None = None) -> int:
    """A part `[F, H, W, 3]` in [0, 1], in pieces, with its own sound; complete or not there. Returns its frames.

    Raises:
        FantasyTalkingError: it can't be written.
    """
    count = 0
    with writing(path), complete(path) as partial, av.open(str(partial), "w", format="mp4") as file:
        video: Any = None
        voice = None if sound is None else _Sound(file, sound)
        for piece in frames:
            for picture in (piece * 255).clamp(0, 255).byte().cpu().numpy():
                if video is None:
                    video = file.add_stream("h264", rate=frame_rate(fps), options=QUALITY)
                    video.height, video.width, _ = picture.shape
                    video.pix_fmt = "yuv420p"
                file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")))
                count += 1
                if voice is not None:
                    voice.until(count / fps)
        if video is not None:
            file.mux(video.encode(None))
        if voice is not None:
            voice.end()
    return count


def join(
    path: Path, parts: Sequence[Path], fps: float, sound: Recording | None, metadata: Mapping[str, Any] | None = None
) -> None:
    """Parts one after the other, as they are encoded, with the sound of the whole; complete or not there.

    Raises:
        FantasyTalkingError: a part is damaged, or the file can't be written.
    """
    with writing(path), complete(path) as partial:
        options = {"movflags": "use_metadata_tags+faststart"}
        with av.open(str(partial), "w", format="mp4", options=options) as file:
            for key, value in (metadata or {}).items():
                file.metadata[key] = json.dumps(value)
            video: Any = None
            voice: _Sound | None = None
            first = 0
            for part in parts:
                with av.open(str(part)) as source:
                    stream = source.streams.video[0]
                    if video is None:
                        video = file.add_stream_from_template(stream)
                        voice = None if sound is None else _Sound(file, sound)
                    for packet in _from(source.demux(stream), Fraction(first) / frame_rate(fps)):
                        packet.stream = video
                        file.mux(packet)
                        if voice is not None and packet.dts is not None:
                            voice.until(float(packet.dts * packet.time_base))
                    first += stream.frames
            if voice is not None:
                voice.end()


def _from(packets: Iterator[Any], start: Fraction) -> Iterator[Any]:
    """Packets, later by `start` (s)."""
    for packet in packets:
        if packet.dts is None:  # what ends a stream
            continue
        shift = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        yield packet


class _Sound:
    """A recording as the file's AAC stream, written beside the pictures."""

    LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}

    def __init__(self, file: Any, sound: Recording) -> None:
        self.file, self.sound, self.done = file, sound, 0
        self.layout = self.LAYOUTS[sound.samples.shape[0]]
        self.stream = file.add_stream("aac", rate=sound.rate, layout=self.layout)

    def until(self, seconds: float) -> None:
        """Write what is heard up to there, in whole blocks."""
        block = math.ceil(SOUND_BLOCK * self.sound.rate)
        while self.done + block <= seconds * self.sound.rate:
            self._write(self.done + block)

    def end(self) -> None:
        self._write(self.sound.samples.shape[-1])
        self.file.mux(self.stream.encode(None))

    def _write(self, end: int) -> None:
        samples = self.sound.samples[:, self.done : end]
        if not samples.shape[-1]:
            return
        frame = av.AudioFrame.from_ndarray(samples.float().contiguous().numpy(), format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.sound.rate, self.done, Fraction(1, self.sound.rate)
        self.file.mux(self.stream.encode(frame))
        self.done += samples.shape[-1]


class writing:
    """What can't be written is said in words; what is finished is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, av.FFmpegError | OSError) and not isinstance(error, FantasyTalkingError):
            raise FantasyTalkingError(
                f"'{self.path}' can't be written ({getattr(error, 'strerror', None) or error}): make room on the disk. What is "
                "finished is kept: run the same graph again to go on."
            ) from error
