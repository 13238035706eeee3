"""Which file of a repository imports which, read from the sources and not by importing them."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

CORE, NODES, FILES = "fantasytalking_core", "nodes", "."
LAYERS = (
    (FILES,),
    ("speech", "sampling"),
    ("adapter",),
    ("face",),
    ("motion",),
    ("training/data",),
    ("training/run",),
    ("training",),
    ("host",),
    ("commands",),
    ("__main__.py",),
)
"""The core from bottom to top, `.` being the files beside its folders. Two folders in one layer do not import each other."""
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}
NOT_FOR_NODES = ("training", "commands", "__main__.py")
HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "latent_preview", "nodes", "server"}
PARTS = ("__init__.py", "dev.py", NODES, CORE, "sources/drawn_world", "demo")
"""Where the repository's own code is."""


@cache
def import_statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    """Those of a source text, also inside of functions."""
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def sources(root: Path) -> list[Path]:
    found = [root / part for part in PARTS]
    return [file for part in found for file in (sorted(part.rglob("*.py")) if part.is_dir() else [part])]


def imports(root: Path, file: Path) -> Iterator[tuple[int, Path | str]]:
    """Line and what is imported there: a file of the repository, or the name of another module."""
    package = file.relative_to(root).with_suffix("").parts[:-1]
    for node in import_statements(file.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, absolute(root, file, alias.name) or alias.name
        else:
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                whole = f"{module}.{alias.name}" if module else alias.name
                if node.level:
                    found = of_module(root, whole) or of_module(root, module) or root / "__init__.py"
                else:
                    found = absolute(root, file, whole) or absolute(root, file, module) or module
                yield node.lineno, found


def absolute(root: Path, file: Path, name: str) -> Path | None:
    """The file of a module by its full name: beside a script, in the root, or in `sources`."""
    if name.split(".")[0] == NODES:  # ComfyUI's, not the pack's
        return None
    folders = ([file.parent] if root / "demo" in file.parents else []) + [root, root / "sources"]
    return next((found for folder in folders if (found := of_module(folder, name))), None)


def of_module(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def unit(root: Path, file: Path) -> str:
    """The part of the core that a file is in. Raises LookupError for a folder that has no place in `LAYERS`."""
    path = file.relative_to(root / CORE).as_posix()
    found = [part for part in HEIGHT if path == part or path.startswith(f"{part}/")]
    if not found and "/" in path:
        raise LookupError(f"{path} has no place in the order of folders")
    return max(found, key=len, default=FILES)


def is_allowed(root: Path, file: Path, found: Path) -> bool:
    """Whether `found` stands below a file of core or nodes, or beside it in the same folder."""
    core, nodes = root / CORE, root / NODES
    if core not in found.parents:
        return nodes in file.parents and nodes in found.parents
    if nodes in file.parents:
        return unit(root, found).split("/")[0] not in NOT_FOR_NODES
    ours, theirs = unit(root, file), unit(root, found)
    return ours == theirs or HEIGHT[theirs] < HEIGHT[ours]


def wrong_imports(root: Path) -> list[str]:
    """Imports of core and nodes that do not point downwards, and of the host elsewhere than in `host` and nodes."""
    wrong: dict[str, None] = {}
    for file in sources(root):
        if root / NODES not in file.parents and root / CORE not in file.parents:
            continue
        may_see_the_host = root / NODES in file.parents or unit(root, file) == "host"
        for line, found in imports(root, file):
            at = f"{file.relative_to(root).as_posix()}:{line} imports"
            if isinstance(found, Path):
                if not is_allowed(root, file, found):
                    wrong[f"{at} {found.relative_to(root).as_posix()}, which does not stand below it"] = None
            elif found.split(".")[0] in HOST_MODULES and not may_see_the_host:
                wrong[f"{at} {found}, which is ComfyUI's"] = None
    return list(wrong)


def graph(root: Path) -> dict[Path, set[Path]]:
    """Each file and the files that it imports."""
    return {file: {found for _, found in imports(root, file) if isinstance(found, Path)} for file in sources(root)}


def circle(root: Path) -> list[str]:
    """Files that import each other in a circle, the first one again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph(root)).prepare()
    except CycleError as error:
        return [file.relative_to(root).as_posix() for file in error.args[1]]
    return []
