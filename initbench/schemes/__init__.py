"""Schemes: how the weights of a model are filled.

A scheme is one registered function in a file of this folder; the order of the imports below is the order of
`initbench list schemes`.
"""

from initbench.schemes import torch_init as torch_init  # noqa: I001 - the order of definition is the order of the list
from initbench.schemes import scaling as scaling
from initbench.schemes import presets as presets
from initbench.schemes import orthogonal as orthogonal
from initbench.schemes import structured as structured
from initbench.schemes import dead_relu as dead_relu
from initbench.schemes import residual as residual
from initbench.schemes import data_driven as data_driven
from initbench.schemes import analytic as analytic
from initbench.schemes import learned as learned
from initbench.schemes import user_scheme as user_scheme
from initbench.schemes.compose import Assignment, Scheme, assign, parse_scheme, revision_of
from initbench.schemes.fill import Filled, draw, fill_model, fill_scheme, initialize, notices_of, planned
from initbench.schemes.rule import SCHEMES, Passes, Preset, Procedure, Rule, Sample, where_it_fits

__all__ = [
    "SCHEMES",
    "Assignment",
    "Filled",
    "Passes",
    "Preset",
    "Procedure",
    "Rule",
    "Sample",
    "Scheme",
    "assign",
    "draw",
    "fill_model",
    "fill_scheme",
    "initialize",
    "notices_of",
    "parse_scheme",
    "planned",
    "revision_of",
    "where_it_fits",
]
