"""For trying the pack out before anything is downloaded: small models, portraits and recordings that come with it, presets."""

from collections.abc import Mapping
from typing import TypeVar

from comfy_api.latest import io, ui

from ..fantasytalking_core.errors import FantasyTalkingError, short
from ..fantasytalking_core.host import example_media, small_models
from ..fantasytalking_core.sampling.presets import PRESETS
from . import shown, sockets

T = TypeVar("T")


def one_of(table: Mapping[str, T], name: object, what: str) -> T:
    """What a choice stands for. Raises FantasyTalkingError: what is wired in need not be one of the list."""
    if not isinstance(name, str) or name not in table:
        raise FantasyTalkingError(f"There is no {what} '{short(name)}': choose one of {', '.join(table)}.")
    return table[name]


class FantasyTalkingSmallModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingSmallModels",
            display_name="FantasyTalking Small Models",
            category=f"{sockets.CATEGORY}/try it",
            description="Small trained models that come with the pack, in the place of all loaders: to see a graph speak "
            f"before anything is downloaded. They know drawn people of {small_models.SIZE}×{small_models.SIZE} pixels only; "
            "anything else needs the real models.",
            search_aliases=["try", "demo", "example", "lip sync", "talking head", "no download", "fantasy talking"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="With the adapter applied, at its published strengths."),
                io.Clip.Output(display_name="clip", tooltip="For CLIPTextEncode: knows words, not sentences."),
                io.Vae.Output(display_name="vae", tooltip="For WanImageToVideo and VAEDecode."),
                io.ClipVision.Output(display_name="clip_vision", tooltip="For CLIPVisionEncode."),
                sockets.Wav2Vec.Output(display_name="wav2vec", tooltip="For Encode Speech."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        found = small_models.load_small_models()
        return io.NodeOutput(
            found.model, found.clip, found.vae, found.clip_vision, found.wav2vec, ui=shown.text(small_models.KNOWN)
        )


class FantasyTalkingExample(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingExample",
            display_name="FantasyTalking Example",
            category=f"{sockets.CATEGORY}/try it",
            description="Portraits and recordings that come with the pack, as Load Image and Load Audio would give them.",
            has_intermediate_output=True,
            search_aliases=["try", "demo", "example", "lip sync", "sample portrait", "sample speech", "fantasy talking"],
            inputs=[
                io.Combo.Input(
                    "portrait",
                    options=list(example_media.PORTRAITS),
                    default=next(iter(example_media.PORTRAITS)),
                    tooltip="Who speaks. Drawn people for the small models; the photograph is for the real ones.",
                ),
                io.Combo.Input(
                    "recording",
                    options=list(example_media.RECORDINGS),
                    default=next(iter(example_media.RECORDINGS)),
                    tooltip="What is said: 3 to 4 seconds in a synthetic voice.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="portrait", tooltip="In the place of Load Image."),
                io.Audio.Output(display_name="recording", tooltip="In the place of Load Audio."),
            ],
        )

    @classmethod
    def execute(cls, portrait: str, recording: str) -> io.NodeOutput:
        picture = example_media.load_portrait(one_of(example_media.PORTRAITS, portrait, "portrait"))
        sound = example_media.load_recording(one_of(example_media.RECORDINGS, recording, "recording"))
        return io.NodeOutput(picture, sound, ui=ui.PreviewImage(picture))


class FantasyTalkingPreset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingPreset",
            display_name="FantasyTalking Preset",
            category=f"{sockets.CATEGORY}/sampling",
            description="Steps, scales and size in one choice, for the real models: as published, about twice as fast, or a "
            "quick look. Wire what it gives to Sampler or Render and to ImageScaleToMaxDimension.",
            search_aliases=["preset", "quality", "fast", "preview", "draft", "settings", "lip sync", "fantasy talking"],
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="quality",
                    tooltip="quality is as published; fast takes half of its passes, preview a quarter, on a smaller picture.",
                )
            ],
            outputs=[
                io.Int.Output(display_name="steps", tooltip="For Sampler, Render or Scheduler."),
                io.Float.Output(display_name="text_cfg", tooltip="For Sampler, Render or Guider."),
                io.Float.Output(display_name="audio_cfg", tooltip="For Sampler, Render or Guider."),
                io.Int.Output(display_name="guidance_every", tooltip="For Sampler, Render or Guider."),
                io.Int.Output(display_name="longest_edge", tooltip="For largest_size of ImageScaleToMaxDimension."),
            ],
        )

    @classmethod
    def execute(cls, preset: str) -> io.NodeOutput:
        chosen = one_of(PRESETS, preset, "preset")
        said = shown.text(
            f"{chosen.passes()} passes of the model in {chosen.steps} steps",
            f"longest edge {chosen.longest_edge} pixels",
            f"scales {chosen.text_cfg:g} and {chosen.audio_cfg:g}: {chosen.about}",
        )
        return io.NodeOutput(
            chosen.steps, chosen.text_cfg, chosen.audio_cfg, chosen.guidance_every, chosen.longest_edge, ui=said
        )


NODES = [FantasyTalkingSmallModels, FantasyTalkingExample, FantasyTalkingPreset]
