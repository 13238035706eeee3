"""The adapter: what FantasyTalking adds to the frozen DiT.

The same modules are trained and sampled. `operations` is where their layers come from: `torch.nn`, or the host's
`comfy.ops.manual_cast`, which casts and offloads weights.
"""

from typing import Any

from torch import nn

from .audio import AudioBranch, AudioWidths
from .identity import HEADS, IdentityBranch, IdentityWidths
from .motion import RANGES, MotionNetwork, MotionRanges, MotionWidths


class Adapter(nn.Module):
    """Everything that is added to the DiT; a part that a file does not hold is None.

    Args:
        ranges: of motion in the data that it was trained on.
        face_encoder: name and size of the file that made the face embeddings there, empty where that is not known.
    """

    def __init__(
        self,
        audio: AudioWidths,
        identity: IdentityWidths | None = None,
        motion: MotionWidths | None = None,
        ranges: MotionRanges = MotionRanges(),
        face_encoder: str = "",
        operations: Any = nn,
        **factory: Any,
    ) -> None:
        super().__init__()
        self.face_encoder = face_encoder
        self.audio = AudioBranch(audio, operations, **factory)
        self.identity = None if identity is None else IdentityBranch(identity, operations, **factory)
        self.motion = None if motion is None else MotionNetwork(motion, ranges, operations, **factory)

    def bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.parameters())

    def metadata(self) -> dict[str, str]:
        """What a file of these weights has to say beside them."""
        heads = {} if self.identity is None else {HEADS: str(self.identity.widths.heads)}
        ranges = {} if self.motion is None else {RANGES: self.motion.ranges.to_json()}
        return {**heads, **ranges}
