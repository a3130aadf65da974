"""From a function in Python to machine code, through Numba and LLVM."""

import importlib
import inspect

import llvmlite.binding as llvm
from numba.core import compiler, types
from numba.core.registry import cpu_target


def machine_code(name: str, symbol: str) -> bytes:
    """Return a kernel's object file for this processor, with the kernel as `symbol`; it runs without Numba."""
    module, _, own = name.partition(".")
    function = getattr(importlib.import_module(f"{__package__}.{module}"), own)
    arguments = (types.intp,) * len(inspect.signature(function).parameters)
    flags = compiler.Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    made = compiler.compile_extra(
        cpu_target.typing_context, cpu_target.target_context, function, arguments, types.void, flags, {}
    )
    text = made.library.get_llvm_str().replace(made.fndesc.mangled_name, symbol)
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    return bytes(machine.emit_object(llvm.parse_assembly(text)))
