"""Speech, face and motion in the host's CONDITIONING.

The speakers travel in `model_conds` whole, as a constant that is recognised from call to call by its identity; beside them
the numbers of the clip's latent frames, under the one key that the host's context windows slice along latent frames
(`audio_embed`), so that every context window hears its own part of every speech. The face is such a constant, too. Motion is
a row of numbers, which the host batches: every conditioning moves as it says.
"""

from dataclasses import replace
from typing import Any

import comfy.conds
import torch

from ..adapter.identity import Identity
from ..adapter.motion import Motion
from ..speech.speaker import Speaker, together

PLACES = "audio_embed"
SPEECH = "fantasytalking_speech"
IDENTITY = "fantasytalking_identity"
MOTION = "fantasytalking_motion"

AREAS = ("start_percent", "end_percent", "area", "strength", "mask", "mask_strength", "set_area_to_bounds")
"""The host's entries that say when and where an item of a conditioning counts."""

Conditioning = list[list[Any]]


class Places(comfy.conds.CONDRegular):
    """int64 `[B, T]`: which latent frame of the clip each of a call's is; cut where the host cuts the latent to an area."""

    def process_cond(self, batch_size: int, area: list[int] | None = None, **kwargs: Any) -> "Places":
        places = self.cond if area is None else self.cond.narrow(1, area[len(area) // 2], area[0])
        return super(Places, self._copy_with(places)).process_cond(batch_size)

    def can_concat(self, other: "Places") -> bool:
        """Rows of a batch hear the same, so that one set of keys and values serves them."""
        return super().can_concat(other) and torch.equal(self.cond, other.cond)


class Voices(comfy.conds.CONDConstant):
    """`Voice`s, whose masks are cut where the host cuts the latent to an area."""

    def process_cond(self, batch_size: int, area: list[int] | None = None, **kwargs: Any) -> "Voices":
        if area is None or all(voice.mask is None for voice in self.cond):
            return super().process_cond(batch_size, **kwargs)
        height, width, top, left = (area[index] for index in (-5, -4, -2, -1))
        return self._copy_with(
            tuple(
                voice if voice.mask is None else replace(voice, mask=voice.mask[:, top : top + height, left : left + width])
                for voice in self.cond
            )
        )


def conds_of(options: dict[str, Any]) -> dict[str, Any]:
    """What an item's options hand to the model by name."""
    return options.get("model_conds") or {}


def with_entries(conditioning: Conditioning, entries: dict[str, Any]) -> Conditioning:
    """A copy whose items carry `entries` in their `model_conds`."""
    return [[text, {**options, "model_conds": {**conds_of(options), **entries}}] for text, options in conditioning]


def entries_of(*speakers: Speaker, clip_level: bool = False) -> dict[str, Any]:
    """`model_conds` entries of speakers; at clip level (training, stage 1) every latent frame hears all."""
    entries: dict[str, Any] = {SPEECH: comfy.conds.CONDConstant(speakers)}
    if not clip_level:
        entries[PLACES] = Places(torch.arange(speakers[0].speech.latent_frames)[None])
    return entries


def speakers_of(options: dict[str, Any]) -> tuple[Speaker, ...]:
    """Those of one item."""
    return conds_of(options)[SPEECH].cond if SPEECH in conds_of(options) else ()


def with_speaker(conditioning: Conditioning, speaker: Speaker) -> Conditioning:
    """A copy whose items carry one speaker more.

    Raises:
        FantasyTalkingError: one whose speech has another length than that of those before.
    """
    made: dict[int, dict[str, Any]] = {}
    items = []
    for item in conditioning:
        others = speakers_of(item[1])
        entries = made.setdefault(id(others), entries_of(*together(others, speaker)))  # those who share, share on
        items += with_entries([item], entries)
    return items


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
    return {key: value for key, value in model_conds.items() if key not in (SPEECH, PLACES)}


def faceless(model_conds: dict[str, Any]) -> dict[str, Any]:
    """`model_conds` without the face."""
    return {key: value for key, value in model_conds.items() if key != IDENTITY}


def speech_of(options: dict[str, Any]) -> dict[str, Any]:
    """The speech entries of one item, or nothing."""
    return {key: value for key, value in conds_of(options).items() if key in (SPEECH, PLACES)}


def carries(conditioning: Conditioning, entry: str) -> bool:
    """Whether any item has this entry (`SPEECH`, `IDENTITY`, `MOTION`)."""
    return any(entry in conds_of(options) for _, options in conditioning)


def hearing_as(negative: Conditioning, positive: Conditioning) -> Conditioning:
    """The negative with the positive's speech; of several speeches, each where and when the positive hears it."""
    speakers = [options for _, options in positive if SPEECH in conds_of(options)]
    if len({id(conds_of(options)[SPEECH].cond) for options in speakers}) < 2:
        return with_entries(negative, speech_of(speakers[0]) if speakers else {})
    return [
        [text, {**options, **{key: speaker[key] for key in AREAS if key in speaker}}]
        for speaker in speakers
        for text, options in with_entries(negative, speech_of(speaker))
    ]
