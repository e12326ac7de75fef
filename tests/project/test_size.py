"""Files stay small enough to be read at one sitting."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("analysis", "benchmarks", "examples", "imer_ray", "tests")
MOST = 300  # lines; about 250 already ask for a seam


def test_no_file_of_code_is_long() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    long = {path.relative_to(ROOT): count for path in files if (count := len(path.read_text().splitlines())) > MOST}
    assert len(files) > 400 and long == {}
