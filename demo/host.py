"""ComfyUI itself as a process, in the environment that dev.py prepares.

python dev.py serve
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from settings import template_in_demo_size

SERVE_PORT = 8188
TEMPLATES = Path(__file__).resolve().parent.parent / "workflows"


class HostError(RuntimeError):
    """ComfyUI did not start; the message says why."""


def base_directory() -> Path:
    return Path(os.environ["FANTASYTALKING_BASE"])


def has_cuda() -> bool:
    """Whether torch sees a CUDA device; asked in a process of its own, which needs not keep torch."""
    question = "import torch; raise SystemExit(0 if torch.cuda.is_available() else 1)"
    return subprocess.run([sys.executable, "-c", question]).returncode == 0


def command(port: int, base: Path | None = None) -> list[str]:
    """The command line that starts ComfyUI on a port of this machine, with the demo's base directory or another one."""
    return [
        sys.executable,
        str(Path(os.environ["FANTASYTALKING_HOST"]) / "main.py"),
        "--port",
        str(port),
        "--base-directory",
        str(base or base_directory()),
        "--database-url",
        "sqlite:///:memory:",
        "--disable-api-nodes",
        "--disable-auto-launch",
        *([] if has_cuda() else ["--cpu"]),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ComfyUI:
    """A running ComfyUI, for a `with` statement: answers at `address` inside of it, is gone after it.

    Raises HostError if it ends or stays silent for `patience` seconds, or if a custom node pack fails to load.
    """

    def __init__(self, log: Path, patience: float = 300, base: Path | None = None, options: Sequence[str] = ()) -> None:
        self.log, self.patience, self.base, self.options = log, patience, base, options
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "ComfyUI":
        with self.log.open("wb") as log:
            line = [*command(self.port, self.base), *self.options]
            self.process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _wait(self) -> None:
        end = time.monotonic() + self.patience
        while not self._answers():
            if self.process.poll() is not None:
                raise HostError(f"ComfyUI ended with status {self.process.returncode} before it was ready. " + self._log_end())
            if time.monotonic() > end:
                raise HostError(f"ComfyUI did not answer within {self.patience:.0f} s. {self._log_end()}")
            time.sleep(0.1)
        if failed := re.findall("Cannot import .*", self._log_text()):
            raise HostError(f"{'; '.join(failed)}. The log is {self.log}.")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/system_stats", timeout=5):
                return True
        except OSError:
            return False

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _log_end(self) -> str:
        return "Its last lines:\n    " + "\n    ".join(self._log_text().splitlines()[-8:])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write_demo_workflows(folder: Path) -> None:
    """The templates in the demo's size, among the workflows that the page lists: as they are, they are for large models."""
    folder.mkdir(parents=True, exist_ok=True)
    for template in sorted(TEMPLATES.glob("*.json")):
        workflow = template_in_demo_size(json.loads(template.read_text(encoding="utf-8")))
        (folder / f"demo {template.stem}.json").write_text(json.dumps(workflow, ensure_ascii=False), encoding="utf-8")


def serve() -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", SERVE_PORT)) == 0:
            sys.exit(f"Port {SERVE_PORT} is in use: is another ComfyUI running? Close it first.")
    write_demo_workflows(base_directory() / "user/default/workflows")
    line = command(SERVE_PORT)
    if os.name == "nt":
        sys.exit(subprocess.call(line))
    os.execv(line[0], line)


if __name__ == "__main__":
    serve()
