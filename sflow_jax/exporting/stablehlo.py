"""A sampler as StableHLO, the portable programs of XLA, which JAX loads without this package."""

from collections.abc import Mapping

import jax
from jax import export

from sflow_jax.data.datasets import SMALLEST_SIDE
from sflow_jax.errors import InputError, one_line
from sflow_jax.exporting.sampler import Exported, Sampler, describe

PLATFORMS = ("cpu", "cuda", "tpu")

# JAX does not see that sides which were padded to a multiple can be halved and doubled again.
_MULTIPLES = (1, 32)


def to_stablehlo(sampler: Sampler, sizes: Mapping[str, int]) -> Exported:
    """Exports for all platforms at once; `jax.export.deserialize` loads it.

    Args:
        sampler: what to export.
        sizes: those of 'b', 'h' and 'w' that are to be fixed; the others may be any, sides from
            16 pixels on, or where JAX cannot export that, any multiples of 32.

    Raises:
        InputError: the networks need fixed sizes.
    """
    for multiple in _MULTIPLES:
        try:
            exported = _export(sampler, sizes, multiple)
        except (jax.errors.InconclusiveDimensionOperation, TypeError, ValueError) as error:
            reason = one_line(error)
            if {"b", "h", "w"} <= sizes.keys():
                raise
        else:
            shapes = [describe(argument.dtype, argument.shape) for argument in exported.in_avals]
            content = bytes(exported.serialize())
            return Exported(content, dict(zip(sampler.inputs, shapes, strict=True)))
    raise InputError(
        f"--workdir: found networks that cannot be exported for any size ({reason}); "
        "expected --height, --width and --batch_size"
    )


def _export(sampler: Sampler, sizes: Mapping[str, object], multiple: int) -> export.Exported:
    sides: dict[str, object] = {}
    if multiple > 1:
        sides = {side: f"{multiple}*{side}" for side in ("h", "w")}
    open_sides = [side for side in ("h", "w") if side not in sizes]
    limits = [f"{side} >= {-(-SMALLEST_SIDE // multiple)}" for side in open_sides]
    scope = export.SymbolicScope(limits)
    specs = []
    for argument in sampler.inputs.values():
        axes = ", ".join(argument.shape({**sides, **sizes}))
        specs.append(jax.ShapeDtypeStruct(export.symbolic_shape(axes, scope=scope), argument.dtype))
    return export.export(jax.jit(sampler), platforms=PLATFORMS)(*specs)
