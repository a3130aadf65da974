"""Names, grammar, registry, user code, keyed randomness, safe paths and text: what every other package may use."""
