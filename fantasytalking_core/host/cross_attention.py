"""Speech and face in the host's cross-attention, for as long as a model call lasts.

Two modules of a block's cross-attention are watched: `norm_q`, whose output is the query that text and image are attended
with, and the output projection `o`, whose input is the sum of what they gave. There speech and face join in (Eq. 4). Which
attention function lies between the two is nobody's concern: the host's, of whatever version and calling convention,
another pack's override of it, or a whole forward function in the place of the host's, as long as it calls these modules.

The hooks are there in every call, also without speech (see `hooked`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ..errors import FantasyTalkingError
from .hooks import hooked
from .model_call import Call


@contextmanager
def joined(dit: Any, call: Call, *blocks: int) -> Iterator[None]:
    """While this lasts, what the call adds joins the cross-attention of these blocks of the DiT, or of all."""
    with ExitStack() as watched:
        for index in blocks or range(len(dit.blocks)):
            watched.enter_context(_watched(dit.blocks[index].cross_attn, index, call))
        yield


@contextmanager
def _watched(cross_attention: Any, block: int, call: Call) -> Iterator[None]:
    queries: dict[torch.Size, torch.Tensor] = {}

    def keep(module: torch.nn.Module, args: Any, query: torch.Tensor) -> None:
        if call.adds:
            queries[query.shape] = query  # normalized attention guidance makes several, of parts of the batch

    def join(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if not call.adds:
            return None
        attended, *others = args
        query = queries.get(attended.shape)
        queries.clear()
        if query is None:
            raise FantasyTalkingError(
                "Another node has replaced the model's cross-attention by one that speech and face can't join: remove that "
                "node, or set audio_strength and identity_strength to 0."
            )
        return call.add(attended, query, cross_attention.num_heads, block), *others

    with hooked(cross_attention.norm_q, after=keep), hooked(cross_attention.o, before=join):
        yield
