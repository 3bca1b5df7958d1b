"""What a subnet costs: MACs, parameters and bytes as formulas, without building or running it.

A cost is a sum of terms, each a whole number times the choices of a few dims. Terms with the same dims are added up
once, so a spec takes microseconds however many layers the network has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

from torch import nn

from concertina.measure.sides import tensor_sides
from concertina.measure.trace import trace_products
from concertina.nest.order import named_tensors
from concertina.types import Space, SubnetSpec


@dataclass(frozen=True)
class Term:
    """One part of a cost: `factor * product of choices / divisor`."""

    factor: int
    divisor: int
    dims: tuple[str, ...]
    """Names of the dims whose choices it grows with; a gate's choice is 0 or 1."""


@dataclass(frozen=True)
class CostModel:
    """Costs of every subnet of a space, for one input.

    Source: DESIGN section 5 (ours); counted as `torch.utils.flop_counter` counts, one MAC for two flops.

    Example:
        >>> import torch
        >>> from concertina.types import Dim, Member, Space, SubnetSpec
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        >>> members = (Member("0.weight", 0, "out"), Member("0.bias", 0, "out"), Member("1.weight", 1, "in"))
        >>> space = Space((Dim("width:0", "width", "0", (1, 2, 4), members),))
        >>> costs = CostModel.of(net, (torch.zeros(2, 3),), space)
        >>> costs.macs(space.full), costs.macs(SubnetSpec.of({"width:0": 1}))
        (20, 5)
    """

    space: Space
    mac_terms: tuple[Term, ...]
    param_terms: tuple[Term, ...]
    byte_terms: tuple[Term, ...]

    @staticmethod
    def of(module: nn.Module, example_inputs: Sequence[Any], space: Space) -> CostModel:
        """Return the cost model of `module`, from one forward pass.

        Args:
            module: The full network; it is left as it was.
            example_inputs: What it is called with; the first side of each tensor is the batch.
            space: The dims. A product of two activations is taken to grow linearly with each dim that sizes them
                (as attention does with its heads).

        Raises:
            SpecError: A dim does not fit the network.
            AnalysisError: The network does not run on its example inputs.
        """
        products = trace_products(module, example_inputs, space)
        sides = tensor_sides(module, space)
        params = [each for name, p in module.named_parameters() for each in sides[name].spread(p.numel())]
        bytes_of = {name: tensor.numel() * tensor.element_size() for name, tensor in named_tensors(module).items()}
        sizes = [each for name, size in bytes_of.items() for each in sides[name].spread(size)]
        macs = [(product.macs, product.dims) for product in products]
        return CostModel(space, _add_up(macs, space), _add_up(params, space), _add_up(sizes, space))

    def full(self) -> int:
        """Return the MACs of the full network."""
        return self.macs(self.space.full)

    def macs(self, spec: SubnetSpec | Mapping[str, int]) -> int:
        """Return the multiply-accumulates of a subnet for one input: products and convolutions, biases left out.

        Args:
            spec: A spec of the space, or dim name -> choice.

        Raises:
            SpecError: The spec leaves out a dim.
        """
        return self._total(self.mac_terms, spec)

    def params(self, spec: SubnetSpec | Mapping[str, int]) -> int:
        """Return the number of parameters of a subnet, tied ones once; raises like `macs`."""
        return self._total(self.param_terms, spec)

    def size_bytes(self, spec: SubnetSpec | Mapping[str, int]) -> int:
        """Return the bytes of all parameters and buffers of a subnet, batch counters left out; raises like `macs`."""
        return self._total(self.byte_terms, spec)

    def _total(self, terms: tuple[Term, ...], spec: SubnetSpec | Mapping[str, int]) -> int:
        try:
            return sum(_value(term, spec) for term in terms)
        except KeyError:
            self.space.check(spec if isinstance(spec, SubnetSpec) else SubnetSpec.of(spec))
            raise


def _value(term: Term, spec: SubnetSpec | Mapping[str, int]) -> int:
    value = term.factor
    for name in term.dims:
        value *= spec[name]
    return value // term.divisor


def _add_up(amounts: Iterable[tuple[int, tuple[str, ...]]], space: Space) -> tuple[Term, ...]:
    """Return one term for each set of dims among (amount in the full network, dims) pairs."""
    sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for amount, dims in amounts:
        sums[tuple(sorted(dims))] += amount
    terms = []
    for dims, amount in sums.items():
        divisor = prod(space.by_name[name].original for name in dims)
        shared = gcd(amount, divisor)
        if amount:
            terms.append(Term(amount // shared, divisor // shared, dims))
    return tuple(terms)
