"""A graph over the host's HTTP API, with every event that it sends."""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TEXT = (3).to_bytes(4, "big")
"""How binary messages begin that are text for a node, and no picture."""
ENDS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass
class Run:
    """How a run went: HTTP status and answer, events in order, preview pictures, outputs of the nodes."""

    status: int
    answer: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    previews: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]

    @property
    def error(self) -> str:
        return self.of("execution_error")[0]["exception_message"].strip()


def queue(address: str, prompt: dict[str, Any], interrupt_at: str | None = None, **extra_data: Any) -> Run:
    """Run a graph to its end; `interrupt_at`: the id of a node to interrupt at its first progress."""
    return asyncio.run(_queue(address, prompt, interrupt_at, extra_data))


async def _queue(address: str, prompt: dict[str, Any], interrupt_at: str | None, extra_data: dict[str, Any]) -> Run:
    client = uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(address) as session,
        session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as events,
    ):
        body = {"prompt": prompt, "client_id": client, "extra_data": extra_data}
        async with session.post("/prompt", json=body) as response:
            run = Run(response.status, await response.json())
        if run.status != 200:
            return run
        async for message in events:
            if message.type == aiohttp.WSMsgType.BINARY:
                run.previews += not message.data.startswith(TEXT)
                continue
            event = json.loads(message.data)
            run.events.append((event["type"], event.get("data", {})))
            if interrupt_at and event["type"] == "progress" and event["data"].get("node") == interrupt_at:
                interrupt_at = None
                await session.post("/interrupt")
            if event["type"] in ENDS and event["data"].get("prompt_id") == run.answer["prompt_id"]:
                break
        for _ in range(100):  # the history follows a moment after the last event
            async with session.get(f"/history/{run.answer['prompt_id']}") as response:
                if history := (await response.json()).get(run.answer["prompt_id"]):
                    run.outputs = history["outputs"]
                    return run
            await asyncio.sleep(0.05)
    raise TimeoutError("the run is not in the host's history")
