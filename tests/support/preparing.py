"""Simple functions in the place of the frozen encoders, and caches made with them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import reduce, repeat

from fantasytalking_core.training.data.cache import Index
from fantasytalking_core.training.data.encoders import PARTS, Encoders
from fantasytalking_core.training.data.prepare import PrepareSettings, prepare
from fantasytalking_core.training.data.sample import Sample

SETTINGS = PrepareSettings(frames=9, fps=23.0, width=32, height=48)
CLIP_SECONDS = 9 / 23


def latents(frames: torch.Tensor) -> torch.Tensor:
    """The mean grey of every cell of 8 × 8 pixels in the first of its frames, 16 times."""
    first = torch.cat([frames[:1], frames[1::4]])
    return repeat(reduce(first, "t (h y) (w x) c -> t h w", "mean", y=8, x=8), "t h w -> c t h w", c=16)


def tokens(speech: torch.Tensor) -> torch.Tensor:
    """The loudness of every 20 ms, 8 times."""
    return reduce(speech[: len(speech) // 320 * 320], "(l n) -> l", "max", n=320)[:, None].repeat(1, 8)


@dataclass
class Counted:
    """Encoders that count their calls; `fail` maps a part to what is raised at its n-th call."""

    calls: Counter = field(default_factory=Counter)
    fail: dict[tuple[str, int], BaseException] = field(default_factory=dict)

    def _count(self, part: str, function):
        def call(*args):
            self.calls[part] += 1
            if (error := self.fail.get((part, self.calls[part]))) is not None:
                raise error
            return function(*args)

        return call

    def encoders(self, models: dict[str, str] | None = None, **more) -> Encoders:
        functions = {"video": latents, "speech": tokens, **more}
        counted = {part: self._count(part, function) for part, function in functions.items()}
        return Encoders(**counted, models={**dict.fromkeys(PARTS, "test"), **(models or {})})


def run(folder: Path, cache: Path, counted: Counted | None = None, settings=SETTINGS, models=None, **encoders) -> Index:
    return prepare(folder, cache, settings, (counted or Counted()).encoders(models, **encoders))


def samples(cache: Path) -> list[Sample]:
    return [Sample.load(cache / entry.file) for entry in Index.load(cache).samples]
