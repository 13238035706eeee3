"""One recording and who speaks when, to one recording for each speaker."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange

from ..errors import FantasyTalkingError, short
from .recording import Recording
from .silence import QUANTILE, SHARE
from .waveform import check_samples, sample_at

SPEAKERS = 4
MAX_LINES = 10_000
MAX_TIME = 86400
"""Seconds; no recording is a day long."""
MOMENTS = 25
"""A second, whose loudness is measured one by one."""
LONGEST_UNSAID = 0.5
"""Seconds of sound in which nobody has a turn; more is told."""
CHUNK = 2**20
"""Samples that are measured at a time."""
TIME = r"(?:(?:([0-9]{1,9}):)?([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{0,9})?)"
LINE = rf"{TIME}\s*[-–—]\s*{TIME}\s+([0-9]{{1,9}}(?:\s*,\s*[0-9]{{1,9}})*)"


@dataclass(frozen=True)
class Turn:
    """A line of the table: who speaks from when to when.

    Attributes:
        start, end: seconds.
        speakers: their numbers, from 1.
        line: where it stands, for messages.
    """

    start: float
    end: float
    speakers: tuple[int, ...]
    line: str

    def inside(self, recording: Recording) -> slice:
        """The samples of its turn, as far as the recording has them.

        Raises:
            FantasyTalkingError: it has none of them.
        """
        start, stop = (sample_at(time, recording.rate) for time in (self.start, self.end))
        if start >= recording.samples.shape[-1]:
            raise FantasyTalkingError(
                f"{self.line} starts at {self.start:g} s, expected less than the recording's {recording.seconds:.2f} s: "
                "correct it, or use the whole recording."
            )
        return slice(start, min(stop, recording.samples.shape[-1]))


def read_turns(text: object) -> list[Turn]:
    """The lines `START-END SPEAKER` of a table; times in seconds, m:ss or h:mm:ss, several speakers as `1,2`, `#` for comments.

    Raises:
        FantasyTalkingError: no text, no or too many lines, or one that is none of these, with its number.
    """
    if not isinstance(text, str):
        raise FantasyTalkingError(f"turns is {short(text)}, expected text, one line for each turn, such as 0.0-3.2 1.")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise FantasyTalkingError(f"turns has {len(lines)} lines, expected at most {MAX_LINES}: give the recording in parts.")
    written = ((number, line.split("#", 1)[0].strip()) for number, line in enumerate(lines, 1))
    turns = [_turn(f"turns, line {number} ({short(line)})", line) for number, line in written if line]
    if not turns:
        raise FantasyTalkingError("turns is empty, expected one line for each turn, such as 0.0-3.2 1.")
    return turns


def _turn(name: str, line: str) -> Turn:
    found = re.fullmatch(LINE, line)
    if found is None:
        raise FantasyTalkingError(
            f"{name} can't be read, expected START-END SPEAKER in seconds or m:ss, such as 0.0-3.2 1 or 1:05-1:12.5 2."
        )
    start, end = (_seconds(name, *found.group(first, first + 1, first + 2)) for first in (1, 4))
    if end <= start:
        raise FantasyTalkingError(f"{name} ends at {end:g} s and starts at {start:g} s, expected an end after the start.")
    speakers = sorted({int(number) for number in found.group(7).split(",")})
    for speaker in speakers:
        if not 1 <= speaker <= SPEAKERS:
            raise FantasyTalkingError(f"{name} is of speaker {speaker}, expected speakers from 1 to {SPEAKERS}.")
    return Turn(start, end, tuple(speakers), name)


def _seconds(name: str, hours: str | None, minutes: str | None, seconds: str) -> float:
    if (minutes and float(seconds) >= 60) or (hours and int(minutes or 0) >= 60):
        raise FantasyTalkingError(f"{name} has 60 or more seconds or minutes behind a colon, expected m:ss or h:mm:ss.")
    time = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)
    if time > MAX_TIME:
        raise FantasyTalkingError(f"{name} has a time of {time:.0f} s, expected at most {MAX_TIME} s, a day.")
    return time


@dataclass(frozen=True, eq=False)
class Dialogue:
    """A recording by its speakers.

    Attributes:
        samples: `[channels, N]` float32 on the CPU, the whole recording.
        rate: Hz.
        turns: as they were read, with the samples of each.
    """

    samples: torch.Tensor
    rate: int
    turns: tuple[tuple[Turn, slice], ...]

    @classmethod
    def of(cls, recording: Recording, turns: Sequence[Turn]) -> "Dialogue":
        """The turns of `read_turns` in their recording.

        Raises:
            FantasyTalkingError: a turn behind the recording's end; samples that are NaN, infinite or far beyond full scale.
        """
        placed = tuple((turn, turn.inside(recording)) for turn in turns)
        samples = recording.between(0, recording.samples.shape[-1])
        check_samples(samples)
        return cls(samples, recording.rate, placed)

    def of_speaker(self, speaker: int) -> list[slice]:
        """The stretches in which a speaker has a turn, in their order; none touches another."""
        return _joined(inside for turn, inside in self.turns if speaker in turn.speakers)

    def sound(self, speaker: int) -> torch.Tensor:
        """`[channels, N]`: the recording's samples within the speaker's turns, 0 elsewhere."""
        sound = torch.zeros_like(self.samples)
        for inside in self.of_speaker(speaker):
            sound[:, inside] = self.samples[:, inside]
        return sound

    def described(self) -> list[str]:
        """Who speaks how long, and which turns end with the recording."""
        said = []
        for speaker in range(1, SPEAKERS + 1):
            if count := sum(speaker in turn.speakers for turn, _ in self.turns):
                seconds = sum(inside.stop - inside.start for inside in self.of_speaker(speaker)) / self.rate
                said.append(f"speaker {speaker}: {seconds:.1f} s in {count} turn{'s' if count > 1 else ''}")
        lines, total = [" · ".join(said)], self.samples.shape[-1]
        beyond = [turn for turn, _ in self.turns if sample_at(turn.end, self.rate) > total]
        if beyond:
            which = "1 turn ends" if len(beyond) == 1 else f"{len(beyond)} turns end"
            lines.append(f"{which} with the recording, at {total / self.rate:.2f} s")
        return lines

    def unsaid(self) -> list[tuple[float, float]]:
        """Where in the recording nobody has a turn although it is not silent: its second, and how many seconds of sound.

        Silence is what stays below 5 % of the 95 % quantile of the loudness of all moments; pauses between words are no sound.
        """
        size = max(1, round(self.rate / MOMENTS))
        loudness = torch.cat([_loudness(piece, size) for piece in self.samples.split(CHUNK // size * size, dim=1)])
        loud = (loudness >= SHARE * torch.quantile(loudness, QUANTILE)) & (loudness > 0)
        found = []
        for gap in _gaps(_joined(inside for _, inside in self.turns), self.samples.shape[-1]):
            first = -(-gap.start // size)
            inside = loud[first : gap.stop // size].nonzero().flatten()
            if (seconds := len(inside) * size / self.rate) > LONGEST_UNSAID:
                found.append(((first + int(inside[0])) * size / self.rate, seconds))
        return found

    def notices(self) -> list[str]:
        """What is worth telling, in sentences."""
        if not (unsaid := self.unsaid()):
            return []
        seconds = sum(each for _, each in unsaid)
        return [
            f"{seconds:.1f} s of the recording are not silent, but nobody has a turn there, first at {unsaid[0][0]:.1f} s: "
            "nobody will say them. Add lines to turns."
        ]


def _joined(stretches: Iterable[slice]) -> list[slice]:
    joined: list[slice] = []
    for each in sorted(stretches, key=lambda each: each.start):
        if joined and each.start <= joined[-1].stop:
            joined[-1] = slice(joined[-1].start, max(joined[-1].stop, each.stop))
        else:
            joined.append(each)
    return joined


def _gaps(stretches: Sequence[slice], total: int) -> Iterator[slice]:
    """What lies between stretches that are in order and apart."""
    edges = [0, *(edge for each in stretches for edge in (each.start, each.stop)), total]
    yield from (slice(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop)


def _loudness(samples: torch.Tensor, size: int) -> torch.Tensor:
    """`[m]`: the root mean square of every `size` of the `[channels, n]` samples; the last ones may be fewer."""
    power = samples.square().mean(0)
    whole = len(power) // size * size
    means = [rearrange(power[:whole], "(m size) -> m size", size=size).mean(1), power[whole:].mean()[None]]
    return torch.cat(means if whole < len(power) else means[:1]).sqrt()
