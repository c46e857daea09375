"""Every example runs as it stands, and says and draws what its text promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9]*.py"))


def numbers(printed: str, row: str) -> list[float]:
    """Numbers in the last printed line that starts with a word."""
    lines = [line for line in printed.splitlines() if line.startswith(row)]
    return [float(x) for x in re.findall(r"(?<=\s)-?\d+\.?\d*(?=\s|$)", lines[-1])]


def check_first_network(printed: str, folder: Path) -> None:
    accuracy = re.search(r"Accuracy in 50 new individuals: (\S+)", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.6
    assert (folder / "01_first_network.png").read_bytes().startswith(b"\x89PNG")


def check_annotated_inclusion(printed: str, folder: Path) -> None:
    name = "omics_geno_inclusion_coefficients"
    _, _, low, *_ = numbers(printed, f"{name}[conserved]")
    assert low > 0
    _, _, low, high, *_ = numbers(printed, f"{name}[random]")
    assert low < 0 < high
    plain, annotated = numbers(printed, "y ")
    assert annotated > plain > 0.5


def check_allele_frequency(printed: str, folder: Path) -> None:
    for omic in ("neutral", "weak", "strong"):
        true, _, _, low, high, *_ = numbers(printed, f"alpha[{omic}]")
        assert low < true < high
    assert high < 0


def check_shared_regions(printed: str, folder: Path) -> None:
    ranked = re.findall(r"^chr\d:\d+ .*(True|False)", printed, flags=re.MULTILINE)
    assert ranked[:4] == ["True"] * 4
    (plain,), (shared,) = (numbers(printed, prior) for prior in ("BayesC ", "shared regions"))
    assert shared > plain + 0.1


def check_records(printed: str, folder: Path) -> None:
    for component in ("ped", "1|herd", "1|cow", "residual"):
        true, _, low, high, _ = numbers(printed, component)
        assert low < true < high
    _, _, low, high, true = numbers(printed, " milk")
    assert low < true < high
    known, sires, young = (numbers(printed, group) for group in ("cows ", "sires ", "young "))
    assert known[1] > young[1]
    for _, reliability, squared in (known, sires, young):
        assert abs(reliability - squared) < 0.2


CHECKS = {
    "01_first_network": check_first_network,
    "02_annotated_inclusion": check_annotated_inclusion,
    "03_allele_frequency": check_allele_frequency,
    "04_shared_regions": check_shared_regions,
    "05_records": check_records,
}


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
    CHECKS[example.stem](done.stdout, tmp_path)
