"""Cross-attention to what the adapter adds: speech at clip level (§3.2, stage 1) and at frame level (stage 2), and
the face (§3.3).

All take the query of the block's own cross-attention, and their result is summed with the text and image results
before the block's output projection. Keys and values of speech carry one row more than there are tokens, at the end
and zero: the row that a window's padding points to.
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, repeat
from torch import nn

from ..speech.windows import PADDING

Attention = Callable[..., torch.Tensor]
"""`attention(q, k, v, heads, mask=None)` on `[B, N, C]`; mask additive, `[B, 1 or N, keys]`. The host's own fits."""


class KeyValue(nn.Module):
    """One block's keys and values of the projected tokens: no bias, no key norm, zero-initialised."""

    def __init__(self, projected: int, model: int, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        self.k_proj = operations.Linear(projected, model, bias=False, **factory)
        self.v_proj = operations.Linear(projected, model, bias=False, **factory)
        if operations is nn:  # the host's layers are never initialised, a file fills them
            nn.init.zeros_(self.k_proj.weight)
            nn.init.zeros_(self.v_proj.weight)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.k_proj(tokens), self.v_proj(tokens)


def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """PyTorch's attention in the shape of the host's."""
    q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=heads) for t in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None])
    return rearrange(out, "b h n d -> b n (h d)")


def hidden(is_hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask: the lowest number where `is_hidden`, else 0.

    Not boolean, which some of the host's attention functions silently mishandle; not −inf, of which a window
    without any token would make NaN. Such a window attends to zero rows only and adds nothing.
    """
    return torch.zeros(is_hidden.shape, dtype=dtype, device=is_hidden.device).masked_fill_(is_hidden, torch.finfo(dtype).min)


def window_mask(windows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Mask of the padding of `[B, T, l′]` windows, `[B·T, 1, l′]`."""
    return hidden(rearrange(windows == PADDING, "b t n -> (b t) 1 n"), dtype)


def window_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    windows: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None = None,
    attention: Attention = sdpa,
) -> torch.Tensor:
    """Every latent frame attends to its own window.

    Args:
        q: `[B, T·S, C]`, frame-major.
        k, v: `[1 or B, L + 1, C]`, the last row zero; wherever they are, only what is heard comes to the query.
        windows: int64 `[1 or B, T, l′]`.
        mask: `window_mask(windows, q.dtype)`, when the caller has it already.

    Returns:
        `[B, T·S, C]`.
    """
    batch, frames = q.shape[0], windows.shape[1]
    mask = window_mask(windows, q.dtype) if mask is None else mask

    def gather(rows: torch.Tensor) -> torch.Tensor:
        item = torch.arange(rows.shape[0], device=rows.device)[:, None, None]
        picked = rows[item, windows.to(rows.device)].to(q)  # PADDING, −1, is the last row
        return rearrange(picked.expand(batch, -1, -1, -1), "b t n c -> (b t) n c")

    if mask.shape[0] != batch * frames:
        mask = repeat(mask, "t 1 n -> (b t) 1 n", b=batch)
    out = attention(rearrange(q, "b (t s) c -> (b t) s c", t=frames), gather(k), gather(v), heads, mask=mask)
    return rearrange(out, "(b t) s c -> b (t s) c", b=batch)


def clip_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    heads: int,
    lengths: torch.Tensor | None = None,
    attention: Attention = sdpa,
) -> torch.Tensor:
    """Every video token attends to every audio token of the clip.

    Args:
        q: `[B, N, C]`.
        k, v: `[1 or B, L + 1, C]`, the last row zero (and left out here).
        lengths: int64 `[B]`, tokens of each clip where they differ; later ones are masked.
    """
    k, v = (t[:, :-1].to(q).expand(q.shape[0], -1, -1) for t in (k, v))
    mask = None
    if lengths is not None:
        mask = hidden(torch.arange(k.shape[1], device=q.device) >= lengths[:, None, None], q.dtype)
    return attention(q, k, v, heads, mask=mask)


def face_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, attention: Attention = sdpa) -> torch.Tensor:
    """Every video token attends to every identity token (Eq. 4): q `[B, N, C]`, k and v `[1 or B, M, C]`."""
    k, v = (t.to(q).expand(q.shape[0], -1, -1) for t in (k, v))
    return attention(q, k, v, heads)


def token_mask(mask: torch.Tensor) -> torch.Tensor:
    """How strongly each video token hears somebody: of a mask `[T, h, w]` on the latent grid the mean of each token's
    2 × 2 latent pixels, frame-major, `[1, T·S, 1]`."""
    tokens = nn.functional.avg_pool2d(mask[:, None], 2, ceil_mode=True)  # the DiT pads an odd side
    return rearrange(tokens, "t 1 h w -> 1 (t h w) 1")
