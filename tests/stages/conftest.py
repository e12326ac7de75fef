import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # toy_stages, by which name worker processes import it too
