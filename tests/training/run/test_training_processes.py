"""Two processes with a batch each (gloo, on the CPU), and one with both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.training.run import checkpoints
from support import ROOT, TESTS, one_of_several, training

SCRIPT = TESTS / "support" / "one_of_several.py"
LAUNCH = ["-m", "torch.distributed.run", "--standalone"]
"""What accelerate's launcher uses for several GPUs; on CPUs without MPI it starts one process only."""


def two(folder: Path, output: Path) -> list[dict]:
    """What each of two processes found, with one sample each."""
    command = [sys.executable, *LAUNCH, "--nproc_per_node=2", SCRIPT, os.environ["FANTASYTALKING_HOST"], ROOT, folder, output]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f"{output}.{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def runs(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    training.write_dit(folder / "dit.safetensors")
    training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(5)))
    return folder, two(folder, folder / "two"), one_of_several.train(folder, folder / "one", batch_size=2)


def test_two_processes_have_the_gradients_of_one_with_twice_the_batch(runs):
    _, (first, second), one = runs
    assert (first["processes"], one["processes"]) == (2, 1)
    assert any(gradient.abs().max() > 0.01 for gradient in one["gradients"].values())
    for name, gradient in one["gradients"].items():
        assert (first["gradients"][name] - gradient).abs().max() < 1e-6, name
        assert torch.equal(first["gradients"][name], second["gradients"][name])


def test_so_have_two_that_share_out_the_weights(runs):
    _, (first, second), one = runs
    assert first["sharded"].keys() == one["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert (first["sharded"][name] - gradient).abs().max() < 1e-6, name


def test_their_losses_are_those_of_the_two_halves_of_each_batch(runs):
    _, (first, second), one = runs
    for ours, others, both in zip(first["losses"], second["losses"], one["losses"]):
        assert (ours + others) / 2 == pytest.approx(both, rel=1e-4)


def test_they_end_at_the_same_weights_and_one_of_them_writes_these(runs):
    folder, _, _ = runs
    two, one = (load_file(checkpoints.all_of(folder / name)[-1] / "adapter.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert all((two[name] - one[name]).abs().max() < 1e-3 for name in one)
