"""RayKernel: one kernel whose shards are actors of a Ray cluster. Needs the extra `ray`."""

try:
    import ray as _ray  # noqa: F401 - only to say what is missing
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "eskernel.ray needs ray: install eskernel[ray]", name="ray"
    ) from error

from eskernel.ray.kernel import RayKernel

__all__ = ["RayKernel"]
