"""What an editor says of an argument is what the docs say."""

import ast
from pathlib import Path

import penchant as pn

SOURCE = Path(pn.__file__).parent


def test_few_arguments_are_of_any_type():
    count, untyped = 0, []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs):
                if argument.arg in ("self", "cls"):
                    continue
                count += 1
                kind = argument.annotation
                if kind is None or ast.unparse(kind).split(" | ")[0] == "Any":
                    untyped.append(f"{path.name}: {node.name}({argument.arg})")
    assert count > 2000
    assert len(untyped) < 0.03 * count, untyped
