"""Parse a Python source for its imports, functions, calls and assertions, each with its lines."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True)
class Block:
    """A function or class, from its first line to its last."""

    name: str
    begin: int
    end: int
    is_class: bool

    def holds(self, other: Block) -> bool:
        return self is not other and self.begin <= other.begin and other.end <= self.end


@dataclass
class Source:
    """A parsed source. Calls are kept by line, with the name that is called last: `run` for `subprocess.run(...)`."""

    blocks: list[Block] = field(default_factory=list)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    calls: list[tuple[str, ast.Call]] = field(default_factory=list)
    marks: list[ast.Attribute] = field(default_factory=list)
    asserts: list[int] = field(default_factory=list)
    documented: set[int] = field(default_factory=set)

    def functions(self) -> list[Block]:
        return [block for block in self.blocks if not block.is_class]

    def owner(self, block: Block) -> Block | None:
        """Return the innermost function or class that a block stands in."""
        return max((other for other in self.blocks if other.holds(block)), key=lambda other: other.begin, default=None)


@cache
def read(text: str) -> Source:
    source = Source()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            end = node.end_lineno or node.lineno
            source.blocks.append(Block(node.name, node.lineno, end, isinstance(node, ast.ClassDef)))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            source.imports.append(node)
        elif isinstance(node, ast.Call):
            source.calls.append((getattr(node.func, "attr", getattr(node.func, "id", "")), node))
        elif isinstance(node, ast.Attribute) and node.attr in ("skip", "xfail"):
            source.marks.append(node)
        elif isinstance(node, ast.Assert):
            source.asserts.append(node.lineno)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            source.documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return source
