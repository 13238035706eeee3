"""The models of a template: its loaders, and the box that holds them."""

from dataclasses import dataclass, field

import files
from graph import Graph, Node, Source, Subgraph


@dataclass
class Loaded:
    """The sources of a model's parts."""

    model: Source
    clip: Source
    vae: Source
    clip_vision: Source
    wav2vec: Source
    adapter: Source | None = None
    choices: list[tuple[Node, str, str, str]] = field(default_factory=list)
    """Widgets that a box shows: node, widget, name, label."""

    @classmethod
    def of(cls, node: Node) -> "Loaded":
        adapter = node["adapter"] if any(output["name"] == "adapter" for output in node.saved["outputs"]) else None
        return cls(node["model"], node["clip"], node["vae"], node["clip_vision"], node["wav2vec"], adapter)


@dataclass(frozen=True)
class Models:
    """Which models a template loads."""

    lora: bool = False
    strengths: bool = False
    """An Apply Adapter whose strengths the box shows."""
    adapter: str = files.ADAPTER.name
    beside: tuple[files.File, ...] = ()
    """Files that the template asks for outside of this box, named in its note."""

    def all_files(self) -> tuple[files.File, ...]:
        own = [file for file in files.BASIC if file is not files.ADAPTER or self.adapter == file.name]
        return (*own, *((files.LORA,) if self.lora else ()), *self.beside)


def load(graph: Graph, models: Models) -> Loaded:
    """The loaders, below each other."""
    choices: list[tuple[Node, str, str, str]] = []
    offered = [files.ADAPTER.offer()] if models.adapter == files.ADAPTER.name else []
    adapter = None
    if models.strengths:
        dit = graph.add("UNETLoader", (0, 0), (340, 90), models=[files.DIT.offer()], unet_name=files.DIT.name)
        choices.append((dit, "unet_name", "dit_name", "diffusion model"))
        adapter = graph.add("FantasyTalkingAdapterLoader", (0, 140), (340, 110), models=offered, adapter_name=models.adapter)
        choices.append((adapter, "adapter_name", "adapter_name", "adapter"))
        applied = graph.add(
            "FantasyTalkingApplyAdapter", (400, 0), (280, 110), {"model": dit["MODEL"], "adapter": adapter["adapter"]}
        )
        choices.append((applied, "audio_strength", "audio_strength", "speech strength"))
        choices.append((applied, "identity_strength", "identity_strength", "face strength"))
        model = applied["MODEL"]
    else:
        dit = graph.add(
            "FantasyTalkingDiTLoader",
            (0, 0),
            (340, 160),
            models=[files.DIT.offer(), *offered],
            dit_name=files.DIT.name,
            adapter_name=models.adapter,
        )
        choices.append((dit, "dit_name", "dit_name", "diffusion model"))
        choices.append((dit, "adapter_name", "adapter_name", "adapter"))
        model = dit["MODEL"]
    if models.lora:
        lora = graph.add(
            "LoraLoaderModelOnly",
            (400, 160),
            (340, 90),
            {"model": model},
            title="Distilled LoRA",
            models=[files.LORA.offer()],
            lora_name=files.LORA.name,
        )
        choices.append((lora, "lora_name", "lora_name", "distilled LoRA"))
        choices.append((lora, "strength_model", "strength_model", "LoRA strength"))
        model = lora["MODEL"]
    clip = graph.add("CLIPLoader", (0, 300), (340, 110), models=[files.TEXT.offer()], clip_name=files.TEXT.name, type="wan")
    choices.append((clip, "clip_name", "text_encoder", "text encoder"))
    vae = graph.add("VAELoader", (0, 460), (340, 60), models=[files.VAE.offer()], vae_name=files.VAE.name)
    choices.append((vae, "vae_name", "vae_name", "VAE"))
    vision = graph.add("CLIPVisionLoader", (0, 570), (340, 60), models=[files.VISION.offer()], clip_name=files.VISION.name)
    choices.append((vision, "clip_name", "clip_vision_name", "CLIP vision"))
    wav2vec = graph.add(
        "FantasyTalkingWav2VecLoader", (0, 680), (340, 60), models=[files.WAV2VEC.offer()], model_name=files.WAV2VEC.name
    )
    choices.append((wav2vec, "model_name", "wav2vec_name", "Wav2Vec2"))
    return Loaded(
        model,
        clip["CLIP"],
        vae["VAE"],
        vision["CLIP_VISION"],
        wav2vec["wav2vec"],
        adapter["adapter"] if adapter else None,
        choices,
    )


def files_note(graph: Graph, models: Models) -> None:
    text = "**Files, below `ComfyUI/models/`**\n\n" + "\n".join(file.line() for file in models.all_files())
    graph.note(text, (800, 0), (560, 520), "Note: files")


def models_box(graph: Graph, models: Models) -> Subgraph:
    box = Subgraph(graph.info, graph.numbers, "Models", "The files that are loaded. Which go where stands in the note inside.")
    loaded = load(box, models)
    for choice in loaded.choices:
        box.promote(*choice)
    files_note(box, models)
    for name in ("model", "clip", "vae", "clip_vision", "wav2vec"):
        box.output(name, getattr(loaded, name))
    if loaded.adapter is not None and models.adapter == files.TRAINED:
        box.output("adapter", loaded.adapter)
    return box
