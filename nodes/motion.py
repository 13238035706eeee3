"""How much the face and the body move: set by hand, or taken over from a clip."""

from types import NoneType

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..fantasytalking_core.adapter.motion import NEUTRAL, Motion, MotionRanges
from ..fantasytalking_core.face.landmarks import landmarks_of
from ..fantasytalking_core.motion import measure, notices
from ..fantasytalking_core.motion.plot import Panel, plot
from ..fantasytalking_core.pictures import pictures
from . import shown, sockets

ALIASES = ["motion strength", "motion intensity", "motion amount", "expression", "head movement", "fantasy talking"]


def _slider(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(
        name, default=NEUTRAL, min=0.0, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider, tooltip=tooltip
    )


class FantasyTalkingMotionIntensity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingMotionIntensity",
            display_name="FantasyTalking Motion Intensity",
            category=f"{sockets.CATEGORY}/motion",
            description="Sets how much the face and the body move. Needs an adapter that was trained with motion.",
            search_aliases=ALIASES,
            inputs=[
                _slider("expression", "How lively the face is (ω_l): 0 still, 0.5 neutral, 1 lively."),
                _slider("body", "How much head, shoulders and hands move (ω_b): 0 still, 0.5 neutral, 1 lively."),
            ],
            outputs=[sockets.Motion.Output(display_name="motion", tooltip="For FantasyTalking Conditioning.")],
        )

    @classmethod
    def validate_inputs(cls, expression=None, body=None) -> bool | str:
        return sockets.checked(Motion, expression, body)

    @classmethod
    def execute(cls, expression: float, body: float) -> io.NodeOutput:
        return io.NodeOutput(Motion(expression, body))


class FantasyTalkingMotionFromVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingMotionFromVideo",
            display_name="FantasyTalking Motion From Video",
            category=f"{sockets.CATEGORY}/motion",
            description="Measures how much the face and the body of a person move in a clip, for another clip to move as "
            "much. Frames without a face or shoulders are skipped.",
            search_aliases=[*ALIASES, "motion transfer", "motion reference", "measure motion"],
            inputs=[
                io.Image.Input("images", tooltip="The frames of the clip, two or more."),
                sockets.FaceLandmarks.Input(
                    "face_landmarks",
                    tooltip="The frames' landmarks, from Detect Face Landmarks (MediaPipe). Of several people one counts: "
                    "who is large in many frames.",
                ),
                sockets.PoseKeypoints.Input(
                    "pose_keypoints",
                    optional=True,
                    tooltip="The frames' body joints, from SDPose Keypoint Extractor or a DWPose node. Without them, or "
                    "without shoulders, body is 0.5.",
                ),
                sockets.Adapter.Input(
                    "adapter",
                    optional=True,
                    tooltip="The adapter that will be used: its file holds the ranges of motion that it was trained on. "
                    "Without it, general ones.",
                ),
            ],
            outputs=[
                sockets.Motion.Output(display_name="motion", tooltip="For FantasyTalking Conditioning."),
                io.Float.Output(display_name="expression", tooltip="ω_l, from 0 to 1."),
                io.Float.Output(display_name="body", tooltip="ω_b, from 0 to 1."),
                io.Image.Output(display_name="plot", tooltip="The motion over the frames, with the ranges."),
            ],
        )

    @classmethod
    def execute(cls, images, face_landmarks, pose_keypoints=None, adapter=None) -> io.NodeOutput:
        sockets.expected(adapter, (ModelPatcher, NoneType), "adapter", "Adapter Loader")
        frames = pictures(images, "images")
        network = None if adapter is None else adapter.model.motion
        ranges = MotionRanges() if network is None else network.ranges
        landmarks = landmarks_of(face_landmarks, frames, "images")
        face = measure.expression(landmarks, ranges.with_outline)
        joints = None if pose_keypoints is None else measure.body(pose_keypoints, len(frames))
        motion = ranges.motion(face.variance, None if joints is None else joints.variance)
        warnings = [notices.FLAT] if measure.is_flat(landmarks) else []
        unseen = "no pose_keypoints are wired"
        if joints is None and pose_keypoints is not None:
            unseen, warnings = notices.NO_SHOULDERS, [*warnings, notices.unknown_body()]
        warnings += notices.untrained(ranges, (True, joints is not None))
        curves = plot(
            [
                Panel("expression", "eye distances", face, motion.expression, ranges.expression, notices.UNTRAINED),
                Panel(
                    "body",
                    "shoulder widths",
                    joints,
                    motion.body,
                    ranges.body,
                    unseen if joints is None else notices.UNTRAINED,
                ),
            ]
        )
        lines = [f"expression {motion.expression:.2f}", f"body {motion.body:.2f}"]
        return io.NodeOutput(motion, motion.expression, motion.body, curves, ui=shown.text(*lines, warnings=warnings))


NODES = [FantasyTalkingMotionIntensity, FantasyTalkingMotionFromVideo]
