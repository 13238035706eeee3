"""A picture of a clip's speech: its sound, what each latent frame hears of it, and how loud each frame is."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageDraw

from ..latent_grid import TEMPORAL
from ..plotting import COLOURS, GAP, GRID, INK, LEFT, RIGHT, finished, fonts, sheet
from .speech import BINS, Speech

WIDTH = 1280
INNER = WIDTH - LEFT - RIGHT
"""Pixels across which the time runs."""
FRAMES_PER_ROW, MAX_ROWS = 160, 6
HEAD, WAVE, LANE, LOUD, FOOT, AIR = 78, 112, 20, 72, 30, 8
"""Heights: of the title, the waveform, a lane of bars, the loudness, the frames' numbers, and between them."""
MAX_LANES = 6
MIN_FRAME, MIN_LATENT, MIN_LABEL = 4, 5, 130
"""Pixels below which the frames' boundaries, and the latent frames, are left out; room for a frame's number."""
FLOOR = -60.0
"""dB, what counts as silence."""
SOUND, LOUDNESS = COLOURS
WINDOW, OWN, FRAME, LATENT = "#2b5870", "#5ec8ff", "#2a2e37", "#5b6270"
"""Colours: what a latent frame hears, of that the time while it is shown, and the boundaries."""


def rows(frames: int) -> list[tuple[int, int]]:
    """First and last frame (exclusive) of every row of the plot; the last row may reach beyond the clip."""
    count = min(MAX_ROWS, math.ceil(frames / FRAMES_PER_ROW))
    per_row = math.ceil(frames / count)
    return [(row * per_row, (row + 1) * per_row) for row in range(count)]


def latent_frames_fit(frames: int) -> bool:
    """Whether a row of the plot has room for what each latent frame hears."""
    first, last = rows(frames)[0]
    return TEMPORAL * INNER / (last - first) >= MIN_LATENT


def lanes(heard: torch.Tensor) -> int:
    """How many lanes of bars keep the stretches `[T, 2]` from covering one another, 2 to `MAX_LANES`."""
    for count in range(2, MAX_LANES):
        if not (heard[count:, 0] < heard[:-count, 1]).any():
            return count
    return MAX_LANES


def decibels(amplitude: torch.Tensor) -> torch.Tensor:
    """Of full scale, and no less than `FLOOR`."""
    return (20 * amplitude.double().clamp(min=1e-9).log10()).clamp(min=FLOOR)


def label_step(frame_pixels: float) -> int:
    """Frames from one number to the next: 1, 2 or 5 times a power of ten."""
    least = MIN_LABEL / frame_pixels
    power = 10 ** math.floor(math.log10(max(least, 1)))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= least)


def label(frame: int, fps: float) -> str:
    """A frame's number and when it is shown."""
    seconds = frame / fps
    if seconds < 60:
        return f"{frame} · {seconds:.2f} s"
    minutes, tenths = divmod(round(10 * seconds), 600)
    return f"{frame} · {minutes}:{tenths / 10:04.1f} min"


def outline(envelope: np.ndarray, first: int, last: int, columns: int) -> np.ndarray:
    """Lowest and highest value `[columns, 2]` of the bins from `first` to `last`, NaN beyond the last there is."""
    starts = first + np.arange(columns + 1) * (last - first) // columns
    inside = starts[:-1] < len(envelope)
    out = np.full((columns, 2), np.nan, np.float32)
    picked, end = starts[:-1][inside], min(starts[-1], len(envelope))
    out[inside, 0] = np.minimum.reduceat(envelope[:end, 0], picked)
    out[inside, 1] = np.maximum.reduceat(envelope[:end, 1], picked)
    return out


def plot(speech: Speech) -> torch.Tensor:
    """An IMAGE `[1, H, W, 3]`, at most 1280 pixels wide and six rows high, however long the speech."""
    heard, shown = speech.heard(), speech.shown()
    ranges = rows(speech.frames)
    lane_count = lanes(heard) if latent_frames_fit(speech.frames) else 0
    height = WAVE + AIR + lane_count * LANE + AIR + LOUD + FOOT + 2 * AIR
    image, draw = sheet(WIDTH, HEAD + height * len(ranges))
    _head(draw, speech)
    for index, (first, last) in enumerate(ranges):
        row = _Row(draw, speech, first, last, HEAD + index * height, lane_count)
        row.silence()
        row.pauses(shown)
        row.boundaries()
        if lane_count:
            row.latent_boundaries(shown)
            row.bars(heard, shown)
        row.wave()
        row.loudness()
        row.frame_numbers()
    return finished(image)


def _head(draw: ImageDraw.ImageDraw, speech: Speech) -> None:
    title, small = fonts()
    facts = [f"{speech.latent_frames} latent frames", f"{speech.tokens.shape[0]} tokens"]
    if speech.sound is not None:
        facts.append(f"peak {decibels(speech.sound.envelope.abs().max()):.1f} dB")
    if speech.silence:
        facts.append(f"{speech.silence:.2f} s of silence added")
    draw.text((LEFT, 12), f"speech: {speech.frames} frames, {speech.seconds:.2f} s at {speech.fps:g} fps", SOUND, title)
    draw.text((WIDTH - RIGHT, 17), " · ".join(facts), INK, small, anchor="ra")
    legend = "bars: what each latent frame hears; bright: while it is shown; shaded at the loudness: heard as silence"
    if not latent_frames_fit(speech.frames):
        legend = "the clip is too long for its latent frames to be drawn"
    draw.text((LEFT, 44), legend, INK, small)


@dataclass
class _Row:
    """A stretch of the clip, from frame `first` to frame `last`, drawn from `top` downwards."""

    draw: ImageDraw.ImageDraw
    speech: Speech
    first: int
    last: int
    top: int
    lane_count: int

    def __post_init__(self) -> None:
        self.frame = INNER / (self.last - self.first)
        self.lane_top = self.top + WAVE + AIR
        self.loud_top = self.lane_top + self.lane_count * LANE + AIR
        self.bottom = self.loud_top + LOUD
        self.end = self.x(self.speech.frames)
        _, self.small = fonts()

    def x(self, frame: float) -> float:
        return LEFT + min(max(frame - self.first, 0), self.last - self.first) * self.frame

    def at(self, seconds: float) -> float:
        return self.x(seconds * self.speech.fps)

    def silence(self) -> None:
        sound = self.speech.sound
        if sound is None or not self.speech.silence:
            return
        start = self.at(sound.recorded)
        if self.end > start:
            self.draw.rectangle((start, self.top, self.end, self.bottom), GAP)
        if self.end - start > MIN_LABEL:
            self.draw.text(((start + self.end) / 2, self.top + 4), "silence added", INK, self.small, anchor="ma")

    def pauses(self, shown: torch.Tensor) -> None:
        """Shade the latent frames in which ease_in_silence counts the speech as silent."""
        for begin, end in shown[~self.speech.speaking()].tolist():
            left, right = self.at(begin), min(self.at(end), self.end)
            if right > left:
                self.draw.rectangle((left, self.loud_top, right, self.bottom), GAP)

    def boundaries(self) -> None:
        if self.frame >= MIN_FRAME:
            for frame in range(self.first, min(self.last, self.speech.frames) + 1):
                self.draw.line((self.x(frame), self.top, self.x(frame), self.top + WAVE), FRAME)

    def latent_boundaries(self, shown: torch.Tensor) -> None:
        for start in shown[:, 0].tolist():
            if self.first <= round(start * self.speech.fps) <= self.last and TEMPORAL * self.frame >= 2 * MIN_LATENT:
                self.draw.line((self.at(start), self.top, self.at(start), self.loud_top - AIR), LATENT)

    def wave(self) -> None:
        sound, middle = self.speech.sound, self.top + WAVE / 2
        self.draw.text((LEFT - 10, middle), "sound", INK, self.small, anchor="rm")
        if sound is None:
            text = "not known: this speech comes without its sound"
            self.draw.text((LEFT + 10, middle), text, INK, self.small, anchor="lm")
            return
        scale = (WAVE / 2 - 2) / max(sound.envelope.abs().max().item(), 1e-4)
        for column, (low, high) in enumerate(outline(sound.envelope.numpy(), self.first * BINS, self.last * BINS, INNER)):
            if low == low:
                x = LEFT + column
                self.draw.line((x, middle - high * scale, x, middle - low * scale), SOUND)

    def bars(self, heard: torch.Tensor, shown: torch.Tensor) -> None:
        self.draw.text((LEFT - 10, self.lane_top + LANE * self.lane_count / 2), "heard", INK, self.small, anchor="rm")
        start, stop = self.first / self.speech.fps, min(self.last / self.speech.fps, self.speech.seconds)
        for index in ((heard[:, 0] < stop) & (heard[:, 1] > start)).nonzero().flatten().tolist():
            upper = self.lane_top + index % self.lane_count * LANE
            (first, last), (begin, end) = heard[index].tolist(), shown[index].tolist()
            self._bar(first, last, upper, WINDOW)
            self._bar(max(first, begin), min(last, end), upper, OWN)
            if TEMPORAL * self.frame >= 28 and start <= begin < stop:
                middle = (self.at(begin) + self.at(min(last, end))) / 2
                self.draw.text((middle, upper + LANE / 2 - 1), str(index), "#0c2733", self.small, anchor="mm")

    def _bar(self, first: float, last: float, upper: float, colour: str) -> None:
        left, right = self.at(first) + 1, min(self.at(last), self.end) - 1
        if right >= left:
            self.draw.rectangle((left, upper + 1, right, upper + LANE - 3), colour)

    def loudness(self) -> None:
        def y(value: float) -> float:
            return self.bottom - LOUD * (1 - value / FLOOR)

        for value in (0, FLOOR / 3, FLOOR * 2 / 3, FLOOR):
            self.draw.line((LEFT, y(value), LEFT + INNER, y(value)), GRID)
        for value in (0, FLOOR):
            self.draw.text((LEFT - 10, y(value)), f"{value:.0f} dB", INK, self.small, anchor="rm")
        if self.speech.sound is None:
            return
        loudness = decibels(self.speech.sound.loudness[self.first : self.last]).tolist()
        step = max(1, math.ceil(1 / self.frame))  # the loudest of the frames that share a pixel
        points = [
            (self.x(self.first + start + min(step, len(loudness) - start) / 2), y(max(loudness[start : start + step])))
            for start in range(0, len(loudness), step)
        ]
        self.draw.line(points, LOUDNESS, 2)

    def frame_numbers(self) -> None:
        step = label_step(self.frame)
        last = min(self.last, self.speech.frames)
        for frame in range(math.ceil(self.first / step) * step, last, step):
            x, text = self.x(frame), label(frame, self.speech.fps)
            self.draw.line((x, self.bottom, x, self.bottom + 5), INK)
            middle = min(x, WIDTH - 4 - self.small.getlength(text) / 2)
            self.draw.text((middle, self.bottom + 8), text, INK, self.small, anchor="ma")
