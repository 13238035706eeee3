"""An adapter file with identity weights beside the reference's audio ones, and the resampler written out directly."""

from pathlib import Path

import torch

from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.adapter.identity import IdentityWidths
from support.reference import FOLDER

WIDTHS = IdentityWidths(model=256, blocks=2, embedding=12, queries=3, resampler=16, depth=2, heads=4, inner=8, projected=6)
NAME = "with_identity.safetensors"


def shapes(widths: IdentityWidths = WIDTHS) -> dict[str, tuple[int, ...]]:
    """Every weight of the identity branch and its shape, written out."""
    w = widths
    found = {
        "queries.weight": (w.queries, w.resampler),
        "proj_in.weight": (w.resampler, w.embedding),
        "proj_in.bias": (w.resampler,),
        "proj_out.weight": (w.projected, w.resampler),
        "proj_out.bias": (w.projected,),
        "norm_out.weight": (w.projected,),
        "norm_out.bias": (w.projected,),
    }
    for n in range(w.depth):
        attention, feed_forward = f"layers.{n}.attention", f"layers.{n}.feed_forward"
        for norm in (f"{attention}.norm_input", f"{attention}.norm_queries", f"{feed_forward}.0"):
            found |= {f"{norm}.weight": (w.resampler,), f"{norm}.bias": (w.resampler,)}
        found |= {f"{attention}.{kind}_proj.weight": (w.inner, w.resampler) for kind in "qkv"}
        found[f"{attention}.out_proj.weight"] = (w.resampler, w.inner)
        found[f"{feed_forward}.1.weight"] = (4 * w.resampler, w.resampler)
        found[f"{feed_forward}.3.weight"] = (w.resampler, 4 * w.resampler)
    found = {f"identity.resampler.{key}": shape for key, shape in found.items()}
    for n in range(w.blocks):
        found |= {f"identity.blocks.{n}.{kind}_proj.weight": (w.model, w.projected) for kind in "kv"}
    return found


def weights(seed: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)
        for key, shape in shapes().items()
    }


def write(path: Path) -> None:
    audio = read_adapter(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors").weights
    save_adapter(path, {**audio, **weights()}, {"identity_heads": str(WIDTHS.heads)})


def embedding(seed: int = 4) -> torch.Tensor:
    """A face embedding of length 1."""
    vector = torch.randn(WIDTHS.embedding, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """softmax(q kᵀ / √d) v per head of `[N, C]` and `[M, C]`, in float64."""
    out = []
    for qh, kh, vh in zip(*(t.double().chunk(heads, -1) for t in (q, k, v))):
        out.append(torch.softmax(qh @ kh.T / qh.shape[-1] ** 0.5, -1) @ vh)
    return torch.cat(out, -1)


def normed(x: torch.Tensor, weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def identity_tokens(weights: dict[str, torch.Tensor], vector: torch.Tensor) -> torch.Tensor:
    """The resampler's `[queries, projected]` of one embedding, from the formulas, in float64."""
    w = {key.removeprefix("identity.resampler."): value.double() for key, value in weights.items()}
    seen = (vector.double() @ w["proj_in.weight"].T + w["proj_in.bias"])[None]
    x = w["queries.weight"]
    for n in range(WIDTHS.depth):
        a, f = f"layers.{n}.attention", f"layers.{n}.feed_forward"
        queries = normed(x, w, f"{a}.norm_queries")
        keys = torch.cat([normed(seen, w, f"{a}.norm_input"), queries])
        q, k, v = queries @ w[f"{a}.q_proj.weight"].T, keys @ w[f"{a}.k_proj.weight"].T, keys @ w[f"{a}.v_proj.weight"].T
        x = x + attend(q, k, v, WIDTHS.heads) @ w[f"{a}.out_proj.weight"].T
        inner = normed(x, w, f"{f}.0") @ w[f"{f}.1.weight"].T
        x = x + (inner * 0.5 * (1 + torch.erf(inner / 2**0.5))) @ w[f"{f}.3.weight"].T
    return normed(x @ w["proj_out.weight"].T + w["proj_out.bias"], w, "norm_out")
