"""Drawn inputs for every public surface: a right result, or words that say what was expected, in time and memory.

    python dev.py test tests/generated                       a minute of it
    CASES=2000 SEED=7 python dev.py test tests/generated     more, and others

A finding names its seed and number, with which it is drawn again.
"""

import json
import os
import random
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from support import drawn, faces
from support.reference import FOLDER, pcm
from support.runs import apply, clip, hear, speech

CASES, SEED = int(os.environ.get("CASES", "25")), int(os.environ.get("SEED", "0"))
SECONDS, BYTES = 10, 2 * 1024**3
WORDS = re.compile(
    r"expected|wire|load|download|use |set |choose|check|make|give|remove|install|holds|lacks|convert|was refused", re.I
)
LONGEST = 1000
"""Characters of a message."""


class TooSlow(BaseException):
    pass


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def finite(value) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value.float()).all())
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    return finite(vars(value)) if type(value).__module__.startswith(("fantasytalking", "custom_nodes")) else True


def finding(act, error_type) -> str:
    """What is wrong with what came of it, "" if nothing is."""

    def alarm(*_):
        raise TooSlow

    before = peak()
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        result = act()
    except error_type as error:
        message = str(error)
        if len(message) > LONGEST or not WORDS.search(message):
            return f"says {message[:300]!r}"
    except TooSlow:
        return f"took more than {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    else:
        if not finite(result):
            return "gave NaN or infinite numbers without a word"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return f"took {(peak() - before) >> 20} MB" if peak() - before > BYTES else ""


def portrait():
    """A picture and its landmarks."""
    picture = torch.rand(1, 96, 96, 3, generator=torch.Generator().manual_seed(1))
    return picture, faces.landmarks([faces.points(20, 20, 70, 70)], size=(96, 96))


class Surfaces:
    """Good inputs of each surface, and what is done with them."""

    def __init__(self, host, run, model, adapter, wav2vec, folder: Path) -> None:
        self.host, self.run, self.folder = host, run, folder
        self.model, self.adapter, self.wav2vec = model, adapter, wav2vec
        positive, negative, latent = clip(9)
        self.heard = hear(run, positive, negative, speech(host, 9))
        self.plain, self.latent, self.patched = (positive, negative), latent, apply(run, model, adapter)

    def speech(self, r):
        inputs = {
            "audio": {"waveform": pcm()[None][..., :32000], "sample_rate": 16000},
            "fps": 23.0,
            "length": 9,
            "start_time": 0.5,
        }
        return lambda: self.run("FantasyTalkingEncodeSpeech", wav2vec=self.wav2vec, **drawn.some_changed(inputs, r))

    def face(self, r):
        picture, marks = portrait()
        inputs = {"image": picture, "padding": 0.3, "face_index": 0, "face_landmarks": marks}
        return lambda: self.run("FantasyTalkingCropFace", **drawn.some_changed(inputs, r))

    def speaker_masks(self, r):
        picture, marks = portrait()
        inputs = {"image": picture, "face_landmarks": marks, "body": 0.5}
        return lambda: self.run("FantasyTalkingSpeakerMasks", **drawn.some_changed(inputs, r))

    def speaker_turns(self, r):
        inputs = {"audio": {"waveform": pcm()[None][..., :32000], "sample_rate": 16000}, "turns": "0.0-1.2 1\n1.5-2.0 2"}
        return lambda: self.run("FantasyTalkingSpeakerTurns", **drawn.some_changed(inputs, r))

    def motion(self, r):
        picture, marks = portrait()
        frames = {**marks, "frames": marks["frames"] * 3}
        inputs = {"images": picture.repeat(3, 1, 1, 1), "face_landmarks": frames}
        return lambda: self.run("FantasyTalkingMotionFromVideo", **drawn.some_changed(inputs, r))

    def mouth_mask(self, r):
        picture, marks = portrait()
        frames = {**marks, "frames": marks["frames"] * 3}
        inputs = {"images": picture.repeat(3, 1, 1, 1), "face_landmarks": frames, "region": "mouth", "grow": 0.15}
        return lambda: self.run("FantasyTalkingMouthMask", **drawn.some_changed(inputs, r))

    def dub(self, r):
        inputs = {"frames": torch.rand(6, 32, 32, 3), "mask": torch.ones(6, 32, 32)}
        changed = drawn.some_changed(inputs, r)
        clean = self.host.core("pictures").pictures
        return lambda: self.host.core("host.dub_latent").Dub.of(clean(changed["frames"]), changed["mask"]).noise_mask()

    def intensity(self, r):
        return lambda: self.run("FantasyTalkingMotionIntensity", **drawn.some_changed({"expression": 0.5, "body": 0.5}, r))

    def strength(self, r):
        inputs = {"model": self.model, "adapter": self.adapter, "audio_strength": 1.0, "identity_strength": 0.5}
        return lambda: self.run("FantasyTalkingApplyAdapter", **drawn.some_changed(inputs, r)) and ()

    def schedule(self, r):
        return lambda: self.run("FantasyTalkingScheduler", **drawn.some_changed({"steps": 4, "shift": 5.0, "denoise": 1.0}, r))

    def conditioning(self, r):
        inputs = {"positive": self.plain[0], "negative": self.plain[1], "speech": speech(self.host, 9)}
        return lambda: self.run("FantasyTalkingConditioning", **drawn.some_changed(inputs, r))

    def sampler(self, r):
        inputs = {
            "model": self.patched, "positive": self.heard[0], "negative": self.heard[1], "latent_image": self.latent, "seed": 0,
            "steps": 1, "text_cfg": 4.0, "audio_cfg": 5.0, "audio_start_percent": 0.0, "audio_end_percent": 1.0, "shift": 5.0,
            "denoise": 1.0, "sampler_name": "euler", "scheduler": "fantasytalking",
        }  # fmt: skip
        ours = ("model", "positive", "text_cfg", "audio_cfg", "audio_start_percent", "audio_end_percent", "shift", "denoise")
        return lambda: self.run("FantasyTalkingSampler", **drawn.some_changed(inputs, r, ours))

    def adapter_file(self, r):
        path = self.folder / "adapter.safetensors"
        path.write_bytes(drawn.mutated((FOLDER / "fantasytalking/layouts/community_flat.safetensors").read_bytes(), r))
        return lambda: self.host.core("adapter.file").read_adapter(path) and ()  # its numbers may be any

    def speech_encoder(self, r):
        folder = self.folder / "wav2vec2"
        folder.mkdir(exist_ok=True)
        for file in (FOLDER / "wav2vec2").iterdir():
            if not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
        config = json.loads((FOLDER / "wav2vec2/config.json").read_text())
        (folder / "config.json").unlink()
        key = r.choice(list(config))
        value = drawn.changed(config[key], r)
        (folder / "config.json").write_text(json.dumps({**config, key: value}, default=str))
        return lambda: self.host.core("speech.wav2vec").load_wav2vec2(folder) and ()

    def face_encoder(self, r):
        from support.face_models import mean_model

        path = mean_model(self.folder / "mean.onnx")
        path.write_bytes(drawn.mutated(path.read_bytes(), r))
        encoder = self.host.core("face.encoder")
        return lambda: encoder.read_face_encoder(path) and ()


SURFACES = [name for name in vars(Surfaces) if not name.startswith("_")]


@pytest.fixture
def surfaces(host, run, model, adapter, tmp_path):
    wav2vec = run("FantasyTalkingWav2VecLoader", model_name="reference")[0]
    return Surfaces(host, run, model, adapter, wav2vec, tmp_path)


@pytest.mark.parametrize("surface", SURFACES)
def test_every_drawn_input_ends_in_a_right_result_or_in_words(host, surfaces, surface):
    words, findings = host.core("errors").FantasyTalkingError, []
    for index in range(CASES):
        r = random.Random(f"{SEED}/{surface}/{index}")
        np.random.seed(index)
        if problem := finding(getattr(surfaces, surface)(r), words):
            findings.append(f"SEED={SEED} {surface} {index}: {problem}")
    assert not findings, "\n".join(findings)
