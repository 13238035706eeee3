"""What the weights of an adapter are called in each public layout.

| layout | projector | block weights |
|---|---|---|
| published `.ckpt` | nested dict `proj_model` | nested dict `audio_processor` of `blocks.N.cross_attn.processor.…` |
| the release's prefixes | `proj_model.…` | `audio_processor.blocks.N.cross_attn.processor.…` |
| module paths | `proj_model.…` | `blocks.N.cross_attn.processor.…` |
| community | `proj_model.…` | `blocks.N.cross_attn.…` |
| split in two files | `proj.weight`, `norm.…` | any of the above |
| ours | `audio.projector.…` | `audio.blocks.N.…`; `identity.…`, `motion.…` and metadata where trained |
"""

import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import FantasyTalkingError

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


def unknown(name: str, keys: Iterable[str]) -> FantasyTalkingError:
    return FantasyTalkingError(
        f"'{name}' holds {some(keys)}, which no FantasyTalking layout has: expected a projector and one "
        "k_proj and v_proj per block. Use the published file or a conversion of it."
    )


def some(keys: Iterable[str]) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
