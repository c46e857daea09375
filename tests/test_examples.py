"""Every example runs as it stands, and says and draws what its text promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figure = tmp_path / f"{example.stem}.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    if example.stem == "01_first_network":
        accuracy = re.search(r"Accuracy in 50 new individuals: (\S+)", done.stdout)
        assert accuracy is not None
        assert float(accuracy[1]) > 0.6
