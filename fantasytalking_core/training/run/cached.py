"""The cache as a run reads it: whatever was edited or damaged in it since `prepare` is said by the file's name."""

import math
import os
from pathlib import Path

import torch

from ...errors import FantasyTalkingError, short
from ...latent_grid import SPATIAL, is_clip_length, latent_frames
from ..data.cache import INDEX, NULL, Index, load_null_text
from ..data.sample import Sample

LONGEST_CLIP = 10_000
"""Frames: beyond any memory."""


def read_index(folder: Path) -> Index:
    """What the cache holds.

    Raises:
        FantasyTalkingError: no cache, an empty or a damaged one, files that are not there.
    """
    damaged = FantasyTalkingError(f"'{folder / INDEX}' is damaged: delete the folder and run prepare again.")
    if not _is_file(folder / INDEX):  # nor a pipe, which would be waited for
        raise FantasyTalkingError(f"'{folder}' holds no training cache: run prepare first.")
    try:
        index = Index.load(folder)
        files = {entry.name for entry in os.scandir(folder)}
        is_whole = _is_whole(index)
    except FantasyTalkingError:
        raise
    except (OSError, RecursionError, TypeError, ValueError, AttributeError) as error:
        raise damaged from error
    if not is_whole:
        raise damaged
    if not index.samples:
        raise FantasyTalkingError(
            f"The training cache '{folder}' holds no samples: 'left_out' in its index says why each clip was left out."
        )
    missing = [entry.file for entry in index.samples if entry.file not in files]
    if missing:
        raise FantasyTalkingError(
            f"Of the training cache '{folder}', {len(missing)} of {len(index.samples)} samples are missing, the first of them "
            f"{short(missing[0])}: run prepare again."
        )
    return index


def _is_whole(index: Index) -> bool:
    sizes = (index.frames, index.width, index.height)
    return (
        all(type(size) is int for size in sizes)
        and is_clip_length(index.frames)
        and index.frames <= LONGEST_CLIP
        and min(sizes) > 0
        and 0 < float(index.fps) < math.inf
        and all(isinstance(entry.file, str) and isinstance(entry.source, str) for entry in index.samples)
        and all(math.isfinite(entry.start) for entry in index.samples)
    )


def read_sample(folder: Path, file: str, index: Index) -> Sample:
    """A sample whose tensors are what `Sample` says, for clips of the cache's size.

    Raises:
        FantasyTalkingError: the file is missing or damaged, or holds what is no finite number.
    """
    path = folder / file
    if not _is_file(path):
        raise FantasyTalkingError(f"'{path}' of the training cache is no file: run prepare again.")
    try:
        sample = Sample.load(path)
    except TypeError as error:
        raise FantasyTalkingError(f"'{path}' of the training cache holds more than a sample: run prepare again.") from error
    grid = (latent_frames(index.frames), index.height // SPATIAL, index.width // SPATIAL)
    rows = (None, None)
    shapes = {"latents": (None, *grid), "image": (None, *grid), "lips": grid, "motion": (2,), "face": (None,)}
    shapes |= {"text": rows, "clip": rows, "speech": rows}
    for name, shape in shapes.items():
        tensor = getattr(sample, name)
        if tensor is not None:
            _check(path, name, tensor, shape)
    return sample


def read_null_text(folder: Path) -> torch.Tensor:
    """The embedding of the empty prompt."""
    path = folder / NULL
    if not _is_file(path):
        raise FantasyTalkingError(f"'{path}' of the training cache is no file: run prepare again.")
    text = load_null_text(folder)
    _check(path, "text", text, (None, None))
    return text


def check_alike(sample: Sample, other: Sample, file: str) -> None:
    """Refuse a sample that no batch could hold beside the first one."""
    for name, of in (("latents", 0), ("image", 0), ("text", 1), ("clip", 0), ("clip", 1), ("speech", 1), ("face", 0)):
        ours, theirs = getattr(sample, name), getattr(other, name)
        if ours is not None and theirs is not None and ours.shape[of] != theirs.shape[of]:
            raise FantasyTalkingError(
                f"'{file}' of the training cache has {name} of shape {list(ours.shape)}, the first sample has "
                f"{list(theirs.shape)}: delete the odd one and run prepare again."
            )


def _check(path: Path, name: str, tensor: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    expected = ", ".join("…" if size is None else str(size) for size in shape)
    fits = len(shape) == tensor.ndim and all(
        found == size if size else found > 0 for found, size in zip(tensor.shape, shape, strict=True)
    )
    if not fits or not tensor.is_floating_point():
        raise FantasyTalkingError(
            f"'{path}' of the training cache has {name} of shape {list(tensor.shape)} ({tensor.dtype}), expected numbers "
            f"[{expected}]: delete the file and run prepare again."
        )
    numbers = tensor.float()
    if not (torch.isfinite(numbers) | (numbers.isnan() if name == "motion" else False)).all():  # NaN: not known
        raise FantasyTalkingError(
            f"'{path}' of the training cache holds NaN or infinite numbers in its {name}: delete the file and run prepare "
            "again."
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a link to itself, a name that is too long
        return False
