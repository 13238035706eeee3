"""Bad, odd and hostile values, drawn from a seed: what may arrive on an input over the API and from other packs."""

import math
import random
from collections.abc import Callable
from typing import Any

import torch

Draw = Callable[[random.Random], Any]

WHOLE = (0, -1, 1, 10**30, -(2**63), 2**64 - 1, 10**9)
NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1.0, 0.5, 1e-300, 1e300, -1e30, 1e9, -0.0)
"""What the host lets through to inputs of numbers."""
THINGS = (None, 5, -1.5, "speech", "", b"\0\1", [], [[]], {}, {"samples": 1}, (), object(), math.nan, True, range(3))
DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
SPOILT = (math.nan, math.inf, -math.inf, 1e30, -1e30)


def number(like: float, r: random.Random) -> float:
    """Mostly no good; sometimes any number."""
    if isinstance(like, int):
        return r.choice(WHOLE) if r.random() < 0.8 else r.randrange(-10, 100)
    return r.choice(NUMBERS) if r.random() < 0.8 else r.uniform(-10, 10)


def thing(r: random.Random) -> Any:
    return r.choice(THINGS)


def spoilt(value: torch.Tensor, r: random.Random) -> Any:
    """A tensor with something wrong about it."""
    way = r.randrange(9)
    if way == 0:
        return value.to(r.choice(DTYPES))
    if way == 1:
        return value[..., : r.randrange(max(value.shape[-1], 1))]
    if way == 2:
        return value[:0]
    if way == 3:
        return value[None]
    if way == 4:
        return value.flatten()
    if way == 5:
        return value * r.choice(SPOILT)
    if way == 6:
        value = value.clone().float()
        value.view(-1)[r.randrange(max(value.numel(), 1))] = r.choice(SPOILT)
        return value
    if way == 7:
        return value.repeat(r.choice([2, 3]), *[1] * (value.ndim - 1))
    return value.expand_as(value).to_sparse() if r.random() < 0.5 else torch.empty(value.shape, device="meta")


def changed(value: Any, r: random.Random) -> Any:
    """A good value, and something wrong about it or in it."""
    if isinstance(value, int | float):
        return number(value, r)
    if r.random() < 0.15:
        return thing(r)
    if isinstance(value, torch.Tensor):
        return spoilt(value, r)
    if isinstance(value, str):
        return r.choice(["../../etc/passwd", "", "a" * 5000, "\0", "missing.safetensors", "ü/\\:*?", "con"])
    if isinstance(value, dict) and value:
        key = r.choice(list(value))
        return {**value, key: changed(value[key], r)} if r.random() < 0.7 else {k: v for k, v in value.items() if k != key}
    if isinstance(value, list | tuple) and value:
        items = list(value)
        index = r.randrange(len(items))
        items[index] = changed(items[index], r)
        return items if r.random() < 0.8 else items[:index]
    return thing(r)


def some_changed(inputs: dict[str, Any], r: random.Random, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """One input changed, or two."""
    chosen = r.sample(list(names or inputs), k=min(len(names or inputs), r.choice([1, 1, 1, 2])))
    return {**inputs, **{name: changed(inputs[name], r) for name in chosen}}


def mutated(data: bytes, r: random.Random) -> bytes:
    """A file with some bits turned, cut off, or with a piece repeated."""
    changed_data = bytearray(data)
    for _ in range(r.choice([1, 1, 3, 20])):
        at = r.randrange(min(len(data), 600) if r.random() < 0.7 else len(data))
        changed_data[at] ^= 1 << r.randrange(8)
    if r.random() < 0.2:
        del changed_data[r.randrange(len(changed_data)) :]
    return bytes(changed_data)
