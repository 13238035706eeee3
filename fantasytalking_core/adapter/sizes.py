"""The sizes of an adapter, as its weights tell them, and whether these are complete and numbers; what its metadata adds."""

import json
import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import FantasyTalkingError, short
from ..files import is_description
from .adapter import Adapter
from .audio import AudioWidths
from .identity import HEAD_WIDTH, HEADS, IdentityWidths
from .layouts import Weights, some, unknown
from .motion import RANGES, MotionRanges, MotionWidths

_AUDIO_BLOCK = re.compile(r"audio\.blocks\.(\d{1,3})\..+")
_IDENTITY_BLOCK = re.compile(r"identity\.blocks\.(\d{1,3})\..+")
_LAYER = re.compile(r"identity\.resampler\.layers\.(\d{1,3})\..+")

LARGEST_WEIGHT = torch.finfo(torch.float16).max
"""No weight of a network comes near; beyond it, a conversion to 16 bit makes infinity."""


def audio_widths(weights: Weights, name: str) -> AudioWidths:
    """Widths and block count of the audio branch, which must be complete.

    Raises:
        FantasyTalkingError: missing keys or no matrices; `name` is the file's.
    """
    count = _count(_AUDIO_BLOCK, weights)
    projector = {f"audio.projector.{key}" for key in ("proj.weight", "norm.weight", "norm.bias")}
    expected = projector | {f"audio.blocks.{n}.{kind}_proj.weight" for n in range(max(count, 1)) for kind in "kv"}
    if missing := expected - weights.keys():
        lacks = some(missing)
        if not count:
            lacks = "its block weights"
        elif projector.isdisjoint(weights):
            lacks = "its projector"
        raise FantasyTalkingError(
            f"'{name}' lacks {lacks}. If the adapter is split over two files, join them once: "
            "python -m fantasytalking_core convert PROJECTOR BLOCKS adapter.safetensors"
        )
    projected, audio = _matrix(weights, "audio.projector.proj.weight", name)
    model, _ = _matrix(weights, "audio.blocks.0.k_proj.weight", name)
    return AudioWidths(audio, projected, model, count)


def identity_widths(weights: Weights, metadata: Mapping[str, str], audio: AudioWidths, name: str) -> IdentityWidths | None:
    """Widths of the identity branch, None where the file has none.

    Raises:
        FantasyTalkingError: missing keys, no matrices, heads that do not divide the width.
    """
    if not any(key.startswith("identity.") for key in weights):
        return None
    queries, resampler = _matrix(weights, "identity.resampler.queries.weight", name)
    _, embedding = _matrix(weights, "identity.resampler.proj_in.weight", name)
    projected, _ = _matrix(weights, "identity.resampler.proj_out.weight", name)
    inner, _ = _matrix(weights, "identity.resampler.layers.0.attention.q_proj.weight", name)
    heads = metadata.get(HEADS, str(inner // HEAD_WIDTH))
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", heads) or inner % int(heads):
        raise FantasyTalkingError(
            f"'{name}' has an identity resampler of width {inner} and {short(heads)} heads, which do not divide it: save the "
            f"file with {HEADS} in its metadata."
        )
    depth, blocks = _count(_LAYER, weights), _count(_IDENTITY_BLOCK, weights)
    if blocks != audio.blocks:
        raise FantasyTalkingError(
            f"'{name}' does not agree with itself: {audio.blocks} blocks hear speech and {blocks} see the face. "
            "Convert or export the file again."
        )
    return IdentityWidths(
        queries, resampler, depth, int(heads), inner, projected, model=audio.model, blocks=blocks, embedding=embedding
    )


def motion_widths(weights: Weights, audio: AudioWidths, name: str) -> MotionWidths | None:
    """Widths of the motion network, None where the file has none."""
    if not any(key.startswith("motion.") for key in weights):
        return None
    _, hidden = _matrix(weights, "motion.out.weight", name)
    return MotionWidths(audio.model, hidden)


def motion_ranges(metadata: Mapping[str, str], name: str) -> MotionRanges:
    """The ranges of the data that the motion network was trained on; ours where the file says none."""
    try:
        return MotionRanges.from_json(metadata[RANGES]) if RANGES in metadata else MotionRanges()
    except (ValueError, OverflowError, RecursionError) as error:
        raise FantasyTalkingError(
            f"'{name}' has {RANGES} {short(metadata[RANGES])} in its metadata, expected two ranges of variances, low before "
            "high: export the file again."
        ) from error


def face_encoder(metadata: Mapping[str, str]) -> str:
    """Which file made the face embeddings of the training, as `files.described` says it; empty where the metadata does not."""
    try:
        encoder = json.loads(metadata["data"])["encoders"]["face"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""
    return encoder if is_description(encoder) else ""


def check_shapes(
    weights: Weights, audio: AudioWidths, identity: IdentityWidths | None, motion: MotionWidths | None, name: str
) -> None:
    """Refuse weights that are not exactly those of an adapter of these widths."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Adapter(audio, identity, motion).state_dict().items()}
    if missing := shapes.keys() - weights.keys():
        raise FantasyTalkingError(f"'{name}' lacks {some(missing)}: download, convert or export it again.")
    for key in sorted(weights):
        if key not in shapes:
            raise unknown(name, [key])
        if weights[key].shape != shapes[key]:
            raise disagreeing(name, key, weights[key], str(list(shapes[key])))


def check_numbers(weights: Weights, name: str) -> None:
    """Refuse weights that are NaN, infinite or beyond every weight: one flipped bit in a download makes 1 to 1e38."""
    for key, weight in weights.items():
        low, high = torch.aminmax(weight.float() if weight.dtype.itemsize == 1 else weight)
        if not -LARGEST_WEIGHT <= low <= high <= LARGEST_WEIGHT:  # NaN too
            raise FantasyTalkingError(
                f"'{name}' holds NaN, infinite or far too large numbers in {key}, and the video would be black: the file is "
                "damaged, download, convert or export it again."
            )


def _count(pattern: re.Pattern[str], keys: Iterable[str]) -> int:
    """Blocks or layers: one more than the highest index."""
    return max((int(match[1]) + 1 for key in keys if (match := pattern.fullmatch(key))), default=0)


def _matrix(weights: Weights, key: str, name: str) -> torch.Size:
    if key not in weights:
        raise FantasyTalkingError(f"'{name}' lacks {key}: download, convert or export it again.")
    if weights[key].ndim != 2 or 0 in weights[key].shape:
        raise disagreeing(name, key, weights[key], "a matrix")
    return weights[key].shape


def disagreeing(name: str, key: str, weight: torch.Tensor, expected: str) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' does not agree with itself: {key} has shape {short(str(list(weight.shape)))}, expected {expected}. "
        "Download or convert the file again."
    )
