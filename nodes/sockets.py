"""The pack's own socket types."""

from comfy_api.latest import io

Adapter = io.Custom("FT_ADAPTER")
Wav2Vec = io.Custom("FT_WAV2VEC")
Speech = io.Custom("FT_SPEECH")

CATEGORY = "FantasyTalking"
