"""Speech, face and motion in the host's CONDITIONING.

Of the speech, the window map and the tokens travel as two entries of `model_conds`: the map under the one key that the
host's context windows slice along latent frames (`audio_embed`), so that every context window hears its own speech;
the tokens whole, as a constant that is recognised from call to call by its identity. The face is such a constant, too.
Motion is a row of numbers, which the host batches: every conditioning moves as it says.
"""

from typing import Any

import comfy.conds
import torch

from ..adapter.identity import Identity
from ..adapter.motion import Motion
from ..speech.speech import Speech

WINDOWS = "audio_embed"
SPEECH = "fantasytalking_speech"
IDENTITY = "fantasytalking_identity"
MOTION = "fantasytalking_motion"

PLACES = ("start_percent", "end_percent", "area", "strength", "mask", "mask_strength", "set_area_to_bounds")
"""The host's entries that say when and where an item of a conditioning counts."""

Conditioning = list[list[Any]]


class WindowMap(comfy.conds.CONDRegular):
    """`[B, T, l′]`, cut along latent frames where the host cuts the latent to an item's area."""

    def process_cond(self, batch_size: int, area: list[int] | None = None, **kwargs: Any) -> "WindowMap":
        windows = self.cond if area is None else self.cond.narrow(1, area[len(area) // 2], area[0])
        return super(WindowMap, self._copy_with(windows)).process_cond(batch_size)

    def can_concat(self, other: "WindowMap") -> bool:
        """Rows of a batch hear the same windows, so that one set of keys and values serves them."""
        return super().can_concat(other) and torch.equal(self.cond, other.cond)


def conds_of(options: dict[str, Any]) -> dict[str, Any]:
    """What an item's options hand to the model by name."""
    return options.get("model_conds") or {}


def with_entries(conditioning: Conditioning, entries: dict[str, Any]) -> Conditioning:
    """A copy whose items carry `entries` in their `model_conds`."""
    return [[text, {**options, "model_conds": {**conds_of(options), **entries}}] for text, options in conditioning]


def entries_of(speech: Speech, clip_level: bool = False) -> dict[str, Any]:
    """`model_conds` entries of a speech; at clip level (training, stage 1) there is no window map."""
    entries = {SPEECH: comfy.conds.CONDConstant(speech)}
    if not clip_level:
        entries[WINDOWS] = WindowMap(speech.windows()[None])
    return entries


def entries_of_face(identity: Identity) -> dict[str, Any]:
    """`model_conds` entry of a face, for the positive and the negative conditioning."""
    return {IDENTITY: comfy.conds.CONDConstant(identity)}


def entries_of_motion(motion: Motion) -> dict[str, Any]:
    """`model_conds` entry of a motion, for the positive and the negative conditioning."""
    return {MOTION: comfy.conds.CONDRegular(motion.coefficients())}


def without_speech(conditioning: Conditioning) -> Conditioning:
    """A copy that carries no speech."""
    return [[text, {**options, "model_conds": silent(conds_of(options))}] for text, options in conditioning]


def silent(model_conds: dict[str, Any]) -> dict[str, Any]:
    """`model_conds` without the speech; another model's own `audio_embed` is left alone."""
    if SPEECH not in model_conds:
        return model_conds
    return {key: value for key, value in model_conds.items() if key not in (SPEECH, WINDOWS)}


def faceless(model_conds: dict[str, Any]) -> dict[str, Any]:
    """`model_conds` without the face."""
    return {key: value for key, value in model_conds.items() if key != IDENTITY}


def speech_of(options: dict[str, Any]) -> dict[str, Any]:
    """The speech entries of one item, or nothing."""
    return {key: value for key, value in conds_of(options).items() if key in (SPEECH, WINDOWS)}


def carries(conditioning: Conditioning, entry: str) -> bool:
    """Whether any item has this entry (`SPEECH`, `IDENTITY`, `MOTION`)."""
    return any(entry in conds_of(options) for _, options in conditioning)


def hearing_as(negative: Conditioning, positive: Conditioning) -> Conditioning:
    """The negative with the positive's speech; of several speeches, each where and when the positive hears it."""
    speakers = [options for _, options in positive if SPEECH in conds_of(options)]
    if len({id(conds_of(options)[SPEECH].cond) for options in speakers}) < 2:
        return with_entries(negative, speech_of(speakers[0]) if speakers else {})
    return [
        [text, {**options, **{key: speaker[key] for key in PLACES if key in speaker}}]
        for speaker in speakers
        for text, options in with_entries(negative, speech_of(speaker))
    ]
