"""Adapter files: every public layout in (see `layouts`), a safetensors layout of our own in and out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import FantasyTalkingError, short
from ..files import complete
from .audio import AudioWidths
from .identity import IdentityWidths
from .layouts import PARTS, Weights, our_names, unknown
from .motion import MotionRanges, MotionWidths
from .scaled import scaled, split
from .sizes import audio_widths, check_numbers, check_shapes, face_encoder, identity_widths, motion_ranges, motion_widths
from .stored import FORMAT, PUBLISHED, VERSION, is_dense, not_an_adapter, read_stored

FLOATS = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
)


@dataclass(frozen=True)
class AdapterFile:
    """The weights of an adapter under the names of `adapter.Adapter`, and what they are."""

    weights: Weights
    metadata: Mapping[str, str]
    audio: AudioWidths
    identity: IdentityWidths | None = None
    motion: MotionWidths | None = None
    ranges: MotionRanges = MotionRanges()

    @property
    def face_encoder(self) -> str:
        """Name and size of the file that made the face embeddings of the training, empty where that is not known."""
        return face_encoder(self.metadata)

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of audio, identity and motion the file holds."""
        return parts_of(self.weights)


def parts_of(weights: Weights) -> tuple[str, ...]:
    return tuple(part for part in PARTS if any(key.startswith(f"{part}.") for key in weights))


def read_adapter(*paths: str | Path) -> AdapterFile:
    """Read an adapter of any layout; several paths for a layout that is split over files.

    Raises:
        FantasyTalkingError: no adapter, corrupt, unsafe, unknown, doubled or missing keys, widths that do not agree, weights
            that are no numbers.
    """
    weights: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    strange: list[str] = []
    for path in map(Path, paths):
        name = short(path.name)
        stored, file_metadata = read_stored(path)
        values, factors = split(stored)
        names = our_names(values)
        if not any(names.values()):
            raise not_an_adapter(path, stored)
        for key, value in values.items():
            ours = names[key]
            if ours is None or not isinstance(value, torch.Tensor):
                strange.append(key)
                continue
            if ours in weights:
                raise FantasyTalkingError(
                    f"'{name}' holds {short(key)} a second time: give one file, or a projector and its blocks."
                )
            if not is_dense(value) or value.dtype not in FLOATS:
                kind = value.dtype if is_dense(value) else f"{value.layout} on {value.device}"
                raise FantasyTalkingError(
                    f"'{name}' holds {short(key)} as {kind}, expected floating-point weights: use {PUBLISHED}."
                )
            value = value.detach()
            weights[ours] = scaled(value, *factors.pop(key), name) if key in factors else value
        strange += [key for key, _ in factors.values()]
        metadata |= file_metadata
    name = " + ".join(short(Path(path).name) for path in paths)
    if strange:
        raise unknown(name, strange)
    audio = audio_widths(weights, name)
    identity = identity_widths(weights, metadata, audio, name)
    motion = motion_widths(weights, audio, name)
    check_shapes(weights, audio, identity, motion, name)
    check_numbers(weights, name)
    return AdapterFile(weights, metadata, audio, identity, motion, motion_ranges(metadata, name))


def save_adapter(path: str | Path, weights: Weights, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights under the names of `adapter.Adapter` in our own layout.

    The metadata says format, version and which parts the file holds. The file appears complete or not at all.

    Raises:
        FantasyTalkingError: the file can't be written.
    """
    path = Path(path)
    weights = {key: value.contiguous() for key, value in weights.items()}
    header = {**(metadata or {}), "format": FORMAT, "version": VERSION, "parts": json.dumps(parts_of(weights))}
    try:
        with complete(path) as partial:
            partial.touch()
            mode = partial.stat().st_mode
            save_file(weights, partial, metadata=header)
            partial.chmod(mode)  # safetensors makes files that only their owner may read
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' can't be written: {error}.") from error
