# %% [markdown]
# # Effects that depend on allele frequency
#
# Selection keeps alleles with large effects rare. So let the variance of a marker effect be
# proportional to $(2 p_j (1 - p_j))^\alpha$ with $p_j$ the allele frequency and $\alpha$ unknown:
# 0 is BayesC, at -1 every marker explains as much variance as another, and a negative value is a
# sign of selection (BayesS: Zeng et al. 2018, Nat Genet 50:746; LDAK fixes it at -0.25).

# %%
import arviz as az
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

# %% [markdown]
# ## Simulate
#
# The genotypes of 500 individuals, and three omics on each of which 100 of 400 markers act. The
# omics differ in alpha.

# %%
rng = np.random.default_rng(4)
true_alpha = pd.Series({"neutral": 0.0, "weak": -0.5, "strong": -1.0})

genotypes = nn.read_genotypes(nn.simulate(500, 400, 1, random_seed=4).genotypes)
frequency = genotypes.allele_frequency
heterozygosity = 2 * frequency * (1 - frequency)
print(f"Allele frequencies from {frequency.min():.2f} to {frequency.max():.2f}", "\n")

dosages = genotypes.dosages.T - genotypes.mean  # dosages are kept marker by marker
effects = rng.normal(size=(400, 3)) * heterozygosity[:, None] ** (true_alpha.to_numpy() / 2)
for omic in range(3):
    effects[rng.permutation(400)[100:], omic] = 0.0
genetic = dosages @ effects
omics = np.sqrt(0.7) * genetic / genetic.std(axis=0) + np.sqrt(0.3) * rng.normal(size=(500, 3))
omics = pd.DataFrame(omics, index=genotypes.individuals, columns=true_alpha.index)

# %% [markdown]
# ## The prior
#
# `dims` holds the dim of the omics: each gets its alpha and its variance. The result is a matrix,
# ``(marker, omic)``, markers in the order of `genotypes`. Heterozygosity is divided by its mean, so
# that `average` is the variance of an effect at a marker of average heterozygosity whatever alpha
# is: without that the two would be strongly correlated.


# %%
def by_frequency(name, dims):
    relative = (heterozygosity / heterozygosity.mean())[:, None]
    alpha = pm.Normal("alpha", 0, 1, dims=dims)
    # Mean: a heritability of one half from a quarter of the markers, of omics of variance 1.
    mean = 0.5 / (0.25 * heterozygosity.sum())
    average = pm.InverseGamma(f"{name}_average", 2.5, 1.5 * mean, dims=dims)
    return average * relative**alpha


network = nn.Network(
    [nn.Layer("geno", genotypes), nn.Layer("omics", omics)],
    nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC(slab_variance=by_frequency)}),
)

# %% [markdown]
# ## Fit
#
# Alpha is slice-sampled, its three elements side by side. `average`, which has an inverse gamma
# prior, keeps its Gibbs update although it is multiplied by something unknown: the update is found
# from the density of the model, not from how the prior is written.

# %%
print(nn.assign_steps(network.model), "\n")
result = network.fit(draws=1000, tune=500, chains=2, random_seed=1, quiet=True, progressbar=False)

# %% [markdown]
# ## Alpha
#
# An interval of 89 % covers the truth nine times in ten.

# %%
table = az.summary(result, var_names=["alpha"])
table.insert(0, "true", true_alpha.to_numpy())
print(table)
