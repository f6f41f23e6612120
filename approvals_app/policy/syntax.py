"""What a CEL expression does, read from its syntax tree: cel/expr/{syntax,checked}.proto."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

NULL, BOOL, NUMBER, TEXT, LIST, OBJECT, OTHER = (
    "null", "bool", "number", "text", "list", "object", "other",
)  # fmt: skip
"""Kinds of JSON values, and one for what JSON can't carry."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}
_MESSAGES: Final = {
    "CheckedExpr": {"reference_map": (2, "ReferenceEntry*"), "expr": (4, "Expr")},
    "ReferenceEntry": {"value": (2, "Reference")},
    "Reference": {"overload_id": (3, "string*")},
    "Expr": {
        "id": (2, "int64"),
        "const_expr": (3, "Constant"),
        "ident_expr": (4, "Ident"),
        "select_expr": (5, "Select"),
        "call_expr": (6, "Call"),
        "list_expr": (7, "CreateList"),
        "struct_expr": (8, "CreateStruct"),
        "comprehension_expr": (9, "Comprehension"),
    },
    "Constant": {
        "null_value": (1, "uint64"),
        "bool_value": (2, "bool"),
        "int64_value": (3, "int64"),
        "uint64_value": (4, "uint64"),
        "double_value": (5, "double"),
        "string_value": (6, "string"),
        "bytes_value": (7, "bytes"),
    },
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "Expr*")},
    "CreateList": {"elements": (1, "Expr*")},
    "CreateStruct": {"entries": (2, "Entry*")},
    "Entry": {"map_key": (3, "Expr"), "value": (4, "Expr")},
    "Comprehension": {
        "iter_var": (1, "string"),
        "iter_var2": (8, "string"),
        "iter_range": (2, "Expr"),
        "accu_var": (3, "string"),
        "accu_init": (4, "Expr"),
        "loop_condition": (5, "Expr"),
        "loop_step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
"""The messages, with the fields that are read here; protobuf keeps the others unread."""

TYPE_URL: Final = "type.googleapis.com/cel.expr.CheckedExpr"
EQUALITY: Final = {"_==_", "_!=_"}
MEMBERSHIP: Final = "@in"
INDEXING: Final = {"_[_]", "_[?_]", "_?._"}


def _define_messages() -> Any:
    """The class of CheckedExpr."""
    package = "orchestrator.cel"
    file = descriptor_pb2.FileDescriptorProto(name="cel.proto", package=package, syntax="proto3")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            base = kind.removesuffix("*")
            label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            added = message.field.add(name=member, number=number, label=label)
            if base in _SCALARS:
                added.type = _SCALARS[base]
                if name == "Constant":  # a zero is told from what is not there
                    added.proto3_optional, added.oneof_index = True, len(message.oneof_decl)
                    message.oneof_decl.add(name=f"_{member}")
            else:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{package}.{base}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.CheckedExpr"))


CheckedExpr = _define_messages()


Path = tuple[str | int, ...]
"""A variable, then the members and positions that lead into it: ``("data", "lines", 0)``."""


@dataclass(slots=True)
class Traits:
    """What an expression reads and does.

    ``adds_bytes`` tells of bytes that are joined, ``repeats_key`` of a map with equal numbers as
    keys, which the runtime takes for different ones. ``members`` holds the top-level members that
    it reads of each variable, or None for one that it may read whole. ``compared`` holds, for each
    path into a variable that is compared with constants, their kinds; paths whose type the
    expression asks for are left out. ``constants`` are the largest calls without a variable, each
    as a serialized expression that errs where the call does. ``calls`` pairs each function with its
    arguments, the target first: a literal text, or None.
    """

    loops: bool = False
    adds_bytes: bool = False
    repeats_key: bool = False
    members: dict[str, set[str] | None] = field(default_factory=dict)
    compared: dict[Path, set[str]] = field(default_factory=dict)
    constants: list[bytes] = field(default_factory=list)
    calls: list[tuple[str, list[str | None]]] = field(default_factory=list)


def read_traits(serialized: bytes, variables: frozenset[str]) -> Traits:
    """The traits over ``variables`` of a serialized expression: a CheckedExpr in an Any."""
    checked = CheckedExpr.FromString(any_pb2.Any.FromString(serialized).value)
    reader = _Reader(checked, variables)
    reader.traits.adds_bytes = any(
        list(entry.value.overload_id) == ["add_bytes"] for entry in checked.reference_map
    )
    reader.read(checked.expr, frozenset())
    for path in reader.typed:
        reader.traits.compared.pop(path, None)
    return reader.traits


class _Reader:
    def __init__(self, checked: Any, variables: frozenset[str]) -> None:
        self.traits = Traits()
        self.typed: set[Path] = set()
        self._checked, self._variables = checked, variables

    def read(self, node: Any, bound: frozenset[str], *, inside_constant: bool = False) -> None:
        """Note the traits of ``node``, where ``bound`` names the variables of loops."""
        if node.HasField("call_expr") and not inside_constant and self._is_constant(node, bound):
            self._note_constant(node)
            inside_constant = True
        path = self._find_path(node, bound)
        if path:
            self._note_path(path)
            return
        if node.HasField("call_expr"):
            self._read_call(node.call_expr, bound)
        elif node.HasField("comprehension_expr"):
            self.traits.loops |= _takes_steps(node.comprehension_expr)
        elif node.HasField("struct_expr"):
            keys = [_read_number(entry.map_key) for entry in node.struct_expr.entries]
            numbers = [key for key in keys if key is not None]
            self.traits.repeats_key |= len(set(numbers)) < len(numbers)
        for child, names in _list_children(node, bound):
            self.read(child, names, inside_constant=inside_constant)

    def _read_call(self, call: Any, bound: frozenset[str]) -> None:
        arguments = [*([call.target] if call.HasField("target") else []), *call.args]
        self.traits.calls.append((call.function, [_read_text(each) for each in arguments]))
        if call.function == "type":
            path = self._find_path(call.args[0], bound)
            self.typed |= {path} if path else set()
        if call.function in EQUALITY:
            left, right = call.args
            self._note_comparison(left, [right], bound)
            self._note_comparison(right, [left], bound)
        elif call.function == MEMBERSHIP and call.args[1].HasField("list_expr"):
            self._note_comparison(call.args[0], call.args[1].list_expr.elements, bound)

    def _note_comparison(self, node: Any, others: Any, bound: frozenset[str]) -> None:
        path = self._find_path(node, bound)
        kinds = [_kind(other) for other in others]
        known = {kind for kind in kinds if kind}
        if path and len(path) > 1 and known and None not in kinds:
            self.traits.compared.setdefault(path, set()).update(known)

    def _note_path(self, path: Path) -> None:
        variable = str(path[0])
        members = self.traits.members.setdefault(variable, set())
        if members is not None:
            if len(path) > 1 and isinstance(path[1], str):
                members.add(path[1])
            else:
                self.traits.members[variable] = None

    def _find_path(self, node: Any, bound: frozenset[str]) -> Path | None:
        """``("data", "a", "b")`` for ``data.a.b``, ``data["a"].?b`` and the like."""
        if node.HasField("ident_expr"):
            name = node.ident_expr.name.removeprefix(".")
            return (name,) if name in self._variables and name not in bound else None
        if node.HasField("select_expr"):
            operand, member = node.select_expr.operand, node.select_expr.field
        elif node.HasField("call_expr") and node.call_expr.function in INDEXING:
            operand, key = node.call_expr.args
            member = _read_key(key)
        else:
            return None
        path = self._find_path(operand, bound)
        return (*path, member) if path and member is not None else None

    def _is_constant(self, node: Any, bound: frozenset[str]) -> bool:
        if node.HasField("ident_expr"):
            name = node.ident_expr.name
            return name.removeprefix(".") not in self._variables and name not in bound
        return all(self._is_constant(child, names) for child, names in _list_children(node, bound))

    def _note_constant(self, node: Any) -> None:
        # As [node] == []: a boolean, since not every value can be read from Python.
        whole = CheckedExpr()
        whole.CopyFrom(self._checked)  # the types and references of all nodes stay
        whole.expr.Clear()
        whole.expr.call_expr.function = "_==_"
        left, right = whole.expr.call_expr.args.add(), whole.expr.call_expr.args.add()
        left.list_expr.elements.add().CopyFrom(node)
        right.list_expr.SetInParent()
        packed = any_pb2.Any(type_url=TYPE_URL, value=whole.SerializeToString())
        self.traits.constants.append(packed.SerializeToString())


def _takes_steps(loop: Any) -> bool:
    # cel.bind is a loop over an empty list.
    return not loop.iter_range.HasField("list_expr") or bool(loop.iter_range.list_expr.elements)


def _list_children(node: Any, bound: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    """The nodes right below ``node``, each with the loop variables in scope."""
    if node.HasField("select_expr"):
        yield node.select_expr.operand, bound
    elif node.HasField("call_expr"):
        if node.call_expr.HasField("target"):
            yield node.call_expr.target, bound
        for argument in node.call_expr.args:
            yield argument, bound
    elif node.HasField("list_expr"):
        for element in node.list_expr.elements:
            yield element, bound
    elif node.HasField("struct_expr"):
        for entry in node.struct_expr.entries:
            yield entry.map_key, bound
            yield entry.value, bound
    elif node.HasField("comprehension_expr"):
        loop = node.comprehension_expr
        yield loop.iter_range, bound
        yield loop.accu_init, bound
        accumulator = bound | {loop.accu_var}
        inside = accumulator | {loop.iter_var, loop.iter_var2} - {""}
        yield loop.loop_condition, inside
        yield loop.loop_step, inside
        yield loop.result, accumulator


def _read_text(node: Any) -> str | None:
    """The value of a literal text, or None."""
    return node.const_expr.string_value if _kind(node) == TEXT else None


def _read_key(node: Any) -> str | int | None:
    """The value of a literal text or whole number, or None."""
    if node.const_expr.HasField("int64_value"):
        return int(node.const_expr.int64_value)
    return _read_text(node)


def _read_number(node: Any) -> int | None:
    """The value of a literal whole number, or None."""
    for member in ("int64_value", "uint64_value"):
        if node.const_expr.HasField(member):
            return int(getattr(node.const_expr, member))
    return None


def _kind(node: Any) -> str | None:
    """The kind of a literal, or None for anything else."""
    if node.HasField("list_expr"):
        return LIST
    if node.HasField("struct_expr"):
        return OBJECT
    if node.HasField("call_expr"):
        is_negative = node.call_expr.function == "-_" and _kind(node.call_expr.args[0]) == NUMBER
        return NUMBER if is_negative else None
    if not node.HasField("const_expr"):
        return None
    constant = node.const_expr
    kinds = {
        "null_value": NULL,
        "bool_value": BOOL,
        "int64_value": NUMBER,
        "uint64_value": NUMBER,
        "double_value": NUMBER,
        "string_value": TEXT,
        "bytes_value": OTHER,
    }
    return next(kind for member, kind in kinds.items() if constant.HasField(member))
