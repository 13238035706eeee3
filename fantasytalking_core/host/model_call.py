"""What the adapter adds in one model call: speech and face, to the result of every block's cross-attention.

Z′ = Z + λ1·Σ_p s_p·M_p ⊙ Attn(Q, K_p, V_p) + λ2·Attn(Q, K_id, V_id)                                  (Eq. 4)

where the paper has one speaker and no mask M.
"""

from dataclasses import dataclass, field, replace

import torch
from comfy.ldm.modules.attention import attention_pytorch

from ..adapter.attention import clip_attention, face_attention, token_mask, window_attention, window_mask
from ..adapter.keys_values import KeysValues

# PyTorch's own attention: it takes masks in every setup of the host, and with so few keys none is faster.
attention = attention_pytorch


@dataclass(frozen=True, eq=False)
class Voice:
    """A speaker as the blocks hear one.

    Attributes:
        keys_values: of the speech.
        windows: int64 `[1 or B, T, l′]`, what each latent frame hears; None at clip level.
        mask: `[1 or T, h, w]` on the latent grid; None: 1 everywhere.
        strength: of this speaker.
    """

    keys_values: KeysValues
    windows: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    strength: float = 1.0

    def at(self, places: torch.Tensor) -> "Voice":
        """At these latent frames (int64 `[t]`) of the clip."""
        mask = self.mask if self.mask is None or len(self.mask) == 1 else self.mask[places]
        return replace(self, windows=None if self.windows is None else self.windows[:, places], mask=mask)


@dataclass
class Call:
    """State of one model call.

    Attributes:
        voices: who is heard, at the latent frames of this call.
        face: keys and values of the face.
        audio_strength, identity_strength: λ1 and λ2.
        frames: latent frames T of the video.
        tokens_per_frame: video tokens S of each.
        first_token: where the video begins among the tokens, after a reference image's, which hears nothing.
        was_added: whether any block had what there is to add.
    """

    voices: tuple[Voice, ...]
    face: KeysValues | None
    audio_strength: float
    identity_strength: float
    frames: int
    tokens_per_frame: int
    first_token: int = 0
    was_added: bool = False
    masks: dict[int, tuple[torch.Tensor | None, torch.Tensor | None]] = field(default_factory=dict)
    """By voice: the mask of its windows' padding, and its own at the tokens. The same for every block."""

    @property
    def adds(self) -> bool:
        return bool(self.voices) or self.face is not None

    def add(self, out: torch.Tensor, q: torch.Tensor, heads: int, block: int) -> torch.Tensor:
        """Speech and face on top of the block's other cross-attention `[B, N, C]`, whose query q is."""
        self.was_added = True
        for number, voice in enumerate(self.voices):
            heard = self.hear(number, voice, q, heads, block)
            out = torch.add(out, heard, alpha=self.audio_strength * voice.strength)
        if self.face is not None:
            seen = face_attention(q, *self.face(block), heads, attention)
            out = torch.add(out, seen, alpha=self.identity_strength)
        return out

    def hear(self, number: int, voice: Voice, q: torch.Tensor, heads: int, block: int) -> torch.Tensor:
        k, v = voice.keys_values(block)
        padding, mask = self.masks_of(number, voice, q)
        if voice.windows is None and mask is None:
            return clip_attention(q, k, v, heads, attention=attention)
        first, count = self.first_token, self.frames * self.tokens_per_frame
        video = q if count == q.shape[1] else q[:, first : first + count]
        if voice.windows is None:
            heard = clip_attention(video, k, v, heads, attention=attention)
        else:
            heard = window_attention(video, k, v, voice.windows, heads, padding, attention)
        if mask is not None:
            heard = heard * mask
        if video is not q:  # tokens of reference images hear nothing
            heard = torch.nn.functional.pad(heard, (0, 0, first, q.shape[1] - first - count))
        return heard

    def masks_of(self, number: int, voice: Voice, q: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if number not in self.masks:
            padding = None if voice.windows is None else window_mask(voice.windows.to(q.device), q.dtype)
            mask = None if voice.mask is None else token_mask(voice.mask.to(q).expand(self.frames, -1, -1))
            self.masks[number] = padding, mask
        return self.masks[number]
