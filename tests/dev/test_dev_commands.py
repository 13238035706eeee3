"""The commands of dev.py, in a clone with a ComfyUI of three files and nothing to download."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from support import ROOT

INSTALL_MODELS = """
import sys
from pathlib import Path
vae = Path(sys.argv[1], "vae/wan_2.1_vae.safetensors")
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
        for name, text in {
            "requirements.txt": "",
            "requirements-dev.txt": "",
            "demo/install_models.py": INSTALL_MODELS,
            "demo/portrait.jpg": "",
            "demo/speech.wav": "",
            "demo/stand_ins/__init__.py": "",
            "nodes/__init__.py": "the_packs = True",
            "report.py": REPORT,
        }.items():
            self.write(name, text)
        for name in ("dev.py", "fantasytalking_core/search_path.py"):
            self.write(name, (ROOT / name).read_text())
        self.host.mkdir()
        for name, text in {"main.py": "", "requirements.txt": "", "nodes.py": "the_hosts = True"}.items():
            (self.host / name).write_text(text)

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def dev(
        self, *arguments: str | Path, cwd: Path | None = None, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess:
        known = {"COMFYUI_PATH": str(self.host), "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        variables = {name: value for name, value in {**os.environ, **known, **environment}.items() if value}
        return subprocess.run(
            [sys.executable, self.root / "dev.py", *arguments],
            cwd=cwd or self.root,
            input=stdin,
            env=variables,
            capture_output=True,
            text=True,
        )

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
