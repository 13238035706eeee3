"""Speech and face in the host's cross-attention, for as long as a model call lasts.

Two modules of a block's cross-attention are watched: `norm_q`, whose output is the query that text and image are attended
with, and the output projection `o`, whose input is the sum of what they gave. There speech and face join in (Eq. 4). Which
attention function lies between the two is nobody's concern: the host's, of whatever version and calling convention,
another pack's override of it, or a whole forward function in the place of the host's, as long as it calls these modules.

The hooks are there in every call, also without speech, and kept out of torch.compile's traces, which do not notice hooks
that come and go.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ..errors import FantasyTalkingError
from .model_call import Call


@contextmanager
def joined(dit: Any, call: Call, *blocks: int) -> Iterator[None]:
    """While this lasts, what the call adds joins the cross-attention of these blocks of the DiT, or of all."""
    with ExitStack() as hooks:
        for index in blocks or range(len(dit.blocks)):
            for handle in _watch(dit.blocks[index].cross_attn, index, call):
                hooks.callback(handle.remove)
        yield


def _watch(cross_attention: Any, block: int, call: Call) -> Iterator[Any]:
    queries: dict[torch.Size, torch.Tensor] = {}

    @torch.compiler.disable
    def keep(module: torch.nn.Module, args: Any, query: torch.Tensor) -> None:
        if call.adds:
            queries[query.shape] = query  # normalized attention guidance makes several, of parts of the batch

    @torch.compiler.disable
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

    yield cross_attention.norm_q.register_forward_hook(keep)
    yield cross_attention.o.register_forward_pre_hook(join)
