"""The page's own code as it is published: the newest that the package index has, kept in .host."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "comfyui-frontend-package"


class NoFrontend(RuntimeError):
    """There is none to be had; the message says why."""


def newest(kept: Path) -> Path:
    """The folder for `--front-end-root`. Without an index the newest that was fetched before.

    Raises:
        NoFrontend: there is no index, and nothing was fetched.
    """
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(kept), "--retries", "1", PACKAGE]
    fetched = subprocess.run(fetch, capture_output=True, text=True)
    wheels = sorted(kept.glob("*.whl"), key=_version)
    if not wheels:
        raise NoFrontend(f"{PACKAGE} can't be fetched: {(fetched.stderr.strip().splitlines() or ['pip says nothing'])[-1]}")
    return _unpacked(wheels[-1])


def _version(wheel: Path) -> list[int]:
    return [int(number) for number in wheel.name.split("-")[1].split(".")]


def _unpacked(wheel: Path) -> Path:
    folder = wheel.with_suffix("")
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        partial.rename(folder)
    return folder / "comfyui_frontend_package/static"
