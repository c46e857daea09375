# %% [markdown]
# # Inclusion probabilities from annotations
#
# Markers in genes or conserved regions have an effect more often than others; how much more often
# is for the data to say. Here the inclusion probability of a marker is a probit regression on what
# is known of it (the annotated BayesC of JWAS), written as a prior: no sampler is touched.

# %%
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn

# %% [markdown]
# ## Simulate
#
# About 20 of 500 markers act on each of 3 omics. Of the markers with an effect 80 % are
# "conserved", of the others 10 %; the annotation "random" says nothing. The omics and the trait of
# the last 200 individuals are set aside.

# %%
data = nn.simulate(400, 500, 3, n_causal=20, omic_h2=0.4, random_seed=3)
known, new = data.genotypes.index[:200], data.genotypes.index[200:]

rng = np.random.default_rng(3)
causal = (data.marker_effects != 0).any(axis=1)
annotations = pd.DataFrame(
    {
        "conserved": rng.random(500) < np.where(causal, 0.8, 0.1),
        "random": rng.random(500) < 0.3,
    },
    index=causal.index,
)
print(annotations.groupby(causal.rename("has an effect")).mean().round(2), "\n")

# %% [markdown]
# ## The prior
#
# A function of a name and dims that is called inside the PyMC model, where anything may be made. It
# returns one probability for each marker, which serves all omics; with a last axis of omics,
# ``(marker, omic)``, each would have its own. The model knows its markers: the rows of the
# annotations are taken in that order, by name. `name` is "omics_geno_inclusion" here.


# %%
def annotated(name, dims):
    model = pm.modelcontext(None)
    table = annotations.loc[list(model.coords["marker"])].astype(float)
    model.add_coord("annotation", list(table.columns))
    # Few markers have an effect: a marker without annotation has one with probability 0.02.
    intercept = pm.Normal(f"{name}_intercept", -2, 1)
    coefficients = pm.Normal(f"{name}_coefficients", 0, 1, dims="annotation")
    return pm.math.invprobit(intercept + table.to_numpy() @ coefficients)


# %% [markdown]
# ## Fit it, and plain BayesC
#
# `assign_steps` says who updates what: the coefficients have no conjugate update, so NUTS does it.
# Individuals without omics and trait stay in the layer of genotypes: they get breeding values too.


# %%
def fit(prior):
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics.loc[known]),
            nn.Layer("pheno", data.phenotypes.loc[known]),
        ],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": prior}), "y ~ 1 + tanh(omics)"],
    )
    print(nn.assign_steps(network.model), "\n")
    return network.fit(draws=500, tune=300, chains=2, random_seed=1, quiet=True, progressbar=False)


results = {
    "BayesC": fit(nn.BayesC()),
    "annotated": fit(nn.BayesC(inclusion=annotated)),
}

# %% [markdown]
# ## What the annotations say
#
# "conserved" is away from zero, "random" is not.

# %%
draws = results["annotated"].posterior["omics_geno_inclusion_coefficients"]
draws = draws.stack(sample=("chain", "draw")).to_pandas()
table = pd.DataFrame(
    {
        "mean": draws.mean(axis=1),
        "sd": draws.std(axis=1),
        "5 %": draws.quantile(0.05, axis=1),
        "95 %": draws.quantile(0.95, axis=1),
    }
)
print(table.round(2), "\n")

# %% [markdown]
# ## What they are worth
#
# Correlation of estimated and true breeding values in the individuals that were set aside.

# %%
truth = data.omic_genetic_values.join(data.breeding_values).loc[new]
accuracy = pd.DataFrame(
    {
        prior: nn.breeding_values(result)
        .pivot(index="individual", columns="trait", values="ebv")
        .loc[new]
        .corrwith(truth)
        for prior, result in results.items()
    }
)
print("Accuracy in 200 new individuals")
print(accuracy.round(2))
