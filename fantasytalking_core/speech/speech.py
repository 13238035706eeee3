"""The value that travels on an FT_SPEECH wire."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..latent_grid import TEMPORAL, latent_frames, video_frames
from .silence import speaking
from .windows import PADDING, window_map

TOKENS_PER_SECOND = 50
"""Wav2Vec2's: one for every 320 samples at 16 kHz."""
BINS = 8
"""Parts of a video frame in a sound's envelope."""
SHORTEST_SILENCE = 0.005
"""Seconds; less at the end is rounding."""
CHUNK = 1000
"""Video frames that are measured at a time."""


@dataclass(frozen=True, eq=False)
class Sound:
    """The outline of a clip's sound, to be looked at: 1 % of the size of its tokens at 23 fps.

    Attributes:
        envelope: `[frames · BINS, 2]` float32, the lowest and the highest sample of each part; full scale is 1.
        loudness: `[frames]` float32, the root mean square of each frame; full scale is 1.
        recorded: seconds from the clip's start to the end of the recording; what follows is silence.
    """

    envelope: torch.Tensor
    loudness: torch.Tensor
    recorded: float

    @classmethod
    def of(cls, samples: torch.Tensor, frames: int, recorded: float) -> "Sound":
        """Measure the `[N]` samples that the encoder hears, which last exactly `frames`."""
        data = samples.detach().cpu().numpy()
        edges = np.arange(frames * BINS + 1) * len(data) // (frames * BINS)
        envelope, loudness = np.empty((frames * BINS, 2), np.float32), np.empty(frames, np.float32)
        for first in range(0, frames, CHUNK):
            last = min(first + CHUNK, frames)
            bins = slice(first * BINS, last * BINS)
            start, stop = edges[bins.start], edges[bins.stop]
            piece, starts = data[start:stop], edges[bins] - start
            envelope[bins, 0] = np.minimum.reduceat(piece, starts)
            envelope[bins, 1] = np.maximum.reduceat(piece, starts)
            squares = np.add.reduceat(np.square(piece, dtype=np.float64), starts[::BINS])
            loudness[first:last] = np.sqrt(squares / np.diff(edges[bins.start : bins.stop + 1 : BINS]))
        return cls(torch.from_numpy(envelope), torch.from_numpy(loudness), recorded)


@dataclass(frozen=True, eq=False)
class Speech:
    """The encoded speech of one clip.

    Attributes:
        tokens: `[L, width]` float32, Wav2Vec2's last hidden states, about 50 per second, on the CPU.
        frames: video frames of the clip, 4n + 1.
        fps: frames per second.
        sound: what it looks like; None where only the tokens are known.
        map: of a part of a clip: int64 `[T, l′]`, its window map, of which the whole clip decided; None: this is the whole.
        spoken: of a part of a clip: bool `[T]`, where it is not silent, of which the whole clip decided as well.
    """

    tokens: torch.Tensor
    frames: int
    fps: float
    sound: Sound | None = None
    map: torch.Tensor | None = None
    spoken: torch.Tensor | None = None

    @property
    def latent_frames(self) -> int:
        return latent_frames(self.frames)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def silence(self) -> float:
        """Seconds of silence that were added at the end, because the recording is shorter than the clip."""
        silence = 0.0 if self.sound is None else self.seconds - self.sound.recorded
        return silence if silence >= SHORTEST_SILENCE else 0.0

    def windows(self) -> torch.Tensor:
        """int64 `[T, l′]`, see `windows.window_map`."""
        return window_map(self.tokens.shape[0], self.frames) if self.map is None else self.map

    def part(self, places: Sequence[int]) -> "Speech":
        """What these latent frames of the clip hear, with the tokens that they hear alone; the whole stays as it is."""
        if list(places) == list(range(self.latent_frames)):
            return self
        heard, rows = torch.unique(self.windows()[list(places)], return_inverse=True)
        padded = int(PADDING in heard)  # the lowest index, so the first of the unique ones
        tokens, spoken = self.tokens[heard[padded:]], self.speaking()[list(places)]
        return Speech(tokens, video_frames(len(places)), self.fps, map=rows - padded, spoken=spoken)

    def speaking(self) -> torch.Tensor:
        """bool `[T]`: the latent frames that are not silent, see `silence.speaking`; all where only the tokens are known."""
        if self.spoken is not None:
            return self.spoken
        return torch.ones(self.latent_frames, dtype=torch.bool) if self.sound is None else speaking(self.sound.loudness)

    def heard(self) -> torch.Tensor:
        """float64 `[T, 2]`: the stretch of the clip that each latent frame hears, in seconds; NaN where it hears nothing.

        From the start of the first token of its window to the end of the last one.
        """
        windows = self.windows()
        heard = torch.stack([windows[:, 0], windows.amax(1) + 1], dim=1).double() / TOKENS_PER_SECOND
        heard[windows[:, 0] == PADDING] = torch.nan
        return heard

    def shown(self) -> torch.Tensor:
        """float64 `[T, 2]`: when each latent frame is seen, in seconds: the first for one frame, the others for four."""
        ends = 1 + TEMPORAL * torch.arange(self.latent_frames, dtype=torch.float64)
        return torch.stack([(ends - TEMPORAL).clamp(min=0), ends], dim=1) / self.fps
