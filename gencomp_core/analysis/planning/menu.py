"""The options that plans choose from: widths and scales, zeros, and both together. No torch."""

from gencomp_core.records import LayerOption

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BITS = (8, 7, 6, 5, 4, 3, 2)
GROUPS = (None, 16, 64)
JOINT_SPARSITIES = (0.2, 0.3, 0.5, 0.7)
JOINT_GROUPS = (None, 64)


def menu() -> tuple[LayerOption, ...]:
    """All options, those of one kind together."""
    zeroed = [LayerOption(sparsity=sparsity) for sparsity in SPARSITIES]
    rounded = [LayerOption(bits=bits, group_size=size) for bits in BITS for size in GROUPS]
    clipped = [LayerOption(bits=bits, clipping="mse") for bits in (3, 2)]
    affine = [LayerOption(bits=bits, symmetric=False) for bits in (4, 3, 2)]
    affine += [LayerOption(bits=bits, group_size=32, symmetric=False, clipping="mse") for bits in (4, 3, 2)]
    both = [
        LayerOption(sparsity=sparsity, bits=bits, group_size=size)
        for sparsity in JOINT_SPARSITIES
        for bits in BITS
        for size in JOINT_GROUPS
    ]
    return (*zeroed, *rounded, *clipped, *affine, *both)


MENU = menu()
