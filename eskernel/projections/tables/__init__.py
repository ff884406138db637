"""Projections in SQL tables: the only part of eskernel itself that knows SQLAlchemy."""

from eskernel.projections.tables.connection import TableConnection
from eskernel.projections.tables.copies import Tables
from eskernel.projections.tables.model import TableModel

__all__ = ["TableConnection", "TableModel", "Tables"]
