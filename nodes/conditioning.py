"""Speech, face and motion into the conditioning."""

from types import NoneType

from comfy_api.latest import io

from ..fantasytalking_core.adapter.identity import FaceEmbedding, FaceTokens, Identity
from ..fantasytalking_core.adapter.motion import Motion
from ..fantasytalking_core.host import checks, conditioning
from ..fantasytalking_core.speech.speech import Speech
from . import sockets


class FantasyTalkingConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingConditioning",
            display_name="FantasyTalking Conditioning",
            category=f"{sockets.CATEGORY}/speech",
            description="Adds the speech, and the face and the motion where they are wired, to the prompts. Put it between "
            "WanImageToVideo and the sampler.",
            search_aliases=[
                "speech conditioning",
                "audio conditioning",
                "audio driven",
                "talking head",
                "talking portrait",
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
        cls, positive, negative, speech: Speech, identity: Identity | None = None, motion: Motion | None = None
    ) -> io.NodeOutput:
        checks.check_conditioning(positive, "positive", "WanImageToVideo")
        checks.check_conditioning(negative, "negative", "WanImageToVideo")
        sockets.expected(speech, Speech, "speech", "Encode Speech")
        sockets.expected(identity, (FaceEmbedding, FaceTokens, NoneType), "identity", "Encode Face")
        sockets.expected(motion, (Motion, NoneType), "motion", "Motion Intensity")
        both = {
            **({} if identity is None else conditioning.entries_of_face(identity)),
            **({} if motion is None else conditioning.entries_of_motion(motion)),
        }
        return io.NodeOutput(
            conditioning.with_entries(positive, {**conditioning.entries_of(speech), **both}),
            conditioning.with_entries(negative, both),
        )


NODES = [FantasyTalkingConditioning]
