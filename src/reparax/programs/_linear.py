"""The primitives through which a cost may go: linear in some operands, which the others scale, select or place."""

from reparax.programs._facts import Facts

# A copy of its first operand.
COPYING = {
    "broadcast_in_dim", "reshape", "squeeze", "transpose", "copy", "copy_p", "expand_dims", "random_wrap",
    "random_unwrap", "rev", "convert_element_type", "stop_gradient",
}  # fmt: skip
# Sums of the operands, coefficient 1, so that what is added to a loop's carry is seen to be.
ADDING = {"add", "add_any"}
_SUMS = ADDING | {
    "sub", "neg", "concatenate", "reduce_sum", "cumsum", "pad", "slice", "split", "reduce_window_sum", "psum", "stack",
}  # fmt: skip
# The number of leading operands that are parts, and after these come controls.
_PLACED = {"dynamic_slice": 1, "gather": 1, "div": 1}


def controlled_parts(name: str, inputs: list[Facts]) -> tuple[list[Facts], list[Facts]] | None:
    """The operands in which a primitive is linear, and those that decide how; ``None`` where it is not linear."""
    if name in _SUMS:
        return inputs, []
    if name in _PLACED:
        return inputs[: _PLACED[name]], inputs[_PLACED[name] :]
    if name == "select_n":
        return inputs[1:], inputs[:1]
    if name == "dynamic_update_slice":
        return inputs[:2], inputs[2:]
    if name in ("scatter", "scatter-add", "scatter_add"):
        return [inputs[0], inputs[2]], [inputs[1]]
    if name in ("mul", "dot_general", "conv_general_dilated"):
        holds = [bool(facts.costs) or facts.base is not None for facts in inputs]
        if all(holds):
            return None
        first = 0 if holds[0] or not inputs[0].rest else 1
        return [inputs[first]], [inputs[1 - first]]
    return None
