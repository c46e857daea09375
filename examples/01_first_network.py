# %% [markdown]
# # A first network
#
# Genotypes act on omics, omics act on a trait. Here the data are simulated, so that every estimate
# can be compared with the truth. Half a minute on two cores.

# %%
import pandas as pd

import nnmm_pymc as nn

# %% [markdown]
# ## Simulate
#
# 300 individuals, 100 markers, 3 omics of which 40 % of the cells were not measured, and a trait
# that depends on tanh of the omics. The last 50 individuals are set aside: they are predicted below
# from their genotypes alone.

# %%
data = nn.simulate(300, 100, 3, activation="tanh", missing="cells", random_seed=1)
known, new = data.genotypes.index[:250], data.genotypes.index[250:]
print(data)
print(data.omics.head().round(2))

# %% [markdown]
# ## Describe the network
#
# A layer is a table; rows are individuals, their IDs the index. An equation says what a layer or a
# trait depends on. `BayesC` lets most markers have no effect and learns how many do.

# %%
network = nn.Network(
    [
        nn.Layer("geno", data.genotypes.loc[known]),
        nn.Layer("omics", data.omics.loc[known]),
        nn.Layer("pheno", data.phenotypes.loc[known]),
    ],
    [
        nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}),
        "y ~ 1 + tanh(omics)",
    ],
)
print(network)
print(network.alignment)

# %% [markdown]
# ## Fit
#
# The plan that is printed says which step samples which variable: Gibbs for marker effects and
# variances, NUTS for missing omics and weights. `network.model` is an ordinary PyMC model.

# %%
result = network.fit(draws=1000, tune=500, chains=2, random_seed=1)

# %% [markdown]
# ## Diagnose
#
# Read this before any estimate: R-hat near 1 and a few hundred effective draws of every variable.
# The inclusion probability mixes slowest. If there are doubts, draw more.

# %%
print(nn.diagnose(result))

# %% [markdown]
# ## Look at the estimates
#
# `pip` is the probability that a marker has an effect.

# %%
effects = nn.marker_effects(result).sort_values("pip", ascending=False).head(8)
truth = data.marker_effects.stack().rename("true")
print(effects.join(truth, on=["marker", "trait"]).round(3).to_string(index=False))
print(nn.heritability(result).round(2).to_string(index=False))

# %%
figure = nn.plot_fit(result)
figure.savefig("01_first_network.png", dpi=150, bbox_inches="tight")

# %% [markdown]
# ## Predict individuals that were not in the fit
#
# The breeding value (`ebv`) is what the genotype says; its accuracy is its correlation with the
# true breeding value.

# %%
predictions = network.predict(result, data.genotypes.loc[new]).set_index("individual")
table = pd.DataFrame({"ebv": predictions["ebv"], "true": data.breeding_values["y"].loc[new]})
print(table.head().round(2))
print(f"Accuracy in {len(new)} new individuals: {table.corr().loc['ebv', 'true']:.2f}")
