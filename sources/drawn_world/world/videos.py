"""Clips of the world as files: video with sound, and beside it the caption and the side file that `prepare` reads."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.files import complete

from .. import FPS, SIZE
from .figure import Pose, joints, landmarks3d
from .look import Look
from .performance import perform
from .portrait import draw_all
from .voices import RATE, Split, speech

VIDEO_FRAMES = 99
"""Three training clips of 33 frames, or one of 81."""
PAUSING = 0.5
"""The share of training videos with long silences."""
FIRST_TEST = 1_000_000
"""Number of the first identity that is never trained on."""


@dataclass(frozen=True, eq=False)
class Take:
    """All that is known of a video before it is drawn."""

    look: Look
    sound: np.ndarray
    poses: list[Pose]


def look_of(split: Split, number: int) -> Look:
    return Look.random(number + FIRST_TEST * (split == "test"))


def take(split: Split, number: int) -> Take:
    """Person, speech and motion of a video. Every video has an identity and coefficients of its own."""
    random = np.random.default_rng((11, split == "test", number))
    expression, body = random.uniform(0, 1, 2)
    sound = speech(split, number, VIDEO_FRAMES / FPS, pausing=split == "train" and random.random() < PAUSING)
    seed = number + FIRST_TEST * (split == "test")
    return Take(look_of(split, number), sound, perform(sound, VIDEO_FRAMES, FPS, expression, body, seed))


def make_videos(folder: Path, split: Split, numbers: Iterable[int], people: int = 1, processes: int = 2) -> None:
    """These videos of a split; what is there already stays.

    Args:
        people: side by side in each video: those of the numbers `number · people` and on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in numbers if not video_path(folder, number).is_file()]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(partial(_make, folder, split, people), missing))


def video_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.mp4"


def _make(folder: Path, split: Split, people: int, number: int) -> None:
    takes, path = [take(split, number * people + place) for place in range(people)], video_path(folder, number)
    looks = [each.look for each in takes]
    frames = np.stack([draw_all(looks, poses) for poses in zip(*(each.poses for each in takes), strict=True)])
    side = {  # of the one on the left
        "landmarks": np.stack([landmarks3d(looks[0], pose) for pose in takes[0].poses]),
        "joints": np.stack([joints(looks[0], pose) for pose in takes[0].poses]),
    }
    save_file({key: torch.tensor(value, dtype=torch.float32) for key, value in side.items()}, path.with_suffix(".safetensors"))
    path.with_suffix(".txt").write_text(" ".join(look.caption for look in looks), encoding="utf-8")
    with complete(path) as partly:
        write_video(partly, frames, sum(each.sound for each in takes) / people)


def write_video(path: Path, frames: np.ndarray, sound: np.ndarray) -> None:
    """An almost lossless MP4 of pictures `[F, H, W, 3]` uint8 and mono sound at 16 kHz."""
    with av.open(str(path), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=Fraction(FPS), options={"crf": "4", "preset": "veryfast"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv444p"
        audio = file.add_stream("aac", rate=RATE, layout="mono")
        audio.bit_rate = 96_000
        for frame in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(video.encode())
        whole = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
        for block in av.AudioResampler(format=audio.format, layout="mono", rate=RATE).resample(whole):
            file.mux(audio.encode(block))
        file.mux(audio.encode())


@dataclass(frozen=True, eq=False)
class Videos:
    """The files of a folder, read.

    Attributes:
        frames: uint8 `[N, F, H, W, 3]`.
        sounds: float32 `[N, samples]` at 16 kHz, as it was spoken.
        landmarks: float32 `[N, F, 478, 2]`.
    """

    frames: np.ndarray
    sounds: np.ndarray
    landmarks: np.ndarray


def read(*folders: Path) -> Videos:
    """All videos of one person in some folders, in the order of their numbers."""
    paths = [path for folder in folders for path in sorted(folder.glob("*.mp4"))]
    frames = np.empty((len(paths), VIDEO_FRAMES, SIZE, SIZE, 3), np.uint8)
    sounds = np.zeros((len(paths), round(VIDEO_FRAMES / FPS * RATE)), np.float32)

    def fill(number: int) -> None:
        for place, picture in enumerate(_pictures(paths[number])):
            frames[number, place] = picture
        sound = _sound(paths[number])[: sounds.shape[1]]
        sounds[number, : len(sound)] = sound

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(len(paths))))
    marks = [load_file(path.with_suffix(".safetensors"))["landmarks"][..., :2].numpy() for path in paths]
    return Videos(frames, sounds, np.stack(marks))


def _pictures(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.concatenate([block.to_ndarray()[0] for block in file.decode(audio=0)])
