"""Ways to make a network smaller, one file each. Add one: write the file, import it here."""

from concertina.axes import depth, output, rank, width
from concertina.axes.base import AXES, Axis, AxisTags

__all__ = ["AXES", "Axis", "AxisTags", "depth", "output", "rank", "width"]
