"""What the weights of an adapter are called in each public layout.

| layout | projector | block weights |
|---|---|---|
| published `.ckpt` | nested dict `proj_model` | nested dict `audio_processor` of `blocks.N.cross_attn.processor.…` |
| the release's prefixes | `proj_model.…` | `audio_processor.blocks.N.cross_attn.processor.…` |
| module paths | `proj_model.…` | `blocks.N.cross_attn.processor.…` |
| community | `proj_model.…` | `blocks.N.cross_attn.…` |
| split in two files | `proj.weight`, `norm.…` | any of the above |
| ours | `audio.projector.…` | `audio.blocks.N.…`; `identity.…`, `motion.…` and metadata where trained |

Before all keys of a file may stand a prefix, as a wrapping module or dict leaves it: `model.`, `module.`, `diffusion_model.` …
"""

import heapq
import os
import re
from collections.abc import Collection, Iterable, Mapping

import torch

from ..errors import FantasyTalkingError, short

Weights = Mapping[str, torch.Tensor]

PARTS = ("audio", "identity", "motion")

_PROJECTOR = re.compile(r"(?:audio\.projector\.|proj_model\.)?(proj\.weight|norm\.weight|norm\.bias)")
_BLOCK = re.compile(r"(?:audio\.|audio_processor\.)?blocks\.(\d{1,3})\.(?:cross_attn\.)?(?:processor\.)?([kv]_proj\.weight)")
_OURS = re.compile(r"(?:identity\.(?:resampler|blocks)|motion)\.[a-z0-9_.]+\.(?:weight|bias)")


def our_name(key: str) -> str | None:
    """The name in `adapter.Adapter` of a key of any layout, None for one that no layout has."""
    if match := _PROJECTOR.fullmatch(key):
        return f"audio.projector.{match[1]}"
    if match := _BLOCK.fullmatch(key):
        return f"audio.blocks.{int(match[1])}.{match[2]}"
    return key if _OURS.fullmatch(key) else None


MOST_WRAPPERS = 8
"""Dotted parts of a prefix."""


def our_names(keys: Collection[str]) -> dict[str, str | None]:
    """`our_name` of every key of a file, without the shortest prefix that they share and behind which one is known."""
    parts = os.path.commonprefix(list(keys)).split(".")[:-1]
    for count in range(min(len(parts), MOST_WRAPPERS) + 1):
        start = sum(len(part) + 1 for part in parts[:count])
        names = {key: our_name(key[start:]) for key in keys}
        if any(names.values()):
            return names
    return dict.fromkeys(keys)


def unknown(name: str, keys: Iterable[str]) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' holds {some(keys)}, which no FantasyTalking layout has: expected a projector and one "
        "k_proj and v_proj per block. Use the published file or a conversion of it."
    )


def some(keys: Iterable[str]) -> str:
    """The first three, as far as they fit into a message, and how many more there are."""
    keys = list(keys)
    first = ", ".join(map(short, heapq.nsmallest(3, keys)))
    return first + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
