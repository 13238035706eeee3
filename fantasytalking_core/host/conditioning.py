"""Speech in the host's CONDITIONING.

The window map and the tokens travel as two entries of `model_conds`: the map under the one key that the host's
context windows slice along latent frames (`audio_embed`), so that every context window hears its own speech; the
tokens whole, as a constant that is recognised from call to call by its identity.
"""

from typing import Any

import comfy.conds

from ..speech import Speech

WINDOWS = "audio_embed"
SPEECH = "fantasytalking_speech"

Conditioning = list[list[Any]]


def with_entries(conditioning: Conditioning, entries: dict[str, Any]) -> Conditioning:
    """A copy whose items carry `entries` in their `model_conds`."""
    return [[text, {**about, "model_conds": {**about.get("model_conds", {}), **entries}}] for text, about in conditioning]


def entries_of(speech: Speech, clip_level: bool = False) -> dict[str, Any]:
    """`model_conds` entries of a speech; at clip level (training, stage 1) there is no window map."""
    entries = {SPEECH: comfy.conds.CONDConstant(speech)}
    if not clip_level:
        entries[WINDOWS] = comfy.conds.CONDRegular(speech.windows()[None])
    return entries


def without_speech(conditioning: Conditioning) -> Conditioning:
    """A copy that carries no speech."""
    return [[text, {**about, "model_conds": silent(about.get("model_conds", {}))}] for text, about in conditioning]


def silent(model_conds: dict[str, Any]) -> dict[str, Any]:
    """`model_conds` without the speech; another model's own `audio_embed` is left alone."""
    if SPEECH not in model_conds:
        return model_conds
    return {key: value for key, value in model_conds.items() if key not in (SPEECH, WINDOWS)}


def speech_entries(conditioning: Conditioning) -> dict[str, Any]:
    """The speech entries of the first item that carries them, or nothing."""
    for _, about in conditioning:
        entries = about.get("model_conds", {})
        if SPEECH in entries:
            return {key: entries[key] for key in (SPEECH, WINDOWS) if key in entries}
    return {}
