"""Text is UTF-8 in every file, whatever the locale of the machine that reads or writes it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(path for part in ("imer_ray", "analysis", "benchmarks") for path in (ROOT / part).rglob("*.py"))


def leaves_the_encoding_open(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    words = {keyword.arg for keyword in call.keywords}
    if name in ("read_text", "write_text"):
        return "encoding" not in words and len(call.args) < (1 if name == "read_text" else 2)
    if name != "open" or not isinstance(call.func, ast.Name):
        return False
    mode = call.args[1].value if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) else "r"
    return "b" not in str(mode) and "encoding" not in words


def test_no_text_is_read_or_written_in_the_locale_s_encoding() -> None:
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert [call.lineno for call in calls if leaves_the_encoding_open(call)] == [], path
