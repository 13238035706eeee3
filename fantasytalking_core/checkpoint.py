"""Adapter files: every public layout in, a safetensors layout of our own in and out.

| layout | projector | block weights |
|---|---|---|
| published `.ckpt` | nested dict `proj_model` | nested dict `audio_processor` of `blocks.N.cross_attn.processor.…` |
| the release's prefixes | `proj_model.…` | `audio_processor.blocks.N.cross_attn.processor.…` |
| module paths | `proj_model.…` | `blocks.N.cross_attn.processor.…` |
| community | `proj_model.…` | `blocks.N.cross_attn.…` |
| split in two files | `proj.weight`, `norm.…` | any of the above |
| ours | `audio.projector.…` | `audio.blocks.N.…`, with metadata |

Pickles are read with weights-only unpickling: a file that tries to execute something is refused.
"""

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .adapter import Adapter, AudioWidths
from .errors import FantasyTalkingError

FORMAT, VERSION = "fantasytalking", "1"
PUBLISHED = "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt)"

Weights = Mapping[str, torch.Tensor]

_PROJECTOR = re.compile(r"(?:audio\.projector\.|proj_model\.)?(proj\.weight|norm\.weight|norm\.bias)")
_BLOCK = re.compile(
    r"(?:audio\.|audio_processor\.)?blocks\.(\d{1,3})\.(?:cross_attn\.)?(?:processor\.)?([kv]_proj\.weight)"
)


@dataclass(frozen=True)
class AdapterFile:
    """The weights of an adapter under the names of `adapter.Adapter`, and what they are."""

    weights: Weights
    audio: AudioWidths
    metadata: Mapping[str, str]

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of audio, identity and motion the file holds."""
        return tuple(part for part in ("audio", "identity", "motion") if any(k.startswith(part) for k in self.weights))


def our_name(key: str) -> str | None:
    """The name in `adapter.Adapter` of a key of any layout, None for one that no layout has."""
    if match := _PROJECTOR.fullmatch(key):
        return f"audio.projector.{match[1]}"
    if match := _BLOCK.fullmatch(key):
        return f"audio.blocks.{int(match[1])}.{match[2]}"
    return None


def _flatten(value: object, prefix: str = "") -> dict[str, torch.Tensor]:
    """A nested dict of tensors to a flat one; what is no tensor is kept, to be named as unknown."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, torch.Tensor] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (mapped from disk, not yet in memory) and metadata of a safetensors file or a pickle.

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
            f"'{path.name}' was refused: it holds more than weights and may run code when it is opened. "
            f"Expected {PUBLISHED}."
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
                f"'{path.name}' is an adapter file of version {version}, this pack reads version {VERSION}: update the "
                "pack."
            )
        return {key: file.get_tensor(key) for key in file.keys()}, metadata


def corrupt(name: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' is no adapter file, or was not downloaded completely: download it again from {PUBLISHED}."
    )


def not_an_adapter(name: str, keys: Iterable[str]) -> FantasyTalkingError:
    keys = sorted(map(str, keys))
    found = f"it holds {', '.join(keys[:2]) or 'nothing'} …"
    if any(".self_attn." in key for key in keys):
        found = "it looks like a diffusion model, which belongs into a diffusion model loader"
    return FantasyTalkingError(
        f"'{name}' is no FantasyTalking adapter ({found}): expected {PUBLISHED} or a conversion of it."
    )


def read_adapter(*paths: str | Path) -> AdapterFile:
    """Read an adapter of any layout; several paths for a layout that is split over files.

    Raises:
        FantasyTalkingError: no adapter, corrupt, unsafe, unknown, doubled or missing keys, widths that do not agree.
    """
    weights: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    unknown: list[str] = []
    for path in map(Path, paths):
        tensors, about = _read_tensors(path)
        if not any(map(our_name, tensors)):
            raise not_an_adapter(path.name, tensors)
        for key, tensor in tensors.items():
            name = our_name(key)
            if name is None or not isinstance(tensor, torch.Tensor):
                unknown.append(key)
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
        metadata |= about
    name = " + ".join(Path(path).name for path in paths)
    if unknown:
        raise FantasyTalkingError(
            f"'{name}' holds {_some(unknown)}, which no FantasyTalking layout has: expected a projector and one "
            "k_proj and v_proj per block. Use the published file or a conversion of it."
        )
    return AdapterFile(weights, _audio_widths(weights, name), metadata)


def _audio_widths(weights: Weights, name: str) -> AudioWidths:
    """Widths and block count of the audio branch, which must be complete and agree with themselves."""
    blocks = {int(key.split(".")[2]) for key in weights if key.startswith("audio.blocks.")}
    count = max(blocks, default=0) + 1  # at least one
    projector = {f"audio.projector.{key}" for key in ("proj.weight", "norm.weight", "norm.bias")}
    expected = projector | {f"audio.blocks.{n}.{kind}_proj.weight" for n in range(count) for kind in "kv"}
    if missing := expected - weights.keys():
        lacks = _some(missing)
        if not blocks:
            lacks = "its block weights"
        elif projector.isdisjoint(weights):
            lacks = "its projector"
        raise FantasyTalkingError(
            f"'{name}' lacks {lacks}. If the adapter is split over two files, join them once: "
            "python -m fantasytalking_core.convert PROJECTOR BLOCKS adapter.safetensors"
        )
    for key in ("audio.projector.proj.weight", "audio.blocks.0.k_proj.weight"):
        if weights[key].ndim != 2:
            raise disagreeing(name, key, weights[key], "a matrix")
    projected, audio = weights["audio.projector.proj.weight"].shape
    model = weights["audio.blocks.0.k_proj.weight"].shape[0]
    widths = AudioWidths(audio, projected, model, count)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Adapter(widths).state_dict().items()}
    for key in sorted(weights):
        if weights[key].shape != shapes[key]:
            raise disagreeing(name, key, weights[key], str(list(shapes[key])))
    return widths


def disagreeing(name: str, key: str, weight: torch.Tensor, expected: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' does not agree with itself: {key} has shape {list(weight.shape)}, expected {expected}. "
        "Download or convert the file again."
    )


def _some(keys: Iterable[str]) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def save_adapter(path: str | Path, weights: Weights, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights under the names of `adapter.Adapter` in our own layout.

    The metadata says format, version and which parts the file holds. The file appears complete or not at all.

    Raises:
        FantasyTalkingError: the file can't be written.
    """
    path = Path(path)
    weights = {key: value.contiguous() for key, value in weights.items()}
    parts = AdapterFile(weights, AudioWidths(0, 0, 0, 0), {}).parts
    about = {**(metadata or {}), "format": FORMAT, "version": VERSION, "parts": json.dumps(parts)}
    partial = path.with_name(path.name + ".part")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(weights, partial, metadata=about)
        partial.chmod(mode)  # safetensors makes files that only their owner may read
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' can't be written: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)
