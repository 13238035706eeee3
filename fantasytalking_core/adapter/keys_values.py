"""Keys and values of speech and face in every block.

They depend on the speech or the face and on the weights only, and not on the noise: a sampling run has them before its
first step, and the blocks never need the adapter's weights. In training every call computes them, for their gradients.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..errors import FantasyTalkingError
from .audio import AudioBranch
from .identity import IdentityBranch

KeyValuePair = tuple[torch.Tensor, torch.Tensor]
KeysValues = Callable[[int], KeyValuePair]
"""Those of a block, by its index: `[1 or B, rows, C]` each."""

ON_DEVICE = 256
"""Tokens of speech, 5 s: keys and values of more stay in main memory, and each call takes what it hears."""


def of_speech(branch: AudioBranch, tokens: torch.Tensor, device: torch.device, dtype: torch.dtype) -> KeysValues:
    """Those of audio tokens `[L, audio]`, with a last row of zeros; the projector computes in float32, as in the release.

    Args:
        device, dtype: of the DiT.
    """
    rows = branch.project(tokens[None].to(device, torch.float32)).to(dtype)
    return computed(branch.blocks, rows, "the speech", device if len(tokens) <= ON_DEVICE else torch.device("cpu"))


def of_identity(branch: IdentityBranch, embedding: torch.Tensor, device: torch.device, dtype: torch.dtype) -> KeysValues:
    """Those of a face embedding `[D]`; the resampler computes in float32."""
    rows = branch.resampler(embedding[None].to(device, torch.float32)).to(dtype)
    return computed(branch.blocks, rows, "the face", device)


def computed(blocks: Iterable[nn.Module], rows: torch.Tensor, what: str, kept_on: torch.device) -> KeysValues:
    """Of all blocks.

    Raises:
        FantasyTalkingError: the weights make something else than numbers of it.
    """
    pairs = []
    for index, block in enumerate(blocks):
        pair = block(rows)
        if not all(torch.isfinite(part).all() for part in pair):
            raise FantasyTalkingError(
                f"The adapter makes NaN or infinite numbers of {what} (in block {index}), and the video would be black: "
                "the adapter's file is broken, download, convert or export it again."
            )
        pairs.append(tuple(part.to(kept_on) for part in pair))
    return pairs.__getitem__


def kept_bytes(rows: int, blocks: int, model: int, dtype: torch.dtype) -> int:
    """Memory of the keys and values of `rows` in all blocks of a DiT of width `model`."""
    return 2 * blocks * rows * model * dtype.itemsize
