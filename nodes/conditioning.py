"""Speech, face and motion into the conditioning."""

from types import NoneType

import torch
from comfy_api.latest import io

from ..fantasytalking_core.adapter.identity import FaceEmbedding, FaceTokens, Identity
from ..fantasytalking_core.adapter.motion import Motion
from ..fantasytalking_core.host import checks, conditioning
from ..fantasytalking_core.speech.speaker import MAX_STRENGTH, Speaker, notices
from ..fantasytalking_core.speech.speech import Speech
from . import shown, sockets


class FantasyTalkingConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingConditioning",
            display_name="FantasyTalking Conditioning",
            category=f"{sockets.CATEGORY}/speech",
            description="Adds the speech, and the face and the motion where they are wired, to the prompts. Put it between "
            "WanImageToVideo and the sampler. For several speakers, one after another: each adds one, heard where its mask is.",
            search_aliases=[
                "speech conditioning",
                "audio conditioning",
                "audio driven",
                "talking head",
                "talking portrait",
                "several speakers",
                "fantasy talking",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The positive output of WanImageToVideo."),
                io.Conditioning.Input("negative", tooltip="The negative output of WanImageToVideo."),
                sockets.Speech.Input("speech", tooltip="From Encode Speech."),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="From Encode Face (needs an adapter that was trained with identity) or Encode Face (CLIP). Its "
                    "weight is the adapter's identity_strength.",
                ),
                sockets.Motion.Input(
                    "motion",
                    optional=True,
                    tooltip="From Motion Intensity or Motion From Video. Needs an adapter that was trained with motion.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where this speech is heard: 1 at its speaker, 0 elsewhere; one picture, or one for each frame. "
                    "From Speaker Masks, or painted. Unwired: everywhere.",
                ),
                io.Float.Input(
                    "audio_strength",
                    default=1.0,
                    min=0.0,
                    max=MAX_STRENGTH,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly this speech is heard, times the adapter's audio_strength.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="With all that is wired."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="With face and motion, and without speech: the guider needs it so."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive,
        negative,
        speech: Speech,
        identity: Identity | None = None,
        motion: Motion | None = None,
        mask: torch.Tensor | None = None,
        audio_strength: float = 1.0,
    ) -> io.NodeOutput:
        checks.check_conditioning(positive, "positive", "WanImageToVideo")
        checks.check_conditioning(negative, "negative", "WanImageToVideo")
        sockets.expected(speech, Speech, "speech", "Encode Speech")
        sockets.expected(identity, (FaceEmbedding, FaceTokens, NoneType), "identity", "Encode Face")
        sockets.expected(motion, (Motion, NoneType), "motion", "Motion Intensity")
        speaker = Speaker(speech, mask, audio_strength)
        both = {
            **({} if identity is None else conditioning.entries_of_face(identity)),
            **({} if motion is None else conditioning.entries_of_motion(motion)),
        }
        heard = conditioning.with_speaker(positive, speaker)
        speakers = conditioning.speakers_of(heard[0][1])
        said = shown.text(*described(speakers), warnings=notices(speakers))
        return io.NodeOutput(conditioning.with_entries(heard, both), conditioning.with_entries(negative, both), ui=said)


def described(speakers: tuple[Speaker, ...]) -> list[str]:
    """Nothing of a single one who is heard everywhere."""
    masks = [speaker.mask for speaker in speakers]
    if masks == [None]:
        return []
    parts = ["everywhere" if mask is None else f"{mask.mean():.0%} of the picture" for mask in masks]
    return [f"{len(parts)} speaker{'s' * (len(parts) > 1)}: {' · '.join(parts)}"]


NODES = [FantasyTalkingConditioning]
