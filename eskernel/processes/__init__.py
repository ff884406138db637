"""ProcessKernel: one kernel in front of many worker processes of this machine."""

from eskernel.processes.kernel import ProcessKernel

__all__ = ["ProcessKernel"]
