import subprocess
import sys
from pathlib import Path

import imer_ray.analysis

FOLDER = Path(imer_ray.analysis.__file__).parent


def test_the_front_and_its_table_need_neither_torch_nor_a_plotting_library():
    heavy = ("torch", "ray", "optuna", "matplotlib", "plotly", "sklearn")
    modules = "imer_ray.results.pareto, imer_ray.analysis.table"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[1], check=True
    )
    assert out.stdout.strip() == "[]"
