"""Somebody who speaks in the picture: what they say, and where it is heard.

Several speakers in one pass, with the published weights alone: every video token hears each speech as strongly as that
speaker's mask says there (an idea of this project and not of the paper, which has one speaker and no masks).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange

from ..errors import FantasyTalkingError, check_number, short
from ..latent_grid import TEMPORAL
from .speech import Speech

MAX_STRENGTH = 10.0
"""What the node takes."""
ROUNDING = 1e-3
"""By which a mask that was scaled or blurred may leave [0, 1]."""


@dataclass(frozen=True, eq=False)
class Speaker:
    """One speaker.

    Attributes:
        speech: what is heard.
        mask: `[1, H, W]` for the whole clip or one for each of its frames, `[frames, H, W]`, in [0, 1]; None: 1 everywhere.
        strength: how strongly.
    """

    speech: Speech
    mask: torch.Tensor | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Raises FantasyTalkingError where the mask is no mask of this clip, or the strength none."""
        check_number("audio_strength", self.strength, 0, MAX_STRENGTH)
        mask = self.mask
        if mask is None:
            return
        if not isinstance(mask, torch.Tensor) or mask.ndim != 3 or 0 in mask.shape:
            came = list(mask.shape) if isinstance(mask, torch.Tensor) else short(mask)
            raise FantasyTalkingError(f"mask is {came}, expected a MASK [1 or frames, height, width]: wire Speaker Masks.")
        if len(mask) not in (1, self.speech.frames):
            raise FantasyTalkingError(
                f"mask has {len(mask)} pictures, expected one, or one for each of the speech's {self.speech.frames} frames: of "
                "Speaker Masks wire the outputs speaker 1, speaker 2 …, one for each speaker."
            )
        if not bool(((mask >= -ROUNDING) & (mask <= 1 + ROUNDING)).all()):
            raise FantasyTalkingError(
                "mask holds numbers outside of 0 to 1, expected 1 where this speaker is heard and 0 elsewhere."
            )
        if not mask.any():
            raise FantasyTalkingError(
                "mask is empty, and this speaker would not be heard: paint it over their face, or wire another output of "
                "Speaker Masks, whose preview numbers the people."
            )

    def part(self, places: Sequence[int]) -> "Speaker":
        """What these latent frames of the clip hear; see `Speech.part`."""
        mask = self.mask
        if mask is not None and len(mask) > 1:
            mask = mask[[frame for place in places for frame in frames_of(place)]]
        return replace(self, speech=self.speech.part(places), mask=mask)

    def latent_mask(self, height: int, width: int) -> torch.Tensor | None:
        """The mask on the latent grid, `[1 or T, height, width]`: by area, and over the frames of a latent frame by their
        mean; the first frame stands alone. One of another shape than the picture is stretched to it."""
        if self.mask is None:
            return None
        mask = torch.nn.functional.interpolate(self.mask[None].float(), (height, width), mode="area")[0]
        if len(mask) == 1:
            return mask
        others = rearrange(mask[1:], "(t four) h w -> t four h w", four=TEMPORAL).mean(1)
        return torch.cat([mask[:1], others])


def together(others: Sequence[Speaker], speaker: Speaker) -> tuple[Speaker, ...]:
    """Several speakers in one clip.

    Raises:
        FantasyTalkingError: their speeches differ in length or frame rate.
    """
    for other in others[:1]:
        one, two = (f"{each.speech.frames} frames at {each.speech.fps:g} fps" for each in (other, speaker))
        if one != two:
            raise FantasyTalkingError(
                f"This speaker's speech has {two}, the one before has {one}: give both Encode Speech nodes one length and fps."
            )
    return (*others, speaker)


def speaking(speakers: Sequence[Speaker], height: int, width: int) -> torch.Tensor | None:
    """`[T, height, width]` or `[T, 1, 1]`, on the latent grid: 1 where somebody is heard who speaks, 0 where those who are
    heard there are silent; None where nobody is silent at any time."""
    spoken = [speaker.speech.speaking().float()[:, None, None] for speaker in speakers]
    if all(each.all() for each in spoken):
        return None
    anywhere = torch.stack(spoken).amax(0)
    masks = [speaker.latent_mask(height, width) for speaker in speakers]
    if any(mask is None for mask in masks):
        return anywhere
    heard = [mask.expand(len(anywhere), -1, -1) for mask in masks if mask is not None]
    total = torch.stack(heard).sum(0)
    share = torch.stack([mask * each for mask, each in zip(heard, spoken, strict=True)]).sum(0) / total
    return torch.where(total > 0, share, anywhere)


def notices(speakers: Sequence[Speaker]) -> list[str]:
    """What several speakers may suffer from."""
    if len(speakers) < 2:
        return []
    unplaced = [str(number) for number, speaker in enumerate(speakers, 1) if speaker.mask is None]
    if not unplaced:
        return []
    return [
        f"No mask for speaker {' and '.join(unplaced)} of {len(speakers)}: every mouth follows that speech, too. Wire mask."
    ]


def frames_of(place: int) -> range:
    """The video frames of a latent frame."""
    return range(TEMPORAL * (place - 1) + 1, TEMPORAL * place + 1) if place else range(1)
