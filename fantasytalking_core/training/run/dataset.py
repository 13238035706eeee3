"""Cached samples in the order of a run, each with its draws, as batches.

A run numbers its samples from 0. A number says which sample of the cache it is (every epoch has an order of its own) and
what is drawn for it, so that where a run goes on, and on how many processes, changes nothing.
"""

import dataclasses
import hashlib
import itertools
import signal
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.nn.functional import pad
from torch.utils import data as torch_data

from ...adapter.motion import NEUTRAL
from ...errors import FantasyTalkingError
from ...speech.windows import PADDING, window_map
from ..data.sample import Sample
from .cached import check_alike, read_index, read_null_text, read_sample
from .config import Config
from .objective import Draw, draw, generator

HELD_OUT = 4
"""Samples, unless the run says how many: a measurement of them costs as much as some ten steps."""
SHARE = 20
"""Of a smaller cache than so many times that, none are held out."""


class Batch(NamedTuple):
    """What one backward pass reads.

    Attributes:
        latents, noise: x0 and ε, `[B, 16, T, h, w]`.
        sigma: `[B]`.
        whole: bool `[B]`, see `Draw`.
        image: `[B, 16, T, h, w]`, zero where it is dropped.
        clip: `[B, 257, 1280]`, zero where the image is dropped.
        has_image: `[B]`, 0 where the image is dropped, else 1.
        text: `[B, rows, text]`.
        speech: `[B, L, audio]`, shorter ones padded at the end.
        lengths: int64 `[B]`, tokens of each speech.
        windows: int64 `[B, T, l′]`.
        has_speech: `[B]`, 0 where the speech is dropped, else 1.
        face: `[B, D]`, zero where none is known; D is 0 where the cache holds none.
        has_face: `[B]`, 0 where no face is known, else 1.
        motion: coefficients `[B, 2]`.
        lips: `[B, T, h, w]`.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    sigma: torch.Tensor
    whole: torch.Tensor
    image: torch.Tensor
    clip: torch.Tensor
    has_image: torch.Tensor
    text: torch.Tensor
    speech: torch.Tensor
    lengths: torch.Tensor
    windows: torch.Tensor
    has_speech: torch.Tensor
    face: torch.Tensor
    has_face: torch.Tensor
    motion: torch.Tensor
    lips: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(each.to(device, non_blocking=True) for each in self))


def padded(text: torch.Tensor, rows: int) -> torch.Tensor:
    """A prompt `[L, text]` in float32, with zeros after it up to `rows`; one that is longer stays as it is."""
    return pad(text.float(), (0, 0, 0, max(rows - text.shape[0], 0)))


def held_out(config: Config, count: int) -> list[int]:
    """Which of so many samples are never trained on, but measured: the last ones of an order that follows from the seed.

    Raises:
        FantasyTalkingError: nothing would be left to train on.
    """
    wanted = config.validation_samples
    if wanted is None:
        wanted = HELD_OUT if count >= SHARE * HELD_OUT and config.validation_every else 0
    if wanted >= count:
        raise FantasyTalkingError(
            f"validation_samples is {wanted}, and the cache holds {count} samples: none would be left to train on. Lower it."
        )
    order = torch.randperm(count, generator=generator(config.seed, "held out")).tolist()
    return order[count - wanted :]


class Dataset(torch_data.Dataset[Batch]):
    """The cache as the samples of a run, by their numbers.

    Attributes:
        config: the run's, with the number of samples that are held out.
        held_out: places in the index of the samples that are not trained on.
        trained: of all others.

    Raises:
        FantasyTalkingError: no cache, an empty or a damaged one.
    """

    def __init__(self, config: Config) -> None:
        self.folder = config.cache
        self.index = read_index(config.cache)
        self.null_text = read_null_text(config.cache)
        self.first = self._read(0)
        self.held_out = held_out(config, len(self.index.samples))
        self.config = dataclasses.replace(config, validation_samples=len(self.held_out))
        self.trained = sorted(set(range(len(self.index.samples))) - set(self.held_out))
        self.face_width = self._face_width() if "identity" in config.parts else 0
        self._order: tuple[int, list[int]] = (-1, [])

    def _face_width(self) -> int:
        for place in self.trained:
            if (face := self.sample(place).face) is not None:
                return face.shape[0]
        raise FantasyTalkingError(
            f"No sample of '{self.folder}' has a face embedding, from which the identity network learns: run prepare with a "
            "face encoder, or take identity out of parts."
        )

    def digest(self) -> str:
        """Changes with the samples and their order."""
        names = "\n".join(f"{entry.file} {entry.source} {entry.start} {entry.caption}" for entry in self.index.samples)
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def _read(self, place: int) -> Sample:
        return read_sample(self.folder, self.index.samples[place].file, self.index)

    def sample(self, place: int) -> Sample:
        """By its place in the index. Raises FantasyTalkingError where it is damaged, or not like the others."""
        sample = self._read(place)
        check_alike(sample, self.first, self.index.samples[place].file)
        return sample

    def place(self, number: int) -> int:
        """Which sample of the cache has this number in the run."""
        epoch, rest = divmod(number, len(self.trained))
        if self._order[0] != epoch:
            source = generator(self.config.seed, "epoch", epoch)
            order = torch.randperm(len(self.trained), generator=source).tolist()
            self._order = (epoch, [self.trained[turn] for turn in order])
        return self._order[1][rest]

    def file(self, number: int) -> str:
        """Of the sample with this number in the run."""
        return self.index.samples[self.place(number)].file

    def coefficients(self, sample: Sample) -> torch.Tensor:
        """`[2]`; what is not known of the motion is neutral."""
        unknown = sample.motion.isnan()
        measured = self.index.ranges.motion(*sample.motion.nan_to_num().tolist()).coefficients()[0]
        return torch.where(unknown, NEUTRAL, measured)

    def __getitem__(self, number: int) -> Batch:
        """The sample as a batch of one."""
        sample = self.sample(self.place(number))
        return self.row(sample, draw(number, sample.latents.shape, self.config))

    def row(self, sample: Sample, chance: Draw) -> Batch:
        """A batch of one, with what chance decides about it."""
        shown, heard, face = not chance.drop_image, not chance.drop_speech, sample.face
        text = self.null_text if chance.drop_text else sample.text
        row = Batch(
            latents=sample.latents.float(),
            noise=chance.noise,
            sigma=torch.tensor(chance.sigma, dtype=torch.float32),
            whole=torch.tensor(chance.whole),
            image=sample.image.float() * shown,
            clip=sample.clip.float() * shown,
            has_image=torch.tensor(float(shown)),
            text=padded(text, self.config.text_rows),
            speech=sample.speech.float(),
            lengths=torch.tensor(sample.speech.shape[0]),
            windows=window_map(sample.speech.shape[0], self.index.frames),
            has_speech=torch.tensor(float(heard)),
            face=torch.zeros(self.face_width) if face is None or not self.face_width else face.float(),
            has_face=torch.tensor(float(face is not None)),
            motion=self.coefficients(sample),
            lips=sample.lips.float(),
        )
        return Batch(*(each[None] for each in row))


def collate(rows: list[Batch]) -> Batch:
    """Batches of one to one batch; speech of fewer tokens is padded, as are its windows and prompts of fewer rows."""

    def together(name: str) -> torch.Tensor:
        tensors = [getattr(row, name) for row in rows]
        if name in ("speech", "text"):
            longest = max(each.shape[1] for each in tensors)
            tensors = [pad(each, (0, 0, 0, longest - each.shape[1])) for each in tensors]
        if name == "windows":
            widest = max(each.shape[2] for each in tensors)
            tensors = [pad(each, (0, widest - each.shape[2]), value=PADDING) for each in tensors]
        return torch.cat(tensors)

    return Batch(*map(together, Batch._fields))


class Numbers:
    """The sample numbers of one process's batches, from one step on: a batch sampler.

    Together, the processes read the same numbers in every step, however many they are.
    """

    def __init__(self, config: Config, first_step: int, process: int = 0, processes: int = 1) -> None:
        self.config, self.first_step, self.process, self.processes = config, first_step, process, processes

    def __len__(self) -> int:
        return (self.config.steps - self.first_step) * self.config.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        size = self.config.batch_size
        for turn in range(self.first_step * self.config.accumulation, self.config.steps * self.config.accumulation):
            first = (turn * self.processes + self.process) * size
            yield list(range(first, first + size))

    def of_step(self, step: int) -> list[int]:
        """Those that this process reads for a step."""
        turns = self.config.accumulation
        rows = itertools.islice(Numbers(self.config, step, self.process, self.processes), turns)
        return [number for row in rows for number in row]


def loader(dataset: Dataset, numbers: Numbers) -> torch_data.DataLoader[Batch]:
    workers = dataset.config.workers
    return torch_data.DataLoader(
        dataset,
        batch_sampler=numbers,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_interrupts,
    )


def _leave_interrupts(worker: int) -> None:
    """Ctrl+C reaches every process at the terminal; the run needs its readers until it has written where it stands."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
