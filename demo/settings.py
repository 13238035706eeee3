"""The templates in the demo's size: that of the small models, which know pictures of 64×64 pixels and few frames."""

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
