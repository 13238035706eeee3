"""What is said in the world, by espeak-ng: sentences and voices, some of them for testing only."""

import io
import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

import librosa
import numpy as np
import soundfile

from fantasytalking_core.errors import FantasyTalkingError

RATE = 16000
Split = Literal["train", "test"]

SENTENCES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Good morning, how are you today?",
        "The old boat lies by the river.",
        "We are going home before it gets dark.",
        "Please bring me a cup of tea.",
        "A small dog runs over the green field.",
        "She sells fresh bread on Monday.",
        "My father has painted the door blue.",
        "I would like to see the sea again.",
        "Who has eaten all the apples?",
        "The train to the city leaves at nine.",
        "You should never walk alone at night.",
        "Open the window, it is warm in here.",
        "They laughed about the story for hours.",
        "Is there any room for one more?",
        "He plays the piano every evening.",
        "Far away a bell is ringing.",
        "Put the book back on the shelf.",
        "What a beautiful flower that is!",
        "The children are asleep already.",
        "Our garden is full of birds.",
        "Could you tell me the way to the market?",
        "It rained from morning until noon.",
        "Nobody knew where the key was.",
        "Look at the moon above the mountain.",
        "I am learning to speak a new language.",
        "The soup is hot, so be careful.",
        "Two and two are always four.",
        "Where did you put my yellow coat?",
        "The wind blows over the hills.",
        "Come in and sit down for a while.",
        "Everyone was happy about the news.",
        "Those shoes are too small for me.",
        "A voice called me from below.",
        "Let us meet again next summer.",
        "The cat sleeps on the warm stone.",
        "I have no time to lose now.",
    ),
    "test": (
        "This face was never seen before, and this voice was never heard.",
        "Hello, I am a very small model, but I can talk.",
        "Seven white ships were sailing out of the harbour.",
        "Do you really believe what the newspaper says?",
        "Water, fire, earth and air are older than we are.",
        "My sister found a silver ring under the tree.",
        "Tomorrow I will show you how the engine works.",
        "Only a fool would pay so much for a chair.",
    ),
}
"""The sentences of one split have no more than everyday words in common with those of the other."""
VOICES: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        f"{accent}+{variant}"
        for accent in ("en-us", "en-gb", "en-gb-x-rp", "en-029")
        for variant in ("m1", "m2", "m3", "m5", "m7", "f1", "f2", "f3")
    ),
    "test": tuple(
        f"{accent}+{variant}" for accent in ("en-gb-scotland", "en-gb-x-gbcwmd") for variant in ("m4", "m6", "f4", "f5")
    ),
}


SOON, BREATH = (0.0, 0.35), (0.1, 0.4)
"""Seconds before the first word, and between sentences."""
LATE, PAUSE, EARLY = (0.3, 2.0), (0.3, 3.0), (0.5, 2.0)
"""Seconds of silence of somebody who pauses: before the first word, between words, and at the end."""


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng, with pitch (0 to 99) and speed in words per minute."""

    name: str
    pitch: int
    speed: int


def say(text: str, voice: Voice) -> np.ndarray:
    """Speech without noise, float32 mono at 16 kHz, its largest sample 0.9.

    Raises:
        FantasyTalkingError: espeak-ng is missing or refuses.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise FantasyTalkingError("The world's voices need the program espeak-ng: install it (apt-get install espeak-ng).")
    options = ["-v", voice.name, "-p", str(voice.pitch), "-s", str(voice.speed), "--stdout"]
    done = subprocess.run([program, *options, text], capture_output=True)
    if done.returncode or not done.stdout:
        raise FantasyTalkingError(f"espeak-ng did not speak as {voice.name}: {done.stderr.decode(errors='replace').strip()}")
    samples, rate = soundfile.read(io.BytesIO(_without_lengths(done.stdout)), dtype="float32")
    samples = librosa.resample(samples, orig_sr=rate, target_sr=RATE)
    return 0.9 * samples / np.abs(samples).max()


def _without_lengths(wave: bytes) -> bytes:
    """A wave file whose header says how long it is: written to a pipe, it does not."""
    size = len(wave)
    return wave[:4] + (size - 8).to_bytes(4, "little") + wave[8:40] + (size - 44).to_bytes(4, "little") + wave[44:]


def speech(split: Split, number: int, seconds: float, pausing: bool = False) -> np.ndarray:
    """What the person of a video says: sentences with short pauses, `[seconds · 16000]`.

    Args:
        pausing: a few words at a time instead, with pauses of up to 3 s between them, a late start and an early end.
    """
    random = np.random.default_rng((53, split == "test", number))
    sentences, voices = SENTENCES[split], VOICES[split]
    voice = Voice(str(random.choice(voices)), int(random.integers(25, 80)), int(random.integers(125, 185)))

    def silence(low: float, high: float) -> np.ndarray:
        return np.zeros(round(random.uniform(low, high) * RATE), np.float32)

    def said() -> np.ndarray:
        sentence = str(random.choice(sentences))
        if not pausing:
            return say(sentence, voice)
        words, count = sentence.split(), random.integers(2, 6)
        first = random.integers(max(len(words) - count, 0) + 1)
        return say(" ".join(words[first : first + count]), voice)

    wanted, parts, length = round(seconds * RATE), [silence(*(LATE if pausing and random.random() < 0.4 else SOON))], 0
    while length < wanted:
        parts += [said(), silence(*(PAUSE if pausing and random.random() < 0.7 else BREATH))]
        length = sum(map(len, parts))
    whole = np.concatenate(parts)[:wanted]
    if pausing and random.random() < 0.3:
        whole[-len(silence(*EARLY)) :] = 0
    return whole
