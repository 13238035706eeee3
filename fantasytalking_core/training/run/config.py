"""What a training run is told: a YAML file, checked before anything is loaded.

Defaults are the paper's settings (§4.1) where it gives them; `docs/training.md` has a whole file.
"""

import dataclasses
import difflib
import types
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from ...adapter.identity import IdentitySizes
from ...errors import FantasyTalkingError, short
from ...precision import DTYPES
from ...sampling.schedule import SHIFT
from .limits import COUNT, check_limits, wrong
from .yaml_file import is_file, read_yaml

ETA = 0.2
"""η (Eq. 3): the share of stage-2 samples whose loss is that of the whole picture."""
DROP = 0.1
"""Probability with which reference image, speech and prompt are each left out (§4.1)."""
TEXT_ROWS = 512
"""Rows that a prompt is padded to with zeros, as by the release and by the host's text encoder for Wan."""

Level = Literal["clip", "frame"]
Part = Literal["audio", "identity", "motion"]

LONGEST_NAME = 1000
"""Characters of a name or a path."""


@dataclass(frozen=True)
class Stage:
    """One stage of the training (§3.2).

    Attributes:
        name: `clip`, every video token hears the whole clip; `frame`, each latent frame hears its window.
        steps: of the optimizer.
    """

    name: Level
    steps: int


@dataclass(frozen=True)
class Drop:
    """Probabilities of leaving something out, each drawn on its own."""

    image: float = DROP
    speech: float = DROP
    text: float = DROP


@dataclass(frozen=True)
class AudioSizes:
    """See `audio.AudioWidths`; the other widths are the DiT's and the cache's."""

    projected: int = 2048


@dataclass(frozen=True)
class MotionSizes:
    """See `motion.MotionWidths`."""

    hidden: int = 512


@dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        model: the frozen DiT, a name in ComfyUI's models/diffusion_models or a file.
        cache: the folder that `prepare` made.
        output: the folder for checkpoints, logs and samples.
        stages: in their order.
        dtype: in which the DiT computes; the adapter's weights that are trained are float32.
        weight_dtype: in which the DiT's weights are held: as it computes, or in 8 bits. Scaled fp8 files stay as they are.
        parts: what is trained. Without audio, that of `init` stays as it is.
        audio, identity, motion: sizes of new parts.
        init: an adapter file to start from; its parts keep their own sizes. Once there is a checkpoint, it is not read.
        batch_size: samples per process and backward pass; `accumulation`: backward passes per step.
        optimizer: AdamW, with its moments in float32 or in 8 bits.
        learning_rate, warmup_steps, weight_decay: of AdamW; the rate rises linearly, then stays.
        max_grad_norm: to which gradients are clipped.
        text_rows: that prompts are padded to with zeros, as the model's text encoder does; longer ones stay as they are.
        shift: of the training sigmas towards noise.
        eta: η (Eq. 3).
        seed: of the weights, the order and every draw.
        gradient_checkpointing: recompute each block's activations in the backward pass.
        workers: processes that read the cache.
        checkpoint_every, keep: steps between checkpoints, and how many of them stay.
        sample_every, sample_steps, sample_index: a sample after so many steps (0: none), its sampling steps, and whose
            portrait and speech it has; `vae` (a name in models/vae or a file) makes it a video.
        log_every: steps between lines in the log.
        validation_every: steps between two measurements of the validation (0: none).
        validation_samples: samples that are held out for it, never trained on; None: of a new run as many as `dataset`
            finds right, of one that goes on as many as before.
    """

    model: str
    cache: Path
    output: Path
    stages: tuple[Stage, ...] = (Stage("clip", 80_000), Stage("frame", 20_000))
    dtype: Literal["bf16", "fp32"] = "bf16"
    weight_dtype: Literal["default", "fp8_e4m3fn"] = "default"
    parts: tuple[Part, ...] = ("audio", "identity", "motion")
    audio: AudioSizes = field(default_factory=AudioSizes)
    identity: IdentitySizes = field(default_factory=IdentitySizes)
    motion: MotionSizes = field(default_factory=MotionSizes)
    init: Path | None = None
    batch_size: int = 1
    accumulation: int = 1
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    text_rows: int = TEXT_ROWS
    shift: float = SHIFT
    drop: Drop = field(default_factory=Drop)
    eta: float = ETA
    seed: int = 0
    gradient_checkpointing: bool = True
    workers: int = 2
    checkpoint_every: int = 500
    keep: int = 3
    sample_every: int = 1000
    sample_steps: int = 30
    sample_index: int = 0
    vae: str | None = None
    log_every: int = 10
    validation_every: int = 500
    validation_samples: int | None = None

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.stages:
            raise wrong("stages", "empty", "one stage at least")
        for place, stage in enumerate(self.stages):
            if not 1 <= stage.steps <= COUNT:
                raise wrong(f"stages[{place}].steps", stage.steps, f"1 to {COUNT:g}")
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise wrong("parts", list(self.parts), f"one at least of {', '.join(get_args(Part))}, and each once")
        if not self.trains_audio and self.init is None:
            raise FantasyTalkingError(
                "parts leaves audio out, which then stays as it is in init, and init is not set: set it to an adapter file "
                "with trained audio weights, or add audio to parts."
            )
        if self.weight_dtype != "default" and not self.gradient_checkpointing:
            raise FantasyTalkingError(
                f"weight_dtype is {self.weight_dtype} and gradient_checkpointing false: the backward pass would keep all of "
                f"the DiT's weights in {self.dtype} beside it. Set gradient_checkpointing to true, or leave weight_dtype out."
            )
        if self.identity.inner % self.identity.heads:
            raise wrong("identity.heads", self.identity.heads, f"a divisor of identity.inner, {self.identity.inner}")
        if self.validation_samples == 1:
            raise wrong("validation_samples", 1, "0, or 2 or more: each also hears the speech of another one")

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def trains_audio(self) -> bool:
        """Or else leaves its weights as they are in `init`."""
        return "audio" in self.parts

    @property
    def steps(self) -> int:
        """Of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> int:
        """The index of the stage that step `step` (from 0) belongs to; the last one after the end."""
        for index, stage in enumerate(self.stages):
            if step < stage.steps:
                return index
            step -= stage.steps
        return len(self.stages) - 1

    def plain(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(self).items()}


def read_config(path: Path) -> Config:
    """A run's YAML file. Relative paths in it begin at its own folder.

    Raises:
        FantasyTalkingError: no such file, no YAML, an unknown key, a value of another type or out of its range.
    """
    found = read_yaml(path)
    try:
        config = _read(Config, found, "")
    except FantasyTalkingError as error:
        raise FantasyTalkingError(f"'{path}': {error}") from error
    folder = path.resolve().parent
    rooted = {name: folder / getattr(config, name) for name in ("cache", "output", "init") if getattr(config, name)}
    files = {
        name: str(folder / value) for name in ("model", "vae") if (value := getattr(config, name)) and is_file(folder / value)
    }
    return dataclasses.replace(config, **rooted, **files)


def _read(kind: Any, value: Any, name: str) -> Any:
    """A value of YAML as a value of a type, by the type's annotations."""
    origin, options = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, name)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(options[0], value, name)
    if origin is Literal:
        if value not in options:
            why = "; fp16 has no room for small gradients" if (name, value) == ("dtype", "fp16") else ""
            raise wrong(name, value, f"one of {', '.join(options)}{why}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise wrong(name, value, "a list")
        return tuple(_read(options[0], item, f"{name}[{place}]") for place, item in enumerate(value))
    if kind is float and not isinstance(value, bool):
        try:
            return float(value)  # also text: YAML takes 1e-4, without a point, for one
        except (TypeError, ValueError, OverflowError):
            pass
    elif kind in (str, Path) and isinstance(value, str) and value:
        if len(value) > LONGEST_NAME or "\0" in value:
            raise wrong(name, value, f"a name or path of at most {LONGEST_NAME} characters")
        return kind(value)
    elif type(value) is kind and value != "":
        return value
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "text", Path: "a path"}
    raise wrong(name, value, words[kind])


def _read_fields(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise wrong(name or "the file", value, f"keys and values ({', '.join(f.name for f in fields(kind)[:3])} …)")
    hints, prefix = get_type_hints(kind), f"{name}." if name else ""
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(short(key), hints, n=1, cutoff=0)[0]
            raise FantasyTalkingError(f"{prefix}{short(key)} is no setting; did you mean {prefix}{near}?")
    for each in fields(kind):
        if each.name not in value and each.default is each.default_factory is dataclasses.MISSING:
            raise FantasyTalkingError(f"{prefix}{each.name} is missing.")
    return kind(**{key: _read(hints[key], item, f"{prefix}{key}") for key, item in value.items()})
