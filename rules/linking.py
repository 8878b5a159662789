"""How compiled functions become machine code: each entry as one whole program, and near.

Rules enforced here:
- What is linked into a program becomes its own, so that the compiler drops what no caller of it needs (an array is seven
  arguments), builds in what one place calls, and never finds that another program's copy is meant.
- On x86-64 a program's code, tables and constants lie in one block of memory, so that 32 bits lead from each to each: the
  small position-independent model of the System V ABI (AMD64 supplement, section 3.5.1). The compiler's own choice is 64
  bits, an instruction more for every constant and call. The memory manager set here reserves a program's block whole
  before it fills it; what lies outside of it (the C library, the interpreter) is reached by 64-bit addresses that the block
  holds. A program that referred to another's code could be too far from it: hence the first rule.
- A number in brackets is a place from the beginning, never from the end: the kernel has no negative place, so no program
  asks of each whether it is one.
- None of this reorders arithmetic: the bits stay.
"""

import platform
from typing import Any, Final

import numba
from numba.core import codegen, types
from numba.core.registry import cpu_target
from numba.np import arrayobj

_CONFIG: Final[Any] = numba.config
_MACHINE: Final[Any] = codegen.JITCPUCodegen
_usual_options: Final = _MACHINE._customize_tm_options  # noqa: SLF001 -- the compiler offers no other way to its options
_MODELS: Final = {"x86_64": ("pic", "small"), "AMD64": ("pic", "small")}
"""Relocation and code model by kind of processor; others keep the compiler's choice."""


def _near(machine: object, options: dict[str, Any]) -> None:
    _usual_options(machine, options)
    usual = options["reloc"], options["codemodel"]
    options["reloc"], options["codemodel"] = _MODELS.get(platform.machine(), usual)


def _from_the_beginning(context: Any, builder: Any, kind: Any, place: Any, _size: object) -> Any:
    return context.cast(builder, place, kind, types.intp)


class _Program(codegen.JITCodeLibrary):
    """One function with everything that it calls."""

    def _optimize_final_module(self) -> None:
        """Optimise as usual, keep that for other programs to link in, then make the parts this program's own."""
        super()._optimize_final_module()  # type: ignore[no-untyped-call]  # the compiler is untyped here
        shared = self._final_module.clone()
        _relink(shared, "external", "linkonce_odr")
        self._shared_module = shared
        _relink(self._final_module, "linkonce_odr", "internal")
        passes, builder = self._codegen._module_pass_manager()  # type: ignore[no-untyped-call]  # noqa: SLF001 -- as the compiler itself does
        passes.run(self._final_module, builder)


def _relink(module: Any, linkage: str, instead: str) -> None:
    for function in module.functions:
        if not function.is_declaration and function.linkage.name == linkage:
            function.linkage = instead


def _prepared() -> bool:
    """Set these rules for this process; whether the second could be: not once something else was compiled here."""
    arrayobj.fix_integer_index = _from_the_beginning
    _MACHINE._library_class = _Program  # noqa: SLF001 -- the compiler offers no other way to its libraries
    if "_toplevel_target_context" in vars(cpu_target):
        return False
    _CONFIG.USE_LLVMLITE_MEMORY_MANAGER = True
    _MACHINE._customize_tm_options = _near  # noqa: SLF001 -- as above
    return True


NEAR: Final = _prepared()
"""Whether programs lie near. One that was made so must not be loaded where they do not: its block could be torn apart."""
