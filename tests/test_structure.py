"""What holds for the code as a whole."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FAST_FILES

from support import ROOT, TESTS
from support.imports import HOST_MODULES, circle, sources, wrong_imports

CORE = ROOT / "fantasytalking_core"
SOURCES = [ROOT / "__init__.py", *sorted((ROOT / "nodes").rglob("*.py")), *sorted(CORE.rglob("*.py"))]


def python(code: str, path: Path, folder: Path) -> str:
    """What a fresh interpreter prints that finds nothing but `path`, in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def modules() -> list[str]:
    files = [file.relative_to(ROOT).with_suffix("") for file in CORE.rglob("*.py") if "host" not in file.parts]
    return [".".join(file.parts).removesuffix(".__init__") for file in files]


@pytest.mark.slow
def test_the_method_imports_without_comfyui(tmp_path):
    found = python(f"import sys, {', '.join(modules())}; print(sorted({HOST_MODULES!r} & sys.modules.keys()))", ROOT, tmp_path)
    assert found == "[]"


@pytest.mark.slow
def test_the_method_imports_nothing_heavy_before_it_is_used(tmp_path):
    heavy = ("transformers", "librosa", "skimage", "onnxruntime")
    found = python(f"import sys, {', '.join(modules())}; print([m for m in {heavy} if m in sys.modules])", ROOT, tmp_path)
    assert found == "[]"


@pytest.mark.slow
def test_importing_the_pack_imports_nothing_else(tmp_path):
    code = "import sys; before = set(sys.modules); import FantasyTalking; print(sorted(set(sys.modules) - before))"
    assert python(code, Path(os.environ["FANTASYTALKING_BASE"]) / "custom_nodes", tmp_path) == "['FantasyTalking']"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_source_file_neither_prints_nor_evaluates_text_and_its_public_parts_are_explained(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"print", "eval", "exec", "compile", "__import__"}
    assert ast.get_docstring(tree), "the file says what it is about"


@pytest.mark.parametrize(
    "file", [file for file in SOURCES if CORE in file.parents and "host" not in file.parts], ids=lambda file: file.name
)
def test_the_host_is_imported_in_one_folder_only(file):
    """Also not inside of functions."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    assert not {name.split(".")[0] for name in imported} & HOST_MODULES


def test_a_folder_imports_only_what_stands_below_it():
    assert wrong_imports(ROOT) == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(ROOT) == []


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The repository's own code in another place."""
    root = tmp_path_factory.mktemp("copy")
    for file in sources(ROOT):
        target = root / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return root


@pytest.fixture
def plant(copied):
    """Append to a file of the copy; returns the number of its first new line. Taken back after the test."""
    before = {}

    def append(file: str, text: str) -> int:
        path = copied / file
        before[path] = path.read_text(encoding="utf-8")
        path.write_text(before[path] + text, encoding="utf-8")
        return before[path].count("\n") + 1

    yield append
    for path, text in before.items():
        path.write_text(text, encoding="utf-8")


UPWARDS = {
    "errors.py": ("from .speech import windows", "speech/windows.py"),
    "speech/windows.py": ("from ..sampling.schedule import sigmas", "sampling/schedule.py"),
    "adapter/file.py": ("from ..face import encoder", "face/encoder.py"),
    "motion/measure.py": ("from ..training.data.clips import Clip, read_clips", "training/data/clips.py"),
    "training/data/cache.py": ("from ..run import config", "training/run/config.py"),
    "training/run/trainer.py": ("from ...host import patch", "host/patch.py"),
    "host/patch.py": ("from fantasytalking_core.commands import export", "commands/export.py"),
    "commands/export.py": ("import fantasytalking_core.__main__", "__main__.py"),
}


@pytest.mark.parametrize("file", UPWARDS)
def test_an_import_upwards_or_sideways_is_told_by_name(copied, plant, file):
    statement, found = UPWARDS[file]
    line = plant(f"fantasytalking_core/{file}", f"{statement}\n")
    core = "fantasytalking_core"
    assert wrong_imports(copied) == [f"{core}/{file}:{line} imports {core}/{found}, which does not stand below it"]


@pytest.mark.parametrize("inside", ["def later():", "if TYPE_CHECKING:"])
def test_so_it_is_where_it_waits_for_a_call_or_is_for_the_type_checker(copied, plant, inside):
    line = plant("fantasytalking_core/face/crop.py", f"{inside}\n    from ..host import patch\n")
    assert wrong_imports(copied) == [
        f"fantasytalking_core/face/crop.py:{line + 1} imports fantasytalking_core/host/patch.py, which does not stand below it"
    ]


def test_so_is_the_host_outside_of_its_folder(copied, plant):
    line = plant("fantasytalking_core/face/crop.py", "def later():\n    import comfy.utils\n")
    assert wrong_imports(copied) == [f"fantasytalking_core/face/crop.py:{line + 1} imports comfy.utils, which is ComfyUI's"]


@pytest.mark.parametrize("found", ["training/export.py", "commands/export.py"])
def test_so_are_training_and_commands_in_a_node(copied, plant, found):
    folder = found.split("/")[0]
    line = plant("nodes/face.py", f"from ..fantasytalking_core.{folder} import export\n")
    assert wrong_imports(copied) == [f"nodes/face.py:{line} imports fantasytalking_core/{found}, which does not stand below it"]


def test_a_circle_is_told_by_its_files(copied, plant):
    plant("demo/workflow.py", "def later():\n    import run\n")
    assert set(circle(copied)) == {"demo/run.py", "demo/workflow.py"}


def test_a_circle_within_a_folder_of_the_core_is_one_too(copied, plant):
    plant("fantasytalking_core/face/detector.py", "def later():\n    from .crop import Crop\n")
    assert set(circle(copied)) == {"fantasytalking_core/face/detector.py", "fantasytalking_core/face/crop.py"}


def test_the_files_with_fast_tests_are_there():
    assert [name for name in sorted(FAST_FILES) if not (TESTS / name).is_file()] == []
