"""Networks: the built-in models, the layers that a scheme fills, and a model of the user's."""
