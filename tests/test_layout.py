"""The modules import one way, so that each can be read and tested without what stands above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nnmm_pymc"
NO_PYMC = ["priors.py", "alphabet.py", "defaults.py", "formula.py", "activations.py", "errors.py"]
NO_PYMC += ["joint_priors.py", "prior_groups.py"]
NO_PYMC += ["connections.py", "covariates.py", "edges.py", "grouping.py", "nodes.py"]
NO_PYMC += [
    "families.py",
    "record_rows.py",
    "right_side.py",
    "ungenotyped.py",
    "data",
    "io",
    "simulation",
    "kernels",
]
# What each part may import of the package, besides itself.
ALLOWED = {
    "kernels": set(),
    "priors": {"errors"},
    "edge_table": set(),
    "formula": {"edge_table", "errors"},
    "data": {"errors", "kernels"},
    "free_memory": set(),
    "io": {"errors", "data", "edge_table", "free_memory"},
    "simulation": {"errors", "activations"},
    "alphabet": {"errors", "priors"},
    "joint_priors": {"alphabet", "errors"},
    "prior_groups": {"alphabet", "errors"},
    "defaults": {"alphabet", "errors", "joint_priors", "prior_groups", "priors"},
    "opaque": set(),
    "covariance": {"priors"},
    "joint_effects": {"errors"},
    "correlated_traits": set(),
    "distributions": {"alphabet", "errors", "kernels", "opaque"},
    "random_effects": {"data", "errors", "opaque"},
    "joint_random_effects": {"data", "errors", "random_effects"},
    "steps": {
        "activations",
        "covariance",
        "distributions",
        "errors",
        "joint_effects",
        "joint_random_effects",
        "kernels",
        "random_effects",
    },
    "connections": {"edge_table", "errors", "formula"},
    "covariates": {"errors", "formula"},
    "edges": {"covariates", "data", "formula"},
    "grouping": {"data", "edges", "errors", "formula"},
    "right_side": {
        "activations",
        "connections",
        "covariates",
        "data",
        "edges",
        "errors",
        "formula",
        "grouping",
    },
    "record_rows": {"data", "edges", "errors", "formula", "grouping"},
    "families": {"data", "edges", "errors"},
    "ungenotyped": {"data", "edges", "grouping", "right_side"},
    "nodes": {
        "connections",
        "data",
        "edges",
        "errors",
        "families",
        "formula",
        "grouping",
        "record_rows",
        "right_side",
        "ungenotyped",
    },
    "likelihood": {"edges", "errors", "families", "steps"},
    "variables": {"covariance", "errors", "priors"},
    "functions": {"errors"},
    "node_priors": {
        "activations",
        "alphabet",
        "data",
        "defaults",
        "edges",
        "errors",
        "families",
        "formula",
        "functions",
        "prior_groups",
        "priors",
    },
    "effects": {
        "alphabet",
        "defaults",
        "distributions",
        "errors",
        "joint_effects",
        "joint_priors",
        "prior_groups",
        "priors",
        "variables",
    },
    "build": {
        "activations",
        "alphabet",
        "data",
        "distributions",
        "edges",
        "effects",
        "errors",
        "formula",
        "joint_priors",
        "joint_random_effects",
        "likelihood",
        "node_priors",
        "random_effects",
        "record_rows",
        "steps",
        "variables",
    },
    "state_file": {"errors"},
    "stopping": set(),
    "fingerprint": {"distributions", "errors", "steps"},
    "chain_checkpoint": {"errors", "record", "state_file", "steps"},
    "checkpoint": {"chain_checkpoint", "errors", "fingerprint"},
    "chains": {
        "chain_checkpoint",
        "checkpoint",
        "errors",
        "first_use",
        "record",
        "steps",
        "stopping",
    },
    "first_use": {"steps"},
    "diagnose": set(),
    "record": {"data", "errors", "steps"},
    "memory": {"errors", "free_memory", "record", "steps"},
    "sample": {
        "chain_checkpoint",
        "chains",
        "checkpoint",
        "data",
        "diagnose",
        "errors",
        "fingerprint",
        "first_use",
        "memory",
        "record",
        "steps",
    },
}


def imports(path: Path) -> set[str]:
    """Full names of the modules imported at the top of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def files(part: str) -> list[Path]:
    path = PACKAGE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("part", NO_PYMC)
def test_description_and_data_need_no_pymc(part):
    for path in files(part.removesuffix(".py")):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"pymc", "pytensor"}, path.name


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part):
    for path in files(part):
        own = {n.split(".")[1] for n in imports(path) if n.startswith("nnmm_pymc.")}
        assert own <= ALLOWED[part] | {part}, path.name


def test_what_takes_long_to_import_is_left_for_later():
    script = (
        "import sys, nnmm_pymc as nn; slow = {'matplotlib.pyplot', 'zarr', 'scipy.stats'}; "
        "print(slow & set(sys.modules), {'save', 'plot_pip', 'geweke'} & set(dir(nn)), "
        "nn.save.__name__, hasattr(nn, 'nope'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("set() "), done.stdout + done.stderr
    assert all(f"'{name}'" in done.stdout for name in ("save", "plot_pip", "geweke"))
    assert done.stdout.endswith("save False\n")
