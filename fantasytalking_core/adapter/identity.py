"""Identity preservation (§3.3): what is known of a face, and the modules that keep it.

    face crop → ArcFace embedding → resampler (the paper's Q-Former) → identity tokens → keys and values per block
    Z′ = Z + λ1·Attn(Q, K_audio, V_audio) + λ2·Attn(Q, K_id, V_id)                                        (Eq. 4)

The paper gives no widths. These are those of the closest public designs, a perceiver resampler as in InstantID and
in the same team's FantasyPortrait; a file's own are read from the file.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import nn

from .attention import KeyValue, sdpa

STRENGTH = 0.5
"""λ2 (Eq. 4)."""
CLIP_TOKENS, CLIP_WIDTH = 257, 1280
"""Image tokens that Wan2.1 I2V reads of a picture (CLIP ViT-H, penultimate), and their width."""
HEADS = "identity_heads"
"""What an adapter file's metadata calls the resampler's heads, which no weight tells."""
HEAD_WIDTH = 64
"""Width of a head in a file that does not say it."""


@dataclass(frozen=True, eq=False)
class FaceEmbedding:
    """An identity for an adapter with trained identity weights.

    Attributes:
        vector: `[D]` float32, an ArcFace embedding of length 1, on the CPU.
        encoder: name and size of the file that made it, empty where that is not known.
    """

    vector: torch.Tensor
    encoder: str = ""


@dataclass(frozen=True, eq=False)
class FaceTokens:
    """An identity that needs no trained weights: image tokens of the face, for the DiT's own image attention.

    An idea of this project and not of the paper.

    Attributes:
        tokens: `[N, 1280]` float32, penultimate CLIP ViT-H tokens of one or several face crops, on the CPU.
    """

    tokens: torch.Tensor


Identity = FaceEmbedding | FaceTokens
"""The value that travels on an FT_IDENTITY wire."""


@dataclass(frozen=True)
class IdentitySizes:
    """Sizes of the identity branch that can be chosen.

    Attributes:
        queries: learned queries, and so identity tokens.
        resampler: width inside of the resampler.
        depth: its layers.
        heads: its attention heads.
        inner: width of all its heads together.
        projected: width of an identity token.
    """

    queries: int = 16
    resampler: int = 1280
    depth: int = 4
    heads: int = 20
    inner: int = 1280
    projected: int = 2048


@dataclass(frozen=True, kw_only=True)
class IdentityWidths(IdentitySizes):
    """All sizes of the identity branch.

    Attributes:
        embedding: width of the face embedding.
        model: width of the DiT (Wan2.1 14B: 5120).
        blocks: DiT blocks (Wan2.1 14B: 40).
    """

    model: int
    blocks: int
    embedding: int = 512


class ResamplerAttention(nn.Module):
    """The queries attend to the embedding and to themselves."""

    def __init__(self, widths: IdentityWidths, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        width, inner = widths.resampler, widths.inner
        self.heads = widths.heads
        self.norm_input = operations.LayerNorm(width, **factory)
        self.norm_queries = operations.LayerNorm(width, **factory)
        self.q_proj = operations.Linear(width, inner, bias=False, **factory)
        self.k_proj = operations.Linear(width, inner, bias=False, **factory)
        self.v_proj = operations.Linear(width, inner, bias=False, **factory)
        self.out_proj = operations.Linear(inner, width, bias=False, **factory)

    def forward(self, queries: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        queries = self.norm_queries(queries)
        seen = torch.cat([self.norm_input(embedding), queries], dim=1)
        return self.out_proj(sdpa(self.q_proj(queries), self.k_proj(seen), self.v_proj(seen), self.heads))


class ResamplerLayer(nn.Module):
    """Attention, then a feed-forward network of four times the width, each with a residual."""

    def __init__(self, widths: IdentityWidths, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        width = widths.resampler
        self.attention = ResamplerAttention(widths, operations, **factory)
        self.feed_forward = nn.Sequential(
            operations.LayerNorm(width, **factory),
            operations.Linear(width, 4 * width, bias=False, **factory),
            nn.GELU(),
            operations.Linear(4 * width, width, bias=False, **factory),
        )

    def forward(self, queries: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        queries = queries + self.attention(queries, embedding)
        return queries + self.feed_forward(queries)


class IdentityResampler(nn.Module):
    """The paper's Q-Former: learned queries turn a face embedding into identity tokens."""

    def __init__(self, widths: IdentityWidths, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        width = widths.resampler
        # an embedding, for the host to cast and offload it as it does any layer
        self.queries = operations.Embedding(widths.queries, width, **factory)
        self.proj_in = operations.Linear(widths.embedding, width, **factory)
        self.layers = nn.ModuleList(ResamplerLayer(widths, operations, **factory) for _ in range(widths.depth))
        self.proj_out = operations.Linear(width, widths.projected, **factory)
        self.norm_out = operations.LayerNorm(widths.projected, **factory)
        if operations is nn:  # the host's layers are never initialised, a file fills them
            nn.init.normal_(self.queries.weight, std=1 / math.sqrt(width))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """`[B, embedding]` to `[B, queries, projected]`."""
        seen = self.proj_in(rearrange(embedding, "b d -> b 1 d"))
        indices = torch.arange(self.queries.num_embeddings, device=seen.device)
        queries = self.queries(indices).to(seen.dtype).expand(seen.shape[0], -1, -1)
        for layer in self.layers:
            queries = layer(queries, seen)
        return self.norm_out(self.proj_out(queries))


class IdentityBranch(nn.Module):
    """The weights of face-focused cross-attention: one resampler, keys and values per block."""

    def __init__(self, widths: IdentityWidths, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        self.widths = widths
        self.resampler = IdentityResampler(widths, operations, **factory)
        self.blocks = nn.ModuleList(
            KeyValue(widths.projected, widths.model, operations, **factory) for _ in range(widths.blocks)
        )
