"""Loaders, and the adapter on the model."""

from pathlib import Path

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..fantasytalking_core.adapter.adapter import Adapter
from ..fantasytalking_core.host import folders, loading, patch
from ..fantasytalking_core.model_spec import usage_hint
from . import shown, sockets

WEIGHT_DTYPES = ["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]


def adapter_input() -> io.Combo.Input:
    return io.Combo.Input(
        "adapter_name",
        options=folders.ADAPTER.offered(folders.adapter_names()),
        tooltip="FantasyTalking weights from models/fantasytalking (also model_patches and diffusion_models): the "
        "published fantasytalking_model.ckpt or any conversion of it.",
    )


def strength_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "audio_strength",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="Weight of the speech in every block (λ1). 1 is the published setting; 0 switches speech off.",
        ),
        io.Float.Input(
            "identity_strength",
            default=0.5,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="Weight of the face identity in every block (λ2, 0.5 in the paper). Without an identity wired into "
            "the conditioning it changes nothing.",
        ),
    ]


def hints(*paths: str | Path | None) -> list[str]:
    """What the files say of themselves to whoever uses them, each once."""
    return list(dict.fromkeys(hint for path in paths if path and (hint := usage_hint(path))))


def contents(adapter: Adapter) -> str:
    """What an adapter file holds, as the loaders show it: its parts, and the model that it fits."""
    parts = ["audio"]
    if adapter.identity is not None:
        parts.append(f"identity ({adapter.identity.widths.queries} tokens)")
    if adapter.motion is not None:
        parts.append("motion")
    return " · ".join([*parts, f"{adapter.audio.widths.blocks} blocks × {adapter.audio.widths.model}"])


class FantasyTalkingDiTLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingDiTLoader",
            display_name="FantasyTalking DiT Loader",
            category=f"{sockets.CATEGORY}/loaders",
            description="Loads a Wan2.1 I2V diffusion model and the FantasyTalking adapter in one go, at the published "
            "strengths. For GGUF files or other loaders, use those and Apply Adapter.",
            search_aliases=["talking head", "talking portrait", "audio driven", "wan i2v", "fantasy talking", "lip sync"],
            inputs=[
                io.Combo.Input(
                    "dit_name",
                    options=folders.DIT.offered(folders.files(folders.DIT.key)),
                    tooltip="A Wan2.1 image-to-video model (14B, 480p or 720p) from models/diffusion_models.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=WEIGHT_DTYPES,
                    default="default",
                    tooltip="How the diffusion model's weights are kept; fp8 halves their memory at some loss of quality.",
                ),
                adapter_input(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the adapter applied.")],
        )

    @classmethod
    def execute(cls, dit_name: str, weight_dtype: str, adapter_name: str) -> io.NodeOutput:
        dit_path, path = folders.dit_path(dit_name), folders.adapter_path(adapter_name)
        adapter = loading.load_adapter(path)  # first: it is the quicker one to be wrong
        model = loading.load_dit(dit_name, weight_dtype)
        said = hints(dit_path, path)
        return io.NodeOutput(patch.apply_adapter(model, adapter), ui=shown.text(*said, contents(adapter.model)))


class FantasyTalkingAdapterLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingAdapterLoader",
            display_name="FantasyTalking Adapter Loader",
            category=f"{sockets.CATEGORY}/loaders",
            description="Loads FantasyTalking weights, to be applied to a Wan2.1 I2V model from any loader.",
            search_aliases=["fantasy talking", "talking head", "audio adapter", "lip sync model"],
            inputs=[adapter_input()],
            outputs=[sockets.Adapter.Output(display_name="adapter", tooltip="For Apply Adapter.")],
        )

    @classmethod
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        path = folders.adapter_path(adapter_name)
        adapter = loading.load_adapter(path)
        return io.NodeOutput(adapter, ui=shown.text(*hints(path), contents(adapter.model)))


class FantasyTalkingApplyAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingApplyAdapter",
            display_name="FantasyTalking Apply Adapter",
            category=f"{sockets.CATEGORY}/model",
            description="Adds the FantasyTalking adapter to a Wan2.1 I2V model. LoRAs, caches, context windows and other "
            "patches may come before or after it. Without speech in the conditioning the model stays as it is.",
            search_aliases=["fantasy talking", "talking head", "audio adapter", "lip sync", "patch model"],
            inputs=[
                io.Model.Input("model", tooltip="A Wan2.1 I2V model from any loader."),
                sockets.Adapter.Input("adapter", tooltip="From the Adapter Loader."),
                *strength_inputs(),
            ],
            outputs=[io.Model.Output(tooltip="The model with the adapter applied.")],
        )

    @classmethod
    def execute(cls, model, adapter, audio_strength: float, identity_strength: float) -> io.NodeOutput:
        sockets.expected(model, ModelPatcher, "model", "a model loader")
        sockets.expected(getattr(adapter, "model", adapter), Adapter, "adapter", "Adapter Loader")
        return io.NodeOutput(patch.apply_adapter(model, adapter, audio_strength, identity_strength))


class FantasyTalkingWav2VecLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FantasyTalkingWav2VecLoader",
            display_name="FantasyTalking Wav2Vec2 Loader",
            category=f"{sockets.CATEGORY}/loaders",
            description="Loads the speech encoder that FantasyTalking was trained with: wav2vec2-base-960h.",
            search_aliases=["wav2vec", "wav2vec2", "audio encoder", "speech encoder", "fantasy talking"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=folders.SPEECH_ENCODER.offered(folders.wav2vec_names()),
                    tooltip="wav2vec2-base-960h: a folder with all its files in models/wav2vec2 or models/transformers, or its "
                    "model.safetensors as wav2vec2-base-960h.safetensors in models/wav2vec2 or models/audio_encoders.",
                ),
            ],
            outputs=[sockets.Wav2Vec.Output(display_name="wav2vec", tooltip="For Encode Speech.")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        return io.NodeOutput(loading.load_wav2vec(folders.wav2vec_path(model_name)))


NODES = [
    FantasyTalkingDiTLoader,
    FantasyTalkingAdapterLoader,
    FantasyTalkingApplyAdapter,
    FantasyTalkingWav2VecLoader,
]
