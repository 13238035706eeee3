"""The blueprints: a whole template as one node, dropped from the page's node search."""

from collections.abc import Callable
from dataclasses import dataclass

import files
import parts
import videos
from graph import Graph, Node, Numbers, Source, Subgraph, file
from models import Loaded, Models, files_note, load
from parts import Prepared
from workflow import Json

ALIASES = "lip sync, talking, talking head, avatar, dubbing, speech, audio, infinitetalk, fantasytalking"
CATEGORY = "Video/FantasyTalking"
WORK, END = (1450, 0), (2800, 0)
"""Where preparation and sampling begin, right of the loaders, and where the video is made."""


@dataclass(frozen=True)
class Blueprint:
    """The page finds it by the words of its file's name alone: its server hands no aliases of a pack's blueprints on."""

    name: str
    description: str
    build: Callable[[Subgraph], Loaded]
    models: Models = Models()

    def file(self, info: Json) -> Json:
        graph = Graph(info, Numbers())
        box = Subgraph(info, graph.numbers, self.name, self.description)
        loaded = self.build(box)
        for choice in loaded.choices:
            box.promote(*choice)
        box.origin = (0, 900)
        files_note(box, self.models)
        graph.box(box, (0, 0), (340, 560))
        extra = {"BlueprintDescription": self.description, "BlueprintSearchAliases": ALIASES.split(", ")}
        saved = file(graph, [box], extra)
        saved["definitions"]["subgraphs"][0]["category"] = CATEGORY
        return saved


def _prepared(box: Subgraph, loaded: Loaded, picture: Source, fields: dict[str, Source], length: Source | None) -> Prepared:
    box.origin = WORK
    prepared = parts.prepare(box, loaded, picture, "", fields.get("longest_edge"), length)
    prompt = next(node for node in box.nodes if node.get("title") == "Prompt")
    prompt["widgets_values"] = [parts.PROMPT]
    return prepared


def _fields(box: Subgraph) -> dict[str, Source]:
    """The preset, between the loaders and the preparation."""
    box.origin = (WORK[0], 700)
    node = box.add("FantasyTalkingPreset", (0, 0), (280, 190))
    return {name: node[name] for name in ("steps", "text_cfg", "audio_cfg", "guidance_every", "longest_edge")}


def _sample(box: Subgraph, loaded: Loaded, prepared: Prepared, settings: dict[str, Source]) -> Node:
    box.origin = END
    wires = {"model": loaded.model, "positive": prepared.positive, "negative": prepared.negative}
    wires |= {"latent_image": prepared.latent, **{name: settings[name] for name in settings if name != "longest_edge"}}
    return box.add("FantasyTalkingSampler", (0, 0), (290, 430), wires, seed=1111, ease_in_silence=True)


def _show(box: Subgraph, kind: str, widget: str, label: str | None = None, title: str | None = None) -> None:
    """A field of the box: the widget of the node of that kind and title."""
    saved = next(node for node in box.nodes if node["type"] == kind and title in (None, node.get("title")))
    box.promote(Node(saved), widget, None if label is None else label.replace(" ", "_"), label)


def _speech(box: Subgraph, loaded: Loaded, recording: Source, **values) -> Node:
    box.origin = (0, 1450)
    wires = {"wav2vec": loaded.wav2vec, "audio": recording, **{k: v for k, v in values.items() if isinstance(v, Source)}}
    own = {k: v for k, v in values.items() if not isinstance(v, Source)}
    return box.add("FantasyTalkingEncodeSpeech", (0, 0), (280, 230), wires, **own)


def talking(box: Subgraph) -> Loaded:
    picture, recording = box.input("portrait", "IMAGE"), box.input("recording", "AUDIO")
    loaded = load(box, Models())
    speech = _speech(box, loaded, recording, length=81)
    settings = _fields(box)
    prepared = _prepared(box, loaded, picture, settings, speech["length"])
    prepared = parts.add_speech(box, prepared, speech["speech"])
    sampled = _sample(box, loaded, prepared, settings)
    box.origin = (END[0] + 350, 0)
    box.output("video", videos.to_video(box, sampled[0], loaded.vae, speech["audio"], speech["fps"]))
    _show(box, "CLIPTextEncode", "text", "prompt", "Prompt")
    _show(box, "FantasyTalkingEncodeSpeech", "length", "length in frames")
    _show(box, "FantasyTalkingPreset", "preset")
    _show(box, "FantasyTalkingSampler", "seed")
    return loaded


def long_take(box: Subgraph) -> Loaded:
    picture, recording = box.input("portrait", "IMAGE"), box.input("recording", "AUDIO")
    loaded = load(box, Models())
    speech = _speech(box, loaded, recording, length=0)
    settings = _fields(box)
    prepared = _prepared(box, loaded, picture, settings, None)
    prepared = parts.add_speech(box, prepared, speech["speech"])
    box.origin = END
    wires = {"model": loaded.model, "vae": loaded.vae, "positive": prepared.positive, "negative": prepared.negative}
    wires |= {"start_image": prepared.portrait, "clip_vision_output": prepared.clip_vision_output, "audio": speech["audio"]}
    wires |= {name: settings[name] for name in settings if name != "longest_edge"}
    render = box.add("FantasyTalkingRender", (0, 0), (480, 1000), wires, seed=1111, control="fixed", ease_in_silence=True)
    box.output("video", render["video"])
    _show(box, "CLIPTextEncode", "text", "prompt", "Prompt")
    _show(box, "FantasyTalkingEncodeSpeech", "length", "length in frames")
    _show(box, "FantasyTalkingPreset", "preset")
    _show(box, "FantasyTalkingRender", "seed")
    _show(box, "FantasyTalkingRender", "filename_prefix", "file name")
    return loaded


def two_speakers(box: Subgraph) -> Loaded:
    picture, recording = box.input("picture", "IMAGE"), box.input("recording", "AUDIO")
    loaded = load(box, Models())
    box.origin = (0, 1450)
    masks = box.add("FantasyTalkingSpeakerMasks", (0, 0), (280, 370), {"image": picture})
    turns = box.add("FantasyTalkingSpeakerTurns", (330, 0), (300, 200), {"audio": recording}, turns="0.0-1.8 1\n1.8-3.6 2")
    box.origin = (1000, 1450)
    nodes, both, length = parts.voices(box, loaded.wav2vec, [turns["speaker 1"], turns["speaker 2"]])
    settings = _fields(box)
    prepared = _prepared(box, loaded, picture, settings, nodes[0]["length"])
    for number in (1, 2):
        mask = masks[f"speaker {number}"]
        prepared = parts.add_speech(box, prepared, nodes[number - 1]["speech"], 40 + 220 * number, mask=mask)
    sampled = _sample(box, loaded, prepared, settings)
    box.origin = (END[0] + 350, 0)
    box.output("video", videos.to_video(box, sampled[0], loaded.vae, both, nodes[0]["fps"]))
    _show(box, "CLIPTextEncode", "text", "prompt", "Prompt")
    _show(box, "FantasyTalkingSpeakerTurns", "turns", "who speaks when")
    box.promote(length, "value", "length_in_frames", "length in frames")
    _show(box, "FantasyTalkingPreset", "preset")
    _show(box, "FantasyTalkingSampler", "seed")
    return loaded


def dub(box: Subgraph) -> Loaded:
    video, recording = box.input("video", "VIDEO"), box.input("recording", "AUDIO")
    loaded = load(box, Models(beside=(files.FACES,)))
    box.origin = (0, 1800)
    frames, mask, latent, first = videos.mouth(box, loaded.vae, video)
    speech = _speech(box, loaded, recording, fps=frames["fps"], length=latent["length"])
    prepared = _prepared(box, loaded, first, {}, speech["length"])
    prepared = parts.add_speech(box, prepared, speech["speech"])
    prepared.latent = latent["latent"]
    sampled = _sample(box, loaded, prepared, {})
    box.origin = (END[0] + 350, 0)
    wires = {"samples": sampled[0], "vae": loaded.vae, "images": frames["images"], "mask": mask["mask"]}
    box.output("video", videos.paste(box, **wires, audio=speech["audio"], fps=speech["fps"]))
    _show(box, "CLIPTextEncode", "text", "prompt", "Prompt")
    _show(box, "FantasyTalkingMouthMask", "region")
    _show(box, "FantasyTalkingMouthMask", "grow")
    _show(box, "FantasyTalkingSampler", "steps")
    _show(box, "FantasyTalkingSampler", "seed")
    return loaded


BLUEPRINTS = (
    Blueprint(
        "Talking portrait (lip sync, avatar, speech, audio)",
        "A portrait and a recording become a video of that person speaking.",
        talking,
    ),
    Blueprint(
        "Long take (infinitetalk, talking avatar, lip sync)",
        "A portrait speaks for minutes: all of a recording, part by part, into a video file.",
        long_take,
    ),
    Blueprint(
        "Two speakers (talking, lip sync, dialogue)", "Two people in one picture, each with their own speech.", two_speakers
    ),
    Blueprint(
        "Dub a video (dubbing, lip sync, speech)",
        "New speech for a video: only the mouth is made anew.",
        dub,
        Models(beside=(files.FACES,)),
    ),
)
