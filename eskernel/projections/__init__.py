"""Projections: read models that follow the log, each position once and in order."""

from eskernel.projections.audit import Audit, Discrepancy
from eskernel.projections.definition import Definition
from eskernel.projections.once import project
from eskernel.projections.options import Projection
from eskernel.projections.progress import Parked
from eskernel.projections.view import Rebuild, Status

__all__ = [
    "Audit",
    "Definition",
    "Discrepancy",
    "Parked",
    "Projection",
    "Rebuild",
    "Status",
    "project",
]
