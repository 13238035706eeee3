"""A long take on disk while it is made: one folder beside the video, from which the same graph goes on.

    fantasytalking.3f9c….job/   job.json                    what it is made of
                                window_00007.safetensors    the new latents of a window, as the sampler gave them
                                part_00007.mp4              its frames and their sound, a video of its own

Each file is complete or not there. The folder is named by a digest of all that decides the result, so that another job
never takes its parts.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import FantasyTalkingError
from ..files import write_tensors, write_text
from .video_file import writing

LATENTS = "latents"


class Job:
    """The folder of one long take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, beside: Path, name: str, made_of: Mapping[str, str]) -> "Job":
        """The job of that name that is made of these things."""
        text = json.dumps(dict(sorted(made_of.items())), indent=1)
        job = cls(beside / f"{name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}.job")
        job.folder.mkdir(parents=True, exist_ok=True)
        with writing(job.folder):
            write_text(job.folder / "job.json", text)
        return job

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works on it meanwhile.

        Raises:
            FantasyTalkingError: somebody does.
        """
        lock = FileLock(self.folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise FantasyTalkingError(
                "The same video is being rendered by another ComfyUI: wait for it, or change the seed."
            ) from error
        try:
            yield
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _latents(self, index: int) -> Path:
        return self.folder / f"window_{index:05d}.safetensors"

    def part(self, index: int) -> Path:
        return self.folder / f"part_{index:05d}.mp4"

    def latents(self, index: int) -> torch.Tensor | None:
        """Those of a window, None where they are not there; a damaged file is none."""
        try:
            return load_file(self._latents(index))[LATENTS]
        except (OSError, SafetensorError, KeyError):
            return None

    def keep_latents(self, index: int, latents: torch.Tensor) -> None:
        """Raises FantasyTalkingError where they can't be written."""
        with writing(self._latents(index)):
            write_tensors(self._latents(index), {LATENTS: latents})

    def sampled(self, windows: int) -> int:
        """How many of the first windows have their latents."""
        return next((index for index in range(windows) if not self._latents(index).is_file()), windows)

    def decoded(self, windows: int) -> int:
        """How many of the first windows have their latents and their part."""
        done = self.sampled(windows)
        return next((index for index in range(done) if not self.part(index).is_file()), done)

    def before(self, index: int, count: int) -> torch.Tensor:
        """The last `count` latents before a window `[1, 16, n, h, w]`, fewer where there are no more."""
        found: list[torch.Tensor] = []
        while index > 0 and sum(each.shape[2] for each in found) < count:
            index -= 1
            latents = self.latents(index)
            if latents is None:
                raise FantasyTalkingError(f"'{self._latents(index)}' is missing or damaged: delete its folder to begin anew.")
            found.insert(0, latents)
        return torch.cat(found, dim=2)[:, :, -count:]

    @property
    def joined(self) -> Path:
        """Where the whole is put together before it gets its own name."""
        return self.folder / "whole.mp4"

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def digest(*values: object) -> str:
    """SHA-256 of tensors (whole), and of whatever else is told by its text."""
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            sha.update(f"{value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.flatten().view(torch.uint8).numpy().data)
        else:
            sha.update(repr(value).encode())
    return sha.hexdigest()
