"""What one sampling run keeps, and whether what was wired into it was ever heard."""

from typing import Any

import torch

from ..adapter.identity import FaceTokens
from ..adapter.keys_values import KeyValuePair
from ..errors import FantasyTalkingError
from .model_call import Call

PATIENCE = 3
"""Steps without any speech or face after which a run ends: caches skip model calls, but never those of the first steps."""


class Run:
    """One sampling run."""

    def __init__(self) -> None:
        self.faces: dict[tuple[int, torch.device], tuple[FaceTokens, dict[int, KeyValuePair]]] = {}
        self.was_added = False
        self.missed: set[float] = set()

    def kept(self, face: FaceTokens, device: torch.device) -> dict[int, KeyValuePair]:
        """Keys and values that the DiT's own weights on a device have made of a face."""
        return self.faces.setdefault((id(face), device), (face, {}))[1]

    def after(self, call: Call, sigma: torch.Tensor, dit: Any) -> None:
        """Look at a model call that has ended.

        Raises:
            FantasyTalkingError: speech or face were to be added and never were, in so many steps.
        """
        self.was_added |= call.was_added
        if call.adds and not self.was_added:
            self.missed.add(float(sigma.flatten()[0]))
            if len(self.missed) >= PATIENCE:
                raise lost(dit)

    def end(self, dit: Any) -> None:
        """Raises FantasyTalkingError where the run had something to add and never did."""
        if self.missed and not self.was_added:
            raise lost(dit)


def lost(dit: Any) -> FantasyTalkingError:
    places = replaced(dit)
    cause = f"another node has replaced {' and '.join(places)}" if places else "another node goes around its cross-attention"
    return FantasyTalkingError(
        f"The model has not heard the speech or seen the face: {cause}. Remove that node (a cache, a speed-up or an attention "
        "patch), or set audio_strength and identity_strength to 0."
    )


def replaced(dit: Any) -> list[str]:
    """Functions of the DiT, its first block and that block's cross-attention that are not their classes' own."""
    block = dit.blocks[0]
    parts = ((dit, "the model's"), (block, "its blocks'"), (block.cross_attn, "its cross-attention's"))
    names = ("forward", "_forward", "forward_orig")
    return [f"{owner} {name}" for part, owner in parts for name in names if name in vars(part)]
