# %% [markdown]
# # Regions that several omics share
#
# A regulatory region acts on many omics, through other markers each time. So let every region of
# the genome have an inclusion probability that all omics share, and let the regions be draws from
# one distribution: an omic with a weak signal borrows from the others.

# %%
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

# %% [markdown]
# ## Simulate
#
# 300 individuals, 500 markers on five chromosomes that are cut into regions of 10 Mb, and 5 omics.
# Four regions are causal: 8 of their markers, drawn anew for each omic, have an effect on it.

# %%
truth = ["chr1:30", "chr2:70", "chr4:10", "chr5:50"]


def regions_of(table):
    start = table["position"] // 10_000_000 * 10
    return "chr" + table["chromosome"].astype(str) + ":" + start.astype(str)


settings = {"n_individuals": 300, "n_markers": 500, "n_omics": 5, "omic_h2": 0.3, "random_seed": 1}
region = regions_of(nn.simulate(**settings).map)  # places do not depend on the effects
inside = list(region.index[region.isin(truth)])
data = nn.simulate(**settings, connections={f"omic{k}": inside for k in range(1, 6)}, n_causal=8)

# %% [markdown]
# ## The prior
#
# Log odds of inclusion = region + omic, a ``(marker, omic)`` matrix. `region` is a Series by marker
# name, so the regions of the model's markers are looked up, not assumed to be in order. The effect
# of a region is written as a standard normal times their standard deviation (the non-centred form),
# without which small standard deviations are hard to reach.


# %%
def shared(name, dims):
    model = pm.modelcontext(None)
    code, labels = pd.factorize(region.loc[list(model.coords["marker"])])
    model.add_coord("region", list(labels))
    omic = pm.Normal(f"{name}_omic", -4, 1, dims=dims)
    spread = pm.HalfNormal(f"{name}_spread", 2)
    unit = pm.Normal(f"{name}_unit", 0, 1, dims="region")
    effect = pm.Deterministic(f"{name}_region", spread * unit, dims="region")
    return pm.math.invlogit(effect[code][:, None] + omic[None, :])


# %% [markdown]
# ## Fit it, and BayesC with an inclusion probability for each omic


# %%
def network(prior):
    return nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
        nn.Equation("omics ~ 1 + geno", priors={"geno": prior}),
    )


networks = {"BayesC": network(nn.BayesC()), "shared regions": network(nn.BayesC(shared))}
print(nn.assign_steps(networks["shared regions"].model), "\n")
results = {
    prior: net.fit(draws=500, tune=500, chains=2, random_seed=1, quiet=True, progressbar=False)
    for prior, net in networks.items()
}

# %% [markdown]
# ## Regions
#
# Log odds of a marker in a region against one in an average region. The four causal ones lead.

# %%
draws = results["shared regions"].posterior["omics_geno_inclusion_region"]
table = pd.DataFrame({"log odds": draws.mean(("chain", "draw")).to_series()})
table["causal"] = table.index.isin(truth)
print(table.sort_values("log odds", ascending=False).head(8).round(1), "\n")

# %% [markdown]
# ## Markers
#
# Average precision: go down the list of markers and omics by PIP; of those so far, which share has
# an effect? Its mean over all that have one is 1 for a perfect list.

# %%
causal = data.marker_effects.stack() != 0


def average_precision(result):
    pip = nn.marker_effects(result).set_index(["marker", "trait"])["pip"]
    hit = causal.loc[pip.sort_values(ascending=False).index].to_numpy()
    return np.mean(np.cumsum(hit)[hit] / (np.flatnonzero(hit) + 1))


print(f"Average precision of PIPs, {causal.sum()} effects of {len(causal)}")
for prior, result in results.items():
    print(f"{prior:<15} {average_precision(result):.2f}")
