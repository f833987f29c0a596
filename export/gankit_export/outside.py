"""Somebody else's generator: from a class in a file, and its weights, to a module."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gankit._errors import ModelError, UsageError, one_line
from gankit_export.bridge import NAMED_KINDS
from gankit_train.compute.files import load_tensors

_USUAL = {"", "state_dict", "model_state_dict", "generator", "g", "netg", "gen", "model", "module", "_orig_mod"}
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Skipped = dict[str, tuple[int, BaseException | None]]
"""Names that a file would define: the line, and how it failed, or None where it was not run."""


def load(spec: str, weights: Path | None, init: dict[str, Any]) -> tuple[nn.Module, str]:
    """The module of `path/to/file.py:Class`, built and filled with weights, on the CPU; and what was before their names
    in the file, such as `G_ema.`.

    The file is not run as a script, as those train when they are: only its imports, its functions and classes, and
    its assignments without calls. `init` has the constructor's arguments; other names in it are globals of the file.

    Raises:
        UsageError: no such file or class, no weights given, or a class that cannot be built with this `init`.
        ModelError: weights that are damaged, want to run code, or do not fit.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise UsageError(f"there is no file {file or name!r}; a generator is written path/to/file.py:Class")
    if weights is None:
        raise UsageError(f"{spec} needs the weights that were trained: give their file with --weights")
    with _beside(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an old file does in an old way is not its user's concern
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not Python: {one_line(error)}") from error
        kind, skipped = _define(spec, tree, init)
        arguments = _arguments(kind, init)
        others = {key: value for key, value in init.items() if key not in arguments}
        takes = f"; it is built as {name}{inspect.signature(kind)}"
        if unread := others.keys() - {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
            raise UsageError(f"--init has {min(unread)!r}, which {name} does not take and its file never reads{takes}")
        if arguments:  # once more: what the constructor takes must not cover what the file itself calls so
            kind, skipped = _define(spec, tree, others)
        try:
            module = kind(**arguments)
        except Exception as error:
            raise _unbuilt(spec, error, skipped, takes) from error
    return module.cpu(), _fill(module, weights)


def _define(spec: str, tree: ast.Module, given: dict[str, Any]) -> tuple[type[nn.Module], Skipped]:
    """Runs what defines something, with `given` before and over all of it; finds the class."""
    file, _, name = spec.rpartition(":")
    module = ModuleType("outside_" + re.sub(r"\W", "_", Path(file).stem))  # a main.py must not be our __main__
    module.__file__, module.__path__ = file, [str(Path(file).parent)]  # the latter for `from .layers import X`
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    known, skipped = vars(module), Skipped()
    values = {key: tuple(value) if isinstance(value, list) else _value(value) for key, value in given.items()}
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    for node in tree.body:
        known.update(values)
        failed: BaseException | None = None
        if isinstance(node, _DEFINITIONS) or (isinstance(node, _ASSIGNMENTS) and _plain(node)):
            try:
                exec(compile(ast.Module([*futures, node], []), file, "exec", dont_inherit=True), known)
                continue
            except (Exception, SystemExit) as error:  # a neighbour that is a script parses its arguments and leaves
                failed = error
        skipped.update(dict.fromkeys(_names(node), (node.lineno, failed)))
    known.update(values)
    kinds = {key: each for key, each in known.items() if isinstance(each, type) and issubclass(each, nn.Module)}
    if name in kinds:
        return kinds[name], skipped
    line, failed = skipped.get(name, (0, None))
    if failed:
        raise _unbuilt(spec, failed, skipped) from failed
    here = [key for key, each in kinds.items() if each.__module__ == module.__name__]
    near = "".join(f"; did you mean {each}?" for each in get_close_matches(name, here, 1))
    near = f"; line {line}, which would define it, is not run" if line else near
    raise UsageError(f"{file} has no nn.Module {name!r}; it has {', '.join(here) or 'none at all'}{near}")


def _plain(node: ast.AST) -> bool:
    """Whether an assignment calls nothing and sets names only: an attribute may be a switch, as cudnn.benchmark is."""
    switch = isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    inside = node.args if isinstance(node, ast.Lambda) else node  # what a lambda calls, it calls later
    return not switch and not isinstance(node, ast.Call) and all(map(_plain, ast.iter_child_nodes(inside)))


def _names(node: ast.stmt) -> Iterator[str]:
    """What a statement would define."""
    for each in [node] if isinstance(node, _DEFINITIONS[2:]) else ast.walk(node):
        if isinstance(each, _DEFINITIONS[2:]):
            yield each.name
        elif isinstance(each, ast.alias):
            yield (each.asname or each.name).split(".")[0]
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


class _Options(dict[str, Any]):
    """A dict of --init whose entries are attributes too: most files read `opt.size`, some `opt["size"]`."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"--init gives it no {name!r}, only {', '.join(self)}")
        return self[name]


def _value(value: Any) -> Any:
    return _Options({key: _value(each) for key, each in value.items()}) if isinstance(value, dict) else value


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Lets a file import its neighbours; they are forgotten afterwards, as another folder may have others so named."""
    folder, before = path.parent.resolve(), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if folder in Path(getattr(sys.modules[name], "__file__", None) or "/").resolve().parents:
                del sys.modules[name]


def _arguments(kind: type[nn.Module], init: dict[str, Any]) -> dict[str, Any]:
    """What of `init` the constructor takes."""
    if kind.__init__ is nn.Module.__init__:  # its **kwargs are there to be refused
        return {}
    parameters = inspect.signature(kind).parameters.values()
    every = any(each.kind is each.VAR_KEYWORD for each in parameters)
    named = {each.name for each in parameters if each.kind in NAMED_KINDS}
    return {key: _value(value) for key, value in init.items() if every or key in named}


def _unbuilt(spec: str, error: BaseException, skipped: Skipped, takes: str = "") -> UsageError:
    """The error for a class that cannot be built; an undefined name is followed to what it depends on."""
    message, left = f"{spec} cannot be built: {type(error).__name__}: {one_line(error)}", dict(skipped)
    while isinstance(error, NameError):
        line, cause = left.pop(error.name or "", (0, None))
        if cause is None:
            where = f" (line {line} is not run)" if line else ""
            return UsageError(f"{message}; give {error.name}{where} in --init '{{\"{error.name}\": …}}'")
        if not isinstance(cause, NameError):
            return UsageError(f"{message}; {error.name} is of line {line}, which failed: {one_line(cause)}")
        error = cause
    return UsageError(message + takes)


def _fill(module: nn.Module, path: Path) -> str:
    """Loads the state dict in a file that fits a module best; averaged weights win over others that fit as well.

    Returns:
        What stands before the names of those that were taken.
    """
    flat = dict(_tensors(load_tensors(path)))
    expected = {key: each for key, each in module.state_dict().items() if isinstance(each, Tensor)}
    dots = {key: [0, *(dot.end() for dot in re.finditer(r"\.", key))] for key in flat}
    prefixes = {key[:at] for key, places in dots.items() for at in places if key[at:] in expected} or {""}

    def misfits(prefix: str) -> dict[str, list[str]]:
        found = {key.removeprefix(prefix): each for key, each in flat.items() if key.startswith(prefix)}
        both = [key for key in expected if key in found and not is_lazy(expected[key])]
        return {
            # The counts of batches came late to batch normalisation, and nothing here reads them.
            "missing": [key for key in expected if key not in found and not key.endswith("num_batches_tracked")],
            "unexpected": [key for key in found if key not in expected],
            "of another shape": [
                f"{key} {list(found[key].shape)} for {list(expected[key].shape)}"
                for key in both
                if found[key].shape != expected[key].shape
            ],
        }

    def rank(prefix: str) -> tuple[int, bool, bool]:
        averaged = re.search(r"(?<![a-z])ema(?![a-z])", prefix.lower())
        return sum(map(len, misfits(prefix).values())), not averaged, not set(prefix.lower().split(".")) <= _USUAL

    best, *others = sorted(prefixes, key=rank)
    if rank(best)[0]:
        bad = {what: keys for what, keys in misfits(best).items() if keys}
        told = "; ".join(f"{what}: {', '.join(keys[:3])}{', …' * (len(keys) > 3)}" for what, keys in bad.items())
        hint = "; --init may give other sizes than those trained with" * ("of another shape" in bad)
        raise ModelError(f"{path} does not fit {type(module).__name__}: {told}{hint}")
    if others and rank(others[0]) == rank(best):
        raise ModelError(f"in {path} both {best!r} and {others[0]!r} fit: save the one that is meant by itself")
    module.load_state_dict({key: flat[best + key] for key in expected if best + key in flat}, strict=False)
    return best


def _tensors(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dicts, by their keys joined with dots."""
    for key, each in value.items() if isinstance(value, Mapping) else ():
        if isinstance(each, Tensor):
            yield f"{prefix}{key}", each
        elif depth < 3:  # a file may hold itself
            yield from _tensors(each, f"{prefix}{key}.", depth + 1)
