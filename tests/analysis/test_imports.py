import ast
import subprocess
import sys
from pathlib import Path

import imer_ray.analysis

FOLDER = Path(imer_ray.analysis.__file__).parent


def test_of_our_own_the_analysis_imports_results_and_errors_only():
    for path in sorted(set(FOLDER.rglob("*.py")) - {FOLDER / "__main__.py"}):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [m for m in modules if m.split(".")[0] in ("imer_ray", "torch", "ray", "hydra")]
            allowed = ("imer_ray.results", "imer_ray.errors", "imer_ray.analysis")
            assert all(module.startswith(allowed) for module in ours), path


def test_the_front_and_its_table_need_neither_torch_nor_a_plotting_library():
    heavy = ("torch", "ray", "optuna", "matplotlib", "plotly", "sklearn")
    modules = "imer_ray.results.pareto, imer_ray.analysis.table"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[1], check=True
    )
    assert out.stdout.strip() == "[]"
