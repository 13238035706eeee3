"""Muon: momentum whose matrices are made orthogonal before they are added (Jordan et al., 2024).

Networks as small as these learn in about half of the time that AdamW needs. PyTorch's own takes matrices only, not the
kernels of convolutions, which are matrices of outputs × all that an output sees.
"""

from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the Newton-Schulz iteration that takes a matrix's singular values towards 1, as published."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions.

    Args:
        lr: the size of a step's spectral norm, for square matrices.
        momentum: with Nesterov's look ahead.
        weight_decay: decoupled, times the rate.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["momentum"], group["weight_decay"])

    def _update(self, parameter: torch.nn.Parameter, rate: float, momentum: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        update = orthogonal(parameter.grad.lerp(state["momentum"], momentum).flatten(1))
        rows, columns = update.shape
        parameter.mul_(1 - rate * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with all its singular values near 1."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).float()  # published in bfloat16, which takes a CPU without it 8 times as long
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)
