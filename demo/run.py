"""The main job on a machine with no GPU and no downloaded weights: a portrait and speech -> output/demo.mp4.

    python dev.py demo          Talking portrait (start here) -> output/demo.mp4
    python dev.py demo long     Long speech, half a minute of it -> output/demo_long.mp4
    python dev.py demo two      Two speakers -> output/demo_two.mp4
    python dev.py demo dub      Dub a video -> output/demo_dub.mp4

Runs a template through a real ComfyUI's HTTP API, with the small trained models in the place of the real ones, on drawn people
and on speech that their training never met.
"""

import asyncio
import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import av
from host import ComfyUI, HostError, base_directory
from settings import DEMOS
from settings import demo as in_demo
from workflow import WorkflowError, to_api

ROOT = Path(__file__).resolve().parent.parent


class DemoError(RuntimeError):
    """The host refused the graph or a node failed; the message says which and why."""


async def run_prompt(address: str, prompt: dict[str, Any]) -> dict[str, Any]:
    """Run a graph, printing its progress. Returns the outputs of its nodes. Raises DemoError."""
    client = uuid.uuid4().hex
    async with aiohttp.ClientSession(address) as session:
        async with session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as events:
            async with session.post("/prompt", json={"prompt": prompt, "client_id": client}) as response:
                answer = await response.json()
            if response.status != 200:
                raise DemoError(refusal(answer, prompt))
            await follow(events, answer["prompt_id"], prompt)
        for _ in range(100):  # the history follows a moment after the last event
            async with session.get(f"/history/{answer['prompt_id']}") as response:
                if history := await response.json():
                    return history[answer["prompt_id"]]["outputs"]
            await asyncio.sleep(0.05)
    raise DemoError("ComfyUI ran the graph, but its history does not hold it.")


async def follow(events: aiohttp.ClientWebSocketResponse, prompt_id: str, prompt: dict[str, Any]) -> None:
    """Print what runs until the graph is done. Raises DemoError if it fails."""
    async for message in events:
        if message.type != aiohttp.WSMsgType.TEXT:
            continue
        event = message.json()
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != prompt_id:
            continue
        if kind == "executing" and data["node"] in prompt:
            print(f"  {prompt[data['node']]['_meta']['title']}", flush=True)
        elif kind == "progress" and data["max"] > 1:
            print(f"    {data['value']} of {data['max']}", flush=True)
        elif kind == "execution_success":
            return
        elif kind == "execution_interrupted":
            raise DemoError("The run was interrupted.")
        elif kind == "execution_error":
            raise DemoError(f"Node {data['node_id']} ({data['node_type']}) failed: {data['exception_message'].strip()}")
    raise DemoError("ComfyUI closed the connection before the graph was done: see its log.")


def refusal(answer: dict[str, Any], prompt: dict[str, Any]) -> str:
    """Why the server rejected a graph, in one sentence."""
    reasons = [
        f"node {key} ({prompt[key]['class_type']}): {error['message']} {error['details']}".strip()
        for key, node in (answer.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    return "ComfyUI rejected the graph: " + ("; ".join(reasons) or answer["error"]["message"])


def saved_video(outputs: dict[str, Any]) -> Path:
    """The video file among the outputs of a run. Raises DemoError if there is none."""
    for output in outputs.values():
        for file in output.get("images", []):
            if file["filename"].endswith(".mp4"):
                return base_directory() / "output" / file["subfolder"] / file["filename"]
    raise DemoError("The graph ran, but saved no video: does it end in a SaveVideo node?")


def describe(video: Path) -> str:
    """Size, frames and length of sound of a video file."""
    with av.open(str(video)) as container:
        picture = container.streams.video[0]
        frames = sum(1 for _ in container.decode(picture))
        text = f"{picture.width}x{picture.height}, {frames} frames at {float(picture.average_rate):g} per second"
    with av.open(str(video)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0)) if container.streams.audio else 0
        seconds = samples / container.streams.audio[0].rate if samples else 0
    return f"{text}, {seconds:.2f} s of sound"


async def demo(name: str = "") -> None:
    """Run one of DEMOS. Raises DemoError."""
    workflow, result = ROOT / "workflows" / DEMOS[name].file, ROOT / "output" / f"demo{'_' * bool(name)}{name}.mp4"
    if not workflow.is_file():
        raise DemoError(f"{workflow} is missing: restore it from the repository.")
    log = base_directory() / "demo.log"
    print("Starting ComfyUI (10 to 30 s) ...", flush=True)
    with ComfyUI(log) as host:
        async with aiohttp.ClientSession(host.address) as session, session.get("/object_info") as response:
            object_info = await response.json()
        prompt = in_demo(name, to_api(json.loads(workflow.read_text(encoding="utf-8")), object_info))
        print(f"Running {workflow.relative_to(ROOT)} ...", flush=True)
        outputs = await run_prompt(host.address, prompt)
    result.parent.mkdir(exist_ok=True)
    shutil.move(saved_video(outputs), result)
    print(f"{result}: {describe(result)}, {result.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        asyncio.run(demo(*sys.argv[1:]))
    except (DemoError, HostError, WorkflowError) as error:
        sys.exit(f"demo: {error}")
