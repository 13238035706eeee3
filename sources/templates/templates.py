"""The templates: the top level of each, and what app mode shows of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import files
import parts
import videos
from graph import Graph, Node, Numbers, Source, Subgraph, file
from models import Loaded, Models, models_box
from parts import Prepared
from settings import SIZE
from workflow import Json

BLUE, GREEN, GOLD = "#3f789e", "#8A8", "#b58b2a"
COLUMNS = tuple(236 * number for number in range(6))
"""Left edges of the nodes: notes, portrait, speech, models, sampling, video. The page scales a template that is chosen from its
list until it fills three quarters of the window: six columns of the least width of a node are as wide as can be read."""
WIDTH, HEIGHT, ROW = 226, 770, 480
"""Of a node (Nodes 2.0 draws none narrower); of a column; where a second row of groups begins."""
VIEW = {"scale": 0.78, "offset": [95, 130]}
"""How a saved template opens: below the page's bar and beside its tabs."""
TOP, GAP = 55, 40
"""Of the first node of a group, below its title and the node's badge; between two nodes, with the title of the second."""
BELOW_PRESET = TOP + 165 + GAP
SPEECH = 220
"""Height of Encode Speech."""
NOTES = Path(__file__).parent / "notes"
NOTHING = Source(0, 0, "")


@dataclass(frozen=True)
class Template:
    name: str
    build: Callable[[Json], Json]


class Sheet:
    """A template that grows column by column; `note` names a text of notes/. `is_app`: it opens in app mode."""

    def __init__(self, info: Json, note: str, is_app: bool = False) -> None:
        self.is_app = is_app
        self.graph = Graph(info, Numbers())
        self.subgraphs: list[Subgraph] = []
        self.fields: list[list] = []
        self.below_models = 0
        """Where the preparation begins."""
        for name, title, top, height in ((note, "Read me", TOP, 350), (f"{note}.zh", "说明", TOP + 350 + GAP, 310)):
            text = (NOTES / f"{name}.md").read_text(encoding="utf-8")
            self.graph.note(text, (0, top), (WIDTH, height), title)

    def group(self, title: str, color: str, columns: tuple[int, int], top: int = 0, bottom: int = HEIGHT) -> int:
        """A frame over columns. Returns the left edge of what is in it."""
        left = COLUMNS[columns[0]]
        self.graph.group(title, (left - 3, top - 8, COLUMNS[columns[1]] + WIDTH + 6 - left, bottom - top + 8), color)
        return left

    def add(
        self, kind: str, place: tuple[int, int], height: int, wires: dict[str, Source] | None = None, **values: Any
    ) -> Node:
        """A node as wide as a column, or as `width` says; ours without the pack's name in their title."""
        name = self.graph.info[kind]["display_name"]
        if name.startswith("FantasyTalking "):
            values.setdefault("title", name.removeprefix("FantasyTalking "))
        return self.graph.add(kind, place, (values.pop("width", WIDTH), height), wires, **values)

    def box(self, subgraph: Subgraph, place: tuple[int, int], height: int, wires: dict[str, Source]) -> Node:
        self.subgraphs.append(subgraph)
        return self.graph.box(subgraph, place, (WIDTH, height), wires)

    def field(self, node: Node, *widgets: str) -> None:
        """Fields of app mode."""
        self.fields += [[node.id, widget] for widget in widgets]

    def saved(self, *results: Node) -> Json:
        """The file; the result is what app mode shows."""
        data = {"inputs": self.fields, "outputs": [node.id for node in results]}
        return file(self.graph, self.subgraphs, {"ds": VIEW, "linearData": data, "linearMode": self.is_app})

    # ---------------------------------------------------------------------------------------- what most templates have

    def portrait_and_recording(self, short: bool = False, picture: str = "Portrait") -> tuple[Source, Source]:
        """The first column; `short` where there is a second row."""
        left = self.group("1 · Portrait, recording", GREEN, (1, 1), bottom=ROW - 15 if short else HEIGHT)
        label = {"image": picture.lower()}
        image = self.add(
            "LoadImage", (left, TOP), 210 if short else 310, title=f"{picture}: choose yours", labels=label, image=""
        )
        self.field(image, "image")
        audio = self.recording((left, TOP + GAP + (210 if short else 310)), can_record=not short)
        return image["IMAGE"], audio

    def recording(self, place: tuple[int, int], can_record: bool = True) -> Source:
        left, top = place
        node = self.add("LoadAudio", place, 140, title="Recording: choose yours", labels={"audio": "recording"}, audio="")
        if can_record:
            self.record((left, top + 140 + GAP))
        self.field(node, "audio")
        return node["AUDIO"]

    def record(self, place: tuple[int, int]) -> None:
        """Muted: a recorder that nothing was recorded with says so at every run."""
        self.add("RecordAudio", place, 120, title="Record (Ctrl+M)", mode=2)

    def scene(self, short: bool = False) -> tuple[Source, tuple[int, int]]:
        """The prompt in the second column. Returns it, and the place below."""
        left = self.group("2 · Scene and speech", GREEN, (2, 2), bottom=ROW - 15 if short else HEIGHT)
        height = 130 if short else 150
        title, label = "Prompt", {"value": "prompt"}
        node = self.add("PrimitiveStringMultiline", (left, TOP), height, title=title, labels=label, value=parts.PROMPT)
        self.field(node, "value")
        return node["STRING"], (left, TOP + GAP + height)

    def speech(self, loaded: Loaded, audio: Source, place: tuple[int, int], length: int = 81) -> Node:
        label = {"length": "length in frames"}
        wires = {"wav2vec": loaded.wav2vec, "audio": audio}
        node = self.add("FantasyTalkingEncodeSpeech", place, SPEECH, wires, labels=label, length=length)
        self.field(node, "length")
        return node

    def listen(self, speech: Node, place: tuple[int, int]) -> None:
        self.add("PreviewAudio", place, 90, {"audio": speech["audio"]}, title="Listen to the stretch")

    def load(self, models: Models) -> Loaded:
        """The third column."""
        left = self.group("3 · Models", BLUE, (3, 3))
        height = 310 + 55 * (models.strengths or models.lora) + 20 * (models.adapter == files.TRAINED)
        self.below_models = TOP + height + GAP
        return Loaded.of(self.box(models_box(self.graph, models), (left, TOP), height, {}))

    def prepare(self, loaded: Loaded, wires: dict[str, Source], **options: Any) -> Prepared:
        box = parts.preparation_box(self.graph, **options)
        own = {"clip": loaded.clip, "clip_vision": loaded.clip_vision}
        node = self.box(box, (COLUMNS[3], self.below_models), 265, {**own, **wires})
        outputs = {output["name"] for output in node.saved["outputs"]}
        portrait, vision, latent = (
            node[name] if name in outputs else NOTHING for name in ("start_image", "clip_vision_output", "latent")
        )
        return Prepared(node["positive"], node["negative"], portrait, vision, latent)

    def preset(self, columns: tuple[int, int] = (4, 4)) -> tuple[dict[str, Source], Source]:
        """The Preset in the sampler's column. Returns what the sampler takes of it, and the longest edge."""
        left = self.group("4 · Sampling", BLUE, columns)
        node = self.add("FantasyTalkingPreset", (left, TOP), BELOW_PRESET - GAP - TOP, preset="quality")
        self.field(node, "preset")
        return {name: node[name] for name in ("steps", "text_cfg", "audio_cfg", "guidance_every")}, node["longest_edge"]

    def sample(
        self, loaded: Loaded, prepared: Prepared, wires: dict[str, Source], top: int = BELOW_PRESET, **values: Any
    ) -> Node:
        start = {"positive": prepared.positive, "negative": prepared.negative, "latent_image": prepared.latent}
        wires = {"model": loaded.model, **start, **wires}
        easy = {"seed": 1111, "ease_in_silence": True, **values}
        node = self.add("FantasyTalkingSampler", (COLUMNS[4], top), 410, wires, **easy)
        self.field(node, "seed")
        return node

    def save(self, box: Subgraph, wires: dict[str, Source], height: int = 130) -> Json:
        left = self.group("5 · Video", GREEN, (5, 5))
        video = self.box(box, (left, TOP), height, wires)
        prefix = "video/fantasytalking"
        place = (left, TOP + GAP + height)
        return self.saved(self.add("SaveVideo", place, 400, {"video": video["video"]}, filename_prefix=prefix))

    def speak(self, loaded: Loaded, picture: Source, text: Source, speech: Node, **more: Source) -> Json:
        """From the preset on: preparation, sampling and the video; `more`: identity or motion."""
        settings, edge = self.preset()
        wires = {"vae": loaded.vae, "portrait": picture, "prompt": text, "longest_edge": edge}
        wires |= {"speech": speech["speech"], "length": speech["length"], **more}
        sampled = self.sample(loaded, self.prepare(loaded, wires, more=tuple(more)), settings)
        return self.save(videos.video_box(self.graph), sound(sampled, loaded, speech))


def below_speech(place: tuple[int, int]) -> tuple[int, int]:
    """The place below Encode Speech at `place`."""
    return place[0], place[1] + SPEECH + GAP


def sound(sampled: Node, loaded: Loaded, speech: Node) -> dict[str, Source]:
    """What a video is made of."""
    return {"samples": sampled[0], "vae": loaded.vae, "audio": speech["audio"], "fps": speech["fps"]}


def _talking(info: Json, note: str, models: Models, edge: int | None = None, larger: bool = False, **values: Any) -> Json:
    sheet = Sheet(info, note)
    picture, audio = sheet.portrait_and_recording()
    text, below = sheet.scene()
    loaded = sheet.load(models)
    speech = sheet.speech(loaded, audio, below)
    sheet.listen(speech, below_speech(below))
    wires = {"vae": loaded.vae, "portrait": picture, "prompt": text, "speech": speech["speech"], "length": speech["length"]}
    settings: dict[str, Source] = {}
    if edge is None:
        settings, wires["longest_edge"] = sheet.preset()
    else:
        sheet.group("4 · Sampling", BLUE, (4, 4))
    prepared = sheet.prepare(loaded, wires, edge=edge)
    sampled = sheet.sample(loaded, prepared, settings, BELOW_PRESET if edge is None else TOP, **values)
    if larger:
        return sheet.save(videos.larger_box(sheet.graph), sound(sampled, loaded, speech), 205)
    return sheet.save(videos.video_box(sheet.graph), sound(sampled, loaded, speech))


def talking(info: Json) -> Json:
    """A portrait speaks."""
    return _talking(info, "talking", Models())


def few_steps(info: Json) -> Json:
    """With a distilled LoRA."""
    return _talking(info, "few_steps", Models(lora=True), edge=512, steps=4, text_cfg=1.0)


def small_card(info: Json) -> Json:
    """With fp8 weights, a distilled LoRA and a smaller picture."""
    return _talking(info, "small_card", Models(lora=True), edge=448, steps=4, text_cfg=1.0)


def larger(info: Json) -> Json:
    """Then twice the size and twice the frames."""
    return _talking(info, "larger", Models(beside=(files.UPSCALER, files.INTERPOLATOR)), larger=True)


def identity(info: Json) -> Json:
    """The same, keeping the face."""
    sheet = Sheet(info, "identity")
    picture, audio = sheet.portrait_and_recording(short=True)
    text, below = sheet.scene(short=True)
    left = sheet.group("The face", GOLD, (1, 2), ROW)
    loaded = sheet.load(Models(strengths=True, beside=(files.FACES,)))
    speech = sheet.speech(loaded, audio, below)
    offer = [files.FACES.offer()]
    crop = sheet.add("FantasyTalkingCropFace", (left, ROW + TOP), 215, {"image": picture}, models=offer)
    wires = {"clip_vision": loaded.clip_vision, "face": crop["face"]}
    face = sheet.add("FantasyTalkingEncodeFaceCLIP", (COLUMNS[2], ROW + TOP), 100, wires)
    return sheet.speak(loaded, picture, text, speech, identity=face["identity"])


def motion(info: Json) -> Json:
    """More or less lively, with an adapter that was trained for it."""
    sheet = Sheet(info, "motion")
    picture, audio = sheet.portrait_and_recording(short=True)
    text, below = sheet.scene(short=True)
    left = sheet.group("How lively", GOLD, (1, 1), ROW)
    loaded = sheet.load(Models(strengths=True, adapter=files.TRAINED, beside=(files.FACES,)))
    speech = sheet.speech(loaded, audio, below)
    intensity = sheet.add("FantasyTalkingMotionIntensity", (left, ROW + TOP), 125)
    sheet.field(intensity, "expression", "body")
    left = sheet.group("From a clip (muted)", GOLD, (2, 2), ROW)
    clip = sheet.add("LoadVideo", (left, ROW + TOP), 110, file="", mode=2)
    assert loaded.adapter is not None
    wires = {"video": clip["VIDEO"], "adapter": loaded.adapter}
    sheet.box(videos.clip_box(sheet.graph), (left, ROW + TOP + 110 + GAP), 80, wires).saved["mode"] = 2
    return sheet.speak(loaded, picture, text, speech, motion=intensity["motion"])


def long_speech(info: Json) -> Json:
    """All of a long recording, part by part, into a video file."""
    sheet = Sheet(info, "long_speech")
    picture, audio = sheet.portrait_and_recording(short=True)
    text, below = sheet.scene(short=True)
    left = sheet.group("What will be heard", GOLD, (1, 2), ROW)
    loaded = sheet.load(Models())
    speech = sheet.speech(loaded, audio, below, length=0)
    wide = COLUMNS[2] + WIDTH - COLUMNS[1]
    sheet.add("FantasyTalkingPreviewSpeech", (left, ROW + TOP), 215, {"speech": speech["speech"]}, width=wide)
    settings, edge = sheet.preset((4, 5))
    wires = {"portrait": picture, "prompt": text, "speech": speech["speech"], "longest_edge": edge}
    prepared = sheet.prepare(loaded, wires, length=False)
    sheet.listen(speech, (COLUMNS[4], BELOW_PRESET))
    wires = {"model": loaded.model, "vae": loaded.vae, "positive": prepared.positive, "negative": prepared.negative}
    wires |= {"start_image": prepared.portrait, "clip_vision_output": prepared.clip_vision_output, "audio": speech["audio"]}
    easy = {"seed": 1111, "control": "fixed", "ease_in_silence": True}
    render = sheet.add("FantasyTalkingRender", (COLUMNS[5], TOP), 540, {**wires, **settings}, **easy)
    sheet.field(render, "seed")
    return sheet.saved(render)


def two_speakers(info: Json) -> Json:
    """Two people in one picture, each with their own speech."""
    sheet = Sheet(info, "two_speakers")
    picture, audio = sheet.portrait_and_recording(short=True, picture="Picture of two")
    text, below = sheet.scene(short=True)
    left = sheet.group("Who speaks when", GOLD, (1, 2), ROW)
    loaded = sheet.load(Models(beside=(files.FACES,)))
    masks = sheet.add("FantasyTalkingSpeakerMasks", (left, ROW + TOP), 215, {"image": picture}, models=[files.FACES.offer()])
    place = (COLUMNS[2], ROW + TOP)
    turns = sheet.add("FantasyTalkingSpeakerTurns", place, 200, {"audio": audio}, turns="0.0-1.8 1\n1.8-3.6 2")
    sheet.field(turns, "turns")
    wires = {"wav2vec": loaded.wav2vec, "speaker 1": turns["speaker 1"], "speaker 2": turns["speaker 2"]}
    voices = sheet.box(parts.voices_box(sheet.graph), below, 180, wires)
    sheet.field(voices, "length_in_frames")
    settings, edge = sheet.preset()
    wires = {"vae": loaded.vae, "portrait": picture, "prompt": text, "length": voices["length"], "longest_edge": edge}
    for name in ("speech", "mask"):
        for number in (1, 2):
            wires[f"{name} {number}"] = voices[f"speech {number}"] if name == "speech" else masks[f"speaker {number}"]
    prepared = sheet.prepare(loaded, wires, speakers=2)
    sampled = sheet.sample(loaded, prepared, settings)
    return sheet.save(videos.video_box(sheet.graph), sound(sampled, loaded, voices))


def dub(info: Json) -> Json:
    """New speech for a video, everything but the mouth untouched."""
    sheet = Sheet(info, "dub")
    left = sheet.group("1 · Video, recording", GREEN, (1, 1))
    clip = sheet.add("LoadVideo", (left, TOP), 310, title="Video: choose yours", labels={"file": "video"}, file="")
    sheet.field(clip, "file")
    audio = sheet.recording((left, TOP + 310 + GAP))
    text, below = sheet.scene()
    loaded = sheet.load(Models(strengths=True, beside=(files.FACES,)))
    wires = {"vae": loaded.vae, "video": clip["VIDEO"]}
    mouth = sheet.box(videos.mouth_box(sheet.graph), below_speech(below), 220, wires)
    wires = {"wav2vec": loaded.wav2vec, "audio": audio, "fps": mouth["fps"], "length": mouth["length"]}
    speech = sheet.add("FantasyTalkingEncodeSpeech", below, SPEECH, wires)
    wires = {"vae": loaded.vae, "portrait": mouth["first frame"], "prompt": text}
    wires |= {"speech": speech["speech"], "length": speech["length"]}
    prepared = sheet.prepare(loaded, wires, fit=False)
    prepared.latent = mouth["latent"]
    sheet.group("4 · Sampling", BLUE, (4, 4))
    sampled = sheet.sample(loaded, prepared, {}, TOP)
    wires = {**sound(sampled, loaded, speech), "images": mouth["images"], "mask": mouth["mask"]}
    return sheet.save(videos.paste_box(sheet.graph), wires, 170)


def try_it(info: Json) -> Json:
    """The small models that come with the pack: nothing to download."""
    sheet = Sheet(info, "try", is_app=True)
    left = sheet.group("1 · Person", GREEN, (1, 1))
    example = sheet.add("FantasyTalkingExample", (left, TOP), 380)
    sheet.field(example, "portrait", "recording")
    sheet.record((left, TOP + 380 + GAP))
    text, below = sheet.scene()
    left = sheet.group("3 · Models", BLUE, (3, 3))
    loaded = Loaded.of(sheet.add("FantasyTalkingSmallModels", (left, TOP), 200))
    sheet.below_models = TOP + 200 + GAP
    speech = sheet.speech(loaded, example["recording"], below)
    sheet.listen(speech, below_speech(below))
    sheet.group("4 · Sampling", BLUE, (4, 4))
    wires = {"vae": loaded.vae, "portrait": example["portrait"], "prompt": text}
    wires |= {"speech": speech["speech"], "length": speech["length"]}
    prepared = sheet.prepare(loaded, wires, edge=SIZE)
    sampled = sheet.sample(loaded, prepared, {}, TOP, steps=10, text_cfg=1.0, audio_cfg=2.0)
    return sheet.save(videos.video_box(sheet.graph, enlarged=4.0), sound(sampled, loaded, speech))


TEMPLATES = (
    Template("Talking portrait (start here)", talking),
    Template("Try it with the small demo models", try_it),
    Template("Talking portrait, keep the face", identity),
    Template("Talking portrait, livelier or calmer", motion),
    Template("Talking portrait, in 4 steps", few_steps),
    Template("Talking portrait, 12 GB card", small_card),
    Template("Talking portrait, larger and smoother", larger),
    Template("Long speech", long_speech),
    Template("Two speakers", two_speakers),
    Template("Dub a video", dub),
)
