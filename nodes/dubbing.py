"""A video that exists gets other speech: where its mouth is, and its latents with that to be made anew."""

import comfy.utils
from comfy.sd import VAE
from comfy_api.latest import io

from ..fantasytalking_core.errors import check_number
from ..fantasytalking_core.face.landmarks import landmarks_of
from ..fantasytalking_core.host.dub_latent import Dub
from ..fantasytalking_core.motion import mouth_mask
from ..fantasytalking_core.pictures import pictures
from . import shown, sockets

ALIASES = ["dubbing", "dub", "lip sync", "lipsync", "video to video", "mouth", "new speech", "fantasy talking"]


class FantasyTalkingMouthMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingMouthMask",
            display_name="FantasyTalking Mouth Mask",
            category=f"{sockets.CATEGORY}/dubbing",
            description="Masks the mouth and jaw of one person in every frame of a video, for new speech with everything else "
            "left as it is.",
            search_aliases=[*ALIASES, "face mask", "lower face"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of the video."),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    tooltip="From Detect Face Landmarks (MediaPipe) with the same frames. Of several people one is followed: "
                    "who is large in many frames.",
                ),
                io.Combo.Input(
                    "region",
                    options=list(mouth_mask.REGIONS),
                    default=mouth_mask.LOWER_FACE,
                    tooltip="lower face has the jaw in it, so that the chin can open; mouth is the lips alone.",
                ),
                io.Float.Input(
                    "grow",
                    default=mouth_mask.GROW,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="By how much it is larger than that on every side, in widths of the face.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask",
                    tooltip="One for each frame: for Dub Latent, and for Image Composite Masked at the end.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, grow=None) -> bool | str:
        return sockets.checked(check_number, "grow", grow, 0, 1)

    @classmethod
    def execute(cls, images, face_landmarks, region: str, grow: float) -> io.NodeOutput:
        frames = pictures(images, "images")
        count, height, width, _ = frames.shape
        landmarks = landmarks_of(face_landmarks, frames, "images")
        track = mouth_mask.MouthTrack.of(landmarks, region)
        masks = track.masks(height, width, grow, comfy.utils.ProgressBar(count).update)
        lines = [f"{region} in {len(track.known)} of {count} frames"]
        if max(map(len, landmarks.frames)) > 1:
            lines.append("of several people the one who is large in many frames")
        said = shown.text(*lines, warnings=track.notices())
        return io.NodeOutput(masks, ui=said)


class FantasyTalkingDubLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingDubLatent",
            display_name="FantasyTalking Dub Latent",
            category=f"{sockets.CATEGORY}/dubbing",
            description="Encodes a video for the sampler to make anew within a mask and to keep elsewhere.",
            search_aliases=[*ALIASES, "noise mask", "inpaint"],
            inputs=[
                io.Vae.Input("vae", tooltip="Wan2.1's VAE."),
                io.Image.Input("images", tooltip="The frames of the video; its sides are multiples of 16 pixels."),
                io.Mask.Input(
                    "mask",
                    tooltip="What is made anew: one for each frame, from Mouth Mask, or one for all of them.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent", tooltip="For latent_image of FantasyTalking Sampler, in place of WanImageToVideo's."
                ),
                io.Int.Output(
                    display_name="length",
                    tooltip="Frames of the latent, 4n + 1: for Encode Speech. Up to 3 more than the video has.",
                ),
            ],
        )

    @classmethod
    def execute(cls, vae, images, mask) -> io.NodeOutput:
        sockets.expected(vae, VAE, "vae", "Load VAE")
        dub = Dub.of(pictures(images, "images"), mask)
        latent = dub.latent(vae)
        added = dub.length - len(dub.frames)
        frames = f"{dub.length} frames" + (f", {added} of them the last one again" if added else "")
        said = shown.text(f"{frames} · {dub.mask.mean():.1%} of the picture is made anew", warnings=dub.notices())
        return io.NodeOutput(latent, dub.length, ui=said)


NODES = [FantasyTalkingMouthMask, FantasyTalkingDubLatent]
