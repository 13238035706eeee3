"""Any recording over HTTP: it becomes the sound of a video file, and what is odd of it stands on Encode Speech."""

import asyncio
import json
import math
import shutil
import wave
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest
from host import ComfyUI, base_directory
from run import run_prompt
from settings import PORTRAIT, in_demo_size
from workflow import to_api

from support import ROOT
from support.templates import BASIC, named

TONE = 440.0
"""Hz."""
FRAMES, FPS = 17, 23.0
SECONDS = FRAMES / FPS
HALF = 0.5 * 32767


@dataclass(frozen=True)
class Server:
    """A running host with the demo's models, whose files lie in `base`; `prompt` is the basic template in demo size."""

    address: str
    base: Path
    prompt: dict


async def template(address: str) -> dict:
    async with aiohttp.ClientSession(address) as session, session.get("/object_info") as response:
        return in_demo_size(to_api(named(BASIC), await response.json()))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("sound")
    for name in ("custom_nodes", "models"):
        (base / name).symlink_to(base_directory() / name)
    (base / "input").mkdir()
    shutil.copyfile(ROOT / "demo" / PORTRAIT, base / "input" / PORTRAIT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base))
        with ComfyUI(base / "server.log") as running:
            yield Server(running.address, base, asyncio.run(template(running.address)))


def write(server: Server, name: str, rate: int, samples: np.ndarray) -> None:
    """A 16-bit file among the host's inputs; `[N, channels]` of 16-bit numbers."""
    with wave.open(str(server.base / "input" / name), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    """`[N, 1]`, of half the full scale."""
    return HALF * np.sin(2 * math.pi * TONE * np.arange(int(seconds * rate)) / rate)[:, None]


def run(server: Server, recording: str, with_video: bool, **settings) -> dict:
    """The outputs of the nodes of a class, by the class."""
    prompt = json.loads(json.dumps(server.prompt))
    kinds = {node["class_type"]: key for key, node in prompt.items() if node["class_type"] != "CLIPTextEncode"}
    changes = {
        "LoadAudio": {"audio": recording},
        "FantasyTalkingEncodeSpeech": {"length": FRAMES, "fps": FPS, **settings},
        "FantasyTalkingSampler": {"steps": 1},
    }
    for kind, inputs in changes.items():
        prompt[kinds[kind]]["inputs"].update(inputs)
    if not with_video:
        prompt = {kinds[kind]: prompt[kinds[kind]] for kind in (*list(changes)[:2], "FantasyTalkingWav2VecLoader")}
        speech = {"speech": [kinds["FantasyTalkingEncodeSpeech"], 0]}
        preview = {"class_type": "FantasyTalkingPreviewSpeech", "inputs": speech, "_meta": {"title": "Preview"}}
        prompt["preview"], kinds["FantasyTalkingPreviewSpeech"] = preview, "preview"
    outputs = asyncio.run(run_prompt(server.address, prompt))
    return {kind: outputs[key] for kind, key in kinds.items() if key in outputs}


@pytest.mark.parametrize(
    ("rate", "channels", "saved_rate", "saved_channels", "shown"),
    [
        (40000, 1, 48000, 1, "sound: 48000 Hz mono, as a video can't hold 40000 Hz mono"),
        (192000, 2, 48000, 2, "sound: 48000 Hz stereo, as a video can't hold 192000 Hz stereo"),
        (44100, 4, 44100, 2, "sound: 44100 Hz stereo, as a video can't hold 44100 Hz with 4 channels"),
        (11025, 6, 11025, 6, None),
    ],
)
def test_any_recording_becomes_the_sound_of_a_saved_video(server, rate, channels, saved_rate, saved_channels, shown):
    """The tone is on the last channel only: no speech is lost, and none is faster or slower."""
    name = f"{rate}_{channels}.wav"
    write(server, name, rate, np.pad(tone(rate), ((0, 0), (channels - 1, 0))))
    outputs = run(server, name, with_video=True)
    (text,) = outputs["FantasyTalkingEncodeSpeech"]["text"]
    assert text.splitlines()[1:] == ([shown] if shown else [])

    (file,) = outputs["SaveVideo"]["images"]
    path = server.base / "output" / file["subfolder"] / file["filename"]
    with av.open(str(path)) as video:
        (pictures,), (sound,) = video.streams.video, video.streams.audio
        assert (sound.rate, sound.channels) == (saved_rate, saved_channels)
        assert float(sound.duration * sound.time_base) == pytest.approx(SECONDS, abs=0.002)
        assert float(pictures.duration * pictures.time_base) == pytest.approx(SECONDS, abs=0.002)
        samples = np.concatenate([frame.to_ndarray() for frame in video.decode(sound)], axis=1)
    loudest = samples[samples.std(1).argmax()][: int(SECONDS * saved_rate)]
    spectrum = np.abs(np.fft.rfft(loudest * np.hanning(len(loudest))))
    assert spectrum.argmax() / SECONDS == pytest.approx(TONE, abs=1 / SECONDS)
    assert loudest.std() > 0.5 / math.sqrt(2) / channels / 2


SILENT = "⚠ In this clip the audio is silent, the face will not speak: check it and start_time."


@pytest.mark.parametrize(
    ("name", "samples", "settings", "shown"),
    [
        ("silent", np.zeros((16000, 1)), {}, [SILENT]),
        (
            "inverted",
            tone(16000) * [1, -1],
            {},
            [
                "⚠ The channels of the audio cancel each other out, so channel 1 alone is heard: invert one of them in the "
                "recording, or the video is silent on a single loudspeaker."
            ],
        ),
        ("late", np.concatenate([np.zeros((32000, 1)), tone(16000, 2.0)]), {"length": 81}, ["⚠ The speech begins after 2.0 s"]),
        ("clipped", np.sign(tone(16000)) * 32767, {}, ["⚠ The audio is clipped: "]),
        ("short", tone(16000, 0.5), {}, ["0.24 s of silence added at the end"]),
        ("good", tone(16000), {}, []),
    ],
)
def test_what_is_odd_of_a_recording_stands_on_the_node_and_its_preview_is_drawn(server, name, samples, settings, shown):
    write(server, f"{name}.wav", 16000, samples)
    outputs = run(server, f"{name}.wav", with_video=False, **settings)
    lines = outputs["FantasyTalkingEncodeSpeech"]["text"][0].splitlines()
    first = sum(line.startswith("⚠") for line in shown)  # warnings, before what is there in every run
    assert " frames · " in lines.pop(first)
    assert len(lines) == len(shown)
    assert all(line.startswith(beginning) for line, beginning in zip(lines, shown))
    assert len(outputs["FantasyTalkingPreviewSpeech"]["images"]) == 1
