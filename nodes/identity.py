"""Pictures of a face to an identity: with a face recognition model, or with the model's own CLIP."""

from typing import Any, Protocol, runtime_checkable

import comfy.utils
import torch
from comfy_api.latest import io

from ..fantasytalking_core.face import alignment, find
from ..fantasytalking_core.face.encoder import NOT_INSTALLED, FaceEncoder, is_installed, read_face_encoder, runtime
from ..fantasytalking_core.face.landmarks import landmarks_of
from ..fantasytalking_core.host import folders
from ..fantasytalking_core.host.face_embedding import embed_faces
from ..fantasytalking_core.host.face_landmarker import landmarker
from ..fantasytalking_core.host.face_tokens import face_tokens
from ..fantasytalking_core.pictures import pictures
from . import shown, sockets

ALIASES = ["insightface", "arcface", "face recognition", "faceid", "face id", "identity", "likeness", "fantasy talking"]


def _face_encoders() -> list[str]:
    """The choices; where none can be used, why, which the page shows in their place and in the error."""
    return folders.FACE_ENCODER.offered(folders.face_encoder_names()) if is_installed() else [NOT_INSTALLED]


class FantasyTalkingFaceEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingFaceEncoderLoader",
            display_name="FantasyTalking Face Encoder Loader",
            category=f"{sockets.CATEGORY}/loaders",
            description="Loads a face recognition model (ArcFace) to tell who is in a picture. Needs onnxruntime. Look "
            "at the file's licence: InsightFace's own models are for non-commercial research only.",
            search_aliases=[*ALIASES, "buffalo_l", "antelopev2", "auraface", "onnx"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=_face_encoders(),
                    tooltip="A face recognition model from models/facerecognition or models/insightface/models, such as "
                    "w600k_r50.onnx or glintr100.onnx. An adapter works with the one that it was trained with.",
                ),
            ],
            outputs=[sockets.FaceEncoder.Output(display_name="face_encoder", tooltip="For Encode Face.")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        runtime()  # first: without it there is no list to choose a file from
        return io.NodeOutput(read_face_encoder(folders.face_encoder_path(model_name)))


class FantasyTalkingEncodeFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingEncodeFace",
            display_name="FantasyTalking Encode Face",
            category=f"{sockets.CATEGORY}/identity",
            description="Encodes who is in a picture, for an adapter that was trained with identity. Several pictures "
            "of one person make one identity, their mean.",
            search_aliases=[*ALIASES, "face embedding", "encode face"],
            inputs=[
                sockets.FaceEncoder.Input("face_encoder", tooltip="From the Face Encoder Loader."),
                io.Image.Input(
                    "face",
                    tooltip="One or several pictures of one person: the face that Crop Face gives, or any picture in which the "
                    "face is in the middle.",
                ),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="Landmarks of the very pictures in face, from Crop Face: by them the face is turned upright and "
                    "put where the model expects it. Without them they are looked for, which needs ComfyUI's face detection "
                    "model (MediaPipe).",
                ),
            ],
            outputs=[sockets.Identity.Output(display_name="identity", tooltip="For FantasyTalking Conditioning.")],
        )

    @classmethod
    def execute(cls, face_encoder: FaceEncoder, face, face_landmarks=None) -> io.NodeOutput:
        sockets.expected(face_encoder, FaceEncoder, "face_encoder", "Face Encoder Loader")
        images = pictures(face, "face")
        landmarks = None if face_landmarks is None else landmarks_of(face_landmarks, images, "face")
        progress = comfy.utils.ProgressBar(len(images))
        points, by, warnings = find.five_points(images, landmarks, landmarker, progress.update)
        said = shown.text(f"placed {find.described(by)}", warnings=warnings)
        return io.NodeOutput(embed_faces(alignment.faces(images, points), face_encoder), ui=said)


@runtime_checkable
class ClipVision(Protocol):
    """A CLIP vision model, the host's or another pack's."""

    def encode_image(self, image: torch.Tensor) -> Any: ...


class FantasyTalkingEncodeFaceCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingEncodeFaceCLIP",
            display_name="FantasyTalking Encode Face (CLIP)",
            category=f"{sockets.CATEGORY}/identity",
            description="Keeps the face without trained identity weights, so also with the published adapter: the model "
            "attends to the face crop as to a second portrait. Training-free; an idea of this project, not of the paper.",
            is_experimental=True,
            search_aliases=["face clip", "identity", "likeness", "keep face", "face id", "training free", "fantasy talking"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision", tooltip="CLIP ViT-H, the same that encodes the portrait (clip_vision_h.safetensors)."
                ),
                io.Image.Input(
                    "face", tooltip="The face that Crop Face gives. Several crops of one person are attended to together."
                ),
            ],
            outputs=[
                sockets.Identity.Output(
                    display_name="identity",
                    tooltip="For FantasyTalking Conditioning; its weight is identity_strength of Apply Adapter.",
                )
            ],
        )

    @classmethod
    def execute(cls, clip_vision, face) -> io.NodeOutput:
        sockets.expected(clip_vision, ClipVision, "clip_vision", "Load CLIP Vision")
        return io.NodeOutput(face_tokens(clip_vision, face))


NODES = [FantasyTalkingFaceEncoderLoader, FantasyTalkingEncodeFace, FantasyTalkingEncodeFaceCLIP]
