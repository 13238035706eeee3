"""Keys and values of speech and face: once per sampling run, not per step, pass and window.

They depend on the speech or the face and on the weights only, so nothing that happens while sampling changes them.
Those of a long speech are not kept: where they would take more memory than the adapter's own weights, those that a
model call needs are computed in that call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import FantasyTalkingError
from ..speech.windows import PADDING
from .adapter import Adapter
from .audio import AudioBranch
from .identity import IdentityBranch

KeyValuePair = tuple[torch.Tensor, torch.Tensor]


class BlockKeysValues:
    """Keys and values of one sequence in every block, `[1, N, C]`.

    Args:
        rows: `[1, N, projected]`, what every block reads.
        key_value: block index and rows to keys and values.
        keep: whether they are kept for later calls.
        what: what they are of, for the error where they are not finite; None: not looked at.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        key_value: Callable[[int, torch.Tensor], KeyValuePair],
        keep: bool,
        what: str | None = None,
    ) -> None:
        self.rows, self.key_value, self.keep, self.what = rows, key_value, keep, what
        self.kept: dict[int, KeyValuePair] = {}

    def __call__(self, index: int) -> KeyValuePair:
        if index in self.kept:
            return self.kept[index]
        pair = self.key_value(index, self.rows)
        if self.what is not None and not all(torch.isfinite(part).all() for part in pair):
            raise FantasyTalkingError(
                f"The adapter makes NaN or infinite numbers of {self.what} (in block {index}), and the video would be black: "
                "the adapter's file is broken, download, convert or export it again."
            )
        if self.keep:
            self.kept[index] = pair
        return pair


def of_identity(
    branch: IdentityBranch, embedding: torch.Tensor, device: torch.device, dtype: torch.dtype, keep: bool
) -> BlockKeysValues:
    """Keys and values of a face embedding `[D]`; the resampler computes in float32."""
    rows = branch.resampler(embedding[None].to(device, torch.float32)).to(dtype)
    return BlockKeysValues(rows, lambda index, rows: branch.blocks[index](rows), keep, "the face")


@dataclass(frozen=True)
class CallKeysValues:
    """What one model call hears.

    Attributes:
        block: keys and values of a block, `[1, rows + 1, C]`, by its index.
        windows: int64 `[1, T, l′]` into those rows, or None at clip level.
    """

    block: BlockKeysValues
    windows: torch.Tensor | None


class SpeechKeysValues:
    """Keys and values of one speech on one device.

    Args:
        branch: the adapter's audio branch, on any device.
        tokens: `[L, audio]`, on any device.
        device, dtype: those of the query.
        keep: whether they are kept for later calls; if not, a call computes those that it needs, and the device
            never holds more than that.
    """

    def __init__(self, branch: AudioBranch, tokens: torch.Tensor, device: torch.device, dtype: torch.dtype, keep: bool) -> None:
        self.branch, self.tokens, self.device, self.dtype = branch, tokens, device, dtype
        self.kept = self.of(tokens, keep=True) if keep else None

    def of(self, tokens: torch.Tensor, keep: bool) -> BlockKeysValues:
        """Those of `[rows, audio]`; the projector computes in float32, as in the release."""
        rows = self.branch.project(tokens[None].to(self.device, torch.float32)).to(self.dtype)
        return BlockKeysValues(rows, lambda index, rows: self.branch.blocks[index](rows), keep, "the speech")

    def for_call(self, windows: torch.Tensor | None) -> CallKeysValues:
        """Keys and values for a model call in which the latent frames hear `windows` (int64 `[1, T, l′]`)."""
        if self.kept is not None:
            return CallKeysValues(self.kept, windows)
        tokens = self.tokens
        if windows is not None:
            heard, places = torch.unique(windows.to(tokens.device), return_inverse=True)
            padded = int(PADDING in heard)  # the lowest index, so the first of the unique ones
            tokens, windows = tokens[heard[padded:]], (places - padded).to(self.device)
        return CallKeysValues(self.of(tokens, keep=False), windows)


def kept_bytes(rows: int, blocks: int, model: int, dtype: torch.dtype) -> int:
    """Memory of the keys and values of `rows` in all blocks of a DiT of width `model`."""
    return 2 * blocks * rows * model * dtype.itemsize


class RunCache:
    """What one sampling run keeps: keys and values by device and source, within the adapter's own size."""

    def __init__(self) -> None:
        self._entries: dict[tuple, tuple[Any, Any]] = {}
        self._bytes: dict[torch.device, int] = {}

    def get(
        self,
        adapter: Adapter,
        source: object,
        rows: int,
        device: torch.device,
        dtype: torch.dtype,
        make: Callable[[bool], Any],
    ) -> Any:
        """What `make(keep)` made of a source (a speech, an identity) of so many rows.

        A source is known by its identity as an object; it is held, so that this stays its own.
        """
        key = (device, dtype, id(source))
        if key not in self._entries:
            widths = adapter.audio.widths
            needed = self._bytes.get(device, 0) + kept_bytes(rows, widths.blocks, widths.model, dtype)
            keep = needed <= adapter.bytes()
            if keep:
                self._bytes[device] = needed
            self._entries[key] = (source, make(keep))
        return self._entries[key][1]

    def clear(self) -> None:
        self._entries.clear()
        self._bytes.clear()
