"""The flow of draws into costs, through the jaxpr of a program: a cost not shown to be weighted is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from reparax.errors import InvalidEstimator
from reparax.programs._facts import Facts, Path, either, summed, used
from reparax.programs._marks import ENUMERATION, PATHWISE, UNCHOSEN, Mark

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
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
}  # fmt: skip
# A constant array with more numbers is not looked at.
_LARGE = 4096
Rule = Callable[["Flow", dict[str, Any], list[Facts], Path], list[Facts]]


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


@dataclass
class Flow:
    """One walk through a program.

    Args:
        estimator: The estimator of a site, from its name.
        rules: What follows marks and control flow, by the name of the operation.
        marks: The marks found, by their place.
        unbaselined: The places of costs for which other copies are no baseline.
        keys: The places that use each key.
        carried: What is known of the bases in use.
    """

    estimator: Callable[[str], str]
    rules: Mapping[str, "Rule"]
    marks: dict[Path, tuple[Mark, dict[str, Any]]] = field(default_factory=dict)
    unbaselined: set[Path] = field(default_factory=set)
    keys: dict[Any, list[Path]] = field(default_factory=dict)
    carried: dict[Any, Facts] = field(default_factory=dict)

    def is_weighting(self, name: str) -> bool:
        """Whether costs must be weighted by the draws of a site: all but pathwise ones."""
        return self.estimator(name) not in (PATHWISE, UNCHOSEN)

    def exact(self, name: str) -> bool:
        """Whether a site draws no noise."""
        return self.estimator(name) in (ENUMERATION, UNCHOSEN)

    def name_at(self, path: Path) -> str:
        """The name of the draw or cost at a place."""
        return self.marks[path][0].name

    def closed(self, closed: ClosedJaxpr, arguments: Sequence[Facts], path: Path) -> list[Facts]:
        """The results of a closed jaxpr."""
        return self.jaxpr(closed.jaxpr, [constant_facts(c) for c in closed.consts], arguments, path)

    def jaxpr(self, jaxpr: Jaxpr, consts: Sequence[Facts], arguments: Sequence[Facts], path: Path) -> list[Facts]:
        """The results of a jaxpr."""
        known: dict[Any, Facts] = {}

        def read(variable: Any) -> Facts:
            return constant_facts(variable.val) if isinstance(variable, Literal) else known[variable]

        for place, (variable, facts) in enumerate(
            zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True)
        ):
            known[variable] = facts if facts.origin is not None else replace(facts, origin=(path, "in", place))
        for index, equation in enumerate(jaxpr.eqns):
            here = (*path, index)
            results = self.equation(equation, [read(v) for v in equation.invars], here)
            for place, (variable, facts) in enumerate(zip(equation.outvars, results, strict=True)):
                known[variable] = facts if facts.origin is not None else replace(facts, origin=(here, place))
        return [read(v) for v in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Facts], here: Path) -> list[Facts]:
        """The results of one equation."""
        name, params, count = equation.primitive.name, equation.params, len(equation.outvars)
        if name in self.rules:
            return self.rules[name](self, params, inputs, here)
        if name in _CALLS and (inner := _called(params)) is not None:
            return self.closed(inner, inputs, (*here, "call"))
        if _holds_marks(params):
            raise InvalidEstimator(
                expected="draws and costs where their flow can be followed: scan, while_loop, cond, vmap, jit",
                got=f"one inside of {name}",
                cure="move it out of there",
            )
        if name in COPYING:
            return [self.copied(name, equation, inputs[0])]
        if all(facts.constant for facts in inputs) and name not in ADDING:
            return [replace(used(inputs), rest=True)] * count
        return [self.computed(name, equation, inputs)] * count

    def copied(self, name: str, equation: Any, facts: Facts) -> Facts:
        """A rearrangement of one operand."""
        if facts.token is not None and name not in ("broadcast_in_dim", "transpose", "copy", "copy_p"):
            return used([facts])
        if name not in ("copy", "copy_p", "convert_element_type"):
            facts = self.expanded(facts)
        rounds = name == "convert_element_type" and not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact)
        return used([self.expanded(facts)]) if rounds and (facts.costs or facts.base is not None) else facts

    def computed(self, name: str, equation: Any, inputs: list[Facts]) -> Facts:
        """The result of arithmetic."""
        if name == "select_n" and all(facts.token is not None for facts in inputs[1:]):
            return either(inputs[1:])
        arranged = controlled_parts(name, inputs)
        if arranged is None:
            return used(self.expanded(facts) for facts in inputs)
        parts, controls = arranged
        if name not in ADDING or (sum(f.base is not None for f in parts) > 1):
            parts = [self.expanded(facts) for facts in parts]
        return self.controlled(summed(parts), [self.expanded(facts) for facts in controls])

    def expanded(self, facts: Facts) -> Facts:
        """The same with its base spelled out."""
        if facts.base is None:
            return facts
        total = summed([replace(facts, base=None), self.carried[facts.base]])
        return self.expanded(replace(total, origin=facts.origin))

    def controlled(self, facts: Facts, controls: Sequence[Facts]) -> Facts:
        """A value that others scale, select or place."""
        by = used(controls)
        facts = replace(facts, misused=facts.misused | by.misused, varies=facts.varies | by.varies)
        if not by.raw:
            return facts
        if facts.costs and facts.weighted is not None and by.raw <= facts.weighted:
            self.unbaselined |= facts.costs
            return replace(facts, raw=facts.raw | by.raw) if facts.rest else facts
        if facts.costs or facts.rest:
            return replace(facts, raw=facts.raw | by.raw)
        return facts


def constant_facts(value: Any) -> Facts:
    """What is known of a constant: whether it is 0."""
    if isinstance(value, Tracer) or np.size(value) > _LARGE:
        return Facts()
    if not isinstance(value, bool | int | float) and not jnp.issubdtype(value.dtype, jnp.number):
        return Facts()
    return Facts(rest=bool(np.any(np.asarray(value) != 0)))


def _called(params: dict[str, Any]) -> ClosedJaxpr | None:
    """The jaxpr that an equation calls on its operands."""
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    return ClosedJaxpr(inner, []) if isinstance(inner, Jaxpr) else inner


def _holds_marks(params: dict[str, Any]) -> bool:
    for value in jax.tree.leaves(params, is_leaf=lambda v: isinstance(v, Jaxpr | ClosedJaxpr)):
        if isinstance(value, Jaxpr | ClosedJaxpr):
            jaxpr = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if any(e.primitive.name == "reparax_mark" or _holds_marks(e.params) for e in jaxpr.eqns):
                return True
    return False
