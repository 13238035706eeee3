"""The one exception type for wrong input, what it quotes of other libraries' errors, and where warnings go."""

import logging

logger = logging.getLogger("fantasytalking")
"""The package's one logger."""


class FantasyTalkingError(ValueError):
    """Wrong input, told to the person who gave it: what was expected, what came, what to do."""


# The host shows an error as module and name, and a pack's module is named by the folder that it lies in.
FantasyTalkingError.__module__ = "fantasytalking"


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
