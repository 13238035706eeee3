"""What the adapter adds in one model call: speech and face, to the result of every block's cross-attention.

Z′ = Z + λ1·Attn(Q, K_audio, V_audio) + λ2·Attn(Q, K_id, V_id)                                        (Eq. 4)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from comfy.ldm.modules.attention import attention_pytorch

from ..adapter.adapter import Adapter
from ..adapter.attention import clip_attention, face_attention, window_attention, window_mask
from ..adapter.identity import FaceTokens, Identity
from ..adapter.keys_values import BlockKeysValues, CallKeysValues, KeyValuePair, RunCache, SpeechKeysValues, of_identity
from ..speech.speech import Speech

# PyTorch's own attention: it takes masks in every setup of the host, and with so few keys none is faster.
attention = attention_pytorch

T = TypeVar("T")


@dataclass
class Call:
    """State of one model call.

    Attributes:
        dit: the host's DiT that is called, on its own device.
        adapter: None where keys and values were prepared.
        cache: what the sampling run keeps; None outside of one, and nothing is kept.
        speech, windows: what the latent frames hear; no windows at clip level.
        audio_strength, identity_strength: λ1 and λ2.
        tokens_per_frame: video tokens S of a latent frame.
        first_token: where the video begins among the tokens, after a reference image's.
        weights_change: whether the DiT's weights may differ in the run's next call.
        speech_keys_values, face_keys_values: prepared for all blocks of the call; training prepares them itself, since there
            every row of a batch has its own.
        was_added: whether any block had what there is to add.
    """

    dit: Any
    adapter: Adapter | None
    cache: RunCache | None
    speech: Speech | None
    windows: torch.Tensor | None
    identity: Identity | None
    audio_strength: float
    identity_strength: float
    tokens_per_frame: int
    first_token: int
    weights_change: bool
    speech_keys_values: tuple[CallKeysValues, torch.Tensor | None] | None = None
    face_keys_values: BlockKeysValues | None = None
    was_added: bool = False

    @property
    def adds(self) -> bool:
        parts = (self.speech, self.speech_keys_values, self.identity, self.face_keys_values)
        return any(part is not None for part in parts)

    def add(self, out: torch.Tensor, q: torch.Tensor, heads: int, block: int) -> torch.Tensor:
        """Speech and face on top of the block's other cross-attention `[B, N, C]`, whose query q is."""
        self.was_added = True
        if self.speech_keys_values is None and self.speech is not None:
            self.speech_keys_values = self.prepare_speech(self.speech, q)
        if self.face_keys_values is None and self.identity is not None:
            self.face_keys_values = self.prepare_face(self.identity, q)
        if self.speech_keys_values is not None:
            out = torch.add(out, self.hear(*self.speech_keys_values, q, heads, block), alpha=self.audio_strength)
        if self.face_keys_values is not None:
            seen = face_attention(q, *self.face_keys_values(block), heads, attention)
            out = torch.add(out, seen, alpha=self.identity_strength)
        return out

    def hear(self, call: CallKeysValues, mask: torch.Tensor | None, q: torch.Tensor, heads: int, block: int) -> torch.Tensor:
        k, v = call.block(block)
        if call.windows is None:
            return clip_attention(q, k, v, heads, attention=attention)
        first, count = self.first_token, call.windows.shape[1] * self.tokens_per_frame
        video = q if count == q.shape[1] else q[:, first : first + count]
        heard = window_attention(video, k, v, call.windows, heads, mask, attention)
        if video is not q:  # tokens of reference images hear nothing
            heard = torch.nn.functional.pad(heard, (0, 0, first, q.shape[1] - first - count))
        return heard

    def prepare_speech(self, speech: Speech, q: torch.Tensor) -> tuple[CallKeysValues, torch.Tensor | None]:
        """Keys and values, and the windows' mask: the same for every block of a call."""
        audio, tokens = self.weights().audio, speech.tokens
        source = self.kept(
            speech, tokens.shape[0] + 1, q, lambda keep: SpeechKeysValues(audio, tokens, q.device, q.dtype, keep)
        )
        # the rows of a batch share the speech, and so the windows
        call = source.for_call(None if self.windows is None else self.windows[:1].to(q.device))
        return call, None if call.windows is None else window_mask(call.windows, q.dtype)

    def prepare_face(self, identity: Identity, q: torch.Tensor) -> BlockKeysValues:
        """Keys and values of the face, from the adapter's own weights or from the DiT's."""
        if isinstance(identity, FaceTokens):
            tokens = identity.tokens
            if self.weights_change:
                return self.own_image_attention(tokens, q, keep=False)
            return self.kept(identity, tokens.shape[0], q, lambda keep: self.own_image_attention(tokens, q, keep))
        branch, vector = self.weights().identity, identity.vector
        assert branch is not None, "identity weights were looked for before the run"
        return self.kept(identity, branch.widths.queries, q, lambda keep: of_identity(branch, vector, q.device, q.dtype, keep))

    def own_image_attention(self, tokens: torch.Tensor, q: torch.Tensor, keep: bool) -> BlockKeysValues:
        """The face as a second image: through the DiT's image embedding and its blocks' image keys and values.

        The modules are called and their weights never read, so that LoRAs, fp8, GGUF and offloading count as they do
        for the first image.
        """

        def key_value(index: int, rows: torch.Tensor) -> KeyValuePair:
            block = self.dit.blocks[index].cross_attn
            return block.norm_k_img(block.k_img(rows)), block.v_img(rows)

        return BlockKeysValues(self.dit.img_emb(tokens[None].to(q)), key_value, keep)

    def weights(self) -> Adapter:
        assert self.adapter is not None, "without an adapter, keys and values are prepared by who makes the call"
        return self.adapter

    def kept(self, source: object, rows: int, q: torch.Tensor, make: Callable[[bool], T]) -> T:
        if self.cache is None:
            return make(False)
        return self.cache.get(self.weights(), source, rows, q.device, q.dtype, make)
