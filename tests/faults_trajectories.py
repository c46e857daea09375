"""Deliberate faults in trajectories, NUTS and Hamiltonian moves, and in what they evaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
from faults import Fault

from nnmm_pymc.kernels.latent import latent_hmc

TRAJECTORY_FAULTS = [
    Fault(
        "individuals without data counted in a regression",
        "steps.latent_hmc:LatentHMC._draw_traits",
        "if not self.seen[:, t].all():",
        "residual = np.nan_to_num(residual)\n        if False:",
        "hmc",
    ),
    Fault(
        "mass that depends on where the cells are",
        "steps.latent_hmc:LatentHMC._move_cells",
        "mass = density.cell_curvature(mean, weights)",
        "mass = density.cell_curvature(point[net.missing], weights)",
        "hmc",
    ),
    Fault(
        "momenta without the scale of their mass",
        "kernels.latent",
        "p = normals[order] * np.sqrt(m)",
        "p = normals[order]",
        "hmc",
    ),
    Fault(
        "slope of the activation without the scale",
        "kernels.latent",
        "activate_all(code, leak, z[own], centre[k], scale[k], value[own], slope[own])",
        "activate_all(code, leak, z[own], centre[k], scale[k], value[own], slope[own])\n"
        "        slope[own] *= scale[k]",
        "hmc",
    ),
    Fault(
        "HMC of cells: second half of the kick missing",
        "kernels.latent",
        "p[c] -= 0.5 * step * gradient[c]\n    # fmt: on",
        "p[c] -= 0.0\n    # fmt: on",
        "hmc",
    ),
    Fault(
        "residuals of the missing cells of another individual",
        "steps.fused:FusedDensity.prepare",
        "middle.ravel().take(self.latent_cells)",
        "middle.ravel().take(np.roll(self.latent_cells, 1))",
        "nuts",
    ),
    Fault(
        "observed omics moved with the missing ones and put back",
        "steps.latent_hmc:LatentHMC._move_cells",
        "acceptance = latent_hmc(",
        "from faults_trajectories import with_observed\n"
        "    acceptance = with_observed(self, middle, weights)(",
        "hmc",
    ),
    Fault(
        "fused density: activation without its scale",
        "kernels.network",
        "centre[k], scale[k], value[own]",
        "centre[k], 1.0, value[own]",
        "scaled nuts",
    ),
    Fault(
        "NUTS: the new half of a trajectory always taken",
        "kernels.nuts",
        "if not np.log(uniforms[n_used]) < weight - against:",
        "if state + 1 != 2 << size and not np.log(uniforms[n_used]) < weight - against:",
        "bent",
        shown_by="nuts",
    ),
    Fault(
        "NUTS: states of a subtree not weighted",
        "kernels.nuts",
        "against = weights[size] if state + 1 == 2 << size else total",
        "against = weights[size] if state + 1 == 2 << size else weight + np.log(2.0)",
        "bent",
        shown_by="nuts",
    ),
    Fault(
        "NUTS: a half that turned back is drawn from",
        "kernels.nuts",
        "if state + 1 == 1 << size:",
        "if state + 1 == 1 << size or stop == 2:",
        "bent",
        shown_by="nuts",
    ),
    Fault(
        "NUTS: energy with the momentum of half a step before",
        "kernels.nuts",
        "total += p * p * inverse_mass[i]",
        "total += inverse_mass[i]"
        " * (p - 0.5 * step * (rows[at + GRADIENT, i] + precision[i] * away)) ** 2",
        "bent",
    ),
    Fault(
        "NUTS: what a trajectory turns around left out of the last kick",
        "kernels.nuts",
        "p = rows[at + P, i] + 0.5 * step * (rows[at + GRADIENT, i] + precision[i] * away)",
        "p = rows[at + P, i] + 0.5 * step * rows[at + GRADIENT, i]",
        "bent",
    ),
    Fault(
        "NUTS: the centre of a turn moves with the cells",
        "steps.network_nuts:NetworkNUTS._prepare",
        "self.reference = centre, precision",
        "own = self.inward(point).values()\n"
        "    centre = np.concatenate([v.ravel() for v in own])[self.fused.order]\n"
        "    self.reference = centre, precision",
        "bent",
    ),
]


def with_observed(step: Any, middle: Any, weights: Any) -> Any:
    """`latent_hmc` that moves the observed cells too, and puts them back."""
    density, net = step.density, step.density.network
    rows = density.incomplete
    given = ~net.latent[rows] & ~np.isnan(net.middle.observed[rows])
    row, column = np.nonzero(given)
    cell = density.cell.copy()
    cell[given] = len(density.cell_rows) + np.arange(len(row))
    observed = net.middle.observed[rows][given]
    offset = net.middle.offset(step.conditional)[rows][given]
    noise = np.random.default_rng(1).normal(size=len(row))
    means = offset + np.einsum("mc,cm->m", density.middle_rows[row], middle[:, column])

    def moved(latent, mean, _, tau, traits, base, *rest):  # type: ignore[no-untyped-def]
        *middle_arguments, mass, size, n_steps, normals, uniforms = rest
        both = np.concatenate([latent, observed])
        acceptance = latent_hmc(
            both,
            np.concatenate([mean, means]),
            cell,
            tau,
            traits,
            base - (density.activated @ weights).T,
            *middle_arguments,
            np.concatenate([mass, density.held.middle_precision[column]]),
            size,
            n_steps,
            np.concatenate([normals, noise]),
            uniforms,
        )
        latent[:] = both[: len(latent)]
        return acceptance

    return moved
