"""The codec: what may be stored, and its exact way to bytes and back."""

from eskernel.codec.codec import Codec
from eskernel.codec.declared import declared_types

__all__ = ["Codec", "declared_types"]
