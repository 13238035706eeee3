"""YAML that says what it means: bounded in size and depth, every key once, nothing that stands for something else."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ...errors import FantasyTalkingError, first_line, short

LONGEST, DEEPEST = 2**16, 20
"""Bytes of a file, and lists and keys in each other: some hundred times what a run needs."""


class _Loader(yaml.SafeLoader):
    """Without aliases, whose few bytes can stand for more than fits into any memory."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(f"*{event.anchor} stands for something else: write it out", event)
        if self.depth == DEEPEST:
            raise _wrong(f"more than {DEEPEST} lists and keys are in each other", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in found:
                raise _wrong(f"'{short(key.value)}' is there twice: leave one", key)
            found.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def _wrong(problem: str, where: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def is_file(path: Path) -> bool:
    """Also of a path that no system takes."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def read_yaml(path: Path) -> Any:
    """What a file holds: text, numbers, lists and dicts.

    Raises:
        FantasyTalkingError: no such file, no YAML, or more than a person writes.
    """
    if not is_file(path):
        raise FantasyTalkingError(f"There is no file '{path}': expected a YAML file that describes the training.")
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise FantasyTalkingError(f"'{path}' is longer than {LONGEST} bytes: expected a YAML file of some lines.")
        return yaml.load(text.decode("utf-8-sig"), _Loader)  # a SafeLoader  # nosec B506
    except FantasyTalkingError:
        raise
    except Exception as error:  # beside YAMLError, whatever a constructor makes of a tag's wrong value
        raise FantasyTalkingError(f"'{path}' can't be read as YAML: {_problem(error)}.") from error


def _problem(error: Exception) -> str:
    """One line, with the place."""
    mark = getattr(error, "problem_mark", None)
    problem = short(getattr(error, "problem", None) or first_line(error))
    return problem if mark is None else f"line {mark.line + 1}: {problem}"
