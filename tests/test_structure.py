"""What holds for the code as a whole."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

CORE = ROOT / "fantasytalking_core"
SOURCES = [ROOT / "__init__.py", *sorted((ROOT / "nodes").rglob("*.py")), *sorted(CORE.rglob("*.py"))]
HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "latent_preview", "nodes", "server"}


def python(code: str, path: Path, folder: Path) -> str:
    """What a fresh interpreter prints that finds nothing but `path`, in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def modules() -> list[str]:
    files = [file.relative_to(ROOT).with_suffix("") for file in CORE.rglob("*.py") if "host" not in file.parts]
    return [".".join(file.parts).removesuffix(".__init__") for file in files]


def test_the_method_imports_without_comfyui(tmp_path):
    found = python(f"import sys, {', '.join(modules())}; print(sorted({HOST_MODULES!r} & sys.modules.keys()))", ROOT, tmp_path)
    assert found == "[]"


def test_the_method_imports_nothing_heavy_before_it_is_used(tmp_path):
    found = python(
        f"import sys, {', '.join(modules())}; print([m for m in ('transformers', 'librosa', 'skimage', 'onnxruntime') if m in sys.modules])",
        ROOT,
        tmp_path,
    )
    assert found == "[]"


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
