"""The templates in the demo's size: that of the small models, which know pictures of 64×64 pixels and few frames."""

from dataclasses import dataclass, field
from typing import Any

from workflow import Json, with_settings

PORTRAIT, SPEECH = "drawn_portrait.png", "drawn_speech.wav"
SIZE = 64
"""Pixels of the longest edge that is sampled."""
ENLARGED = 4
"""Times as large is the video that the demo saves, for the eye."""
GUIDANCE = {"steps": 10, "text_cfg": 1.0, "audio_cfg": 2.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "LoadImage": {"image": PORTRAIT},
    "LoadAudio": {"audio": SPEECH},
    "ImageScaleToMaxDimension": {"largest_size": SIZE},
    "FantasyTalkingSampler": GUIDANCE,
    "FantasyTalkingRender": {**GUIDANCE, "window": 33},  # several windows also in the 3.8 s of the demo's speech
}
"""What differs from the templates: inputs of the nodes of a class."""
SPEAKERS = {"LoadImage": {"image": "pair_portrait.jpg"}, "LoadAudio": {"audio": "conversation_speech.wav"}}
"""Two drawn people beside each other, sampled twice as wide, and what they say."""
MOUTH = "drawn_mouth.png"
"""A mask of the mouth of the demo's video, for the dub: the landmark detector has no small stand-in."""


@dataclass(frozen=True)
class Demo:
    """What `dev.py demo NAME` runs.

    Attributes:
        template: its name.
        changed: inputs of the nodes of a class, beyond `settings`.
    """

    template: str
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.template}.json"


DEMOS = {
    "": Demo("Talking portrait (start here)"),
    "long": Demo(
        "Long speech",
        {"LoadAudio": {"audio": "drawn_long_speech.wav"}, "FantasyTalkingRender": {"window": 81}},
    ),
    "two": Demo("Two speakers"),
    "dub": Demo("Dub a video", {"LoadVideo": {"file": "drawn_clip.mp4"}}),
}
"""By what follows `dev.py demo`."""


def demo(name: str, prompt: Json) -> Json:
    """The template of DEMOS in the API form, as the demo runs it."""
    small = in_demo_size(prompt)
    for node in small.values():
        node["inputs"].update(DEMOS[name].changed.get(node["class_type"], {}))
    return without_detector(small)


def without_detector(prompt: Json) -> Json:
    """With MOUTH in the place of Mouth Mask and of the landmarks that it needs."""
    gone = {"LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker"}
    mask = {"class_type": "LoadImageMask", "_meta": {"title": "Mouth"}, "inputs": {"image": MOUTH, "channel": "red"}}
    return {
        key: mask if node["class_type"] == "FantasyTalkingMouthMask" else node
        for key, node in prompt.items()
        if node["class_type"] not in gone
    }


def settings(graph: Json) -> dict[str, dict[str, Any]]:
    if "FantasyTalkingSmallModels" in str(graph):
        return {}  # it has the demo's models and size already
    if "FantasyTalkingSpeakerMasks" not in str(graph):
        return SETTINGS
    return {**SETTINGS, **SPEAKERS, "ImageScaleToMaxDimension": {"largest_size": 2 * SIZE}}


def in_demo_size(prompt: Json) -> Json:
    """A graph in the API form with the demo's settings; the video that it saves is enlarged."""
    ours = settings(prompt)
    if not ours:
        return prompt
    small = {key: {**node, "inputs": {**node["inputs"], **ours.get(node["class_type"], {})}} for key, node in prompt.items()}
    for key in [key for key, node in small.items() if node["class_type"] == "CreateVideo"]:
        inputs, enlarge = small[key]["inputs"], f"enlarge_{key}"
        small[enlarge] = {
            "class_type": "ImageScaleBy",
            "_meta": {"title": "Enlarge"},
            "inputs": {"image": inputs["images"], "upscale_method": "lanczos", "scale_by": float(ENLARGED)},
        }
        inputs["images"] = [enlarge, 0]
    return small


def template_in_demo_size(workflow: Json) -> Json:
    """A template as the page opens it with the demo's settings."""
    return with_settings(workflow, settings(workflow))
