"""From a core and its groups to a family of nested networks."""

from concertina.nest.builder import build, materialize, subnet_tensors
from concertina.nest.draw import random_spec
from concertina.nest.growth import Costs, Price, build_growth_order, growth_order
from concertina.nest.inherit import inherited_private
from concertina.nest.order import named_tensors, permute
from concertina.nest.regroup import graph_of
from concertina.nest.share import Gathered, Share, subnet_shares
from concertina.nest.shrink import num_measurements, shrink_order
from concertina.nest.supernet import Supernet, check_shares, choose_points, nest, norm_tensors, point_name

__all__ = [
    "Costs",
    "Gathered",
    "Price",
    "Share",
    "Supernet",
    "build",
    "build_growth_order",
    "check_shares",
    "choose_points",
    "graph_of",
    "growth_order",
    "inherited_private",
    "materialize",
    "named_tensors",
    "nest",
    "norm_tensors",
    "num_measurements",
    "permute",
    "point_name",
    "random_spec",
    "shrink_order",
    "subnet_shares",
    "subnet_tensors",
]
