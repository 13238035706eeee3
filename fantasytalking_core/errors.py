"""The one exception type for wrong input."""


class FantasyTalkingError(ValueError):
    """Wrong input, told to the person who gave it: what was expected, what came, what to do."""


# The host shows an error as module and name, and a pack's module is named by the folder that it lies in.
FantasyTalkingError.__module__ = "fantasytalking"
