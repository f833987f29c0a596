"""Loads a generator class from a user's Python file, without running the file as a script."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from torch import nn

from gankit._errors import UsageError, one_line
from gankit_export.adapter import KEYWORD_KINDS
from gankit_export.weights import load_weights

_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_IMPORTS = (ast.Import, ast.ImportFrom)
_FUNCTIONS_AND_CLASSES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Undefined(NamedTuple):
    """Why a name that a statement of the file would define is not defined."""

    line: int
    error: BaseException | None
    """How the statement failed; None if it was not run."""


_UndefinedNames = dict[str, _Undefined]


def load_user_module(spec: str, weights: Path | None, init: dict[str, Any]) -> tuple[nn.Module, str]:
    """Builds a class of a Python file and fills it with weights.

    Only the file's imports, functions, classes and assignments without calls are run, as a training script would start
    to train if it were run as a whole.

    Args:
        spec: `path/to/file.py:Class`.
        weights: a file with the class's state dict; see `load_weights`.
        init: arguments of the constructor, by name. Other names become globals of the file, in place of its own.

    Returns:
        The module on the CPU, and the prefix of its weights' names in the file, such as `G_ema.`.

    Raises:
        UsageError: no such file or class, no weights given, or a class that cannot be built with this `init`.
        ModelError: weights that are damaged, want to run code, or do not fit.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise UsageError(f"there is no file {file or name!r}; name a generator as path/to/file.py:Class")
    if weights is None:
        raise UsageError(f"{spec} needs its trained weights: give their file with --weights")
    with _sibling_imports(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in the user's file
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not Python: {one_line(error)}") from error
        module = _build(spec, tree, init)
    return module.cpu(), load_weights(module, weights)


def _build(spec: str, tree: ast.Module, init: dict[str, Any]) -> nn.Module:
    """An instance of the class that `spec` names. Raises UsageError as `load_user_module` does."""
    name = spec.rpartition(":")[2]
    kind, undefined = _find_class(spec, tree, init)
    arguments = _constructor_arguments(kind, init)
    other_names = {key: value for key, value in init.items() if key not in arguments}
    signature = f"; it is built as {name}{inspect.signature(kind)}"
    if unused := other_names.keys() - {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        raise UsageError(f"--init has {min(unused)!r}, which neither {name} nor its file uses{signature}")
    if arguments:  # run the file again, as an argument must not replace a global that has the same name
        kind, undefined = _find_class(spec, tree, other_names)
    try:
        return kind(**arguments)
    except Exception as error:
        raise _build_error(spec, error, undefined, signature) from error


def _find_class(spec: str, tree: ast.Module, init: dict[str, Any]) -> tuple[type[nn.Module], _UndefinedNames]:
    """Runs the definitions in a file, with the globals in `init`; returns the class and the undefined names."""
    file, _, name = spec.rpartition(":")
    module = ModuleType("user_module_" + re.sub(r"\W", "_", Path(file).stem))  # a main.py must not be __main__
    module.__file__, module.__path__ = file, [str(Path(file).parent)]  # the path, for `from .layers import X`
    sys.modules[module.__name__] = module  # where dataclasses look themselves up
    values = {key: tuple(each) if isinstance(each, list) else _to_attributes(each) for key, each in init.items()}
    undefined = _run_definitions(tree, file, vars(module), values)
    classes = {
        key: each for key, each in vars(module).items() if isinstance(each, type) and issubclass(each, nn.Module)
    }
    if name in classes:
        return classes[name], undefined
    missing = undefined.get(name)
    if missing and missing.error:
        raise _build_error(spec, missing.error, undefined) from missing.error
    own = [key for key, each in classes.items() if each.__module__ == module.__name__]
    hint = "".join(f"; did you mean {each}?" for each in get_close_matches(name, own, 1))
    if missing:
        hint = f"; line {missing.line}, which would define it, is not run"
    raise UsageError(f"{file} has no nn.Module {name!r}; it has {', '.join(own) or 'none'}{hint}")


def _run_definitions(tree: ast.Module, file: str, scope: dict[str, Any], values: dict[str, Any]) -> _UndefinedNames:
    """Runs the statements that only define something, one by one; `values` replace globals of the same names."""
    undefined = _UndefinedNames()
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    for node in tree.body:
        scope.update(values)
        failure: BaseException | None = None
        if isinstance(node, (*_IMPORTS, *_FUNCTIONS_AND_CLASSES)) or _is_plain_assignment(node):
            try:
                exec(compile(ast.Module([*futures, node], []), file, "exec", dont_inherit=True), scope)
                continue
            except (Exception, SystemExit) as error:  # SystemExit: an imported script that parses arguments
                failure = error
        undefined.update(dict.fromkeys(_defined_names(node), _Undefined(node.lineno, failure)))
    scope.update(values)
    return undefined


def _is_plain_assignment(node: ast.stmt) -> bool:
    """Whether a statement is an assignment to names that calls nothing.

    Assignments to attributes are left out: they may be switches of a library, such as `cudnn.benchmark = True`.
    """
    return isinstance(node, _ASSIGNMENTS) and _has_no_effect(node)


def _has_no_effect(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return False
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        return False
    executed = node.args if isinstance(node, ast.Lambda) else node  # the body of a lambda is not run yet
    return all(map(_has_no_effect, ast.iter_child_nodes(executed)))


def _defined_names(node: ast.stmt) -> Iterator[str]:
    """The names that a statement would define."""
    for each in [node] if isinstance(node, _FUNCTIONS_AND_CLASSES) else ast.walk(node):
        if isinstance(each, _FUNCTIONS_AND_CLASSES):
            yield each.name
        elif isinstance(each, ast.alias):
            yield (each.asname or each.name).split(".")[0]
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


class _AttributeDict(dict[str, Any]):
    """A dict whose entries are attributes too: most files read `opt.size`, some `opt["size"]`."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"--init gives it no {name!r}, only {', '.join(self)}")
        return self[name]


def _to_attributes(value: Any) -> Any:
    """Dicts as `_AttributeDict`, nested ones too; other values as they are."""
    if not isinstance(value, dict):
        return value
    return _AttributeDict({key: _to_attributes(each) for key, each in value.items()})


@contextmanager
def _sibling_imports(path: Path) -> Iterator[None]:
    """Lets a file import modules of its folder. They are unloaded at the end: other folders may have the same names."""
    folder, before = path.parent.resolve(), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if folder in Path(getattr(sys.modules[name], "__file__", None) or "/").resolve().parents:
                del sys.modules[name]


def _constructor_arguments(kind: type[nn.Module], init: dict[str, Any]) -> dict[str, Any]:
    """The entries of `init` that the constructor takes."""
    if kind.__init__ is nn.Module.__init__:  # its **kwargs only exist to be refused
        return {}
    parameters = inspect.signature(kind).parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    names = {each.name for each in parameters if each.kind in KEYWORD_KINDS}
    return {key: _to_attributes(value) for key, value in init.items() if takes_any or key in names}


def _build_error(spec: str, error: BaseException, undefined: _UndefinedNames, signature: str = "") -> UsageError:
    """The error for a class that cannot be built. An undefined name is traced back to the line that would define it."""
    message, remaining = f"{spec} cannot be built: {type(error).__name__}: {one_line(error)}", dict(undefined)
    while isinstance(error, NameError):
        name = error.name or ""
        missing = remaining.pop(name, None)
        if missing is None or missing.error is None:
            where = f" (line {missing.line} is not run)" if missing else ""
            return UsageError(f"{message}; give {name}{where} in --init '{{\"{name}\": …}}'")
        if not isinstance(missing.error, NameError):
            reason = one_line(missing.error)
            return UsageError(f"{message}; {name} is defined in line {missing.line}, which failed: {reason}")
        error = missing.error
    return UsageError(message + signature)
