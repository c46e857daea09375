"""Deliberate faults in the updates of several traits: joint effects and covariance matrices."""

from __future__ import annotations

from faults import Fault

TRAIT_FAULTS = [
    # ---- joint effects
    Fault(
        "off-diagonal of the residual precision dropped",
        "steps.correlated:CorrelatedReader.__call__",
        "self.precisions(point)",
        "self.precisions(point) * np.eye(self.shape[0])",
        "joint",
    ),
    Fault(
        "precision of complete records for those that are not",
        "steps.correlated:CorrelatedReader.__call__",
        "self.precisions(point)",
        "self.precisions(point)[[0, 0, *range(2, self.group.max() + 1)]]",
        "joint",
    ),
    Fault(
        "pattern probabilities ignored",
        "steps.joint_markers:JointMarkerGibbs.step",
        "shares = np.broadcast_to(first, (p, len(self.patterns)))",
        "shares = np.full((p, len(self.patterns)), 1.0 / len(self.patterns))",
        "joint",
    ),
    Fault(
        "effects with the covariance of the other traits",
        "steps.joint_markers:JointMarkerGibbs.step",
        "self.patterns, second, effects",
        "self.patterns, second[::-1, ::-1], effects",
        "joint",
    ),
    Fault(
        "effects scaled, their genetic value not",
        "steps.joint_markers:JointMarkerGibbs.step",
        "effects * factors, value * factors",
        "effects * factors, value",
        "joint",
    ),
    Fault(
        "pattern weighted without the determinant of its effects",
        "kernels.joint",
        "halves[d] = 0.5 * np.linalg.slogdet(inside)[1]",
        "halves[d] = 0.0",
        "joint",
    ),
    Fault(
        "joint products not corrected for what was drawn before",
        "kernels.joint",
        "gram[g, marker, later] * weighted",
        "gram[g, marker, later] * 0.0",
        "joint",
    ),
    Fault(
        "effects on other traits left in the product",
        "kernels.joint",
        "product -= information[t, s] * effects[s]",
        "product -= 0.0",
        "correlated",
    ),
    # ---- their hyper-parameters
    Fault(
        "patterns counted in the wrong order",
        "steps.pattern_counts:PatternCounts.parameters",
        "self.place[code]",
        "self.place[code[:, None] ^ 3].ravel()",
        "joint",
    ),
    Fault(
        "scale of joint effects: volume of the covariances forgotten",
        "steps.joint_scale:JointScale.log_prior",
        "power = n_traits + 1.0",
        "power = 2.0",
        "joint",
    ),
    Fault(
        "one degree of freedom too many in a covariance matrix",
        "steps.covariance:CovarianceGibbs.parameters",
        "- 1.0 + count",
        "+ count",
        "joint",
    ),
    Fault(
        "missing traits filled in without noise",
        "steps.covariance:CovarianceGibbs._complete",
        "noise @ np.linalg.cholesky(spread).T",
        "0.0 * noise",
        "joint",
    ),
    Fault(
        "missing traits filled in from their covariances as if they were slopes",
        "steps.covariance:CovarianceGibbs._complete",
        "slopes = np.linalg.solve(covariance[np.ix_(own, own)], covariance[np.ix_(own, rest)])",
        "slopes = covariance[np.ix_(own, rest)]",
        "joint",
    ),
    Fault(
        "scales of a covariance matrix drawn without their prior",
        "steps.covariance:CovarianceGibbs.fill",
        "+ 1.0 / scale**2",
        "+ 0.0 * scale",
        "joint ridge",
    ),
    # ---- random effects on traits whose residuals correlate
    Fault(
        "coupled effects: residuals of the other traits ignored",
        "steps.coupled_effects:CoupledRandomEffectGibbs._slopes",
        'np.einsum("its,si->it", own, residual)',
        'np.einsum("itt,ti->it", own, residual)',
        "coupled",
    ),
    Fault(
        "coupled effects scaled without the other traits",
        "steps.coupled_effects:CoupledRandomEffectGibbs.move_scale",
        "float(added @ pull[:, trait])",
        "float(added**2 @ weight[:, trait])",
        "coupled",
    ),
    # ---- random effects that correlate
    Fault(
        "joint random effects: those on other traits ignored",
        "steps.coupled_effects:JointRandomEffectGibbs._given_others",
        "-pull[:, None]",
        "0.0 * pull[:, None]",
        "joint relatives",
    ),
    Fault(
        "joint random effects: relatives ignored in what other traits say",
        "steps.coupled_effects:JointRandomEffectGibbs._given_others",
        "self.precision.matrix @ others",
        "others",
        "joint relatives",
    ),
    Fault(
        "joint random effects: variance of a trait as if alone",
        "steps.coupled_effects:JointRandomEffectGibbs._given_others",
        "1.0 / own)",
        "self.covariance(point)[0][trait, trait])",
        "joint relatives",
    ),
    Fault(
        "covariance of random effects: a row counted for each trait",
        "steps.covariance:_random",
        "return [(traits, root, len(effects))]",
        "return [(traits, root, len(root))]",
        "joint relatives",
        built=True,
    ),
    Fault(
        "covariance of random effects: relatives ignored",
        "steps.covariance:_random",
        "precision.matrix @ effects",
        "effects",
        "joint relatives",
        built=True,
    ),
    Fault(
        "joint shift: intercept's prior ignored",
        "steps.shift:ShiftMove.draw_joint",
        "precision + np.diag(np.ravel(1.0 / sd**2))",
        "precision + 0.0 * np.diag(np.ravel(1.0 / sd**2))",
        "joint relatives",
    ),
]
