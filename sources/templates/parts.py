"""Between models and sampler: prompts, portrait and speech."""

from dataclasses import dataclass

from graph import Graph, Node, Source, Subgraph
from models import Loaded

PROMPT = (
    "A woman is talking. She looks into the camera and speaks in a lively way, with natural expressions and small movements of "
    "her head and shoulders. Soft light, quiet background."
)
NEGATIVE = (
    "人物静止不动，静止，色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
"""Wan2.1's own."""


@dataclass
class Prepared:
    """What the sampler starts from."""

    positive: Source
    negative: Source
    portrait: Source
    clip_vision_output: Source
    latent: Source | None


def prepare(
    graph: Graph,
    loaded: Loaded,
    portrait: Source,
    prompt: Source | str,
    longest_edge: Source | int | None,
    length: Source | None,
) -> Prepared:
    """Prompts, the portrait in a size that the model takes (None: it has one), and, with a length, WanImageToVideo."""
    written = {} if isinstance(prompt, Source) else {"text": prompt}
    positive = graph.add(
        "CLIPTextEncode",
        (0, 0),
        (300, 160),
        {"clip": loaded.clip, **({"text": prompt} if isinstance(prompt, Source) else {})},
        title="Prompt",
        **written,
    )
    negative = graph.add("CLIPTextEncode", (0, 210), (300, 160), {"clip": loaded.clip}, title="Negative prompt", text=NEGATIVE)
    cropped = portrait if longest_edge is None else fitted(graph, portrait, longest_edge, 420)
    vision = graph.add(
        "CLIPVisionEncode",
        (640, 300),
        (260, 80),
        {"clip_vision": loaded.clip_vision, "image": cropped},
        crop="none",
    )
    wired = Prepared(positive[0], negative[0], cropped, vision[0], None)
    if length is None:
        return wired
    size = graph.add("GetImageSize", (640, 430), (200, 130), {"image": cropped})
    start = graph.add(
        "WanImageToVideo",
        (960, 0),
        (280, 210),
        {
            "positive": positive[0],
            "negative": negative[0],
            "vae": loaded.vae,
            "clip_vision_output": vision[0],
            "start_image": cropped,
            "width": size["width"],
            "height": size["height"],
            "length": length,
        },
        width=512,
        height=512,
        length=81,
    )
    return Prepared(start["positive"], start["negative"], cropped, vision[0], start["latent"])


def fitted(graph: Graph, image: Source, longest_edge: Source | int, top: int) -> Source:
    """A picture of that longest edge, its sides multiples of 16 pixels."""
    wired = isinstance(longest_edge, Source)
    scaled = graph.add(
        "ImageScaleToMaxDimension",
        (0, top),
        (270, 90),
        {"image": image, **({"largest_size": longest_edge} if wired else {})},
        title="Longest edge",
        upscale_method="lanczos",
        largest_size=512 if wired else longest_edge,
    )
    cropped = graph.add(
        "ResizeImageMaskNode",
        (320, top),
        (270, 110),
        {"input": scaled["IMAGE"]},
        title="Crop to multiples of 16",
        resize_type="scale to multiple",
        resize_type__multiple=16,
        scale_method="lanczos",
    )
    cropped.saved["outputs"][0]["type"] = "IMAGE"  # as the page has it once an image is wired
    return cropped[0]


def add_speech(graph: Graph, prepared: Prepared, speech: Source, top: int = 260, **more: Source) -> Prepared:
    """FantasyTalking Conditioning behind the prompts; `more`: identity, motion or mask."""
    node = graph.add(
        "FantasyTalkingConditioning",
        (960, top),
        (280, 170),
        {"positive": prepared.positive, "negative": prepared.negative, "speech": speech, **more},
    )
    return Prepared(node["positive"], node["negative"], prepared.portrait, prepared.clip_vision_output, prepared.latent)


def preparation_box(
    graph: Graph,
    more: tuple[str, ...] = (),
    *,
    speakers: int = 1,
    length: bool = True,
    edge: int | None = None,
    fit: bool = True,
) -> Subgraph:
    """A box of `prepare` and `add_speech`; without `length` for Render, which makes the latent itself.

    more: `identity` or `motion`; of several speakers each has a mask.
    edge: pixels of the longest edge; None: an input. Without `fit` the picture stays as it is.
    """
    box = Subgraph(graph.info, graph.numbers, "Preparation", "Prompts, the portrait's size and the conditioning.")
    kinds = {"clip": "CLIP", "vae": "VAE", "clip_vision": "CLIP_VISION"}
    if not length:
        del kinds["vae"]
    sources = {name: box.input(name, kind) for name, kind in kinds.items()}
    nothing = Source(0, 0, "")
    loaded = Loaded(nothing, sources["clip"], sources.get("vae", nothing), sources["clip_vision"], nothing)
    portrait, prompt = box.input("portrait", "IMAGE"), box.input("prompt", "STRING")
    longest = (edge or box.input("longest_edge", "INT", "longest edge")) if fit else None
    prepared = prepare(box, loaded, portrait, prompt, longest, box.input("length", "INT") if length else None)
    for number in range(1, speakers + 1):
        name = "speech" if speakers == 1 else f"speech {number}"
        wires = {kind: box.input(kind, f"FT_{kind.upper()}") for kind in more}
        if speakers > 1:
            wires["mask"] = box.input(f"mask {number}", "MASK")
        prepared = add_speech(box, prepared, box.input(name, "FT_SPEECH"), 40 + 220 * number, **wires)
    box.output("positive", prepared.positive)
    box.output("negative", prepared.negative)
    if prepared.latent:
        box.output("latent", prepared.latent)
    else:
        box.output("start_image", prepared.portrait)
        box.output("clip_vision_output", prepared.clip_vision_output)
    return box


def voices(graph: Graph, wav2vec: Source, recordings: list[Source]) -> tuple[list[Node], Source, Node]:
    """Each recording encoded, the sound of both, and the one length that both have."""
    length = graph.add("PrimitiveInt", (-330, 0), (270, 90), title="Length in frames", value=81, control="fixed")
    nodes = [
        graph.add(
            "FantasyTalkingEncodeSpeech",
            (0, 300 * number),
            (280, 230),
            {"wav2vec": wav2vec, "audio": recording},
            title=f"Speaker {number + 1}",
        )
        for number, recording in enumerate(recordings)
    ]
    for node in nodes:
        graph.wire(length["INT"], node.id, "length")
    wires = {"audio1": nodes[0]["audio"], "audio2": nodes[1]["audio"]}
    return nodes, graph.add("AudioMerge", (340, 0), (230, 90), wires, merge_method="add")["AUDIO"], length


def voices_box(graph: Graph) -> Subgraph:
    """Two recordings, encoded, and both to be heard."""
    box = Subgraph(graph.info, graph.numbers, "Two voices", "Encodes a recording for each of two speakers.")
    wav2vec = box.input("wav2vec", "FT_WAV2VEC")
    nodes, both, length = voices(box, wav2vec, [box.input(f"speaker {number}", "AUDIO") for number in (1, 2)])
    box.promote(length, "value", "length_in_frames", "length in frames")
    for name, source in (("speech 1", nodes[0]["speech"]), ("speech 2", nodes[1]["speech"]), ("audio", both)):
        box.output(name, source)
    box.output("length", nodes[0]["length"])
    box.output("fps", nodes[0]["fps"])
    return box
