"""From where to where a run's numbers make sense: what lies outside is a slip, or would end the run later, in other words."""

from typing import Any

from ...errors import FantasyTalkingError, short

COUNT = 10**9
WIDTH = 2**14
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, 10**4),
    "accumulation": (1, 10**4),
    "learning_rate": (0, 1),
    "warmup_steps": (0, COUNT),
    "weight_decay": (0, 10),
    "max_grad_norm": (0, COUNT),
    "text_rows": (1, 2**13),
    "shift": (0.01, 100),
    "eta": (0, 1),
    "seed": (0, 2**63 - 1),
    "workers": (0, 256),
    "checkpoint_every": (1, COUNT),
    "keep": (1, COUNT),
    "sample_every": (0, COUNT),
    "sample_steps": (1, 1000),
    "sample_index": (0, COUNT),
    "log_every": (1, COUNT),
    "validation_every": (0, COUNT),
    "validation_samples": (0, 1000),
    "drop.image": (0, 1),
    "drop.speech": (0, 1),
    "drop.text": (0, 1),
    "audio.projected": (1, WIDTH),
    "identity.queries": (1, 1000),
    "identity.resampler": (1, WIDTH),
    "identity.depth": (1, 64),
    "identity.heads": (1, 1000),
    "identity.inner": (1, WIDTH),
    "identity.projected": (1, WIDTH),
    "motion.hidden": (1, WIDTH),
}
"""By the names that people type; a value may be None."""
ABOVE_ZERO = ("learning_rate", "max_grad_norm")


def check_limits(config: Any) -> None:
    """Refuse a `Config` with a number out of its range, or with none.

    Raises:
        FantasyTalkingError
    """
    for name, (low, high) in RANGES.items():
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        if value is None or (low < value <= high if name in ABOVE_ZERO else low <= value <= high):
            continue
        raise wrong(name, value, f"more than 0 and at most {high:g}" if name in ABOVE_ZERO else f"{low:g} to {high:g}")


def wrong(name: str, value: Any, expected: str) -> FantasyTalkingError:
    said = f"'{short(value)}'" if isinstance(value, str) else short(value)
    return FantasyTalkingError(f"{name} is {said}, expected {expected}.")
