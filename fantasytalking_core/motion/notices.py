"""What an artist should know of a motion: what could not be measured, and what an adapter can't do with it."""

from collections.abc import Iterable

from ..adapter.motion import NEUTRAL, MotionRanges
from ..face.landmarks import DETECTOR

FLAT = f"The landmarks have no depth, so turns of the head count as expression, which reads too high: {DETECTOR} gives depth."
NO_SHOULDERS = "fewer than two frames show both shoulders"
UNTRAINED = "the adapter's training data did not tell it"
NAMES = (("expression", "face"), ("body", "body"))


def unknown_body() -> str:
    """What is said where joints were looked for and not found."""
    return f"The motion of the body is unknown, {NO_SHOULDERS}: body is {NEUTRAL}."


def untrained(ranges: MotionRanges, wanted: Iterable[bool]) -> list[str]:
    """One line for each coefficient that is wanted other than neutral (expression, body) and that the adapter does not know."""
    return [
        f"The adapter's training data did not tell how much the {what} moves: {name} stays at {NEUTRAL}."
        for (name, what), is_wanted, is_trained in zip(NAMES, wanted, ranges.trained, strict=True)
        if is_wanted and not is_trained
    ]
