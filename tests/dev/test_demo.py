"""The demo: a real ComfyUI, the small models, and a video with sound at the end of it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import aiohttp
import av
import host
import pytest
import run
from host import ComfyUI, HostError
from run import DemoError, refusal, saved_video

from support import ROOT


def test_a_rejected_graph_is_explained_in_one_sentence():
    error = {"message": "Value not in list", "details": "vae_name: 'x' not in []"}
    answer = {"error": {"message": "Prompt outputs failed validation"}, "node_errors": {"2": {"errors": [error]}}}
    assert refusal(answer, {"2": {"class_type": "VAELoader"}}) == (
        "ComfyUI rejected the graph: node 2 (VAELoader): Value not in list vae_name: 'x' not in []"
    )


def test_a_graph_that_saves_no_video_is_explained():
    with pytest.raises(DemoError, match="saved no video"):
        saved_video({"9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}})


class Events:
    """The messages of a websocket."""

    def __init__(self, *events: tuple[str, dict]) -> None:
        self.events = iter(events)

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> aiohttp.WSMessage:
        for kind, data in self.events:
            text = json.dumps({"type": kind, "data": {"prompt_id": "mine", **data}})
            return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)
        raise StopAsyncIteration


SAMPLER = {"7": {"class_type": "KSampler", "_meta": {"title": "My sampler"}}}


def follow(*events: tuple[str, dict]) -> None:
    asyncio.run(run.follow(Events(*events), "mine", SAMPLER))


def test_progress_lines_name_the_node_and_count_its_steps(capsys):
    follow(("executing", {"node": "7"}), ("progress", {"value": 3, "max": 4}), ("execution_success", {}))
    assert capsys.readouterr().out.split("\n") == ["  My sampler", "    3 of 4", ""]


def test_what_happens_to_other_graphs_is_ignored():
    follow(("execution_error", {"prompt_id": "another's"}), ("execution_success", {}))


def test_a_node_that_fails_is_named_with_its_message():
    failure = {"node_id": "7", "node_type": "KSampler", "exception_message": "speech is too long\n"}
    with pytest.raises(DemoError, match=r"^Node 7 \(KSampler\) failed: speech is too long$"):
        follow(("execution_error", failure))


def test_a_connection_that_is_closed_early_is_explained():
    with pytest.raises(DemoError, match="closed the connection before the graph was done"):
        follow(("executing", {"node": "7"}))


@pytest.fixture
def small_host(tmp_path, monkeypatch) -> Callable[[str], ComfyUI]:
    """A ComfyUI whose main.py is given."""
    monkeypatch.setenv("FANTASYTALKING_HOST", str(tmp_path))
    monkeypatch.setattr(host, "has_cuda", lambda: False)

    def make(main: str) -> ComfyUI:
        (tmp_path / "main.py").write_text(main)
        return ComfyUI(tmp_path / "log.txt", patience=2)

    return make


ANSWERING = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def test_a_host_that_ends_before_it_is_ready_is_explained_by_its_last_lines(small_host):
    with pytest.raises(HostError, match="(?s)ended with status 5 before it was ready.*no torch here"):
        small_host("import sys; print('no torch here'); sys.exit(5)").__enter__()


def test_a_host_that_does_not_answer_is_given_up_and_ended(small_host):
    silent = small_host("import time; time.sleep(60)")
    with pytest.raises(HostError, match="did not answer within 2 s"):
        silent.__enter__()
    assert silent.process.poll() is not None


def test_a_pack_that_fails_to_load_is_named(small_host):
    line = "Cannot import FantasyTalking module for custom nodes: no librosa"
    with pytest.raises(HostError, match=line):
        small_host(f"print({line!r}, flush=True)" + ANSWERING).__enter__()


def test_a_host_is_gone_after_its_with_statement(small_host):
    with small_host(ANSWERING) as running:
        assert running.process.poll() is None
    assert running.process.poll() is not None


@pytest.fixture(scope="module")
def video() -> Path:
    """output/demo.mp4, made as `dev.py demo` makes it."""
    result = ROOT / "output/demo.mp4"
    result.unlink(missing_ok=True)
    command = [
        sys.executable,
        ROOT / "dev.py",
        "launch-in-environment",
        os.environ["FANTASYTALKING_HOST"],
        ROOT / "demo/run.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(result) in done.stdout
    return result


def read_video(path: Path) -> tuple[list[av.VideoFrame], Fraction, int, int]:
    """Its pictures, their rate, and the samples of its sound and their rate."""
    with av.open(str(path)) as container:
        frames, rate = list(container.decode(video=0)), container.streams.video[0].average_rate
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return frames, rate, samples, container.streams.audio[0].rate


def test_the_demos_video_is_enlarged_and_as_square_as_its_portrait(video):
    frames, *_ = read_video(video)
    assert {(frame.width, frame.height) for frame in frames} == {(384, 384)}


def test_the_demos_video_has_the_81_frames_at_23_per_second_of_the_workflow(video):
    frames, rate, *_ = read_video(video)
    assert (len(frames), rate) == (81, 23)


def test_the_demos_sound_is_as_long_as_its_video_to_within_one_audio_frame(video):
    frames, rate, samples, sample_rate = read_video(video)
    aac_frame = 1024
    assert abs(samples - len(frames) / rate * sample_rate) <= aac_frame


def test_the_demos_video_file_holds_the_graph_that_made_it(video):
    with av.open(str(video)) as container:
        prompt = json.loads(container.metadata["prompt"])
    assert "FantasyTalkingSampler" in {node["class_type"] for node in prompt.values()}
