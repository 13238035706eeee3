"""What dev.py promises: it prepares once, picks up where it stopped, says what failed, and trusts no archive."""
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_dev() -> ModuleType:
    """dev.py as a module; the pack's root is not on sys.path."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["dev"] = module
    spec.loader.exec_module(module)
    return module


dev = load_dev()


# ---------------------------------------------------------------------------------------------------------- steps

class Work:
    """A step's action: counts its calls and makes the product, or fails."""

    def __init__(self, product: Path) -> None:
        self.product, self.calls, self.error = product, 0, None

    def __call__(self) -> None:
        self.calls += 1
        if self.error:
            raise self.error
        self.product.write_text("made")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "product")


def make_step(work: Work, inputs: str = "same"):
    return dev.Step("Making a thing", "1 s", work.product.with_name("stamp"), dev.digest(inputs), work.product, work)


def test_a_step_is_done_once_while_its_inputs_are_the_same(work):
    make_step(work).ensure()
    make_step(work).ensure()
    assert work.calls == 1


def test_a_step_is_done_again_when_its_inputs_change(work):
    make_step(work, "before").ensure()
    make_step(work, "after").ensure()
    assert work.calls == 2


def test_a_step_is_done_again_when_its_product_is_gone(work):
    make_step(work).ensure()
    work.product.unlink()
    make_step(work).ensure()
    assert work.calls == 2


def test_a_step_that_failed_is_done_again(work):
    work.error = OSError("disk full")
    with pytest.raises(dev.Failure):
        make_step(work).ensure()
    work.error = None
    make_step(work).ensure()
    assert work.calls == 2


def test_a_step_that_was_interrupted_while_done_anew_is_not_taken_for_done(work):
    make_step(work, "before").ensure()
    work.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_step(work, "after").ensure()
    assert not make_step(work, "before").is_done()
    assert not make_step(work, "after").is_done()


def test_the_message_of_a_failed_step_says_which_step_and_why(work):
    work.error = OSError("disk full")
    with pytest.raises(dev.Failure, match="Making a thing failed: disk full"):
        make_step(work).ensure()


def test_the_message_of_a_failed_command_holds_its_status_and_its_last_lines():
    with pytest.raises(dev.Failure, match="(?s)ended with status 3.*no such package"):
        dev.execute([sys.executable, "-c", "print('no such package'); raise SystemExit(3)"])


def test_a_progress_line_says_what_is_done_and_how_long_it_usually_takes(work, capsys):
    make_step(work).ensure()
    assert "Making a thing (usually 1 s)" in capsys.readouterr().err


def test_a_digest_depends_on_where_one_part_ends_and_the_next_begins():
    assert dev.digest("ab", "c") != dev.digest("a", "bc")


# -------------------------------------------------------------------------------------------------------- archives

def make_archive(path: Path, files: dict[str, str], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(member)
    return path


def test_only_the_hosts_folder_is_unpacked(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/vendor/ComfyUI/comfy/ops.py": "ops",
                                                   "pack-1/vendor/Other/main.py": "x", "pack-1/setup.py": "x"})
    dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")
    files = [file.relative_to(tmp_path / "host").as_posix() for file in (tmp_path / "host").rglob("*.py")]
    assert files == ["comfy/ops.py"]


@pytest.mark.parametrize("name", ["pack-1/vendor/ComfyUI/../../../../evil.py", "pack-1/vendor/ComfyUI/C:/evil.py",
                                  "pack-1/vendor/ComfyUI/..\\..\\evil.py"])
def test_an_archive_that_reaches_outside_of_its_folder_is_refused(tmp_path, name):
    archive = make_archive(tmp_path / "a.tar.gz", {name: "evil"})
    with pytest.raises(dev.Failure, match="outside of its folder"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "deep/er/host")
    assert not list(tmp_path.rglob("*evil.py"))


def test_an_archive_with_a_link_is_refused(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {}, link="pack-1/vendor/ComfyUI/models")
    with pytest.raises(dev.Failure, match="neither a file nor a folder"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")


def test_an_archive_that_is_refused_leaves_no_host(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"p/vendor/ComfyUI/main.py": "fine"}, link="p/vendor/ComfyUI/x")
    with pytest.raises(dev.Failure):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")
    assert not (tmp_path / "host").exists()


def test_an_archive_without_the_host_is_refused(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    with pytest.raises(dev.Failure, match="holds no vendor/ComfyUI"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")


def test_an_archive_with_another_checksum_is_refused_and_removed(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(dev.Failure, match=f"should have SHA-256 {'0' * 64}, but has {found}"):
        dev.check_sha256(archive, "0" * 64)
    assert not archive.exists()


def test_an_archive_with_the_known_checksum_is_kept(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    dev.check_sha256(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert archive.exists()


# ----------------------------------------------------------------------------------------------------------- links

def test_a_link_follows_the_pack_to_another_place(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        dev.link(tmp_path / "link", tmp_path / name)
    assert (tmp_path / "link").resolve() == tmp_path / "new"


def test_a_link_takes_the_place_of_one_to_a_folder_that_is_gone(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    dev.link(tmp_path / "link", tmp_path / "old")
    (tmp_path / "old").rmdir()
    dev.link(tmp_path / "link", tmp_path / "new")
    assert (tmp_path / "link").resolve() == tmp_path / "new"


def test_a_folder_in_the_place_of_a_link_is_left_alone(tmp_path):
    (tmp_path / "link").mkdir()
    (tmp_path / "link/mine.txt").write_text("mine")
    with pytest.raises(dev.Failure, match="is a folder of its own"):
        dev.link(tmp_path / "link", tmp_path)
    assert (tmp_path / "link/mine.txt").read_text() == "mine"


# ---------------------------------------------- the real thing: a clone with a host of two files and no downloads

MAKE_MODELS = """
import sys
from pathlib import Path
vae = Path(sys.argv[1], "vae/demo_random_wan_vae.safetensors")
vae.parent.mkdir(parents=True, exist_ok=True)
vae.write_text("small")
"""
REPORT = """
import json, os, sys
print(json.dumps({"path": sys.path, "argv": sys.argv, "cwd": os.getcwd(), "stdin": sys.stdin.read(),
                  "environment": dict(os.environ), "name": __name__}))
sys.exit(7)
"""


class Clone:
    """A repository with the real dev.py and a small ComfyUI of the user's own."""

    def __init__(self, folder: Path) -> None:
        self.root, self.host = folder / "pack", folder / "ComfyUI"
        for name, text in {"requirements.txt": "", "requirements-dev.txt": "", "demo/make_models.py": MAKE_MODELS,
                           "demo/portrait.jpg": "", "demo/speech.wav": "", "demo/stand_ins/__init__.py": "",
                           "nodes/__init__.py": "the_packs = True", "report.py": REPORT}.items():
            self.write(name, text)
        shutil.copy(ROOT / "dev.py", self.root)
        self.host.mkdir()
        for name, text in {"main.py": "", "requirements.txt": "", "nodes.py": "the_hosts = True"}.items():
            (self.host / name).write_text(text)

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def dev(self, *arguments: str | Path, cwd: Path | None = None, stdin: str = "",
            **environment: str) -> subprocess.CompletedProcess:
        known = {"COMFYUI_PATH": str(self.host), "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        variables = {name: value for name, value in {**os.environ, **known, **environment}.items() if value}
        return subprocess.run([sys.executable, self.root / "dev.py", *arguments], cwd=cwd or self.root, input=stdin,
                              env=variables, capture_output=True, text=True)

    def report(self, *arguments: str, **options) -> dict:
        return json.loads(self.dev("run", self.root / "report.py", *arguments, **options).stdout)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """Prepared by its first command."""
    clone = Clone(tmp_path_factory.mktemp("clone").resolve())
    done = clone.dev("run", clone.write("nothing.py", ""))
    assert done.returncode == 0, done.stderr
    return clone


def test_run_puts_the_hosts_folder_first_and_leaves_the_packs_root_out(clone):
    path = clone.report()["path"]
    assert path[0] == str(clone.host)
    assert str(clone.root) not in path


def test_run_leaves_the_packs_root_out_where_the_caller_put_it_on_the_path(clone):
    assert str(clone.root) not in clone.report(PYTHONPATH=str(clone.root))["path"]


def test_run_lets_the_hosts_modules_find_each_other_and_not_the_packs(clone):
    done = clone.dev("run", clone.write("importer.py", "import nodes; print(nodes.the_hosts)"))
    assert done.stdout.strip() == "True"


def test_run_lets_a_file_import_its_neighbours(clone):
    clone.write("tools/neighbour.py", "value = 5")
    done = clone.dev("run", clone.write("tools/tool.py", "import neighbour; print(neighbour.value)"))
    assert done.stdout.strip() == "5"


def test_run_passes_on_arguments_input_and_the_working_directory(clone, tmp_path):
    report = clone.report("--flag", "two words", cwd=tmp_path, stdin="said")
    assert report["argv"] == [str(clone.root / "report.py"), "--flag", "two words"]
    assert report["stdin"] == "said"
    assert report["cwd"] == str(tmp_path)
    assert report["name"] == "__main__"


def test_run_passes_on_the_exit_status(clone):
    assert clone.dev("run", clone.root / "report.py").returncode == 7


def test_run_passes_on_environment_variables_and_says_where_the_host_is(clone):
    environment = clone.report(MY_SETTING="1")["environment"]
    assert environment["MY_SETTING"] == "1"
    assert environment["FANTASYTALKING_HOST"] == str(clone.host)
    assert environment["FANTASYTALKING_BASE"] == str(clone.root / ".host/base")


def test_run_lets_python_keep_its_bytecode(clone):
    assert "PYTHONDONTWRITEBYTECODE" not in clone.report()["environment"]


def test_a_comfyui_of_the_users_own_is_never_written_to(clone):
    clone.dev("run", clone.write("importer.py", "import nodes"))
    assert sorted(file.name for file in clone.host.rglob("*")) == ["main.py", "nodes.py", "requirements.txt"]


def test_a_second_run_with_nothing_changed_says_nothing_and_adds_under_two_seconds(clone):
    started = time.monotonic()
    done = clone.dev("run", clone.root / "nothing.py")
    assert time.monotonic() - started < 2
    assert done.stderr == ""


def test_the_pack_and_the_stand_ins_are_the_hosts_custom_nodes(clone):
    custom_nodes = clone.root / ".host/base/custom_nodes"
    assert (custom_nodes / "FantasyTalking").resolve() == clone.root
    assert (custom_nodes / "FantasyTalkingDemo").resolve() == clone.root / "demo/stand_ins"


def test_the_page_opens_on_the_graph_and_not_on_its_tutorial(clone):
    settings = json.loads((clone.root / ".host/base/user/default/comfy.settings.json").read_text())
    assert settings["Comfy.TutorialCompleted"] is True


def test_a_failed_installation_is_explained_and_the_next_run_picks_up_there(clone):
    clone.write("requirements.txt", "no-such-package-here==1.0\n")
    failed = clone.dev("run", clone.root / "nothing.py")
    clone.write("requirements.txt", "")
    mended = clone.dev("run", clone.root / "nothing.py")
    assert failed.returncode == 1
    assert "Installing the Python packages into .venv failed" in failed.stderr
    assert "No matching distribution found for no-such-package-here==1.0" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert mended.returncode == 0
    assert "Installing the Python packages" in mended.stderr
    assert "Making .venv" not in mended.stderr


def test_a_comfyui_path_that_holds_no_comfyui_is_explained(clone, tmp_path):
    done = clone.dev("run", clone.root / "nothing.py", COMFYUI_PATH=str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path} holds no main.py" in done.stderr


def test_an_unknown_comfyui_version_is_answered_with_the_known_ones(clone):
    done = clone.dev("run", clone.root / "nothing.py", COMFYUI_PATH="", COMFYUI_VERSION="0.1.0")
    assert done.returncode == 1
    assert "COMFYUI_VERSION is 0.1.0, known are 0.30.0, 0.27.0, 0.24.1" in done.stderr


def test_a_missing_file_is_named(clone):
    done = clone.dev("run", "absent.py")
    assert done.returncode == 1
    assert "absent.py" in done.stderr


def test_an_unknown_command_is_answered_with_the_known_ones(clone):
    done = clone.dev("dance")
    assert done.returncode == 1
    assert "there is no command dance" in done.stderr
    assert "python dev.py demo" in done.stderr
