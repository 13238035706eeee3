"""Adapter files: every public layout in (see `layouts`), a safetensors layout of our own in and out.

Pickles are read with weights-only unpickling: a file that tries to execute something is refused.
"""

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import FantasyTalkingError
from ..files import complete
from .audio import AudioWidths
from .identity import IdentityWidths
from .layouts import PARTS, Weights, our_name, unknown
from .motion import MotionRanges, MotionWidths
from .sizes import audio_widths, check_shapes, identity_widths, motion_ranges, motion_widths

FORMAT, VERSION = "fantasytalking", "1"
PUBLISHED = "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt)"


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
    def parts(self) -> tuple[str, ...]:
        """Which of audio, identity and motion the file holds."""
        return parts_of(self.weights)


def parts_of(weights: Weights) -> tuple[str, ...]:
    return tuple(part for part in PARTS if any(key.startswith(f"{part}.") for key in weights))


def _flatten(value: object, prefix: str = "") -> dict[str, object]:
    """A nested dict of tensors to a flat one; what is no tensor is kept, to be named as unknown."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _read_tensors(path: Path) -> tuple[Mapping[str, object], dict[str, str]]:
    """Tensors (mapped from disk, not yet in memory) and metadata of a safetensors file or a pickle.

    A pickle may hold other things, too; they come along, to be named.

    What a file is, its first bytes say; people rename files.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError as error:
        raise FantasyTalkingError(f"There is no adapter file '{path}': expected {PUBLISHED}.") from error
    except OSError as error:
        raise FantasyTalkingError(f"'{path}' can't be read ({error.strerror}): expected {PUBLISHED}.") from error
    try:
        if head[8:] == b"{":
            return _read_safetensors(path)
        if head[:2] == b"PK" or head[:1] == pickle.PROTO:
            return _flatten(torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))), {}
    except FantasyTalkingError:
        raise
    except pickle.UnpicklingError as error:
        raise FantasyTalkingError(
            f"'{path.name}' was refused: it holds more than weights and may run code when it is opened. Expected {PUBLISHED}."
        ) from error
    except Exception as error:  # damaged bytes can lead torch's unpickler anywhere
        raise corrupt(path.name) from error
    raise corrupt(path.name)


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        version = metadata.get("version")
        if metadata.get("format") == FORMAT and version != VERSION:
            raise FantasyTalkingError(
                f"'{path.name}' is an adapter file of version {version}, this pack reads version {VERSION}: update the pack."
            )
        keys = file.keys()
        return {key: file.get_tensor(key) for key in keys}, metadata


def corrupt(name: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' is no adapter file, or was not downloaded completely: download it again from {PUBLISHED}."
    )


def not_an_adapter(name: str, keys: Iterable[str]) -> FantasyTalkingError:
    keys = sorted(map(str, keys))
    found = f"it holds {', '.join(keys[:2]) or 'nothing'} …"
    if any(".self_attn." in key for key in keys):
        found = "it looks like a diffusion model, which belongs into a diffusion model loader"
    return FantasyTalkingError(f"'{name}' is no FantasyTalking adapter ({found}): expected {PUBLISHED} or a conversion of it.")


def read_adapter(*paths: str | Path) -> AdapterFile:
    """Read an adapter of any layout; several paths for a layout that is split over files.

    Raises:
        FantasyTalkingError: no adapter, corrupt, unsafe, unknown, doubled or missing keys, widths that do not agree.
    """
    weights: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    strange: list[str] = []
    for path in map(Path, paths):
        tensors, file_metadata = _read_tensors(path)
        if not any(map(our_name, tensors)):
            raise not_an_adapter(path.name, tensors)
        for key, tensor in tensors.items():
            name = our_name(key)
            if name is None or not isinstance(tensor, torch.Tensor):
                strange.append(key)
                continue
            if name in weights:
                raise FantasyTalkingError(
                    f"'{path.name}' holds {key} a second time: give one file, or a projector and its blocks."
                )
            if not tensor.is_floating_point():
                raise FantasyTalkingError(
                    f"'{path.name}' holds {key} as {tensor.dtype}, expected floating-point weights: use {PUBLISHED}."
                )
            weights[name] = tensor
        metadata |= file_metadata
    name = " + ".join(Path(path).name for path in paths)
    if strange:
        raise unknown(name, strange)
    audio = audio_widths(weights, name)
    identity = identity_widths(weights, metadata, audio, name)
    motion = motion_widths(weights, audio, name)
    check_shapes(weights, audio, identity, motion, name)
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
