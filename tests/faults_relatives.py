"""Deliberate faults in the joint draws of relatives and what is nested in them."""

from __future__ import annotations

from faults import Fault

RELATIVES_FAULTS = [
    Fault(
        "nested effects left in the records of the outer term",
        "steps.relatives:RelativesGibbs.collapsed",
        "added = added + inner.term",
        "added = added + 0.0 * inner.term",
        "relatives",
    ),
    Fault(
        "nested effects integrated out and not drawn",
        "steps.relatives:RelativesGibbs.step",
        "point, _ = self.inner.step(point)",
        "self.inner.step(point)",
        "relatives",
    ),
    Fault(
        "trade: determinant of the nested effects missing",
        "steps.collapsed:Collapsed.log_density",
        "np.log(self.shrinkage).sum() + gain",
        "gain",
        "relatives",
    ),
    Fault(
        "trade: fit of the nested effects missing",
        "steps.collapsed:Collapsed.log_density",
        "gain = self.nested @ (self.shrinkage * self.product**2) - self.square",
        "gain = -self.square",
        "relatives",
    ),
    Fault(
        "trade: effects moved without their volume",
        "steps.trade:_density",
        "float(np.log(at.spread).sum())",
        "0.0",
        "relatives",
    ),
    Fault(
        "trade: Jacobian of the log odds missing",
        "steps.trade:Line.log_density",
        "total - np.logaddexp(0.0, odds) - np.logaddexp(0.0, -odds)",
        "total",
        "relatives",
    ),
    Fault(
        "trade: sum of the variances not held",
        "steps.trade:Line.moved",
        "np.logaddexp(0.0, s * odds)",
        "np.logaddexp(0.0, 0.5 * s * (odds + self.start))",
        "relatives",
    ),
    Fault(
        "trade: variance of the records without their number",
        "steps.collapsed:Collapsed.log_density",
        "self.count * self.log_records",
        "(self.count - 1) * self.log_records",
        "animal",
    ),
    Fault(
        "trade: effects kept where they were",
        "steps.trade:Line.density_at",
        "u = there.centre + there.spread * self.white[response]",
        "u = self.begin[response].centre + self.begin[response].spread * self.white[response]",
        "animal",
    ),
]
