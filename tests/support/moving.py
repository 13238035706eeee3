"""Synthetic clips of landmarks and joints, of which the variances are known in closed form."""

import numpy as np

EYES = 120.0
"""Pixels between the middles of the eyes."""
RIGID = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4)
OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136),
    *(172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The oval of MediaPipe's mesh."""
MOUTH = [index for index in range(60, 160) if index not in RIGID]
SHOULDERS = 200.0
WRISTS = (4, 7)


def face() -> np.ndarray:
    """`[478, 3]`: x, y, depth of a face at rest, eyes at a known distance."""
    random = np.random.default_rng(1)
    points = random.uniform((200, 150, -40), (440, 450, 40), (478, 3))
    for indices, (x, y) in (((33, 133), (260, 240)), ((263, 362), (260 + EYES, 240))):
        points[list(indices), :2] = (x - 20, y), (x + 20, y)
    return points


def waves(frames: int, periods: int = 4) -> np.ndarray:
    """`[F]`, whole periods of a sine: mean 0, variance 1/2."""
    return np.sin(2 * np.pi * periods * np.arange(frames) / frames)


def talking(frames: int = 80, amplitude: float = 6.0, mouth=MOUTH) -> np.ndarray:
    """`[F, 478, 3]`: the mouth moves up and down by `amplitude` pixels."""
    points = np.repeat(face()[None], frames, 0)
    points[:, mouth, 1] += amplitude * waves(frames)[:, None]
    return points


def share(mouth=MOUTH, with_outline: bool = False) -> float:
    """The mouth's part of the points that count."""
    counted = set(range(478)) - (set() if with_outline else set(OUTLINE))
    return len(set(mouth) & counted) / len(counted)


def expression_of(amplitude: float, mouth=MOUTH, with_outline: bool = False) -> float:
    """Variance of `talking`, in squared distances between the eyes: the mouth's share of the points moves."""
    return share(mouth, with_outline) * amplitude**2 / 2 / EYES**2


def turning(angles: np.ndarray) -> np.ndarray:
    """`[F, 478, 3]`: a still face turns left and right; its outline stays where the head ends in the picture."""
    points = turn(np.repeat(face()[None], len(angles), 0), angles, 1)
    points[:, OUTLINE] = face()[list(OUTLINE)]
    return points


def turn(points: np.ndarray, angles: np.ndarray, axis: int) -> np.ndarray:
    """Every frame turned by its angle (radians) around the x, y or z axis through (320, 300, 0)."""
    a, b = [other for other in range(3) if other != axis]
    centre = np.array((320.0, 300.0, 0.0))
    turned = points - centre
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    turned[..., a], turned[..., b] = cos * turned[..., a] - sin * turned[..., b], sin * turned[..., a] + cos * turned[..., b]
    return turned + centre


def landmarks(points: np.ndarray, missing=(), depth: bool = True, size=(600, 640)) -> dict:
    """A clip `[F, 478, 3]` as the host's FACE_LANDMARKS; the host gives depth in units of a crop of the face."""
    frames = []
    for index, frame in enumerate(points):
        about = {"landmarks_xy": frame[:, :2].astype(np.float32)}
        if depth:
            about["landmarks_3d"] = (frame * 0.37 + 11.0).astype(np.float32)
        frames.append([] if index in missing else [about])
    return {"frames": frames, "image_size": size, "connection_sets": {}}


def joints() -> np.ndarray:
    """`[18, 2]` of a body at rest."""
    points = np.random.default_rng(2).uniform((100, 100), (500, 560), (18, 2))
    points[2], points[5] = (220, 300), (220 + SHOULDERS, 300)
    return points


def waving(frames: int = 80, amplitude: float = 30.0) -> np.ndarray:
    """`[F, 18, 2]`: both wrists move up and down by `amplitude` pixels."""
    points = np.repeat(joints()[None], frames, 0)
    points[:, list(WRISTS), 1] += amplitude * waves(frames)[:, None]
    return points


def body_of(amplitude: float) -> float:
    """Variance of `waving`, in squared shoulder widths."""
    return 2 / 18 * amplitude**2 / 2 / SHOULDERS**2


def pose(points: np.ndarray, scores: np.ndarray | None = None, missing=()) -> list[dict]:
    """A clip `[F, 18, 2]` as the host's POSE_KEYPOINT."""
    scores = np.ones(points.shape[:2]) if scores is None else scores
    frames = []
    for index, (frame, score) in enumerate(zip(points, scores)):
        person = {"pose_keypoints_2d": np.concatenate([frame, score[:, None]], 1).flatten().tolist()}
        people = [] if index in missing else [person]
        frames.append({"canvas_width": 640, "canvas_height": 600, "people": people})
    return frames
