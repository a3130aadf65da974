"""Training loops for chains of Linear and activation, compiled for the processor that they run on.

`chain` is the loop from one evaluation to the next, for one network. It calls kernels of `products`, `activations` and
`updates`; all are built from `vectors`. `layout` defines the tables of sizes and addresses that they read, `compiling`
compiles a kernel and `kernels` loads and caches the machine code. Nothing here imports trials, schemes or torch, so
that a separate process can compile while torch is being imported.
"""
