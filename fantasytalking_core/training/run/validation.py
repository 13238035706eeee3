"""Whether the lips follow the speech, on samples that are never trained on.

Their lips' loss at fixed noise and sigmas, once with their own speech and once with another one's. What a run is for is
the gap between the two: a loss alone also falls where the adapter learns to ignore what it hears.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..data.sample import Sample
from .config import Level
from .dataset import Batch, Dataset
from .objective import STRETCHES, Draw, generator
from .step import Dit

SIGMAS = tuple((stretch + 0.5) / STRETCHES for stretch in range(STRETCHES))
"""The middle of each stretch."""
OWN, OTHER = 0, 1


class Measurement(NamedTuple):
    """One pass: the sample at `place`, with the speech of the one at `heard`, which is its OWN or an OTHER one's."""

    place: int
    heard: int
    whose: int
    sigma: int


class Validation:
    """The held-out samples of a run.

    Args:
        step: the training step, as several processes share it.
        accelerator: accelerate's.
    """

    def __init__(self, dataset: Dataset, step: Any, dit: Dit, accelerator: Any) -> None:
        self.dataset, self.step, self.dit, self.accelerator = dataset, step, dit, accelerator
        places = dataset.held_out
        pairs = zip(places, [*places[1:], *places[:1]], strict=True)
        self.passes = [
            Measurement(place, (place, other)[whose], whose, sigma)
            for place, other in pairs
            for sigma in range(len(SIGMAS))
            for whose in (OWN, OTHER)
        ]

    def measure(self, level: Level) -> dict[str, float]:
        """The numbers by their names in the log; every process takes part, with its share of the passes.

        `gap` is by how much less the lips' loss is with their own speech, as a part of that with another one's.
        """
        if not self.passes:
            return {}
        accelerator = self.accelerator
        processes, process = accelerator.num_processes, accelerator.process_index
        sums = torch.zeros(2, len(SIGMAS), 2, device=accelerator.device)  # whose, sigma: losses and their number
        with torch.no_grad(), self.dit.gradients():
            for first in range(0, len(self.passes), processes):  # as many on every process: they may share the weights
                number = first + process
                one = self.passes[number % len(self.passes)]
                batch = self.batch(one).to(accelerator.device)
                lips = self.step(batch, level).lips[0]
                if number < len(self.passes) and batch.lips.any():
                    sums[one.whose, one.sigma] += torch.stack([lips, torch.ones_like(lips)])
        sums = accelerator.reduce(sums, "sum")
        if not sums[..., 1].all():  # lips that nobody knows
            return {}
        own, other = (sums[..., 0] / sums[..., 1]).tolist()
        found = {"lips": sum(own) / len(SIGMAS), "lips_other_speech": sum(other) / len(SIGMAS)}
        found["gap"] = 1 - found["lips"] / found["lips_other_speech"]
        by_sigma = {f"gap_sigma_{sigma:g}": 1 - one / two for sigma, one, two in zip(SIGMAS, own, other, strict=True)}
        return {f"validation/{name}": value for name, value in {**found, **by_sigma}.items()}

    def batch(self, one: Measurement) -> Batch:
        """The sample as a batch of one, nothing dropped."""
        sample: Sample = self.dataset.sample(one.place)
        if one.whose == OTHER:
            sample = replace(sample, speech=self.dataset.sample(one.heard).speech)
        source = generator(self.dataset.config.seed, "validation", one.place, one.sigma)
        noise = torch.randn(sample.latents.shape, generator=source)
        return self.dataset.row(sample, Draw(SIGMAS[one.sigma], noise, False, False, False, False))
