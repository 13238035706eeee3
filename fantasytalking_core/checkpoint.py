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
    r"(?:audio\.|audio_processor\.)?blocks\.(\d+)\.(?:cross_attn\.)?(?:processor\.)?([kv]_proj\.weight)"
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
    """Tensors (mapped from disk, not yet in memory) and metadata of a safetensors file or a pickle."""
    name = path.name
    try:
        with path.open("rb") as file:
            is_safetensors = path.suffix in (".safetensors", ".sft") or file.read(9)[8:] == b"{"
        if is_safetensors:
            with safe_open(path, framework="pt") as file:
                keys = list(file.keys())
                if not any(our_name(key) for key in keys):  # a DiT of 28 GB is not read to say so
                    raise not_an_adapter(name, keys)
                return {key: file.get_tensor(key) for key in keys}, dict(file.metadata() or {})
        return _flatten(torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))), {}
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error):  # global, class or operand: everything else is damage
            raise corrupt(name) from error
        raise FantasyTalkingError(
            f"'{name}' was refused: it holds more than weights and may run code when it is opened. "
            f"Expected the published file, {PUBLISHED}."
        ) from error
    except FileNotFoundError as error:
        raise FantasyTalkingError(f"There is no adapter file '{path}': expected {PUBLISHED}.") from error
    except (OSError, RuntimeError, SafetensorError, EOFError, ValueError) as error:
        if isinstance(error, FantasyTalkingError):
            raise
        raise corrupt(name) from error


def corrupt(name: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"The adapter file '{name}' is corrupt or was not downloaded completely: download it again from {PUBLISHED}."
    )


def not_an_adapter(name: str, keys: Iterable[str]) -> FantasyTalkingError:
    found = ", ".join(sorted(map(str, keys))[:2]) or "nothing"
    return FantasyTalkingError(
        f"'{name}' is no FantasyTalking adapter (it holds {found} …): expected {PUBLISHED} or a conversion of it."
    )


def read_adapter(*paths: str | Path) -> AdapterFile:
    """Read an adapter of any layout; several paths for a layout that is split over files.

    Raises:
        FantasyTalkingError: no adapter, corrupt, unsafe, unknown or missing keys, widths that do not agree.
    """
    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    for path in map(Path, paths):
        found, about = _read_tensors(path)
        tensors |= found
        metadata |= about
    name = " + ".join(Path(path).name for path in paths)
    version = metadata.get("version", VERSION) if metadata.get("format") == FORMAT else VERSION
    if version != VERSION:
        raise FantasyTalkingError(
            f"'{name}' is an adapter file of version {version}, this pack reads version {VERSION}: update the pack."
        )
    names = {key: our_name(key) for key in tensors}
    if not any(names.values()):
        raise not_an_adapter(name, tensors)
    unknown = [key for key, ours in names.items() if ours is None or not isinstance(tensors[key], torch.Tensor)]
    if unknown:
        raise FantasyTalkingError(
            f"'{name}' holds {_some(unknown)}, which no FantasyTalking layout has: expected a projector and one "
            "k_proj and v_proj per block. Use the published file or a conversion of it."
        )
    weights = {ours: tensors[key] for key, ours in names.items()}
    return AdapterFile(weights, _audio_widths(weights, name), metadata)


def _audio_widths(weights: Weights, name: str) -> AudioWidths:
    """Widths and block count of the audio branch, which must be complete and agree with themselves."""
    blocks = {int(key.split(".")[2]) for key in weights if key.startswith("audio.blocks.")}
    count = max(blocks, default=-1) + 1
    expected = {f"audio.projector.{key}" for key in ("proj.weight", "norm.weight", "norm.bias")}
    expected |= {f"audio.blocks.{n}.{kind}_proj.weight" for n in range(count) for kind in "kv"}
    missing = expected - weights.keys()
    if missing or not blocks:
        half = "its block weights" if not blocks else _some(missing)
        raise FantasyTalkingError(
            f"'{name}' lacks {half}. If the adapter is split over two files, join them once: "
            "python -m fantasytalking_core.convert PROJECTOR BLOCKS adapter.safetensors"
        )
    projected, audio = weights["audio.projector.proj.weight"].shape
    model = weights["audio.blocks.0.k_proj.weight"].shape[0]
    widths = AudioWidths(audio, projected, model, count)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Adapter(widths).state_dict().items()}
    wrong = [key for key in weights if weights[key].shape != shapes[key]]
    if wrong:
        key = sorted(wrong)[0]
        raise FantasyTalkingError(
            f"'{name}' does not agree with itself: {key} has shape {list(weights[key].shape)}, expected "
            f"{list(shapes[key])}. Download or convert the file again."
        )
    return widths


def _some(keys: Iterable[str]) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def save_adapter(path: str | Path, weights: Weights, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights under the names of `adapter.Adapter` in our own layout.

    The metadata says format, version and which parts the file holds. The file appears complete or not at all.
    """
    path = Path(path)
    weights = {key: value.contiguous() for key, value in weights.items()}
    parts = AdapterFile(weights, AudioWidths(0, 0, 0, 0), {}).parts
    about = {**(metadata or {}), "format": FORMAT, "version": VERSION, "parts": json.dumps(parts)}
    partial = path.with_name(path.name + ".part")
    try:
        save_file(weights, partial, metadata=about)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
