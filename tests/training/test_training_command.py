"""The trainer's command line, as processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.state import State
from support import ROOT, training

HOST = os.environ["FANTASYTALKING_HOST"]


def command(*arguments: str | Path, **environment: str) -> subprocess.Popen:
    """A command from the pack's folder."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("FANTASYTALKING")}
    return subprocess.Popen(
        [sys.executable, "-m", "fantasytalking_core", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**variables, "COMFYUI_PATH": HOST, **environment},
    )


def write_config(folder: Path, **changes) -> Path:
    settings = training.config(folder / "dit.safetensors", Path("cache"), Path("run"), **changes)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(settings.plain()))))
    return file


@pytest.fixture(scope="module")
def folder(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    training.write_dit(folder / "dit.safetensors")
    training.write_cache(folder / "cache", *(training.sample(seed) for seed in range(3)))
    return folder


def test_a_run_that_is_killed_goes_on_to_the_weights_of_an_unbroken_one(folder, tmp_path):
    stages = (training.Stage("clip", 2), training.Stage("frame", 20))
    config = write_config(folder, stages=stages, checkpoint_every=1, log_every=1000, keep=1)
    running = command(config)
    deadline = time.monotonic() + 120
    while not list((folder / "run" / "checkpoints").glob("step_0000000[5-9]")):
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()[1]
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert State.read(checkpoints.all_of(folder / "run")[-1]).step < 22
    again = command("run", config)
    out, error = again.communicate()
    assert again.returncode == 0, error
    assert f"going on from {folder / 'run' / 'checkpoints'}" in error
    unbroken = training.config(
        folder / "dit.safetensors", folder / "cache", tmp_path / "run", stages=stages, checkpoint_every=1000
    )
    training.train(unbroken)
    ours, theirs = (
        load_file(f / "checkpoints" / "step_00000022" / "adapter.safetensors") for f in (folder / "run", tmp_path / "run")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert out.strip() == str(folder / "run" / "checkpoints" / "step_00000022")


def test_what_is_wrong_is_one_line_without_a_traceback(folder):
    (folder / "wrong.yaml").write_text("model: a\ncache: cache\noutput: run\nlearning_rat: 1\n")
    for arguments, said in (
        (["run", folder / "wrong.yaml"], "learning_rat is no setting; did you mean learning_rate?"),
        (["export", folder / "nothing", folder / "a.safetensors"], "holds no checkpoint"),
    ):
        done = command(*arguments)
        error = done.communicate()[1]
        assert done.returncode == 1 and said in error and "Traceback" not in error


def test_without_comfyui_it_says_how_to_find_it(tmp_path):
    done = command("run.yaml", COMFYUI_PATH=str(tmp_path))
    assert "There is no ComfyUI to be found: set COMFYUI_PATH" in done.communicate()[1] and done.returncode == 1


def test_comfyui_is_found_from_the_packs_place_in_it(tmp_path):
    """A copy of the package where packs are installed, started without COMFYUI_PATH."""
    shutil.copytree(ROOT / "fantasytalking_core", tmp_path / "custom_nodes" / "pack" / "fantasytalking_core")
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "sd.py").write_text("")
    code = "from fantasytalking_core import search_path; print(search_path.host_folder())"
    environment = {key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "custom_nodes" / "pack", capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == str(tmp_path), done.stderr


@pytest.mark.parametrize("arguments, status", [([], 0), (["--help"], 0), (["dance"], 2)])
def test_the_commands_are_listed(arguments, status):
    done = command(*arguments)
    out, error = done.communicate()
    assert done.returncode == status and "export OUTPUT adapter.safetensors" in out + error


def test_started_by_dev_py_the_trainer_finds_the_host_and_itself(folder):
    """What dev.py starts, without its preparation."""
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "dev.py",
            "launch-in-environment",
            HOST,
            "-m",
            "fantasytalking_core",
            "run",
            folder / "absent.yaml",
        ],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "COMFYUI_PATH"},
    )
    assert done.returncode == 1 and "There is no file" in done.stderr and "Traceback" not in done.stderr
