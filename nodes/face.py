"""A portrait to the face in it."""

import comfy.utils
import torch
from comfy_api.latest import io

from ..fantasytalking_core.face import crop as face_crop
from ..fantasytalking_core.face import find
from ..fantasytalking_core.host.face_landmarker import landmarker
from ..fantasytalking_core.pictures import pictures
from . import shown, sockets

MOST_SHOWN = 16
"""Pictures of a batch that the node shows on itself."""


class FantasyTalkingCropFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingCropFace",
            display_name="FantasyTalking Crop Face",
            category=f"{sockets.CATEGORY}/identity",
            description="Finds the face in a portrait and cuts a square around it, with ComfyUI's own face detection model "
            "(MediaPipe) where that is installed. In a batch every picture gives one face.",
            has_intermediate_output=True,
            search_aliases=[
                "face crop",
                "face detect",
                "face detection",
                "portrait",
                "identity",
                "bounding box",
                "fantasy talking",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The portrait, 64 pixels or more on both sides."),
                io.Float.Input(
                    "padding",
                    default=0.3,
                    min=0.0,
                    max=face_crop.MAX_PADDING,
                    step=0.01,
                    tooltip="Room around the face on every side, as a part of its size. Outside of the picture its edge "
                    "is continued.",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=1000,
                    step=1,
                    tooltip="Which face, if there are several: 0 is the largest that is surely one. The preview shows the "
                    "numbers.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Painted over the face: its box is taken for the face. Not used if face_landmarks is wired.",
                ),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    optional=True,
                    tooltip="From Detect Face Landmarks (MediaPipe) with the same picture, for other settings than by itself. "
                    "Goes before mask.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="face", tooltip="The square around the face: for Encode Face."),
                io.Mask.Output(display_name="mask", tooltip="Where the square is in the portrait."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="The portrait with every face's number, and the square around the chosen one.",
                ),
                sockets.FaceLandmarks.Output(
                    display_name="face_landmarks",
                    tooltip="The landmarks of face, in its pixels: for Encode Face. None of a face by a mask or by the "
                    "built-in cascade.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, padding: float, face_index: int, mask=None, face_landmarks=None) -> io.NodeOutput:
        portraits = pictures(image)
        progress = comfy.utils.ProgressBar(len(portraits))
        found, warnings = find.find_faces(portraits, mask, face_landmarks, landmarker, progress.update)
        faces = find.choose(found, face_index)
        crops = face_crop.squares(portraits, faces, padding)
        masks, previews = [], []
        for portrait, one, crop in zip(portraits, found, crops, strict=True):
            masks.append(crop.mask(portrait))
            previews.append(face_crop.preview(portrait, one.boxes, face_index, crop))
        preview = torch.stack(previews)
        connections = next((one.connections for one in found if one.connections), {})
        said = shown.text(f"found {find.described([one.by for one in found])}", warnings=warnings)
        return io.NodeOutput(
            face_crop.cut_out(portraits, crops),
            torch.stack(masks),
            preview,
            face_crop.landmarks_in(crops, faces, connections).to_host(),
            ui=shown.PicturesAndText(preview[:MOST_SHOWN], said),
        )


NODES = [FantasyTalkingCropFace]
