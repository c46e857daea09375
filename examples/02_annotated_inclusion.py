# %% [markdown]
# # Inclusion probabilities from annotations
#
# Markers in genes or conserved regions have an effect more often than others; how much more often
# is for the data to say. Here the inclusion probability of a marker is a probit regression on what
# is known of it (the annotated BayesC of JWAS), written as a prior: no sampler is touched.

# %%
import arviz as az
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

# %% [markdown]
# ## Simulate
#
# 15 of 300 markers act on each of 3 omics. Of the markers with an effect 80 % are "conserved", of
# the others 10 %; the annotation "random" says nothing. Omics and trait of the last 200 individuals
# are set aside.

# %%
data = nn.simulate(400, 300, 3, n_causal=15, omic_h2=0.4, random_seed=1)
known, new = data.genotypes.index[:200], data.genotypes.index[200:]

rng = np.random.default_rng(3)
causal = (data.marker_effects != 0).any(axis=1)
annotations = pd.DataFrame(
    {
        "conserved": rng.random(300) < np.where(causal, 0.8, 0.1),
        "random": rng.random(300) < 0.3,
    },
    index=causal.index,
)

# %% [markdown]
# ## The prior
#
# A function of a name and dims that is called inside the PyMC model, where it may make any
# variable. It returns one probability for each marker, which serves all omics; a ``(marker, omic)``
# matrix would give each omic its own. The rows of the annotations are those of the model's markers,
# by name. `name` is "omics_geno_inclusion" here.
#
# The slab variance gets the same prior in both models: on average, half the variance of an omic
# (about 1) comes from 5 % of the markers.


# %%
def annotated(name, dims):
    model = pm.modelcontext(None)
    table = annotations.loc[list(model.coords["marker"])].astype(float)
    model.add_coord("annotation", list(table.columns))
    # Without annotation about 2 % of the markers have an effect: the normal quantile is -2.
    baseline = pm.Normal(f"{name}_baseline", -2, 1)
    coefficients = pm.Normal(f"{name}_coefficients", 0, 1, dims="annotation")
    return pm.math.invprobit(baseline + table.to_numpy() @ coefficients)


genotypes = nn.read_genotypes(data.genotypes)
mean = 0.5 / (0.05 * genotypes.sum2pq)
slab_variance = nn.Prior("InverseGamma", alpha=2.5, beta=1.5 * mean)


# %% [markdown]
# ## Fit it, and plain BayesC
#
# Individuals without omics and trait stay among the genotypes: they get breeding values too. The
# plan says who updates what: no update of the coefficients is known, so NUTS draws them.


# %%
def network(prior):
    return nn.Network(
        [
            nn.Layer("geno", genotypes),
            nn.Layer("omics", data.omics.loc[known]),
            nn.Layer("pheno", data.phenotypes.loc[known]),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": prior}), "y ~ 1 + tanh(omics)"],
    )


networks = {
    "BayesC": network(nn.BayesC(slab_variance=slab_variance)),
    "annotated": network(nn.BayesC(annotated, slab_variance)),
}
print(nn.assign_steps(networks["annotated"].model), "\n")
results = {
    prior: net.fit(draws=600, tune=300, chains=2, random_seed=1, quiet=True, progressbar=False)
    for prior, net in networks.items()
}

# %% [markdown]
# ## What the annotations say
#
# "conserved" is away from zero, "random" is not. (`ess_bulk`: for a paper, draw ten times as much.)

# %%
print(az.summary(results["annotated"], var_names=["omics_geno_inclusion_coefficients"]), "\n")

# %% [markdown]
# ## What they are worth
#
# Correlation of estimated and true breeding values in the individuals that were set aside.

# %%
truth = data.omic_genetic_values.join(data.breeding_values).loc[new]
accuracy = pd.DataFrame(columns=networks)
for prior, result in results.items():
    table = nn.breeding_values(result).pivot(index="individual", columns="trait", values="ebv")
    accuracy[prior] = table.loc[new].corrwith(truth)
print("Accuracy in 200 new individuals")
print(accuracy.round(2))
