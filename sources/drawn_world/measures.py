"""What is measured in a video, without any network: lips, likeness, motion.

Frames are float `[F, H, W, 3]` in [0, 1], numpy or torch; where a face or person is, is known of the reference, the video's
first picture. Lengths are pixels. The paper's own measures need networks that were trained on real faces (SyncNet, DINO,
SAM); these stand in their place in a drawn world, where colours and outlines say everything.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from fantasytalking_core.face.landmarks import RIGID
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS

from . import FPS, SIZE
from .world import performance
from .world.figure import Pose, landmarks
from .world.look import MOUTH_INSIDE, Look
from .world.portrait import person_mask

Array = np.ndarray | torch.Tensor

MAX_LAG = 8
"""Frames by which lips and sound are shifted against one another in search of where they fit best."""
SAME_COLOUR = 50 / 255
"""Distance from MOUTH_INSIDE within which a colour of the reference is no lip's."""
AIR = 6
"""Pixels around the person that count neither as person nor as background: the person moves through them."""
WARPS = 2
"""Of TV-L1 per scale: with the usual 5 it takes more than twice as long, and finds within 4 % the same amount of motion."""
SMOOTH = 1.0
"""Standard deviation of the blur under which pictures are compared: edges between pixels are no difference."""


@dataclass(frozen=True)
class Synchrony:
    """How well lips and sound fit together.

    Attributes:
        r: their correlation.
        lag: frames by which the lips come after the sound where they fit best, within ±MAX_LAG.
        best: their correlation there.
    """

    r: float
    lag: int
    best: float


@dataclass(frozen=True, eq=False)
class Places:
    """Where things are in the reference, bool `[H, W]` each.

    Attributes:
        person: the whole person.
        head: face and hair.
        face: from the brows to the chin.
        lips: the mouth as it is in the reference.
        mouth: where a mouth may get to.
    """

    person: np.ndarray
    head: np.ndarray
    face: np.ndarray
    lips: np.ndarray
    mouth: np.ndarray

    @classmethod
    def of(cls, look: Look, points: np.ndarray) -> "Places":
        """From who is drawn, and the reference's landmarks `[478, 2]` in pixels."""
        shift = (points - landmarks(look, Pose()))[list(RIGID)].mean(0) / SIZE
        person = person_mask(look, Pose(head=tuple(shift)))
        low, high = points.min(0), points.max(0)
        middle, half = (low + high) / 2, (high - low) / 2
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5
        away = np.hypot((x - middle[0]) / half[0], (y - middle[1]) / half[1])
        mouth = points[list(OUTER_LIPS)]

        def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
            low, high = mouth.min(0) - (left, top), mouth.max(0) + (right, bottom)
            return (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])

        return cls(
            person=person,
            head=person & (away < 1.3),
            face=away < 1.0,
            lips=box(0.5, 0.5, 0.5, 0.5),
            mouth=box(*(half * (0.35, 0.2)), *(half * (0.35, 0.4))),
        )


def mouth_opening(frames: Array, reference: Array, places: Places) -> np.ndarray:
    """`[F]`: how large the open mouth is, in parts of the picture.

    Every pixel where a mouth may be counts by how far its colour has gone from that of the lips to MOUTH_INSIDE, less its
    distance from the straight way there: so a soft edge counts half, and no other dark colour counts.
    """
    inside, colours = np.array(MOUTH_INSIDE) / 255, _numpy(reference)[places.lips]
    others = colours[np.linalg.norm(colours - inside, axis=-1) > SAME_COLOUR]
    lips = np.median(others if len(others) > 4 else colours, axis=0)
    way = inside - lips
    gone = (_numpy(frames) - lips) @ way / (way @ way)
    aside = np.linalg.norm(_numpy(frames) - lips - gone[..., None] * way, axis=-1) / np.linalg.norm(way)
    return (np.clip(gone - aside, 0, 1) * places.mouth).mean((1, 2))


def loudness(speech: Array, frames: int) -> np.ndarray:
    """`[frames]`: root mean square of 64 ms around each frame's time, of `[N]` samples at 16 kHz."""
    return performance.loudness(_numpy(speech), frames, FPS)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of the two does not change."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 1e-12 else 0.0


def synchrony(opening: np.ndarray, loud: np.ndarray) -> Synchrony:
    """Compare `[F]` openings of the mouth with the `[F]` loudness of a speech."""
    count = len(opening)
    at = {
        lag: correlation(opening[max(lag, 0) : count + min(lag, 0)], loud[max(-lag, 0) : count - max(lag, 0)])
        for lag in range(-MAX_LAG, MAX_LAG + 1)
    }
    lag = max(at, key=at.get)
    return Synchrony(at[0], lag, at[lag])


def steadied(frames: Array, reference: Array, face: np.ndarray) -> np.ndarray:
    """The frames, each shifted and turned so that its head is where that of the reference `[H, W, 3]` is.

    Gauss-Newton on the blurred pictures' difference inside of `face`, from the frame before on; what differs much (an
    open mouth, closed eyes) weighs little.
    """
    frames, still = _numpy(frames), _blurred(_numpy(reference)[None], 1.5 * SMOOTH)[0][face]
    y, x = (part[face] for part in np.mgrid[: face.shape[0], : face.shape[1]].astype(float))
    middle = np.array((x.mean(), y.mean()))
    out, place = np.empty_like(frames), np.zeros(3)
    for frame, (soft, picture) in enumerate(zip(_blurred(frames, 1.5 * SMOOTH), frames, strict=True)):
        slopes = np.stack([np.gradient(soft, axis=1), np.gradient(soft, axis=0)])
        for _ in range(30):
            to_x, to_y = _moved(x, y, middle, place)
            found, (by_x, by_y) = _at(soft, to_x, to_y), (_at(slope, to_x, to_y) for slope in slopes)
            turn = by_x * -(to_y - middle[1] - place[1])[:, None] + by_y * (to_x - middle[0] - place[0])[:, None]
            jacobian = np.stack([by_x, by_y, turn], -1).reshape(-1, 3)
            error = (found - still).reshape(-1)
            weight = 1 / (1 + (error / 0.1) ** 2)
            normal = (jacobian * weight[:, None]).T @ jacobian + 1e-6 * np.eye(3)
            step = np.linalg.solve(normal, (jacobian * weight[:, None]).T @ error)
            place = place - step
            if np.abs(step).max() < 1e-3:
                break
        all_y, all_x = np.mgrid[: face.shape[0], : face.shape[1]].astype(float)
        to_x, to_y = _moved(all_x, all_y, middle, place)
        out[frame] = _at(picture, to_x, to_y)
    return out


def distances(pictures: Array, reference: Array, region: np.ndarray) -> np.ndarray:
    """`[F]`: mean distance in Lab of each picture `[F, H, W, 3]` from one, over a region; 2.3 is what an eye just sees."""
    from skimage.color import rgb2lab

    blurred = _blurred(np.concatenate([_numpy(reference)[None], _numpy(pictures)]), SMOOTH)
    still, *others = rgb2lab(np.clip(blurred, 0, 1))
    return np.array([np.linalg.norm(other - still, axis=-1)[region].mean() for other in others])


def identity_distances(steady: Array, reference: Array, places: Places) -> np.ndarray:
    """`[F]`: how far each frame's head is from that of the reference: `distances` at the same places of the head.

    An outline elsewhere is another colour there, so it counts shapes too; the mouth, which is to move, is left out.

    Args:
        steady: from `steadied`.
    """
    return distances(steady, reference, places.head & ~places.mouth)


def identity_distance(steady: Array, reference: Array, places: Places) -> float:
    """The mean of `identity_distances`."""
    return float(identity_distances(steady, reference, places).mean())


def flow(frames: Array) -> np.ndarray:
    """`[F − 1, H, W, 2]`: by how many pixels, x and y, each pixel of a frame moves until the next one (TV-L1)."""
    from skimage.registration import optical_flow_tvl1

    grey = _grey(frames).astype(np.float32)
    return np.stack([np.stack(optical_flow_tvl1(a, b, num_warp=WARPS)[::-1], -1) for a, b in pairwise(grey)])


def amounts(frames: Array, *regions: np.ndarray) -> tuple[float, ...]:
    """Mean absolute flow in each of the regions, pixels per frame.

    Each pixel weighs as much as the picture's slope there: in an even area nothing is seen to move, and flow is a guess from
    what is around it.
    """
    slope = np.linalg.norm(np.gradient(_grey(frames)[:-1], axis=(1, 2)), axis=0)
    length = np.linalg.norm(flow(frames), axis=-1)
    return tuple(float((length * slope)[:, region].sum() / max(slope[:, region].sum(), 1e-9)) for region in regions)


def motion(frames: Array, person: np.ndarray) -> tuple[float, float]:
    """Of the subject and of the background: `amounts` inside and well outside of `person`."""
    from scipy import ndimage

    return amounts(frames, person, ~ndimage.binary_dilation(person, iterations=AIR))


def expression_motion(steady: Array, face: np.ndarray) -> float:
    """Inside of the face, once the head has been held still (`steadied`)."""
    return amounts(steady, face)[0]


def _numpy(values: Array) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _grey(frames: Array) -> np.ndarray:
    return _blurred(_numpy(frames), 0.5 * SMOOTH) @ np.array((0.299, 0.587, 0.114))


def _blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(pictures, (0, sigma, sigma, 0))


def _moved(x: np.ndarray, y: np.ndarray, middle: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points turned about `middle` by `place[2]` radians and shifted by `place[:2]`."""
    cos, sin = np.cos(place[2]), np.sin(place[2])
    x, y = x - middle[0], y - middle[1]
    return cos * x - sin * y + middle[0] + place[0], sin * x + cos * y + middle[1] + place[1]


def _at(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[…, 3]`: the picture's values between its pixels."""
    from scipy import ndimage

    return np.stack([ndimage.map_coordinates(picture[..., c], (y, x), order=1, mode="nearest") for c in range(3)], -1)
