"""Write what the registry wants to know of the repository into pyproject.toml: its address, and its pictures' as URLs.

    python .github/registry.py OWNER/NAME COMMIT

Done when it is published, so that it is right wherever the repository lives.
"""

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def addressed(text: str, repository: str, commit: str) -> str:
    """The text of pyproject.toml with `[project.urls]`, and with its Icon and Banner as URLs of that commit."""
    root = f"https://raw.githubusercontent.com/{repository}/{commit}"
    text = re.sub(r'^(Icon|Banner) = "(?!https:)([^"]+)"', rf'\1 = "{root}/\2"', text, flags=re.MULTILINE)
    page = f"https://github.com/{repository}"
    urls = f'[project.urls]\nRepository = "{page}"\nDocumentation = "{page}#readme"\n"Bug Tracker" = "{page}/issues"\n'
    return text.replace("[tool.comfy]", f"{urls}\n[tool.comfy]")


if __name__ == "__main__":
    PYPROJECT.write_text(addressed(PYPROJECT.read_text(encoding="utf-8"), *sys.argv[1:3]), encoding="utf-8")
