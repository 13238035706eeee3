"""What the blocks need of speech, face and motion, computed when a sampling run begins: keys and values, and a vector.

None of these depends on the noise. So the adapter's weights stay where the host keeps what is not at work, layer after layer
comes to the DiT's device for as long as it is needed there, and sampling holds the results alone: they are there before the
DiT is loaded, and the host finds as much less memory free.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import torch

from ..adapter import keys_values
from ..adapter.adapter import Adapter
from ..adapter.identity import FaceTokens, Identity
from ..adapter.keys_values import KeysValues, KeyValuePair
from ..speech.speaker import Speaker
from .model_call import Voice

ROOM = 2**28
"""Bytes beside the results: a layer's weights."""


@dataclass
class Preparation:
    """Of one sampling run, in which each speech and face is prepared once.

    Attributes:
        device, dtype: of the DiT.
        height, width: of the latent.
    """

    adapter: Adapter
    device: torch.device
    dtype: torch.dtype
    height: int
    width: int
    made: dict[int, tuple[object, Any]] = field(default_factory=dict)

    def voices(self, speakers: tuple[Speaker, ...], has_windows: bool) -> tuple[Voice, ...]:
        return self._once(speakers, lambda: tuple(self._voice(speaker, has_windows) for speaker in speakers))

    def _voice(self, speaker: Speaker, has_windows: bool) -> Voice:
        speech, branch = speaker.speech, self.adapter.audio
        return Voice(
            self._once(speech, lambda: keys_values.of_speech(branch, self._room(speech.tokens), self.device, self.dtype)),
            speech.windows()[None] if has_windows else None,
            speaker.latent_mask(self.height, self.width),
            speaker.strength,
        )

    def face(self, identity: Identity) -> KeysValues | FaceTokens:
        """Face tokens stay what they are: their keys and values are the DiT's own, see `own_image_attention`."""
        if isinstance(identity, FaceTokens):
            return identity
        branch = self.adapter.identity
        assert branch is not None, "identity weights were looked for before the run"
        return self._once(identity, lambda: keys_values.of_identity(branch, identity.vector, self.device, self.dtype))

    def motion(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Of `[B, 2]` what is added to the timestep embedding, `[B, C]` float32."""
        assert self.adapter.motion is not None, "motion weights were looked for before the run"
        return self.adapter.motion(coefficients.to(self.device, torch.float32))

    def _room(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens, with room on the device for their keys and values."""
        if not comfy.model_management.is_device_cpu(self.device):
            widths = self.adapter.audio.widths
            needed = keys_values.kept_bytes(min(len(tokens), keys_values.ON_DEVICE), widths.blocks, widths.model, self.dtype)
            comfy.model_management.free_memory(needed + ROOM, self.device)
        return tokens

    def _once(self, source: object, make: Callable[[], Any]) -> Any:
        """What was made of a source, which is known by its identity as an object; it is held, so that this stays its own."""
        if id(source) not in self.made:
            self.made[id(source)] = source, make()
        return self.made[id(source)][1]


def own_image_attention(
    dit: Any, tokens: torch.Tensor, device: torch.device, dtype: torch.dtype, kept: dict[int, KeyValuePair] | None
) -> KeysValues:
    """The face as a second image: through the DiT's image embedding and its blocks' image keys and values.

    The modules are called and their weights never read, so that LoRAs, fp8, GGUF and offloading count as they do
    for the first image.

    Args:
        tokens: `[257, 1280]`.
        kept: what earlier calls made, and this one adds to; None: nothing is kept, since the weights may change.
    """
    rows: list[torch.Tensor] = []

    def key_value(index: int) -> KeyValuePair:
        if kept is not None and index in kept:
            return kept[index]
        if not rows:
            rows.append(dit.img_emb(tokens[None].to(device, dtype)))
        block = dit.blocks[index].cross_attn
        pair = block.norm_k_img(block.k_img(rows[0])), block.v_img(rows[0])
        if kept is not None:
            kept[index] = pair
        return pair

    return key_value
