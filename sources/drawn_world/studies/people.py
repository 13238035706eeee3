"""Held-out people and pairs of people, with as much speech as is wanted, and what is given to the model of them."""

from dataclasses import dataclass

import librosa
import numpy as np
import torch

from .. import FPS, SIZE, measures
from ..studio import Clip, Given, Setting, Studio, marks_of
from ..world import videos
from ..world.figure import Pose, landmarks
from ..world.portrait import draw, draw_all
from ..world.voices import RATE, speech

OPENNESS = 1000
"""A mouth's opening is told in thousandths of the picture."""
SPEECHES = 2000
"""Number of the first person's speech: no test video has it."""
FIRST_PAIR = 300
"""Number of the first person of the first pair."""


def said(number: int, seconds: float) -> np.ndarray:
    """Speech without pauses, from its first word on, `[seconds · 16000]`."""
    whole, _ = librosa.effects.trim(speech("test", SPEECHES + number, seconds + 1), top_db=40)
    return np.pad(whole, (0, RATE))[: round(seconds * RATE)].astype(np.float32)


def samples(frames: int) -> int:
    """Of the sound of so many frames."""
    return round(frames / FPS * RATE)


def person(number: int, sound: np.ndarray) -> Clip:
    """Somebody at rest."""
    look = videos.look_of("test", number)
    return Clip(look, draw(look, Pose())[None].astype(np.float32) / 255, sound, landmarks(look, Pose()))


def filmed(
    studio: Studio, clip: Clip, frames: int, seed: int, setting: Setting = Setting(), mask=None, **sampling
) -> np.ndarray:
    """The person of a clip saying its speech, `[frames, H, W, 3]` in [0, 1]."""
    given = studio.given(clip)
    *prompts, latent = studio.image_to_video(given, given.image, frames)
    positive, negative = studio.conditioned(*prompts, studio.heard(clip.speech, frames), given.identity, setting, mask)
    return studio.pictures(studio.sample(studio.with_adapter(studio.shipped), positive, negative, latent, seed, **sampling))


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen of the one person in some frames.

    Attributes:
        frames: `[F, H, W, 3]`.
        opening: of the mouth, `[F]`, beyond that of the reference, whose lips are shut but have a dark line between them.
    """

    clip: Clip
    frames: np.ndarray
    opening: np.ndarray
    places: measures.Places

    @classmethod
    def of(cls, clip: Clip, frames: np.ndarray) -> "Seen":
        places = measures.Places.of(clip.look, clip.landmarks)
        both = np.concatenate([clip.reference[None], frames])
        shut, *opening = measures.mouth_opening(both, clip.reference, places)
        return cls(clip, frames, np.array(opening) - shut, places)

    def steady(self) -> np.ndarray:
        return measures.steadied(self.frames, self.clip.reference, self.places.face)

    def synchrony(self, sound: np.ndarray) -> measures.Synchrony:
        return measures.synchrony(self.opening, measures.loudness(sound, len(self.frames)))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two people side by side before one wall."""

    left: Clip
    right: Clip
    picture: np.ndarray

    @classmethod
    def of(cls, number: int) -> "Pair":
        looks = [videos.look_of("test", FIRST_PAIR + 2 * number + place) for place in range(2)]
        picture = draw_all(looks, [Pose(), Pose()]).astype(np.float32) / 255
        halves = [picture[None, :, SIZE * place : SIZE * (place + 1)] for place in range(2)]
        nothing = np.zeros(0, np.float32)
        return cls(
            *(Clip(look, half, nothing, landmarks(look, Pose())) for look, half in zip(looks, halves, strict=True)), picture
        )

    def filmed(self, studio: Studio, sounds: tuple[np.ndarray, np.ndarray], frames: int, seed: int) -> np.ndarray:
        """Both, each hearing a sound of their own where they are: `[frames, H, 2 W, 3]`."""
        image = torch.from_numpy(self.picture)[None]
        given: Given = studio.shown(image, f"{self.left.look.caption} {self.right.look.caption}")
        marks = marks_of([[self.left.landmarks, self.right.landmarks + (SIZE, 0)]], image)
        _, _, *masks = studio.run("FantasyTalkingSpeakerMasks", image=image, face_landmarks=marks)
        positive, negative, latent = studio.image_to_video(given, image, frames)
        for sound, mask in zip(sounds, masks, strict=False):
            positive, negative = studio.conditioned(positive, negative, studio.heard(sound, frames), mask=mask)
        return studio.pictures(studio.sample(studio.with_adapter(studio.shipped), positive, negative, latent, seed))

    def seen(self, frames: np.ndarray) -> tuple[Seen, Seen]:
        return Seen.of(self.left, frames[:, :, :SIZE]), Seen.of(self.right, frames[:, :, SIZE:])
