"""Keys and values of the speech: once per sampling run and token, not per step, pass and window.

They depend on the speech and the adapter only, so nothing that happens while sampling changes them. Those of a
long speech are not kept: where they would take more memory than the adapter's own weights, the tokens that a
model call needs are computed in that call.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .adapter import Adapter, AudioBranch
from .speech import Speech
from .windows import PADDING

KeyValuePair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class CallKeysValues:
    """What one model call attends to.

    Attributes:
        block: keys and values of a block, `[1, rows + 1, C]`, by its index.
        windows: int64 `[1, T, l′]` into those rows, or None at clip level.
    """

    block: Callable[[int], KeyValuePair]
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

    def __init__(
        self, branch: AudioBranch, tokens: torch.Tensor, device: torch.device, dtype: torch.dtype, keep: bool
    ) -> None:
        self.branch, self.tokens, self.device, self.dtype, self.keep = branch, tokens, device, dtype, keep
        self.projected = self.project(tokens) if keep else None
        self.kept: dict[int, KeyValuePair] = {}

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """`[1, rows + 1, projected]`; in float32, as in the release."""
        return self.branch.project(tokens[None].to(self.device, torch.float32)).to(self.dtype)

    def for_call(self, windows: torch.Tensor | None) -> CallKeysValues:
        """Keys and values for a model call in which the latent frames hear `windows` (int64 `[1, T, l′]`)."""
        if self.keep:
            return CallKeysValues(self.kept_block, windows)
        tokens = self.tokens
        if windows is not None:
            heard, places = torch.unique(windows.to(tokens.device), return_inverse=True)
            padded = int(PADDING in heard)  # the lowest index, so the first of the unique ones
            tokens, windows = tokens[heard[padded:]], (places - padded).to(self.device)
        rows = self.project(tokens)
        return CallKeysValues(lambda index: self.branch.blocks[index](rows), windows)

    def kept_block(self, index: int) -> KeyValuePair:
        if index not in self.kept:
            self.kept[index] = self.branch.blocks[index](self.projected)
        return self.kept[index]


def kept_bytes(branch: AudioBranch, tokens: int, dtype: torch.dtype) -> int:
    """Memory of the keys and values of `tokens` in all blocks."""
    return 2 * branch.widths.blocks * (tokens + 1) * branch.widths.model * dtype.itemsize


class RunCache:
    """What one sampling run keeps: keys and values by device and speech, within the adapter's own size."""

    def __init__(self) -> None:
        self._entries: dict[tuple, tuple[Speech, SpeechKeysValues]] = {}
        self._bytes: dict[torch.device, int] = {}

    def get(self, adapter: Adapter, speech: Speech, device: torch.device, dtype: torch.dtype) -> SpeechKeysValues:
        """A speech is known by its identity; it is held, so that this stays its own."""
        key = (device, dtype, id(speech))
        if key not in self._entries:
            needed = self._bytes.get(device, 0) + kept_bytes(adapter.audio, speech.tokens.shape[0], dtype)
            keep = needed <= adapter.bytes()
            if keep:
                self._bytes[device] = needed
            self._entries[key] = (speech, SpeechKeysValues(adapter.audio, speech.tokens, device, dtype, keep))
        return self._entries[key][1]

    def clear(self) -> None:
        self._entries.clear()
        self._bytes.clear()
