"""Texts that share their beginnings, as a tree: which rows of a recording come after which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from logitlab.checks import ParameterError
from logitlab.models.messages import check_messages
from logitlab.models.model import Message, State, Tool

__all__ = ["FORMAT", "PathState", "TextTree", "beside", "conversation", "prompt_key"]

FORMAT = {"format": "logitlab recording", "version": 1}


def beside(path: Path) -> Path:
    """Return the file that holds the texts of a recording.

    Examples
    --------
    >>> beside(Path("run.npy")).name
    'run.tokens.jsonl'
    """
    if path.suffix != ".npy":
        raise ParameterError("path", "the path of a .npy file", str(path))
    return path.with_suffix(".tokens.jsonl")


def prompt_key(prompt: object) -> str:
    """Return one text for equal prompts, whether texts or messages.

    Examples
    --------
    >>> prompt_key([{"role": "user", "content": "Hi"}])
    '[{"content": "Hi", "role": "user"}]'
    """
    return json.dumps(prompt, sort_keys=True, default=repr)


def conversation(messages: Sequence[Message], tools: Sequence[Tool]) -> object:
    """Return what a recording knows a conversation by: its messages, and tools if there are any.

    Examples
    --------
    >>> conversation([{"role": "user", "content": "Hi"}], [])
    [{'role': 'user', 'content': 'Hi'}]
    """
    plain = check_messages(messages)
    return {"messages": plain, "tools": list(tools)} if tools else plain


class PathState(State):
    """A state that knows a place for each of its tokens.

    Attributes
    ----------
    places : list of int
        For each token where the text is after it: a node of a tree, or a count of steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []

    @property
    def place(self) -> int:
        """Where the text is now; 0 is the beginning."""
        return self.places[-1] if self.places else 0

    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        super().rewind(length)
        del self.places[length:]


class TextTree:
    """Texts as paths of tokens from node 0, the empty text.

    Examples
    --------
    >>> tree = TextTree()
    >>> tree.add(0, [5, 6, 7])
    [1, 2, 3]
    >>> tree.walk(0, [5, 6, 9]), tree.branches(2)
    ([1, 2], [7])
    >>> tree.row[3], tree.before(0, kept=2)
    (0, 2)
    """

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], int] = {}
        self._parent = [0]
        self.depth = [0]
        self.row = [-1]
        """The row after each node, -1 for none."""
        self.origin = [-1]
        """The row whose text made each node."""
        self.ends: list[int] = []
        """The node that each row comes after."""

    def walk(self, node: int, tokens: Sequence[int]) -> list[int]:
        """Return the nodes along ``tokens``, as far as the tree goes."""
        nodes = []
        for token in tokens:
            node = self._next.get((node, token), -1)
            if node < 0:
                break
            nodes.append(node)
        return nodes

    def add(self, node: int, tokens: Sequence[int]) -> list[int]:
        """Put the next row after ``tokens`` from a node, and return the nodes along them."""
        nodes = self.walk(node, tokens)
        node = nodes[-1] if nodes else node
        for token in tokens[len(nodes) :]:
            self._parent.append(node)
            self.depth.append(self.depth[node] + 1)
            self.row.append(-1)
            self.origin.append(len(self.ends))
            self._next[node, token] = node = len(self.row) - 1
            nodes.append(node)
        self.row[node] = len(self.ends)
        self.ends.append(node)
        return nodes

    def before(self, row: int, kept: int) -> int:
        """Return the node after the first ``kept`` tokens of a row's text; row -1 has none."""
        node = self.ends[row] if row >= 0 else 0
        while self.depth[node] > kept:
            node = self._parent[node]
        return node

    def branches(self, node: int) -> list[int]:
        """Return the tokens that go on from a node."""
        return [token for start, token in self._next if start == node]
