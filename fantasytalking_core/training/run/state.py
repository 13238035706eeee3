"""What a checkpoint says of its run, and whether it is the one that is to go on."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FantasyTalkingError, short
from .config import Config

STATE, VERSION = "state.json", 1
DECIDING = (
    "dtype",
    "weight_dtype",
    "parts",
    "audio",
    "identity",
    "motion",
    "optimizer",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "shift",
    "drop",
    "eta",
    "seed",
    "text_rows",
    "validation_samples",
)
"""Settings without which the run would be another one. Those of batches and stages are compared by what they come to."""
BEFORE = {"validation_samples": 0}
"""What was the case before there was a setting, where that is not the default of now."""


@dataclass(frozen=True)
class State:
    """What a checkpoint says of its run.

    Attributes:
        step: steps done.
        samples_per_step: of all processes together.
        cache: `Dataset.digest`.
        config: the run's settings.
    """

    step: int
    samples_per_step: int
    cache: str
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config, step: int, processes: int, cache: str) -> "State":
        return cls(step, config.batch_size * config.accumulation * processes, cache, _as_read(config.plain()))

    @classmethod
    def read(cls, folder: Path) -> "State":
        """Raises FantasyTalkingError where the folder holds no checkpoint, a damaged one, or one of a newer version."""
        try:
            stored = json.loads((folder / STATE).read_text(encoding="utf-8"))
            version = stored.pop("version")
            if version == VERSION:
                return cls(**stored)._checked()
        except FileNotFoundError as error:
            raise FantasyTalkingError(f"'{folder}' is no checkpoint: expected a folder step_… of a training run.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(folder / STATE) from error
        raise FantasyTalkingError(
            f"'{folder}' is a checkpoint of version {short(version)}, this pack reads version {VERSION}: update the pack."
        )

    def _checked(self) -> "State":
        """With the defaults of what its run did not know. Raises ValueError, TypeError or KeyError for what makes no run."""
        counts = [self.step, self.samples_per_step, *(stage["steps"] for stage in self.config["stages"])]
        texts = [self.cache, self.config["model"], *(stage["name"] for stage in self.config["stages"])]
        texts += filter(None, [self.config.get("init")])
        if not all(type(count) is int and count > 0 for count in counts) or not all(isinstance(text, str) for text in texts):
            raise ValueError(counts)
        return dataclasses.replace(self, config=_with_defaults(self.config))

    def write(self, folder: Path) -> None:
        (folder / STATE).write_text(json.dumps({"version": VERSION, **vars(self)}, indent=1), encoding="utf-8")

    def check_same_run(self, other: "State", folder: Path) -> None:
        """Refuse to go on from `folder`, which is this one's, with another run's settings.

        Raises:
            FantasyTalkingError: names the settings that differ.
        """
        ours, theirs = _deciding(self, self.step), _deciding(other, self.step)
        differ = [f"{name} was {short(ours[name])}, is {short(theirs[name])}" for name in ours if ours[name] != theirs[name]]
        if differ:
            raise FantasyTalkingError(
                f"'{folder}' belongs to another run: {'; '.join(differ)}. Set these back to go on, or choose another output; "
                "init can start that one from this checkpoint's adapter."
            )


def _as_read(plain: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(plain))


DEFAULTS: Mapping[str, Any] = _as_read(Config("", Path(), Path()).plain()) | BEFORE


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings, where they lack one with that which it had."""
    nested = {name: {**value, **config[name]} for name, value in DEFAULTS.items() if isinstance(value, dict) and name in config}
    return {**DEFAULTS, **config, **nested}


def _deciding(state: State, step: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in DECIDING:
        value = state.config[name]
        settings |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    init = state.config["init"]
    return settings | {
        "init": init and Path(init).name,
        "samples per step": state.samples_per_step,
        "the cache": state.cache,
        "model": Path(state.config["model"]).name,
        f"the way to step {step}": told_stages(state.config, step),
    }


def done_stages(config: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    """Name and steps of the stages that `step` steps are made of."""
    done = []
    for stage in config["stages"]:
        if step > 0:
            done.append({"name": stage["name"], "steps": min(step, stage["steps"])})
        step -= stage["steps"]
    return done


def told_stages(config: Mapping[str, Any], step: int) -> str:
    """The same in words."""
    return ", ".join(f"{stage['steps']} steps at {stage['name']} level" for stage in done_stages(config, step))


def damaged(path: Path, why: str = "") -> FantasyTalkingError:
    """What to say of a file of a checkpoint that can't be what its run wrote."""
    return FantasyTalkingError(
        f"'{path}' is damaged{why and f' ({why})'}: remove the folder '{path.parent.name}' to go on from the checkpoint before "
        "it."
    )
