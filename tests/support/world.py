"""A small synthetic talking world: heads whose mouths open with the loudness of a made-up voice.

Two identities (colours and shape of the head) in two amounts of motion (sway of head and body, play of the brows).
Every video lies beside a side file with all that no detector could tell of such a drawing. Positions are in parts of
the picture's side, x to the right and y down; everything follows from the seed.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import save_file

FACE_WIDTH = 16
LIP_RING = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""MediaPipe's outer lips, from the corner on the left of the picture along the lower lip, back along the upper one."""
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
MOUTH = (0.0, 0.15)
"""Its middle, from that of the head."""
MOUTH_WIDTH, CLOSED, OPEN = 0.11, 0.02, 0.095
"""Half width, and half height at no and at full loudness."""
SKIN, CHEST, HEAD = ((0.93, 0.72, 0.55), (0.42, 0.30, 0.62)), ((0.15, 0.3, 0.7), (0.2, 0.6, 0.3)), ((0.29, 0.31), (0.22, 0.37))
"""Of the two identities: colours, and half width and height of the head."""
SWAY, BROW = (0.01, 0.06), (0.003, 0.03)
"""Of calm and lively ones: how far the head sways and the brows rise."""


@dataclass(frozen=True, eq=False)
class Video:
    """A video of the world.

    Attributes:
        identity: 0 or 1.
        lively: whether it moves much.
        loudness: `[N]` in [0, 1], of the voice at each frame; the mouth's half height is CLOSED … OPEN of it.
        head: `[N, 2]`, the middle of the head.
    """

    path: Path
    identity: int
    lively: bool
    loudness: np.ndarray
    head: np.ndarray


def face_vectors() -> torch.Tensor:
    """`[2, 16]`: the identities' face embeddings, of length 1 and at right angles."""
    q, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(FACE_WIDTH, 2)))
    return torch.tensor(q.T, dtype=torch.float32).contiguous()


@cache
def clip_tokens(identity: int) -> torch.Tensor:
    """`[257, 1280]`: what stands for CLIP's view of an identity, a fixed random projection of its face vector."""
    projection = np.random.default_rng(8).normal(size=(257, 1280, FACE_WIDTH)).astype(np.float32)
    return torch.from_numpy(projection @ face_vectors()[identity].numpy())


def text_tokens(width: int, rows: int = 4) -> torch.Tensor:
    """`[rows, width]`: the one prompt of the world."""
    return torch.from_numpy(np.random.default_rng(9).normal(size=(rows, width)).astype(np.float32))


def make_videos(
    folder: Path,
    count: int,
    seed: int = 0,
    size: int = 64,
    fps: float = 23.0,
    seconds: float = 2.0,
    text_dim: int = 32,
    points: str = "landmarks",
    rate: int = 16000,
    side_files: bool = True,
) -> list[Video]:
    """Write `count` videos with sound and their side files; four of them show every identity in both amounts of motion.

    Args:
        size: side of the square pictures in pixels, even.
        points: `landmarks` for 478 points of a face, `lips` for the outline of the lips alone.
        rate: of the sound, Hz.
    """
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for index in range(count):
        random = np.random.default_rng((seed, index))
        identity, lively = index % 2, bool(index // 2 % 2)
        frames = round(seconds * fps)
        loudness, sound = voice(random, seconds, rate)
        times = np.arange(frames) / fps
        at_frames = np.interp(times, np.arange(len(loudness)) / rate, loudness)
        video = Video(folder / f"talk_{index:03d}.mp4", identity, lively, at_frames, sway(random, times, lively))
        brows = BROW[lively] * np.sin(2 * np.pi * random.uniform(0.7, 1.3) * times + random.uniform(0, 6))
        write(video.path, draw(video, size, brows), fps, sound, rate)
        if side_files:
            save_file(annotations(video, size, brows, text_dim, points), video.path.with_suffix(".safetensors"))
        videos.append(video)
    return videos


def voice(random: np.random.Generator, seconds: float, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Loudness in [0, 1] and sound, `[samples]` each: syllables with pauses, of a buzz and a little noise."""
    samples = round(seconds * rate)
    times = np.arange(samples) / rate
    loudness, start = np.zeros(samples), random.uniform(0, 0.2)
    while start < seconds:
        length, height = random.uniform(0.15, 0.35), random.uniform(0.4, 1.0)
        inside = (times >= start) & (times < start + length)
        loudness[inside] = height * np.sin(np.pi * (times[inside] - start) / length) ** 2
        start += length + random.choice((0.0, 0.05, 0.3), p=(0.4, 0.4, 0.2))
    pitch = random.uniform(100, 180)
    buzz = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 12)) / 2
    sound = loudness * (0.5 * buzz + 0.1 * random.normal(size=samples)) + 1e-3 * random.normal(size=samples)
    return loudness, np.clip(sound, -1, 1).astype(np.float32)


def sway(random: np.random.Generator, times: np.ndarray, lively: bool) -> np.ndarray:
    """`[N, 2]`: the middle of the head."""
    phase, speed = random.uniform(0, 2 * np.pi, 2), random.uniform(0.5, 0.9)
    x = 0.5 + SWAY[lively] * np.sin(2 * np.pi * speed * times + phase[0])
    y = 0.42 + 0.3 * SWAY[lively] * np.sin(4 * np.pi * speed * times + phase[1])
    return np.stack([x, y], 1)


def openness(video: Video) -> np.ndarray:
    """`[N]`: half height of the mouth."""
    return CLOSED + (OPEN - CLOSED) * video.loudness


def draw(video: Video, size: int, brows: np.ndarray) -> np.ndarray:
    """`[N, size, size, 3]` uint8, with soft edges of one pixel."""
    frames = len(video.head)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    picture = np.empty((frames, size, size, 3))
    picture[:] = 0.75 - 0.25 * y[..., None]

    def ellipse(colour, at: np.ndarray, half_width, half_height) -> None:
        at, a, b = at[:, None, None], *(np.reshape(half, (-1, 1, 1)) for half in (half_width, half_height))
        distance = np.hypot((x - at[..., 0]) / a, (y - at[..., 1]) / b) - 1
        inside = np.clip(0.5 - distance * np.minimum(a, b) * size, 0, 1)[..., None]
        picture[:] = picture * (1 - inside) + np.array(colour) * inside

    head, identity = video.head, video.identity
    ellipse(CHEST[identity], chest(video), 0.38, 0.22)
    ellipse(SKIN[identity], head, *HEAD[identity])
    for side in (-1, 1):
        ellipse((1, 1, 1), head + (side * 0.1, -0.07), 0.05, 0.035)
        ellipse((0.1, 0.1, 0.1), head + (side * 0.1, -0.07), 0.02, 0.03)
        ellipse((0.25, 0.15, 0.1), head + np.stack([np.full(frames, side * 0.1), -0.15 - brows], 1), 0.06, 0.013)
    ellipse(np.multiply(SKIN[identity], 0.8), head + (0, 0.03), 0.02, 0.05)
    ellipse((0.75, 0.1, 0.15), head + MOUTH, MOUTH_WIDTH, openness(video))
    ellipse((0.15, 0.0, 0.05), head + MOUTH, 0.7 * MOUTH_WIDTH, openness(video) * 0.6)
    return (picture * 255).round().astype(np.uint8)


def chest(video: Video) -> np.ndarray:
    """`[N, 2]`: its middle, which follows the head by half."""
    return np.array((0.5, 0.98)) + 0.5 * (video.head - (0.5, 0.42))


def lips(video: Video) -> np.ndarray:
    """`[N, 20, 2]`: the outline of the mouth, in the order of `LIP_RING`."""
    angle = 2 * np.pi * np.arange(len(LIP_RING)) / len(LIP_RING)
    x = np.broadcast_to(-MOUTH_WIDTH * np.cos(angle), (len(video.head), len(angle)))
    return video.head[:, None] + MOUTH + np.stack([x, openness(video)[:, None] * np.sin(angle)], -1)


def landmarks(video: Video, brows: np.ndarray) -> np.ndarray:
    """`[N, 478, 3]`: points in the places that the drawing knows, the others somewhere on the head; z is depth."""
    random = np.random.default_rng(10)
    angle, radius = random.uniform(0, 2 * np.pi, 478), np.sqrt(random.uniform(0, 1, 478))
    face = np.stack([np.cos(angle), np.sin(angle), 0.3 * radius**2], 1) * radius[:, None] * (*HEAD[video.identity], 1)
    places = {33: -0.15, 133: -0.05, 362: 0.05, 263: 0.15}
    face[list(places)] = [(x, -0.07, 0.02) for x in places.values()]
    nose = (168, 6, 197, 195, 5, 4, 1)
    face[list(nose)] = np.stack([np.zeros(7), np.linspace(-0.07, 0.06, 7), np.linspace(0, -0.08, 7)], 1)
    face[list(BROWS)] = [(x, -0.15, 0.0) for x in (*np.linspace(-0.16, -0.04, 5), *np.linspace(0.04, 0.16, 5))]
    points = np.repeat(face[None], len(video.head), 0)
    points[:, face[:, 1] < -0.1, 1] -= brows[:, None]  # the forehead moves with them
    points[..., :2] += video.head[:, None]
    points[:, LIP_RING, :2] = lips(video)
    points[:, LIP_RING, 2] = 0.0
    return points


def joints(video: Video) -> np.ndarray:
    """`[N, 18, 3]` in the OpenPose order: x, y, score; what lies below the picture has the score 0."""
    points = np.zeros((len(video.head), 18, 3))
    above = {0: (0, 0.06), 14: (-0.1, -0.07), 15: (0.1, -0.07), 16: (-0.25, 0), 17: (0.25, 0)}
    below = {1: (0, -0.14), 2: (-0.3, -0.1), 3: (-0.36, 0), 5: (0.3, -0.1), 6: (0.36, 0)}
    for places, middle in ((above, video.head), (below, chest(video))):
        for joint, place in places.items():
            points[:, joint, :2], points[:, joint, 2] = middle + place, 1.0
    return points


def annotations(video: Video, size: int, brows: np.ndarray, text_dim: int, points: str) -> dict[str, torch.Tensor]:
    """The side file's tensors; its keys are those of docs/training_data.md."""
    where = landmarks(video, brows) if points == "landmarks" else lips(video)
    body = joints(video) * (size, size, 1)
    return {
        points: torch.tensor(where * size, dtype=torch.float32),
        "joints": torch.tensor(body, dtype=torch.float32),
        "face": face_vectors()[video.identity].clone(),
        "clip": clip_tokens(video.identity).clone(),
        "text": text_tokens(text_dim),
    }


def write(
    path: Path,
    frames: np.ndarray,
    fps: float,
    sound: np.ndarray | None = None,
    rate: int = 16000,
    codec: str = "aac",
    sound_at: float = 0.0,
) -> None:
    """An almost lossless video of pictures `[N, H, W, 3]` uint8 and, unless it is None, sound `[samples]` or `[2, samples]`.

    Args:
        sound_at: when the sound begins, in seconds.
    """
    with av.open(str(path), "w") as file:
        exact = Fraction(fps).limit_denominator(1001)
        video = file.add_stream("libx264", rate=exact, options={"crf": "3", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv444p"
        sound = None if sound is None else np.atleast_2d(sound).astype(np.float32)
        layout = None if sound is None else ("mono", "stereo")[len(sound) - 1]
        audio = None if sound is None else file.add_stream(codec, rate=rate, layout=layout)
        for frame in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(video.encode())
        if audio is None:
            return
        whole = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
        whole.sample_rate, whole.pts, whole.time_base = rate, round(sound_at * rate), Fraction(1, rate)
        for converted in av.AudioResampler(format=audio.format, layout=layout, rate=rate).resample(whole):
            file.mux(audio.encode(converted))
        file.mux(audio.encode())
