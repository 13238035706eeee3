"""New speech for a video that exists: the mouth is made anew, all else stays."""

import numpy as np
import torch

from .. import FRAMES, measures
from ..studio import BEGIN, Clip, Studio, marks_of
from ..world import videos
from ..world.portrait import draw, landmarks
from .people import Seen, said, samples
from .study import Made, Study


def rows(studio: Studio, number: int) -> Made:
    take, length = videos.take("test", number), samples(FRAMES)
    poses = take.poses[BEGIN : BEGIN + FRAMES]
    old = take.sound[samples(BEGIN) :][:length]
    new = said(700 + number, length / 16000)[:length]
    frames = np.stack([draw(take.look, pose) for pose in poses]).astype(np.float32) / 255
    points = [landmarks(take.look, pose) for pose in poses]
    clip = Clip(take.look, frames, new, points[0])
    pictures = torch.from_numpy(frames)
    mask = studio.run(
        "FantasyTalkingMouthMask", images=pictures, face_landmarks=marks_of([[each] for each in points], pictures),
        region="lower face", grow=0.15,
    )[0]  # fmt: skip
    given = studio.given(clip)
    *prompts, _ = studio.image_to_video(given, given.image, FRAMES)
    latent = studio.run("FantasyTalkingDubLatent", vae=studio.vae, images=pictures, mask=mask)[0]
    positive, negative = studio.conditioned(*prompts, studio.heard(new, FRAMES), given.identity)
    dubbed = studio.pictures(studio.sample(studio.with_adapter(studio.shipped), positive, negative, latent, number))
    outside = mask.numpy() == 0
    made = {"the video itself": frames, "through the VAE": studio.through_vae(frames), "dubbed": dubbed}
    return {name: (measured(clip, each, frames, outside, old, new), each) for name, each in made.items()}


def measured(clip: Clip, made: np.ndarray, frames: np.ndarray, outside: np.ndarray, old, new) -> dict[str, float]:
    loud = [measures.loudness(sound, FRAMES) for sound in (new, old)]
    # the mouth is looked for where it is in the first frame, and the lips' colour there, too
    opening = Seen.of(clip, made).opening
    return {
        "with the new speech": measures.correlation(opening, loud[0]),
        "with the old speech": measures.correlation(opening, loud[1]),
        "change of a pixel outside, of 255": float(255 * np.abs(made - frames)[outside].mean()),
    }


STUDY = Study(
    "dubbing",
    "Dubbing",
    "Drawn videos whose people say something else, by Mouth Mask (lower face, 0.15) and Dub Latent; outside of the mask before "
    "anything is pasted back.",
    rows,
)
