"""Two processes with a batch each (gloo, on the CPU), and one with both."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.dataset import Dataset
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


def test_they_share_out_what_is_measured(runs):
    _, (first, second), one = runs
    assert first["measured"] == second["measured"] == pytest.approx(one["measured"], rel=1e-4, abs=1e-5)


def launched(config, **more: str) -> subprocess.Popen:
    """The command on two processes, as it is launched, with more variables in their environment."""
    file = config.output.parent / f"{config.output.name}.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(config.plain()))))
    variables = {key: value for key, value in os.environ.items() if not key.startswith("FANTASYTALKING")}
    return subprocess.Popen(
        list(map(str, [sys.executable, *LAUNCH, "--nproc_per_node=2", "-m", "fantasytalking_core", "run", file])),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**variables, "COMFYUI_PATH": os.environ["FANTASYTALKING_HOST"], "OMP_NUM_THREADS": "1", **more},
    )


def test_those_that_are_done_leave_without_taking_their_group_apart(runs, tmp_path):
    """One in some hundred of them never ended: see `Together.leave`."""
    folder, _, _ = runs
    at_exit = "import atexit, os\natexit.register(lambda: 'RANK' in os.environ and print('taken apart', os.environ['RANK']))\n"
    (tmp_path / "sitecustomize.py").write_text(at_exit)
    stages = (training.Stage("clip", 2),)
    config = training.config(
        folder / "dit.safetensors", folder / "cache", tmp_path / "run", batch_size=1, stages=stages, workers=1
    )
    running = launched(config, PYTHONPATH=str(tmp_path))
    told, error = running.communicate(timeout=120)  # ends only when the workers that read the samples have ended, too
    (written,) = checkpoints.all_of(config.output)
    assert running.returncode == 0 and told == f"{written}\n" * 2, error


def test_a_sample_that_one_of_them_can_not_read_ends_both_with_its_name(runs, tmp_path):
    """The other one waits for its gradients meanwhile."""
    folder, _, _ = runs
    cache = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(5)))
    config = training.config(folder / "dit.safetensors", cache, tmp_path / "run", batch_size=1)
    place = Dataset(config).place(3)  # of the second process, in the second step
    damaged = cache / Dataset(config).index.samples[place].file
    training.sample(place, latents=torch.full((16, 5, 4, 4), torch.nan)).save(damaged)
    if place == 0:  # that one is looked at in the beginning
        pytest.skip("the order has changed: damage another one")
    running = launched(config)
    error = running.communicate(timeout=120)[1]
    words = f"'{damaged}' of the training cache holds NaN or infinite numbers in its latents"
    assert running.returncode != 0 and f"Process 1 of 2 has failed, and process 0 ends with it: {words}" in error, error


def test_asked_to_end_they_write_one_checkpoint_and_go_on_from_it(runs, tmp_path):
    folder, _, _ = runs
    stages = (training.Stage("clip", 100_000),)
    config = training.config(
        folder / "dit.safetensors", folder / "cache", tmp_path / "run", batch_size=1, stages=stages, checkpoint_every=10**9
    )
    running, lines = launched(config), []
    for line in running.stderr:
        lines.append(line)
        if "step 5 of" in line:
            break
    running.send_signal(signal.SIGTERM)
    began = time.monotonic()
    rest = running.communicate(timeout=60)[1]
    (written,) = checkpoints.all_of(config.output)
    assert time.monotonic() - began < 25  # the launcher kills after 30
    step = int(written.name.removeprefix("step_"))
    assert f"wrote the checkpoint of step {step}" in rest, "".join(lines) + rest
    last = [int(found) for found in re.findall(r"step (\d+) of 100000", "".join(lines) + rest)][-1]
    assert step == last
    config = replace(config, stages=(training.Stage("clip", step + 1),))
    again = launched(config)
    error = again.communicate(timeout=120)[1]
    assert again.returncode == 0 and f"going on from {written}" in error, error
    training.train(replace(config, output=tmp_path / "one", batch_size=2))
    two, one = (
        load_file(checkpoints.all_of(output)[-1] / "adapter.safetensors") for output in (config.output, tmp_path / "one")
    )
    assert all((two[name] - one[name]).abs().max() < 1e-2 for name in one)
