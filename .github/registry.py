"""What is published on the Comfy registry: the smallest archive, with texts that hold nothing that it lacks.

    python .github/registry.py OWNER/NAME COMMIT

Writes the repository's address and its pictures' URLs into pyproject.toml, and into the texts of the archive (what
.comfyignore does not leave out) whole addresses in place of links to what is left out; parts for developers go. Done when it
is published, so that it is right wherever the repository lives.
"""

import posixpath
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
DEVELOPERS = re.compile(r"<!-- for developers -->\n.*?<!-- end -->\n", re.DOTALL)
"""Parts of the texts that speak of what is left out."""
NOWHERE = "https://github.com/OWNER/NAME"
"""What stands in commands for the address of the repository, wherever it lives."""
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#:\s]+)((?:#[^)]*)?\))")


def left_out(file: str, rules: list[str]) -> bool:
    """Whether a file is not in the archive: named by a rule, where * is any name in one folder, or below a folder that is."""
    return any(file.startswith(rule) if rule.endswith("/") else PurePosixPath("/", file).match(f"/{rule}") for rule in rules)


def rules() -> list[str]:
    return [line.strip() for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines() if line.strip()]


def archived() -> list[str]:
    """The files of the archive, of those that git knows."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [file for file in tracked.stdout.split("\0") if file and not left_out(file, rules())]


def addressed(text: str, repository: str, commit: str) -> str:
    """The text of pyproject.toml with `[project.urls]`, and with its Icon and Banner as URLs of that commit."""
    root = f"https://raw.githubusercontent.com/{repository}/{commit}"
    text = re.sub(r'^(Icon|Banner) = "(?!https:)([^"]+)"', rf'\1 = "{root}/\2"', text, flags=re.MULTILINE)
    page = f"https://github.com/{repository}"
    urls = f'[project.urls]\nRepository = "{page}"\nDocumentation = "{page}#readme"\n"Bug Tracker" = "{page}/issues"\n'
    return text.replace("[tool.comfy]", f"{urls}\n[tool.comfy]")


def for_artists(text: str, file: str, repository: str, commit: str) -> str:
    """A text of the archive without what is for developers, with whole addresses: of the repository, and in links to what is
    left out."""

    def whole(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), link[2]))
        if not left_out(target, rules()) and not left_out(f"{target}/", rules()):
            return link[0]
        kind = "raw" if link[1].startswith("!") else "blob"
        return f"{link[1]}https://github.com/{repository}/{kind}/{commit}/{target}{link[3]}"

    text = DEVELOPERS.sub("", text).replace(NOWHERE, f"https://github.com/{repository}")
    return LINK.sub(whole, text)


def prepare(root: Path, files: list[str], repository: str, commit: str) -> None:
    """Rewrite the texts in a folder that holds these files."""
    project = root / "pyproject.toml"
    project.write_text(addressed(project.read_text(encoding="utf-8"), repository, commit), encoding="utf-8")
    for file in files:
        if file.endswith(".md"):
            text = (root / file).read_text(encoding="utf-8")
            (root / file).write_text(for_artists(text, file, repository, commit), encoding="utf-8")


if __name__ == "__main__":
    prepare(ROOT, archived(), *sys.argv[1:3])
