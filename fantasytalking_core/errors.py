"""The one exception type for wrong input, what it quotes of other libraries' errors, and where warnings go."""

import logging
import reprlib

logger = logging.getLogger("fantasytalking")
"""The package's one logger."""


class FantasyTalkingError(ValueError):
    """Wrong input, told to the person who gave it: what was expected, what came, what to do."""


# The host shows an error as module and name, and a pack's module is named by the folder that it lies in.
FantasyTalkingError.__module__ = "fantasytalking"


def first_line(error: Exception) -> str:
    """What another library's error says, as far as it fits into a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


LONGEST_ECHO = 80
"""Characters that a message repeats of what it was given."""


def short(value: object) -> str:
    """A value in a message: one line of it, and no more than fits there."""
    try:
        text = value if isinstance(value, str) else reprlib.repr(value)
    except Exception:  # a foreign object's own repr
        text = f"a {type(value).__name__}"
    text = " ".join(text[: 4 * LONGEST_ECHO].split())
    return text if len(text) <= LONGEST_ECHO else f"{text[: LONGEST_ECHO - 1]}…"


def check_number(name: str, value: float, low: float, high: float, hint: str = "") -> None:
    """Refuse what is no number from `low` to `high`: NaN passes the host's own limits.

    Raises:
        FantasyTalkingError
    """
    if not isinstance(value, int | float) or not low <= value <= high:
        raise FantasyTalkingError(f"{name} is {short(value)}, expected {low:.7g} to {high:.7g}{hint and f' ({hint})'}.")
