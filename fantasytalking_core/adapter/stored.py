"""What lies in an adapter file: tensors by their keys, and metadata.

Pickles are read with weights-only unpickling: a file that tries to execute something is refused.
"""

import heapq
import json
import pickle  # for the name of its error  # nosec B403
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeGuard
from zipfile import is_zipfile

import torch
from safetensors import safe_open

from ..errors import FantasyTalkingError, short
from ..reading import check_regular, head
from .layouts import our_names
from .scaled import split

FORMAT, VERSION = "fantasytalking", "1"
PUBLISHED = "https://huggingface.co/acvlab/FantasyTalking (fantasytalking_model.ckpt)"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "adapter", "weights", "params", "ema")
"""Under which a checkpoint of a training has the weights; what else is in it is the training's."""
MOST, DEEPEST = 20_000, 16
"""Values in a file, and dicts in each other: an adapter has a thousand and three."""
LARGEST_HEADER = 2**20
"""Bytes of a safetensors header that a list looks at; an adapter's has some thousands, a DiT's a hundred thousand."""


def read_stored(path: Path) -> tuple[Mapping[str, object], dict[str, str]]:
    """Values by their keys (tensors are mapped from disk, not yet in memory) and metadata of a safetensors file or a pickle.

    A pickle may hold other things than tensors; they come along, to be named. What a file is, its first bytes say; people
    rename files.

    Raises:
        FantasyTalkingError: none of the two, corrupt, unsafe, a later version.
    """
    try:
        start = head(path, 9)
    except FileNotFoundError as error:
        raise FantasyTalkingError(f"There is no adapter file '{path}': expected {PUBLISHED}.") from error
    except OSError as error:
        raise FantasyTalkingError(f"'{path}' can't be read ({error.strerror}): expected {PUBLISHED}.") from error
    try:
        if start[8:] == b"{":
            return _read_safetensors(path)
        if start[:2] == b"PK" or start[:1] == pickle.PROTO:
            return _read_pickle(path), {}
    except FantasyTalkingError:
        raise
    except pickle.UnpicklingError as error:
        raise FantasyTalkingError(
            f"'{short(path.name)}' was refused: it holds more than weights and may run code when it is opened. Expected "
            f"{PUBLISHED}."
        ) from error
    except Exception as error:  # damaged bytes can lead torch's unpickler anywhere
        raise corrupt(path) from error
    raise corrupt(path)


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        version = metadata.get("version", "none")
        if metadata.get("format") == FORMAT and version != VERSION:
            raise FantasyTalkingError(
                f"'{short(path.name)}' is an adapter file of version {short(version)}, this pack reads version {VERSION}: "
                "update the pack."
            )
        keys = file.keys()
        if len(keys) > MOST:
            raise not_an_adapter(path, keys)
        return {key: file.get_tensor(key) for key in keys}, metadata


def _read_pickle(path: Path) -> Mapping[str, object]:
    values = _unwrapped(_flat(torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))))
    if sum(value.nbytes for value in values.values() if is_dense(value)) > check_regular(path):
        raise ValueError("tensors that are larger than the file they lie in")
    return values


def is_dense(value: object) -> TypeGuard[torch.Tensor]:
    """Whether this is a tensor with all its numbers."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type == "cpu"


def _flat(value: object) -> dict[str, object]:
    """A nested dict of tensors to a flat one; what is no tensor is kept, to be named as unknown."""
    flat: dict[str, object] = {}
    open_ends = [("", value, 0)]
    while open_ends:
        key, value, depth = open_ends.pop()
        if not isinstance(value, Mapping):
            flat[key] = value
        elif depth == DEEPEST:
            raise ValueError("dicts that are nested too deeply")
        else:
            open_ends += [(f"{key}.{name}" if key else str(name), inner, depth + 1) for name, inner in value.items()]
        if len(flat) + len(open_ends) > MOST:
            raise ValueError("too many values")
    return flat


def _unwrapped(values: dict[str, object]) -> dict[str, object]:
    """Those in the one dict that holds the weights, where what lies beside it is none of them."""
    for wrapper in WRAPPERS:
        inner = {key: value for key, value in values.items() if key.startswith(f"{wrapper}.")}
        if any(our_names(split(inner)[0]).values()):
            return inner if not any(our_names(values.keys() - inner.keys()).values()) else values
    return values


def corrupt(path: Path) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{short(path.name)}' is no adapter file, or was not downloaded completely: download it again from {PUBLISHED}."
    )


def not_an_adapter(path: Path, keys: Iterable[str]) -> FantasyTalkingError:
    keys = list(keys)
    found = f"it holds {', '.join(map(short, heapq.nsmallest(2, keys))) or 'nothing'} …"
    if any(".self_attn." in key for key in keys):
        found = "it looks like a diffusion model, which belongs into a diffusion model loader"
    return FantasyTalkingError(
        f"'{short(path.name)}' is no FantasyTalking adapter ({found}): expected {PUBLISHED} or a conversion of it."
    )


def looks_like_an_adapter(path: Path) -> bool:
    """Whether all keys of a safetensors file are an adapter's, as far as its header says; never raises."""
    try:
        start = head(path, 8 + LARGEST_HEADER)
        length = int.from_bytes(start[:8], "little")
        if length > LARGEST_HEADER:
            return False
        header = json.loads(start[8 : 8 + length])
        metadata = header.pop("__metadata__", None) or {}
        names = our_names(split(header)[0]).values()
        return metadata.get("format") == FORMAT or bool(names) and None not in names
    except Exception:  # a list is made of this while nodes are registered, where an error takes the pack away
        return False
