"""Make the templates' moving pictures anew, by running each with the demo's small models: workflows/*.jpg, animated WebP.

    python dev.py run sources/templates/cards.py [NAME ...]

The page looks for a template's picture under the name .jpg, and plays what it finds.
"""

import asyncio
import copy
import json
import shutil
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "demo"), str(ROOT / "sources"), str(ROOT)]

from host import ComfyUI, base_directory  # noqa: E402
from run import run_prompt, saved_video  # noqa: E402
from settings import SIZE, in_demo_size  # noqa: E402
from workflow import to_api  # noqa: E402

SIDE, EVERY, QUALITY = 440, 2, 55
"""Pixels of a card; every second frame of the video is kept; of WebP."""
HEAD, FOOT = 44, 26
MARK = "made by the small demo models"
FEW = {"steps": 4}
"""As these templates have them; the demo has its own."""
BACK, TEXT, FAINT = "#17181c", "#e8e8ea", "#9a9aa2"
Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Card:
    """What a card shows: videos beside each other, each of a run with other settings, by node class."""

    template: str
    title: str
    runs: tuple[Settings, ...] = ({},)
    labels: tuple[str, ...] = ()


def person(name: str, **more: dict[str, Any]) -> Settings:
    return {"LoadImage": {"image": f"drawn_{name}.png"}, **more}


def lively(amount: float) -> Settings:
    return person("milo", FantasyTalkingMotionIntensity={"expression": amount, "body": amount})


CARDS = (
    Card("Talking portrait (start here)", "Talking portrait"),
    Card(
        "Try it with the small demo models",
        "Try it: nothing to download",
        ({"FantasyTalkingExample": {"portrait": "Zola (drawn)"}},),
    ),
    Card("Talking portrait, keep the face", "Keep the face"),
    Card("Talking portrait, livelier or calmer", "Livelier or calmer", (lively(0.0), lively(1.0)), ("0.0", "1.0")),
    Card("Talking portrait, in 4 steps", "In 4 steps", (person("omar", FantasyTalkingSampler=FEW),)),
    Card("Talking portrait, 12 GB card", "For a 12 GB card", (person("zola", FantasyTalkingSampler=FEW),)),
    Card("Talking portrait, larger and smoother", "Larger and smoother", (person("milo"),)),
    Card("Long speech", "Long speech", (person("nora"),)),
    Card("Two speakers", "Two speakers"),
    Card("Dub a video", "Dub a video", labels=("before", "after")),
)


def drawn_clip(path: Path) -> np.ndarray:
    """A video of a drawn person to be dubbed, 69 frames at 23 a second, its frames [T, H, W, 3], and where it lies."""
    from drawn_world.world.figure import Pose
    from drawn_world.world.look import Look
    from drawn_world.world.portrait import draw

    moments = [Pose(mouth_open=abs(np.sin(number / 3)), tilt=0.05 * np.sin(number / 12)) for number in range(69)]
    frames = np.stack([draw(Look.random(1), moment, SIZE) for moment in moments])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=23, options={"crf": "8"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return frames


def masked_by_hand(prompt: dict) -> dict:
    """A dub with a box for the mouth: the landmark model's weights do not come with the pack."""
    sources = {key for key, node in prompt.items() if node["class_type"] == "FantasyTalkingMouthMask"}
    for name, value, width, height in (("nothing", 0.0, SIZE, SIZE), ("box", 1.0, SIZE // 2, SIZE // 3)):
        prompt[name] = {"class_type": "SolidMask", "inputs": {"value": value, "width": width, "height": height}}
    place = {"x": SIZE // 4, "y": SIZE // 2, "operation": "add"}
    prompt["mouth"] = {
        "class_type": "MaskComposite",
        "inputs": {"destination": ["nothing", 0], "source": ["box", 0], **place},
    }
    for name in ("nothing", "box", "mouth"):
        prompt[name]["_meta"] = {"title": name}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in sources:
                node["inputs"][name] = ["mouth", 0]
    return prompt


def frames_of(video: Path) -> list[Image.Image]:
    with av.open(str(video)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def paint(card: Card, panels: list[list[Image.Image]], path: Path, fps: float) -> None:
    """An animation of the panels beside each other."""
    width = SIDE // len(panels)
    fonts = [ImageFont.load_default(size) for size in (24, 14)]
    pictures = []
    for moment in zip(*panels, strict=False):
        picture = Image.new("RGB", (SIDE, SIDE), BACK)
        pen = ImageDraw.Draw(picture)
        for number, frame in enumerate(moment):
            scale = min(width / frame.width, (SIDE - HEAD - FOOT) / frame.height)
            size = (round(frame.width * scale), round(frame.height * scale))
            left = number * width + (width - size[0]) // 2
            top = HEAD + (SIDE - HEAD - FOOT - size[1]) // 2
            picture.paste(frame.resize(size, Image.Resampling.LANCZOS), (left, top))
            if card.labels:
                pen.text((left + 8, top + size[1] + 6), card.labels[number], TEXT, fonts[1])
        pen.text((14, 8), card.title, TEXT, fonts[0])
        pen.text((14, SIDE - FOOT + 4), MARK, FAINT, fonts[1])
        pictures.append(picture)
    with path.open("wb") as file:
        pictures[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 / fps),
            loop=0,
            quality=QUALITY,
            method=6,
        )


def run(card: Card, address: str, info: dict) -> tuple[list[list[Image.Image]], float]:
    """The frames of each of a card's videos, and how many a second."""
    workflow = json.loads((ROOT / f"workflows/{card.template}.json").read_text(encoding="utf-8"))
    panels = []
    every = EVERY
    for settings in card.runs:
        prompt = to_api(copy.deepcopy(workflow), info)
        if card.template != "Try it with the small demo models":
            prompt = in_demo_size(prompt)
        for node in prompt.values():
            node["inputs"] |= settings.get(node["class_type"], {})
        if card.template == "Dub a video":
            clip = base_directory() / "output/clip.mp4"
            panels.append([Image.fromarray(frame) for frame in drawn_clip(clip)][::every])
            prompt = masked_by_hand(prompt)
            for node in prompt.values():
                if node["class_type"] == "LoadVideo":
                    node["inputs"]["file"] = "clip.mp4 [output]"
        video = saved_video(asyncio.run(run_prompt(address, prompt)))
        frames = frames_of(video)
        every = 2 * EVERY if len(frames) > 120 else EVERY  # with frames in between
        panels.append(frames[::every])
    return panels, 23 / EVERY


def main(names: list[str]) -> None:
    for file in (ROOT / "demo").glob("drawn_*.png"):
        shutil.copyfile(file, base_directory() / "input" / file.name)
    with tempfile.TemporaryDirectory() as folder, ComfyUI(Path(folder) / "host.log") as host:
        with urllib.request.urlopen(f"{host.address}/object_info") as answer:
            info = json.load(answer)
        for card in CARDS:
            if names and not any(name in card.template for name in names):
                continue
            panels, fps = run(card, host.address, info)
            path = ROOT / f"workflows/{card.template}.jpg"
            paint(card, panels, path, fps)
            print(f"{path.name}: {len(panels[0])} pictures, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
