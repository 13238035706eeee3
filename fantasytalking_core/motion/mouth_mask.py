"""Where one person's mouth is in every frame of a video: what a dub makes anew, and nothing else of the picture.

An idea of this project and not of the paper, which has no dubbing. The jaw has to be in the mask, or the chin can't open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import FantasyTalkingError, check_number, short
from ..face.find import MIN_FACE
from ..face.landmarks import DETECTOR, OUTER_LIPS, Face, FaceLandmarks
from .measure import OUTLINE, one_face

NOSE_BASE = 2
"""Where the nose meets the upper lip."""
JAW = OUTLINE[OUTLINE.index(361) : OUTLINE.index(132) + 1]
"""The lower part of the face's oval, from ear to ear."""
LOWER_FACE = "lower face"
REGIONS = {LOWER_FACE: (*OUTER_LIPS, NOSE_BASE, *JAW), "mouth": OUTER_LIPS}
"""The points whose convex hull is masked."""
GROW = 0.15
"""Widths of the face by which the hull grows: a mouth that speaks otherwise is wider and lower at times."""
SMOOTHING = (0.25, 0.5, 0.25)
"""Weights of a frame and of those beside it. A jaw that drops within one frame is a quarter of its way from where it is
smoothed to: half a face's width would be 0.125 of it, which GROW covers."""
SMALL = 96
"""Pixels; a narrower face has a mouth of some four latent pixels."""


@dataclass(frozen=True, eq=False)
class MouthTrack:
    """One person's mouth through the F frames of a video.

    Attributes:
        points: `[F, K, 2]`, x and y in pixels, in every frame, smoothed over time.
        widths: `[F]`, of the face, in pixels.
        known: the frames that show the face, in order. Between them the others' points are on a straight line, before and
            after them they stand still.
    """

    points: np.ndarray
    widths: np.ndarray
    known: Sequence[int]

    @classmethod
    def of(cls, landmarks: FaceLandmarks, region: str) -> "MouthTrack":
        """Of the person who is large in many frames.

        Args:
            region: one of REGIONS.

        Raises:
            FantasyTalkingError: another region, no frame shows a face, or it is narrower than `find.MIN_FACE` pixels.
        """
        if region not in list(REGIONS):  # which takes what is not hashable, too
            raise FantasyTalkingError(f"region is {short(region)}, expected one of: {', '.join(REGIONS)}.")
        frames, person = len(landmarks.frames), one_face(landmarks)
        if not person:
            raise FantasyTalkingError(
                f"None of the {frames} frames shows a face: lower min_confidence of {DETECTOR}, or crop and enlarge the video."
            )
        known = list(person)
        rows = [np.append(face.points[list(REGIONS[region])].numpy(), _width(face)) for face in person.values()]
        smooth = _smoothed(np.stack([np.interp(range(frames), known, column) for column in np.stack(rows, 1)], 1))
        track = cls(smooth[:, :-1].reshape(frames, -1, 2), smooth[:, -1], known)
        if track.width < MIN_FACE:
            raise FantasyTalkingError(
                f"The face is {track.width:.1f} pixels wide, expected {MIN_FACE} or more: give landmarks in pixels, or crop "
                "and enlarge the video."
            )
        return track

    @property
    def width(self) -> float:
        """Of the face, in pixels, as in most frames."""
        return float(np.median(self.widths))

    @property
    def longest_gap(self) -> int:
        """Frames in a row that do not show the face."""
        edges = [-1, *self.known, len(self.points)]
        return max(after - before - 1 for before, after in zip(edges, edges[1:], strict=False))

    def masks(
        self, height: int, width: int, grow: float = GROW, done: Callable[[int], object] = lambda frames: None
    ) -> torch.Tensor:
        """`[F, height, width]` float32: 1 within `grow` widths of the face from the convex hull of its points, else 0.

        Args:
            done: called with the number of frames that were finished since the last time.

        Raises:
            FantasyTalkingError: `grow` out of range.
        """
        check_number("grow", grow, 0, 1)
        masks = torch.zeros(len(self.points), height, width)
        for mask, points, face in zip(masks, self.points, self.widths, strict=True):
            _fill(mask, points, grow * face)
            done(1)
        return masks

    def notices(self) -> list[str]:
        """What an artist should know before waiting for the result."""
        frames, lines = len(self.points), []
        if self.longest_gap:
            lines.append(
                f"{frames - len(self.known)} of {frames} frames do not show the face, at most {self.longest_gap} in a row: "
                "the mask goes straight from where it was to where it is next."
            )
        if self.width < SMALL:
            lines.append(
                f"The face is {self.width:.0f} pixels wide, and so small a mouth is not made well: crop the video around it, "
                f"enlarge that to {SMALL} or more, dub it and paste it back."
            )
        return lines


def _width(face: Face) -> float:
    left, _, right, _ = face.box
    return right - left


def _smoothed(values: np.ndarray) -> np.ndarray:
    """`[F, …]` averaged with what is beside it in time; the ends go on as they are."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.sum([weight * padded[shift : shift + len(values)] for shift, weight in enumerate(SMOOTHING)], axis=0)


def _fill(mask: torch.Tensor, points: np.ndarray, radius: float) -> None:
    """Set to 1 the pixels of `[height, width]` within `radius` of the convex hull of `[K, 2]`; a pixel's centre is whole."""
    from skimage.morphology import convex_hull_image, isotropic_dilation  # here, as the host waits for what packs import

    room = int(np.ceil(radius)) + 1
    low, high = np.floor(points).astype(int), np.ceil(points).astype(int)
    left, top = low.min(0) - room
    columns, rows = high.max(0) - (left, top) + room + 1
    corners = np.zeros((rows, columns), bool)
    for x in (low[:, 0], high[:, 0]):  # the four pixels around a point, so that no part of the hull is lost
        for y in (low[:, 1], high[:, 1]):
            corners[y - top, x - left] = True
    shape = isotropic_dilation(convex_hull_image(corners), radius)
    height, width = mask.shape
    shown = shape[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    mask[y : y + shown.shape[0], x : x + shown.shape[1]] = torch.from_numpy(shown).float()
