"""Import paths name what another process can import, and nothing else."""

from __future__ import annotations

import sys
import types
from functools import partial

import pytest
import remote_domain

from eskernel.errors import InvalidDomain, NotImportable
from eskernel.remote.paths import import_object, importing, path_of


class Holder:
    """Things that are named within a class."""

    class Inner:
        pass

    @staticmethod
    def static():
        pass

    @classmethod
    def of_class(cls):
        pass

    def method(self):
        pass


def function():
    pass


def outer():
    def nested():
        pass

    return nested


instance = Holder()
shadowed = function


def hidden():
    pass


taken, hidden = hidden, function


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (remote_domain, "remote_domain"),
        (types, "types"),
        (function, f"{__name__}:function"),
        (shadowed, f"{__name__}:function"),
        (Holder, f"{__name__}:Holder"),
        (Holder.Inner, f"{__name__}:Holder.Inner"),
        (Holder.static, f"{__name__}:Holder.static"),
        (Holder.method, f"{__name__}:Holder.method"),
        (len, "builtins:len"),
        (remote_domain.tagging, "remote_domain:tagging"),
    ],
)
def test_what_has_a_name_in_a_module_is_found_under_it(given, path):
    assert path_of(given) == path
    assert import_object(path) is given


def test_a_path_is_taken_as_it_is():
    assert path_of("no.such:thing") == "no.such:thing"


@pytest.mark.parametrize(
    "given",
    [
        lambda state: state,
        outer(),
        instance,
        instance.method,
        Holder.of_class,
        taken,
        partial(function),
        [].append,
        7,
        None,
        types.ModuleType("made_at_run_time"),
        types.SimpleNamespace(__module__="json", __qualname__="dumps"),
        types.SimpleNamespace(__module__=7, __qualname__="x"),
    ],
)
def test_what_another_process_could_not_import_is_refused(given):
    with pytest.raises(NotImportable, match=r"import path|name to import"):
        path_of(given)


def test_what_is_in_the_script_that_was_started_is_refused(monkeypatch):
    monkeypatch.setattr(function, "__module__", "__main__")
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    for given in (function, main):
        with pytest.raises(NotImportable, match="script that was started"):
            path_of(given)


@pytest.mark.parametrize(
    "path",
    [
        *("", ":", "no.such.module", "remote_domain:nothing", "remote_domain:TYPE.nothing"),
        *(".relative", "remote_domain:TYPE:x", "half \ud800", "raises_when_imported", "nul\0"),
    ],
)
def test_what_is_not_found_is_named_with_the_reason(path, tmp_path, monkeypatch):
    (tmp_path / "raises_when_imported.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotImportable) as missing:
        import_object(path)
    assert repr(path) in str(missing.value)
    assert missing.value.__cause__ is not None
    with pytest.raises(InvalidDomain, match="domain 'x'") as refused:
        importing("domain 'x'", path, InvalidDomain)
    assert type(refused.value.__cause__) is type(missing.value.__cause__)


def test_a_path_without_names_is_the_module():
    assert import_object("remote_domain:") is remote_domain
    assert importing("it", "remote_domain:TYPE", InvalidDomain) == remote_domain.TYPE
