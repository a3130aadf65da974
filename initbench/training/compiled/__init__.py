"""Training loops for chains of Linear and activation, compiled for the processor that they run on.

`chain` is the loop from one evaluation to the next, for one network; `products`, `activations` and `updates` are what
it calls, each compiled when first asked for; `vectors` is what all of them are made of, `cache` where machine code is
kept. Nothing here knows of trials, schemes or torch, so that it compiles in a process of its own while torch is
imported elsewhere.
"""
