"""What a run holds on a device from its first step to its last, counted from its weights."""

from dataclasses import dataclass

from ...adapter.adapter import Adapter
from .config import Config
from .optimizer import moment_bytes


@dataclass(frozen=True)
class Held:
    """Bytes; what a step takes beside them depends on the clips' size (docs/training.md).

    Attributes:
        dit: the DiT's weights.
        frozen: of the adapter, weights that stay as they are.
        trained: weights that are trained; `gradients` and `moments` are theirs.
    """

    dit: int
    frozen: int
    trained: int
    gradients: int
    moments: int

    @classmethod
    def of(cls, config: Config, dit: int, adapter: Adapter) -> "Held":
        """Of a run with this adapter, as it is before processes share it."""
        weights = list(adapter.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        size = sum(weight.nbytes for weight in trained)
        frozen = sum(weight.nbytes for weight in weights) - size
        return cls(dit, frozen, size, size, sum(moment_bytes(config, weight) for weight in trained))

    @property
    def together(self) -> int:
        return self.dit + self.frozen + self.trained + self.gradients + self.moments

    def __str__(self) -> str:
        sizes = (self.together, self.dit, self.frozen + self.trained, self.gradients, self.moments)
        together, dit, adapter, gradients, moments = (f"{size / 1e9:.1f}" for size in sizes)
        return f"{together} GB (the DiT {dit}, the adapter {adapter}, its gradients {gradients}, their moments {moments})"
