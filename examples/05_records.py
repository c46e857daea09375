# %% [markdown]
# # Records of cows in herds
#
# A cow has a record in each lactation, stands in a herd, and has relatives. What her records have
# in common is partly inherited and partly her own (the permanent environment): the pedigree tells
# the two apart. No markers are needed.

# %%
import numpy as np
import pandas as pd

import nnmm_pymc as nn
from nnmm_pymc.simulation.pedigree import simulate_pedigree

# %% [markdown]
# ## Simulate
#
# Four generations of 240 animals, from 12 sires and 30 dams each; males and females take turns.
# Cows of the first three have one to four lactations, in one of 30 herds. Of the last generation,
# the young, 40 are candidates without a record. `prune` leaves out who is no ancestor of these, so
# most of the males. Breeding values are a draw from the pedigree: relatives are alike.

# %%
true = pd.Series({"1|herd": 2.0, "1|cow": 4.0, "ped": 5.0, "residual": 4.0})
rng = np.random.default_rng(2)

born = simulate_pedigree(960, rng, generations=3, n_sires=12, n_dams=30)
cows = born["individual"][:720][1::2]
young = born["individual"][720:760]
pedigree = nn.read_pedigree(born).prune([*cows, *young])
breeding_value = pd.Series(pedigree.draw(rng, variance=true["ped"]), pedigree.individuals)
print(pedigree, "\n")

herd = rng.integers(30, size=len(cows))
herd_effect = np.sqrt(true["1|herd"]) * rng.normal(size=30)
cow_effect = np.sqrt(true["1|cow"]) * rng.normal(size=len(cows))

lactations = rng.integers(1, 5, len(cows))
row = np.repeat(np.arange(len(cows)), lactations)
parity = np.concatenate([np.arange(k) for k in lactations])
value = breeding_value.loc[cows].to_numpy() + cow_effect + herd_effect[herd]
milk = 28 + np.array([0.0, 2.0, 3.0, 3.5])[parity] + value[row]
milk += np.sqrt(true["residual"]) * rng.normal(size=len(row))
records = pd.DataFrame(
    {
        "cow": cows.to_numpy()[row],
        "herd": [f"herd{k + 1}" for k in herd[row]],
        "parity": [f"p{k + 1}" for k in parity],
        "milk": milk,
    }
)
print(records.head().round(1), "\n")

# %% [markdown]
# ## Describe and fit
#
# `individual="cow"` makes the rows records, any number of each cow. `(1|herd)` and `(1|cow)` are
# independent effects, `ped` those of the members of the pedigree. The plan says how they are drawn:
# the effects of all members at once, from the sparse inverse of their relationship matrix, jointly
# with the `1|cow` nested in them. The data see the sum of both and only relatives tell them apart:
# their variances trade shares of that sum.

# %%
network = nn.Network(
    [nn.Layer("ped", pedigree), nn.Layer("pheno", records, individual="cow")],
    "milk ~ 1 + parity + (1|herd) + (1|cow) + ped",
)
print(network.alignment, "\n")
result = network.fit(draws=3000, tune=500, chains=2, random_seed=1, progressbar=False)
print(nn.diagnose(result), "\n")

# %% [markdown]
# ## Variance components
#
# The share of `ped` is the heritability. Repeatability is the share of all that a cow's records
# have in common but the herd: `ped` and `1|cow`.

# %%
components = nn.variance_components(result).set_index("component")
components.insert(1, "true", true)
print(components[["true", "mean", "lower", "upper", "share"]].round(2), "\n")
repeatability = (true["ped"] + true["1|cow"]) / true.sum()
print(nn.repeatability(result).assign(true=repeatability).round(2).to_string(index=False), "\n")

# %% [markdown]
# ## Breeding values
#
# Every member of the pedigree has one. Reliability is the squared correlation with the true
# breeding values that is to be expected: cows are known by their records, sires by their daughters,
# the young by their relatives alone.

# %%
table = nn.breeding_values(result).set_index("individual")
table["true"] = breeding_value
table["group"] = np.where(table.index.isin(young), "young", "sires")
table.loc[cows, "group"] = "cows"
print(table[["group", "ebv", "sd", "true", "reliability"]].tail().round(2), "\n")
accuracy = table.groupby("group").apply(
    lambda g: pd.Series(
        {
            "members": len(g),
            "reliability": g["reliability"].mean(),
            "correlation squared": g["ebv"].corr(g["true"]) ** 2,
        }
    )
)
print(accuracy.round(2))
