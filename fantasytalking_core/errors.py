"""The one exception type for wrong input."""


class FantasyTalkingError(ValueError):
    """Wrong input, told to the person who gave it: what was expected, what came, what to do."""
