"""Ctrl+C, SIGTERM, and processes of which one fails."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fantasytalking_core.training.run import checkpoints
from fantasytalking_core.training.run.config import Config, Stage
from fantasytalking_core.training.run.stop import Stop
from fantasytalking_core.training.run.trainer import Trainer
from support import ROOT, training
from support.fake_dit import FakeDit


@pytest.fixture
def settings(tmp_path) -> Config:
    folder = training.write_cache(tmp_path / "cache", *(training.sample(seed) for seed in range(3)))
    return training.config(tmp_path / "dit", folder, tmp_path / "run", stages=(Stage("clip", 6),), checkpoint_every=100)


def run(settings: Config, stop: Stop | None = None, at: int = 0, number: int = signal.SIGTERM) -> list[float]:
    """Losses of a run to which a signal is sent in a step."""
    found = []

    def on_step(step, values):
        found.append(values["loss"])
        if step == at:
            os.kill(os.getpid(), number)

    Trainer(settings, FakeDit(), stop=stop).run(on_step)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_writes_where_it_stands_and_goes_on_from_there(settings, tmp_path, number):
    whole = run(replace(settings, output=tmp_path / "whole"))
    with Stop().listening() as stop:
        first = run(settings, stop, at=3, number=number)
    assert stop.signal == number and first == whole[:3]
    assert [path.name for path in checkpoints.all_of(settings.output)] == ["step_00000003"]
    assert run(settings) == whole[3:]
    ours, theirs = (
        load_file(checkpoints.all_of(output)[-1] / checkpoints.ADAPTER) for output in (settings.output, tmp_path / "whole")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_takes_no_sample_and_measures_nothing_any_more(settings):
    calls = []
    settings = replace(settings, sample_every=3, validation_every=3, validation_samples=2)
    with Stop().listening() as stop:
        trainer = Trainer(settings, FakeDit(), lambda *given: calls.append("sample"), stop)
        real, trainer.validation.measure = trainer.validation.measure, lambda level: calls.append("measure") or real(level)
        trainer.run(lambda step, values: os.kill(os.getpid(), signal.SIGTERM) if step == 3 else None)
    assert calls == ["measure"]  # at the beginning


def test_handlers_are_put_back(settings):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop().listening():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


TWICE = """
import os, signal
from fantasytalking_core.training.run.stop import Stop
with Stop().listening():
    os.kill(os.getpid(), signal.SIGINT)
    print("first", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("second", flush=True)
"""


def python(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_a_second_time_ends_at_once():
    done = python(TWICE)
    out, error = done.communicate()
    assert (done.returncode, out) == (130, "first\n")
    assert "Interrupted: a checkpoint is written after this step. Once more ends at once, without one." in error
    assert "Ended at once: the same command goes on from the last checkpoint." in error


def test_what_a_launcher_passes_on_is_no_second_time():
    done = python(TWICE, LOCAL_RANK="0")
    assert done.communicate()[0] == "first\nsecond\n" and done.returncode == 0


FAILS = """
import sys, time, torch.distributed
from datetime import timedelta
from fantasytalking_core.training.run.together import Together
together = Together()
torch.distributed.init_process_group("gloo", timeout=timedelta(hours=2))
torch.distributed.barrier()
if together.process == int(sys.argv[1]):
    together.fail("a traceback\\nits words")
if sys.argv[2] == "waits for it":
    try:
        torch.distributed.barrier()
    except RuntimeError as error:
        together.fail(str(error))
elif sys.argv[2] == "does something else":
    time.sleep(600)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def several(code: str, processes: int, *arguments: str) -> list[subprocess.Popen]:
    """Processes as a launcher starts them, without a launcher that would end them."""
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for rank in range(processes)
    ]


@pytest.mark.parametrize("fails, other", [(0, "does something else"), (1, "waits for it")])
def test_a_process_that_fails_takes_the_others_along_with_its_words(fails, other):
    started = several(FAILS, 3, str(fails), other)
    began = time.monotonic()
    errors = [each.communicate(timeout=60)[1] for each in started]
    assert time.monotonic() - began < 45
    assert [each.returncode for each in started] == [1, 1, 1]
    for rank, error in enumerate(errors):
        assert error.count("its words") == 1
        expected = (
            "its words\n" if rank == fails else f"Process {fails} of 3 has failed, and process {rank} ends with it: its words\n"
        )
        assert expected in error


def test_processes_that_are_done_end_without_a_word():
    code = FAILS.replace("together.fail", "print") + "\ntorch.distributed.barrier()\ntogether.finish()\n"
    started = several(code, 2, "7", "nothing")
    errors = [each.communicate(timeout=60)[1] for each in started]
    assert [each.returncode for each in started] == [0, 0] and not any("has failed" in error for error in errors)


def test_the_end_of_the_one_that_holds_them_together_is_noticed():
    """Killed from outside it can't tell anybody."""
    code = FAILS.replace("together.fail(", "import os; time.sleep(5); os.kill(os.getpid(), 9); (").replace(
        "import sys",
        "import sys\nfrom fantasytalking_core.training.run import together as module\nmodule.GRACE = 1.0\nimport sys",
        1,
    )
    started = several(code, 2, "0", "does something else")
    errors = [each.communicate(timeout=60)[1] for each in started]
    assert [each.returncode for each in started] == [-9, 1]
    assert "Process 0 has been ended, or its machine is gone, and process 1 ends with it." in errors[1]
