"""One person through the frames of a clip that may show several.

The largest of each frame is somebody else whenever two people take turns in leaning forward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_STEP = 1.0
"""Sizes of a face by which it moves from a frame that shows it to the next one at most."""
MAX_GROWTH = 2.0
"""By which it is larger or smaller there at most."""


class Place(NamedTuple):
    """Where somebody is in a frame: the middle and the size, in pixels, and whether the detector is sure of it."""

    x: float
    y: float
    size: float
    is_sure: bool = True


@dataclass
class _Track:
    last: Place
    indices: dict[int, int] = field(default_factory=dict)
    sure: float = 0.0
    unsure: float = 0.0

    def add(self, frame: int, index: int, place: Place) -> None:
        self.last, self.indices[frame] = place, index
        self.sure += place.size * place.is_sure
        self.unsure += place.size * (not place.is_sure)

    def distance(self, place: Place) -> float:
        """In sizes of the last place; infinite where it is too far for one step."""
        size = max(self.last.size, 1e-6)
        distance = math.hypot(place.x - self.last.x, place.y - self.last.y) / size
        grown = max(place.size / size, size / max(place.size, 1e-6))
        return distance if distance <= MAX_STEP and grown <= MAX_GROWTH else math.inf


def follow(frames: Sequence[Sequence[Place]]) -> list[int | None]:
    """Of the people in each frame, the index of the one whom the clip is of; None where that one is not to be seen.

    People are joined from frame to frame by the nearest place. The clip is of the one who is large in many frames, and of
    somebody of whom the detector is never sure only where there is nobody else.
    """
    tracks: list[_Track] = []
    for frame, places in enumerate(frames):
        steps = sorted(
            (distance, number, index)
            for number, track in enumerate(tracks)
            for index, place in enumerate(places)
            if (distance := track.distance(place)) < math.inf
        )
        free, waiting = set(range(len(places))), set(range(len(tracks)))
        for _, number, index in steps:
            if number in waiting and index in free:
                tracks[number].add(frame, index, places[index])
                waiting.remove(number)
                free.remove(index)
        for index in sorted(free):
            tracks.append(_Track(places[index]))
            tracks[-1].add(frame, index, places[index])
    best = max(tracks, key=lambda track: (track.sure, track.unsure), default=None)
    return [None if best is None else best.indices.get(frame) for frame in range(len(frames))]
