"""Attacks on the manifest: wrong types, ranges, references, bombs, names that look like more."""

from __future__ import annotations

import json
from typing import Any

from tests.save.attacks.base import attack
from tests.save.forge import Parts

from concertina.errors import DtypeError, HeaderError, ShapeError, VersionError


@attack(VersionError, "newer release")
def version_of_the_future(parts: Parts) -> None:
    parts.manifest["version"] = 2


@attack(VersionError, "version")
def version_zero(parts: Parts) -> None:
    parts.manifest["version"] = 0


@attack(VersionError, "True")
def version_true(parts: Parts) -> None:
    parts.manifest["version"] = True


@attack(VersionError, "1.0")
def version_a_float(parts: Parts) -> None:
    parts.manifest["version"] = 1.0


@attack(VersionError, "None")
def manifest_a_list(parts: Parts) -> None:
    parts.manifest = [1]


@attack(HeaderError, "no JSON")
def manifest_no_json(parts: Parts) -> None:
    parts.manifest = "version: 1"


@attack(HeaderError, "every key once")
def manifest_doubled_key(parts: Parts) -> None:
    parts.manifest = json.dumps(parts.manifest)[:-1] + ',"steps":[]}'


@attack(HeaderError, "32 levels")
def manifest_nested_deeply(parts: Parts) -> None:
    parts.manifest = '{"version":1,"names":' + "[" * 10_000 + "]" * 10_000 + "}"


@attack(HeaderError, "keys")
def manifest_lacks_a_key(parts: Parts) -> None:
    del parts.manifest["licence"]


@attack(HeaderError, "keys")
def manifest_has_one_more_key(parts: Parts) -> None:
    parts.manifest["__reduce__"] = ["os.system", "true"]


WRONG_TYPES: dict[str, tuple[Any, ...]] = {
    "architecture": (None, [], "zoo:tiny", {"source": "zoo:tiny"}),
    "task": (None, 3, [], "", "a\nb"),
    "class_names": (None, "abc", [3], [None], {"0": "cat"}, ["\x1b[31m"]),
    "preprocess": (None, [1.0], [True, [], []], [1.0, ["a"], []], [1.0, [], [0]], [1.0, 3, []]),
    "licence": (None, 7, ["MIT"]),
    "core": (None, 7),
    "provenance": (None, [], {"a": None}, {"a": [1]}, {"a": True}, {"": "x"}, {"a": 2**60}),
    "names": (None, {}, "abc"),
    "shapes": (None, {}, [[1]] * 3),
    "dtypes": (None, [], [["F32", 9]], [["F32", 11]], [["F32", 2**40]], [["F32", -1], ["F32", 11]], [["F32"]]),
    "axes": (None, [], ["width"], [3, 4]),
    "attributes": (None, []),
    "dims": (None, {}, [[]], [3]),
    "steps": (None, {}, [], ["0"], [True, 1, 2, 2, 0, 2], [0.0, 1, 2, 2, 0, 2], [-1, 1, 2, 2, 0, 2]),
    "points": (None, {}, [[]], ["p"]),
    "augment": (None, "", 3, [], ["flip-crop"], "a\nb", "x" * 600),
}


def wrong_type(key: str, value: Any) -> None:
    def change(parts: Parts) -> None:
        parts.manifest[key] = value

    change.__name__ = f"wrong_type_of_{key}_{json.dumps(value)[:40]}"
    attack(HeaderError, "allowed|growth order|keys|raw|ends")(change)


for _key, _values in WRONG_TYPES.items():
    for _value in _values:
        wrong_type(_key, _value)


def rename(parts: Parts, name: Any) -> None:
    parts.manifest["names"][0] = name


@attack(HeaderError, "printable")
def tensor_name_with_nul(parts: Parts) -> None:
    rename(parts, "stem\0.weight")


@attack(HeaderError, "printable")
def tensor_name_with_newline(parts: Parts) -> None:
    rename(parts, "stem\n.weight")


@attack(HeaderError, "printable")
def tensor_name_with_escape_sequence(parts: Parts) -> None:
    rename(parts, "\x1b]0;gotcha\x07")


@attack(HeaderError, "printable")
def tensor_name_lone_surrogate(parts: Parts) -> None:
    rename(parts, "\ud800")


@attack(HeaderError, "printable")
def tensor_name_right_to_left(parts: Parts) -> None:
    rename(parts, "stem\u202ethgiew")


@attack(HeaderError, "500")
def tensor_name_endless(parts: Parts) -> None:
    rename(parts, "x" * 100_000)


@attack(HeaderError, "printable")
def tensor_name_empty(parts: Parts) -> None:
    rename(parts, "")


@attack(HeaderError, "printable")
def tensor_name_a_list(parts: Parts) -> None:
    rename(parts, ["stem"])


@attack(HeaderError, "each name once")
def tensor_twice(parts: Parts) -> None:
    rename(parts, "head.bias")


@attack(None)
def tensor_name_like_a_path(parts: Parts) -> None:
    rename(parts, "../../../../etc/passwd")


@attack(None)
def tensor_name_like_code(parts: Parts) -> None:
    rename(parts, "__import__('os').system('true')")


@attack(None)
def architecture_like_code(parts: Parts) -> None:
    parts.manifest["architecture"]["source"] = "module:os.system"
    parts.manifest["architecture"]["arguments"] = {"__reduce__": ["os.system", ["true"]], "$ref": "file:///etc/passwd"}


@attack(DtypeError, "OBJECT")
def tensor_of_objects(parts: Parts) -> None:
    parts.manifest["dtypes"][0][0] = "OBJECT"


@attack(DtypeError, "dtype")
def tensor_dtype_a_list(parts: Parts) -> None:
    parts.manifest["dtypes"][0][0] = ["F32"]


@attack(ShapeError, "stage")
def tensor_dtype_wider(parts: Parts) -> None:
    parts.manifest["dtypes"][0][0] = "F64"


@attack(ShapeError, "sides")
def tensor_with_many_sides(parts: Parts) -> None:
    parts.manifest["shapes"][7] = [1] * 1000


@attack(HeaderError, "integer")
def tensor_negative_side(parts: Parts) -> None:
    parts.manifest["shapes"][7] = [-10]


@attack(HeaderError, "integer")
def tensor_side_a_bool(parts: Parts) -> None:
    parts.manifest["shapes"][7] = [True]


@attack(ShapeError, "bytes")
def tensor_overflowing(parts: Parts) -> None:
    parts.manifest["shapes"][7] = [2**40, 2**40]


@attack(ShapeError, "together")
def tensors_too_large_together(parts: Parts) -> None:
    parts.manifest["names"] += [f"x{i}" for i in range(200)]
    parts.manifest["shapes"] += [[2**40]] * 200
    parts.manifest["dtypes"].append(["F64", 200])


@attack(ShapeError, "stage")
def tensor_larger_than_its_bytes(parts: Parts) -> None:
    parts.manifest["shapes"][7] = [2**30]


@attack(ShapeError, "side")
def choice_beyond_its_side(parts: Parts) -> None:
    parts.dim(0)[2] = [2, 4, 16]


@attack(ShapeError, "side")
def original_below_its_side(parts: Parts) -> None:
    parts.dim(0)[2] = [2, 4, 7]


@attack(HeaderError, "rising")
def choices_falling(parts: Parts) -> None:
    parts.dim(0)[2] = [4, 2, 8]


@attack(HeaderError, "rising")
def choices_doubled(parts: Parts) -> None:
    parts.dim(0)[2] = [2, 2, 8]


@attack(HeaderError, "choices")
def choices_none(parts: Parts) -> None:
    parts.dim(0)[2] = []


@attack(HeaderError, "integer")
def choices_negative(parts: Parts) -> None:
    parts.dim(0)[2] = [-2, 4, 8]


@attack(HeaderError, "integer")
def choices_fractional(parts: Parts) -> None:
    parts.dim(0)[2] = [2, 4.0, 8]


@attack(HeaderError, "0 and 1")
def gate_with_three_states(parts: Parts) -> None:
    parts.dim(1)[2] = [0, 1, 2]


@attack(HeaderError, "each name once")
def dim_twice(parts: Parts) -> None:
    parts.dim(2)[6] = "width:stem"


@attack(HeaderError, "printable")
def dim_name_a_number(parts: Parts) -> None:
    parts.dim(2)[6] = 7


@attack(HeaderError, "printable")
def dim_target_a_list(parts: Parts) -> None:
    parts.dim(0)[1] = ["stem"]


@attack(HeaderError, "axis")
def dim_axis_unknown(parts: Parts) -> None:
    parts.dim(0)[0] = 9


@attack(HeaderError, "items")
def dim_with_too_many_fields(parts: Parts) -> None:
    parts.dim(2).extend([0] * 9)


@attack(HeaderError, "returns")
def dim_whose_block_gives_back_too_much(parts: Parts) -> None:
    row = parts.dim(2)
    row += [[], [], "", 10**9][len(row) - 4 :]


@attack(HeaderError, "tensor")
def member_of_no_tensor(parts: Parts) -> None:
    parts.dim(0)[3][0][0] = 99


@attack(HeaderError, "tensor")
def member_negative_tensor(parts: Parts) -> None:
    parts.dim(0)[3][0][0] = -1


@attack(HeaderError, "dim")
def member_side_beyond(parts: Parts) -> None:
    parts.dim(0)[3][0][1] = 4


@attack(HeaderError, "gate")
def member_side_before(parts: Parts) -> None:
    parts.dim(0)[3][1][1] = -1


@attack(HeaderError, "integer")
def member_side_far_before(parts: Parts) -> None:
    parts.dim(0)[3][0][1] = -2


@attack(HeaderError, "role")
def member_role_unknown(parts: Parts) -> None:
    parts.dim(0)[3][0][2] = 6


@attack(HeaderError, "gate")
def member_role_gate_on_a_side(parts: Parts) -> None:
    parts.dim(0)[3][0][2] = 5


@attack(HeaderError, "positions")
def member_without_positions(parts: Parts) -> None:
    parts.dim(0)[3][0] = [0, 0, 0, 0]


@attack(HeaderError, "integer|number")
def member_positions_a_text(parts: Parts) -> None:
    parts.dim(0)[3][0] = [0, 0, 0, "1"]


@attack(HeaderError, "once")
def side_twice_in_one_dim(parts: Parts) -> None:
    parts.dim(0)[3].append([0, 0, 0])


@attack(HeaderError, "once")
def side_in_two_dims(parts: Parts) -> None:
    parts.dim(2)[3].append([2, 1, 1])
    parts.dim(2)[2] = [2, 3, 5, 8]
    parts.dim(2)[3] = [[2, 1, 1]]


@attack(HeaderError, "count")
def member_run_beyond_the_tensors(parts: Parts) -> None:
    parts.dim(1)[3] = [[2, -1, 5, 1, 10**9]]


@attack(HeaderError, "1000000 members")
def member_run_bomb(parts: Parts) -> None:
    many = 5_000
    parts.manifest |= {"names": [f"t{i}" for i in range(many)], "shapes": [[]] * many, "dtypes": [["F32", many]]}
    parts.dim(1)[3] = [[0, -1, 5, 1, many]] * 1_000


@attack(HeaderError, "times points")
def points_times_tensors_bomb(parts: Parts) -> None:
    many = 30_000
    parts.manifest |= {"names": [f"t{i}" for i in range(many)], "shapes": [[]] * many, "dtypes": [["F32", many]]}
    parts.manifest |= {"dims": [], "steps": [], "points": [[f"p{i}", [], 0, 0, 0, 1.0, {}] for i in range(33)]}


@attack(HeaderError, "items")
def thousands_of_points(parts: Parts) -> None:
    row = parts.point(0)
    parts.manifest["points"] = [[f"p{i}", *row[1:]] for i in range(10_000)]


@attack(HeaderError, "attribute")
def attribute_unknown(parts: Parts) -> None:
    parts.dim(0)[4][0] = [0, 50]


@attack(HeaderError, "module")
def attribute_of_no_module(parts: Parts) -> None:
    parts.dim(0)[4][0] = [50, 0]


@attack(HeaderError, "attribute")
def attribute_of_a_list(parts: Parts) -> None:
    parts.dim(0)[4][0] = [{}, 0]


@attack(HeaderError, "attribute")
def attribute_index_far_out(parts: Parts) -> None:
    parts.dim(0)[4][0] = [0, 0, 1, 2**40]


@attack(None)
def attribute_dunder(parts: Parts) -> None:
    """A name is a name: whoever sets attributes must look at it, the file does not."""
    parts.manifest["attributes"][0] = "__class__"


@attack(HeaderError, "needs")
def needs_unknown_dim(parts: Parts) -> None:
    parts.dim(2)[5] = [7]


@attack(HeaderError, "needs")
def needs_itself(parts: Parts) -> None:
    parts.dim(2)[5] = [2]


@attack(HeaderError, "each name once")
def needs_twice(parts: Parts) -> None:
    parts.dim(2)[5] = [1, 1]


@attack(HeaderError, "steps")
def needs_in_a_circle(parts: Parts) -> None:
    parts.dim(1).extend([[], [2]])


@attack(HeaderError, "steps")
def step_of_no_dim(parts: Parts) -> None:
    parts.manifest["steps"][0] = 3


@attack(HeaderError, "ends before")
def steps_cut_short(parts: Parts) -> None:
    parts.manifest["steps"].pop()


@attack(HeaderError, "beyond the last choice")
def steps_too_many(parts: Parts) -> None:
    parts.manifest["steps"].append(0)


@attack(HeaderError, "before its block")
def step_inside_a_skipped_block(parts: Parts) -> None:
    parts.manifest["steps"] = [0, 2, 1, 2, 0, 2]


@attack(HeaderError, "steps")
def steps_without_dims(parts: Parts) -> None:
    parts.manifest |= {"dims": [], "steps": [0]}


@attack(HeaderError, "each name once")
def point_twice(parts: Parts) -> None:
    parts.point(1)[0] = parts.point(0)[0]


@attack(HeaderError, "word of the reader")
def point_called_available(parts: Parts) -> None:
    parts.point(0)[0] = "available"


@attack(HeaderError, "printable")
def point_name_with_control_characters(parts: Parts) -> None:
    parts.point(0)[0] = "p\r0"


@attack(HeaderError, "position")
def point_beyond_the_order(parts: Parts) -> None:
    parts.point(4)[1] = 7


@attack(HeaderError, "position")
def point_before_the_order(parts: Parts) -> None:
    parts.point(0)[1] = -1


@attack(HeaderError, "rising")
def points_not_rising(parts: Parts) -> None:
    points = parts.manifest["points"]
    points[2], points[3] = points[3], points[2]


@attack(HeaderError, "rising")
def points_at_one_position(parts: Parts) -> None:
    parts.point(3)[1] = 2


@attack(HeaderError, "levels")
def extra_with_levels_too_few(parts: Parts) -> None:
    parts.point(1)[1] = [2, 0]


@attack(HeaderError, "integer")
def extra_with_a_level_beyond(parts: Parts) -> None:
    parts.point(1)[1] = [3, 0, 0]


@attack(HeaderError, "floor")
def extra_inside_a_skipped_block(parts: Parts) -> None:
    parts.point(1)[1] = [2, 0, 1]


@attack(HeaderError, "macs")
def point_macs_negative(parts: Parts) -> None:
    parts.point(0)[2] = -1


@attack(HeaderError, "params")
def point_params_a_text(parts: Parts) -> None:
    parts.point(0)[3] = "100"


@attack(HeaderError, "share")
def point_share_negative(parts: Parts) -> None:
    parts.point(0)[5] = -0.5


@attack(HeaderError, "share")
def point_share_a_bool(parts: Parts) -> None:
    parts.point(0)[5] = True


@attack(HeaderError, "metric")
def point_metric_a_text(parts: Parts) -> None:
    parts.point(0)[6] = {"accuracy": "high"}


@attack(HeaderError, "object")
def point_metrics_a_list(parts: Parts) -> None:
    parts.point(0)[6] = ["accuracy", 1.0]


@attack(HeaderError, "count")
def private_run_beyond_the_tensors(parts: Parts) -> None:
    parts.point(0)[7] = [[1, 10**12]]


@attack(HeaderError, "that the point has")
def private_of_a_skipped_block(parts: Parts) -> None:
    parts.point(0)[7] = [[3, 1]]


@attack(HeaderError, "each name once")
def private_twice(parts: Parts) -> None:
    parts.point(0)[7] = [[1, 1], [1, 1]]


@attack(ShapeError, "private")
def private_of_another_shape(parts: Parts) -> None:
    parts.point(0)[7] = [["stem.bn.weight", "F64", [8]]]


@attack(DtypeError, "dtype")
def private_of_objects(parts: Parts) -> None:
    parts.point(0)[7] = [["secret", "O", [1]]]


@attack(HeaderError, "list")
def private_a_number(parts: Parts) -> None:
    parts.point(0)[7] = 5


@attack(HeaderError, "integer")
def private_a_negative_side(parts: Parts) -> None:
    parts.point(0)[7] = [["secret", "F32", [-4]]]


@attack(HeaderError, "private tensors in all")
def private_run_bomb(parts: Parts) -> None:
    parts.point(4).append([[0, 10]] * 100_001)


@attack(HeaderError, "input")
def input_negative(parts: Parts) -> None:
    parts.manifest["architecture"]["inputs"] = [[[-1, 3], "F32"]]


@attack(DtypeError, "input")
def input_of_objects(parts: Parts) -> None:
    parts.manifest["architecture"]["inputs"] = [[[2, 3], "O"]]


@attack(HeaderError, "architecture")
def arguments_nested_deeply(parts: Parts) -> None:
    nested: Any = 1
    for _ in range(20):
        nested = [nested]
    parts.manifest["architecture"]["arguments"] = {"a": nested}
