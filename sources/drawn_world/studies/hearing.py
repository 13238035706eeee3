"""How much the body hears: Speaker Masks' `body`, for a single person."""

import torch

from .. import FRAMES, measures
from ..studio import Studio, marks_of
from .people import Seen, filmed, person, said, samples
from .study import Made, Study


def rows(studio: Studio, number: int) -> Made:
    clip = person(number, said(number, samples(FRAMES) / 16000))
    image = torch.from_numpy(clip.reference)[None]
    found, moved = {}, None
    for body in (1.0, 0.5, 0.0):
        masks = studio.run(
            "FantasyTalkingSpeakerMasks", image=image, face_landmarks=marks_of([[clip.landmarks]], image), body=body
        )[0]
        frames = filmed(studio, clip, FRAMES, number, mask=masks)
        seen = Seen.of(clip, frames)
        motion = measures.motion(frames, seen.places.person)
        moved = moved or motion
        subject, background = (now / first for now, first in zip(motion, moved, strict=True))
        found[f"body {body:g}"] = (
            {"synchrony": seen.synchrony(clip.speech).r, "subject motion": subject, "background motion": background},
            frames,
        )
    return found


STUDY = Study(
    "hearing",
    "How much the body hears",
    "Speaker Masks with one person: the mask outside of the face is `body`. Motion by that of the same person with body 1.",
    rows,
)
