"""The recipe: everything in models/ again, from a seed, in stages that each go on where they were interrupted.

videos         the talking world, drawn and spoken (needs the program espeak-ng)
vae            the Wan VAE
wav2vec2       what listens
face_encoder   what tells faces apart
prepare        the pack's own training caches of the videos
dit            image-to-video, without speech
adapter        speech, identity and motion by the pack's own trainer
ship           the files to sources/drawn_world/models
ablation       the adapters that docs/evidence.md compares it with
"""

import argparse
import logging
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import librosa
import numpy as np
import soundfile
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.model_spec import USAGE_HINT
from fantasytalking_core.training.data.lip_mask import OUTER_LIPS

from . import FPS, FRAMES, LONG_FRAMES, ROOT, SIZE
from .world import videos
from .world.figure import Pose, landmarks
from .world.performance import perform
from .world.portrait import draw, draw_all
from .world.voices import RATE, SENTENCES, Voice, say

if TYPE_CHECKING:
    from fantasytalking_core.training.data.encoders import Encoders

SHIPPED = ROOT / "sources/drawn_world/models"
DEMO_FOLDER = ROOT / "demo"


@dataclass(frozen=True)
class Folder:
    """A folder of videos.

    Attributes:
        split, numbers: whose they are.
        people: in each.
        frames: of the clips of its training cache; None: there is none.
    """

    split: videos.Split
    numbers: range
    people: int = 1
    frames: int | None = None


FOLDERS = {
    **{f"train_{part}": Folder("train", range(90 * part, 90 * (part + 1)), frames=FRAMES) for part in range(8)},
    "long": Folder("train", range(720, 840), frames=LONG_FRAMES),
    "pairs": Folder("train", range(420, 510), people=2, frames=FRAMES),
    "test": Folder("test", range(24)),
}
PARTS = tuple(name for name in FOLDERS if name.startswith("train_"))
"""Their caches are made at the same time, and become one, `train`."""
DEMO = {
    "drawn_portrait.png": 211,
    "drawn_nora.png": 221,
    "drawn_zola.png": 218,
    "drawn_milo.png": 247,
    "drawn_omar.png": 253,
}
"""Pictures of demo/, and the test videos whose people they show. A detector made for photographs finds the face of the first:
the identity template asks."""
DEMO_PAIR = (202, 214)
"""The test videos whose people the demo of two speakers shows: that detector finds both faces."""
DEMO_VOICE = Voice("en-gb-scotland+f4", pitch=55, speed=134)
"""Of the first picture's person."""
LONG_SPEECH = SENTENCES["test"]
DEMO_SPEECH = {
    "drawn_speech.wav": (["Hello, I am a small model, and I can talk."], DEMO_VOICE),
    "drawn_mouth.wav": (["Nobody drew my mouth. I move it myself."], Voice("en-gb-x-gbcwmd+f5", pitch=60, speed=140)),
    "drawn_lines.wav": (["I was drawn with a few lines, but I love to talk."], Voice("en-gb-scotland+m4", pitch=40, speed=150)),
    "drawn_long_speech.wav": (LONG_SPEECH, DEMO_VOICE),
}
"""Recordings of demo/: sentences, with a breath between them, and voices that nothing was trained on."""
CLIP_FRAMES = 49
HINT = "small demo model: knows drawn people only"
"""What the shipped files say of themselves on the loaders that open them."""
PRODUCTS = ("vae.safetensors", "wav2vec2", "face_encoder.onnx", "dit.safetensors", "adapter.safetensors")


def work_folder() -> Path:
    """Where everything is made: .host/small, which git ignores."""
    return Path(os.environ["FANTASYTALKING_BASE"]).parent / "small"


def cores() -> int:
    return os.cpu_count() or 1


def at_once(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Call `work` with every name, in as many processes as there are cores: tensors this small gain little from a second
    thread, and leave most of a GPU idle."""
    with ProcessPoolExecutor(min(cores(), len(names)), multiprocessing.get_context("spawn"), _begin) as pool:
        list(pool.map(work, names, chunksize=1))


def _begin() -> None:
    """What a process needs before it can work."""
    from fantasytalking_core.host.start import start_host

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_host(os.environ["FANTASYTALKING_BASE"])
    torch.set_num_threads(1)  # the processes would wait for each other's threads


def make_videos(folder: Path) -> None:
    for name, made in FOLDERS.items():
        videos.make_videos(folder / "videos" / name, made.split, made.numbers, made.people, cores())


def training_videos(folder: Path) -> videos.Videos:
    return videos.read(*(folder / "videos" / part for part in PARTS))


def train_vae(folder: Path) -> None:
    from . import vae

    path = folder / "models/vae.safetensors"
    if not path.is_file():
        half = videos.read(*(folder / "videos" / part for part in PARTS[::2]))  # in memory, all would be 2 GB
        vae.train(half.frames, path, folder / "checkpoints/vae.pt")
    vae.psnr(path, videos.read(folder / "videos/test").frames[:, :FRAMES])


def train_wav2vec2(folder: Path) -> None:
    from . import wav2vec2

    path = folder / "models/wav2vec2"
    if not path.is_dir():
        wav2vec2.train(training_videos(folder).sounds, path, folder / "checkpoints/wav2vec2.pt")
    known, unknown = (videos.read(folder / "videos" / name).sounds for name in ("long", "test"))
    wav2vec2.loudness_r2(path, known, unknown)


def train_face_encoder(folder: Path) -> None:
    from . import face_encoder

    path = folder / "models/face_encoder.onnx"
    if not path.is_file():
        seen = training_videos(folder)
        face_encoder.train(seen.frames, seen.landmarks, path, folder / "checkpoints/face_encoder.pt")
    unknown = videos.read(folder / "videos/test")
    face_encoder.verify(path, unknown.frames, unknown.landmarks)


def prepare(folder: Path) -> None:
    """The caches of short clips, of long ones, and of two people."""
    if not (folder / "cache/train").is_dir():
        at_once(partial(make_cache, folder), [name for name, made in FOLDERS.items() if made.frames])
        merge([folder / "cache" / part for part in PARTS], folder / "cache/train")


def make_cache(folder: Path, name: str) -> None:
    """That of one of FOLDERS, by the pack's own `prepare`, in a process of its own."""
    from fantasytalking_core.training.data.prepare import PrepareSettings
    from fantasytalking_core.training.data.prepare import prepare as make

    from .convolution import convolutions_as_2d

    def tell(done: int, total: int, where: str) -> None:
        if done % 40 == 0:
            logging.info("prepare %s: %s, video %d of %d", name, where, done, total)

    made = FOLDERS[name]
    settings = PrepareSettings(frames=made.frames, fps=FPS, width=made.people * SIZE, height=SIZE)
    with convolutions_as_2d():
        make(folder / "videos" / name, folder / "cache" / name, settings, encoders(folder / "models"), tell)


def encoders(models: Path) -> "Encoders":
    """The family's own and the stand-ins for the two that have no small counterpart."""
    from fantasytalking_core.host import load_encoders as host
    from fantasytalking_core.host.stand_ins import StandInImageEncoder, StandInTextEncoder
    from fantasytalking_core.training.data.encoders import PARTS, Encoders

    text, image = StandInTextEncoder(), StandInImageEncoder()
    return Encoders(
        video=host.video_encoder(models / "vae.safetensors"),
        speech=host.speech_encoder(models / "wav2vec2"),
        text=lambda prompt: host.without_padding(text.encode_from_tokens_scheduled(text.tokenize(prompt))[0][0][0]),
        image=lambda picture: image.encode_image(picture[None], crop=False)["penultimate_hidden_states"][0],
        face=host.face_encoder_of(models / "face_encoder.onnx"),
        models=dict.fromkeys(PARTS, "the small family"),
    )


def merge(parts: Sequence[Path], cache: Path) -> None:
    """Caches of the same kind to one, which appears complete."""
    from fantasytalking_core.training.data.cache import INDEX, Index, ranges

    indices, partial_cache = [Index.load(part) for part in parts], cache.with_name(cache.name + ".part")
    shutil.rmtree(partial_cache, ignore_errors=True)
    for part in parts:
        shutil.copytree(part, partial_cache, dirs_exist_ok=True, ignore=shutil.ignore_patterns(INDEX))
    entries = [entry for index in indices for entry in index.samples]
    left_out = {name: reason for index in indices for name, reason in index.left_out.items()}
    whole = replace(indices[0], samples=tuple(entries), left_out=left_out, ranges=ranges(partial_cache, entries))
    whole.save(partial_cache)
    partial_cache.rename(cache)


def train_dit(folder: Path) -> None:
    from . import dit

    path = folder / "models/dit.safetensors"
    if not path.is_file():
        caches = {"short": folder / "cache/train", **{kind: folder / "cache" / kind for kind in ("long", "pairs")}}
        dit.train(caches, path, folder / "checkpoints/dit.pt")


def train_shipped(folder: Path) -> None:
    from . import adapters

    if not (folder / "runs" / adapters.SHIPPED / "adapter.safetensors").is_file():
        adapters.train(adapters.SHIPPED, folder)


def train_others(folder: Path) -> None:
    from . import adapters

    variants = [name for name in adapters.VARIANTS if not (folder / "runs" / name / "adapter.safetensors").is_file()]
    at_once(partial(train_adapter, folder), variants)


def train_adapter(folder: Path, variant: str) -> None:
    """One of `adapters.VARIANTS`, in a process of its own."""
    from . import adapters

    adapters.train(variant, folder)


def ship(folder: Path) -> None:
    """The products to sources/drawn_world/models, and to demo/ what they are shown on."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    for name in PRODUCTS:
        source, target = folder / "models" / name, SHIPPED / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.suffix == ".safetensors":
            copy_with_hint(source, target)
        else:
            shutil.copyfile(source, target)
    ship_demo(DEMO_FOLDER)


def copy_with_hint(source: Path, target: Path) -> None:
    """A copy of a safetensors file that says what it is for."""
    with safe_open(source, framework="pt") as file:
        metadata = {**(file.metadata() or {}), USAGE_HINT: HINT}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no dict: it has no iterator
    save_file(weights, target, metadata)
    target.chmod(0o644)  # safetensors makes files that only their owner may read


def ship_demo(folder: Path) -> None:
    """Portraits, speech, and a video with the mask of its mouth."""
    for name, number in DEMO.items():
        Image.fromarray(draw(videos.look_of("test", number), Pose())).save(folder / name)
    pair = [videos.look_of("test", number) for number in DEMO_PAIR]
    Image.fromarray(draw_all(pair, [Pose(), Pose()], 4 * SIZE)).save(folder / "pair_portrait.jpg", quality=92)
    breath = np.zeros(RATE // 2)
    for name, (sentences, voice) in DEMO_SPEECH.items():
        parts = [librosa.effects.trim(say(sentence, voice), top_db=40)[0] for sentence in sentences]
        sound = np.concatenate([part for each in parts for part in (each, breath)][:-1])
        soundfile.write(folder / name, np.pad(sound, (RATE // 8, RATE // 8)), RATE)
    number = DEMO["drawn_portrait.png"]
    shown, spoken = videos.look_of("test", number), say(LONG_SPEECH[0], DEMO_VOICE)
    spoken = librosa.util.fix_length(spoken, size=round(CLIP_FRAMES / FPS * RATE))
    poses = perform(spoken, CLIP_FRAMES, FPS, 0.6, 0.3, number)
    videos.write_video(folder / "drawn_clip.mp4", np.stack([draw(shown, pose) for pose in poses]), spoken)
    points = np.concatenate([landmarks(shown, pose)[list(OUTER_LIPS)] for pose in poses])
    low, high = points.min(0) - (6, 5), points.max(0) + (6, 8)
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
    Image.fromarray(np.repeat(255 * inside[..., None], 3, axis=2).astype(np.uint8)).save(folder / "drawn_mouth.png")


STAGES: dict[str, Callable[[Path], None]] = {
    "videos": make_videos,
    "vae": train_vae,
    "wav2vec2": train_wav2vec2,
    "face_encoder": train_face_encoder,
    "prepare": prepare,
    "dit": train_dit,
    "adapter": train_shipped,
    "ship": ship,
    "ablation": train_others,
}


def main(arguments: list[str]) -> int:
    """`train small`; returns the exit status. Each stage does what is missing of it."""
    parser = argparse.ArgumentParser(prog="train small", description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=STAGES, help="a single stage")
    chosen, folder = parser.parse_args(arguments).only, work_folder()
    try:
        for name, stage in STAGES.items():
            if chosen in (None, name):
                started = time.monotonic()
                logging.info("%s ...", name)
                stage(folder)
                logging.info("%s: done in %.0f s", name, time.monotonic() - started)
    except FantasyTalkingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
