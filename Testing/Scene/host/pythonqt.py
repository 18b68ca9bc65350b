"""PythonQt's way of using Qt objects, over PySide6.

Reading an attribute gives a property's value, else a method or signal, else a dynamic property, else the child of that
objectName. Writing sets a property (a value of a wrong type is an AttributeError), else a dynamic property; a C++ object
takes no new attributes. `connect("clicked(bool)", f)` works by C++ signature, and a slot gets at most as many arguments
as it takes. As in PythonQt an exception in a slot is printed and work goes on; here it is also kept in `slot_errors`.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
import traceback
import types

import shiboken6
from PySide6 import QtCore

slot_errors: list[Exception] = []
_native_of: dict[type, type] = {}   # class with these semantics -> class of PySide6
_adapted: dict[type, type] = {}     # and back
_signatures: dict[tuple[str, str], str] = {}  # (class name, signature that PySide6 cannot express) -> name of the signal
_OWN_METHODS = ("connect", "disconnect", "findChild", "findChildren", "className", "inherits", "delete")
_QObjectMeta = type(QtCore.QObject)
_REFUSED = object()


class AdaptedMeta(_QObjectMeta):
    """Lets isinstance and issubclass see the PySide6 class behind one of ours."""

    def __instancecheck__(cls, instance: object) -> bool:
        native = _native_of.get(cls)
        return isinstance(instance, native) if native not in (None, cls) else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        native = _native_of.get(cls)
        return _QObjectMeta.__subclasscheck__(native if native not in (None, cls) else cls, subclass)


class BoundSignal:
    """What `button.clicked` is: connect, disconnect, emit."""

    def __init__(self, owner: QtCore.QObject, name: str, native: object) -> None:
        self._owner, self._name, self._native = owner, name, native

    def _connections(self) -> list:
        table = object.__getattribute__(self._owner, "__dict__").setdefault("_connections", {})
        return table.setdefault(self._name, [])

    def connect(self, slot) -> bool:
        wrapped = _guarded(slot)
        self._connections().append((slot, wrapped))
        self._native.connect(wrapped)
        return True

    def disconnect(self, slot=None) -> bool:
        found = [pair for pair in self._connections() if slot is None or pair[0] == slot]
        for pair in found:
            self._native.disconnect(pair[1])
            self._connections().remove(pair)
        return bool(found)

    def emit(self, *values: object) -> None:
        self._native.emit(*values)


class PythonQt:
    """Mixin that stands before a PySide6 class and gives it PythonQt's semantics."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("_"):
            return super().__getattribute__(name)
        if name in _OWN_METHODS:  # shiboken finds its own connect and disconnect before a mixin's
            return types.MethodType(PythonQt.__dict__[name], self)
        state = super().__getattribute__("__dict__")
        if state.get("_reading"):  # a property getter may itself look for a Python override
            return super().__getattribute__(name)
        state["_reading"] = True
        try:
            return PythonQt._read(self, name)
        finally:
            state["_reading"] = False

    def _read(self, name: str) -> object:
        found = _find_property(self, name)
        if found is not None:
            value = found.read(self)
            return tuple(value) if found.typeName() == "QStringList" else value
        try:
            value = super().__getattribute__(name)
        except AttributeError:
            return _read_unknown(self, name)
        return BoundSignal(self, name, value) if isinstance(value, QtCore.SignalInstance) else value

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            return super().__setattr__(name, value)
        found = _find_property(self, name)
        if found is not None:
            return _write_property(self, found, name, value)
        if QtCore.QObject.property(self, name) is not None:
            QtCore.QObject.setProperty(self, name, value)
        elif isinstance(value, QtCore.QObject) and QtCore.QObject.objectName(value) == name:
            pass  # glue of PySide6's loader; a child is found by its name anyway
        elif type(self) not in _native_of:
            super().__setattr__(name, value)
        elif hasattr(type(self), name):
            raise AttributeError(f"Slot/Signal '{name}' can not be overwritten")
        else:
            raise AttributeError(f"'{name}' does not exist on {type(self).__name__}; a C++ object takes no new attributes")

    def connect(self, signal: str, slot, *options: object) -> bool:
        return _signal_by_signature(self, signal).connect(slot)

    def disconnect(self, signal: str, slot=None) -> bool:
        return _signal_by_signature(self, signal).disconnect(slot)

    def className(self) -> str:
        return QtCore.QObject.metaObject(self).className()

    def inherits(self, class_name: str) -> bool:
        return QtCore.QObject.inherits(self, class_name)

    def findChildren(self, kind=QtCore.QObject, name: str | None = None) -> list:
        if isinstance(kind, str):  # PythonQt also takes the name of a class
            found = QtCore.QObject.findChildren(self, QtCore.QObject)
            return [child for child in found if QtCore.QObject.inherits(child, kind)]
        return QtCore.QObject.findChildren(self, _native_of.get(kind, kind), *([name] if name else []))

    def findChild(self, kind=QtCore.QObject, name: str | None = None) -> object:
        return next(iter(PythonQt.findChildren(self, kind, name)), None)

    def delete(self) -> None:
        shiboken6.delete(self)


def adapt(native: type) -> type:
    """The class of the same name with PythonQt's semantics; the same one every time."""
    if native not in _adapted:
        _adapted[native] = AdaptedMeta(native.__name__, (PythonQt, native), {"__module__": "qt"})
        _native_of[_adapted[native]] = native
    return _adapted[native]


def as_cpp_class(cls: type, signatures: dict[str, str] | None = None) -> type:
    """Make a widget written in Python behave as one of C++: no new attributes, and signals by these signatures."""
    _native_of[cls] = cls
    for signature, name in (signatures or {}).items():
        _signatures[cls.__name__, _normalized(signature)] = name
    return cls


def _find_property(instance: QtCore.QObject, name: str) -> QtCore.QMetaProperty | None:
    if not shiboken6.isValid(instance):  # reading on would crash
        raise ValueError(f"Trying to use '{name}' of a destroyed {type(instance).__name__} object")
    meta = QtCore.QObject.metaObject(instance)
    index = meta.indexOfProperty("objectName" if name == "name" else name)
    return meta.property(index) if index >= 0 else None


def _read_unknown(instance: QtCore.QObject, name: str) -> object:
    value = QtCore.QObject.property(instance, name)
    if value is not None:
        return value
    for child in QtCore.QObject.children(instance):
        if QtCore.QObject.objectName(child) == name:
            return child
    class_name = QtCore.QObject.metaObject(instance).className()
    raise AttributeError(f"{class_name} has no attribute named '{name}'")


def _write_property(instance: QtCore.QObject, found: QtCore.QMetaProperty, name: str, value: object) -> None:
    if not found.isWritable():
        raise AttributeError(f"Property '{name}' of {type(instance).__name__} object is not writable")
    try:
        converted = _converted(found, value)
    except (TypeError, ValueError):
        converted = _REFUSED
    if converted is _REFUSED or not found.write(instance, converted):
        raise AttributeError(f"Property '{name}' of type '{found.typeName()}' does not accept an object of type "
                             f"{type(value).__name__} ({value!r})")


def _converted(found: QtCore.QMetaProperty, value: object) -> object:
    """As PythonQt converts: bool by truth, int by floor, double by float, QString by str."""
    kind = found.typeName()
    if kind == "bool":
        return bool(value)
    if kind == "int" and not found.isEnumType():
        return math.floor(value) if isinstance(value, float) else operator.index(value)
    if kind == "double":
        return float(value)
    if kind == "QString":
        return str(value)
    if kind == "QStringList":
        return [str(item) for item in value]
    return value


def _guarded(slot):
    count = _argument_count(slot)

    def guarded(*values: object) -> None:
        try:
            slot(*(values if count is None else values[:count]))
        except Exception as error:
            slot_errors.append(error)
            traceback.print_exc()

    return guarded


def _argument_count(slot) -> int | None:
    """How many arguments PythonQt hands to `slot`; None for all, as to partials and to functions with *args."""
    if isinstance(slot, types.MethodType) and isinstance(slot.__func__, types.FunctionType):
        code, bound = slot.__func__.__code__, 1
    elif isinstance(slot, types.FunctionType):
        code, bound = slot.__code__, 0
    else:
        return None
    return None if code.co_flags & inspect.CO_VARARGS else code.co_argcount - bound


def _normalized(signature: str) -> str:
    signature = re.sub(r"^\d", "", signature)  # the form "2clicked(bool)"
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def _signal_by_signature(instance: QtCore.QObject, signature: str) -> BoundSignal:
    signature = _normalized(signature)
    name, arguments = signature[:-1].split("(", 1)
    native_attribute = super(PythonQt, instance).__getattribute__
    for cls in type(instance).__mro__:
        if (cls.__name__, signature) in _signatures:
            return BoundSignal(instance, signature, native_attribute(_signatures[cls.__name__, signature]))
    meta = QtCore.QObject.metaObject(instance)
    methods = (meta.method(index) for index in range(meta.methodCount()))
    signals = (method for method in methods if method.methodType() == QtCore.QMetaMethod.MethodType.Signal)
    if signature not in (bytes(method.methodSignature().data()).decode() for method in signals):
        raise AttributeError(f"signal {signature!r} does not exist on {meta.className()}")
    native = native_attribute(name)
    if arguments:
        try:
            native = native[tuple(arguments.split(",")) if "," in arguments else arguments]
        except (KeyError, IndexError, TypeError):
            pass  # not overloaded
    return BoundSignal(instance, signature, native)
