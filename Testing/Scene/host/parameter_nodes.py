"""`slicer.parameterNodeWrapper`, which the slicer-core wheel leaves out: typed parameters, bound to widgets.

The part that the panel uses: int, float, bool, str, Path, Enum, nodes and unions of nodes; Minimum, Maximum, WithinRange,
Choice. What is stored in the parameter node is stored as by Slicer: str(value), an enum by its name, a node as a node
reference beside an empty parameter, and a member of a union under "name.<its place in the union>".
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing

import slicer
import vtk

WIDGET_PROPERTY = "SlicerParameterName"
PLAIN_TYPES = (int, float, bool, str)


class Default:
    def __init__(self, value: object) -> None:
        self.value = value


class Minimum:
    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum:
    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class WithinRange(Minimum, Maximum):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Choice:
    def __init__(self, choices: list) -> None:
        self.choices = list(choices)

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Parameter:
    """One typed parameter of a vtkMRMLScriptedModuleNode. TypeError for a type that this file does not know."""

    def __init__(self, name: str, hint: object, owner: type) -> None:
        annotated = typing.get_origin(hint) is typing.Annotated
        kind, *self.notes = typing.get_args(hint) if annotated else (hint,)
        self.name, self.union = name, typing.get_origin(kind) is typing.Union
        self.kinds = typing.get_args(kind) if self.union else (kind,)
        self.kind = self.kinds[0]
        self.is_node = _is(self.kind, slicer.vtkMRMLNode)
        self.is_enum = _is(self.kind, enum.Enum)
        if not (self.is_node or self.is_enum or self.kind in PLAIN_TYPES or _is(self.kind, pathlib.PurePath)):
            raise TypeError(f"The host has no serializer for {kind}.")
        if self.union and not all(_is(each, (slicer.vtkMRMLNode, type(None))) for each in self.kinds):
            raise TypeError(f"The host has no serializer for {kind}.")
        stated = next((note.value for note in self.notes if isinstance(note, Default)), None)
        self.default = getattr(owner, name, stated if stated is not None else self._default())

    def note(self, kind: type) -> object:
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def _default(self) -> object:
        if self.is_node:
            return None
        choice, least = self.note(Choice), self.note(Minimum)
        if choice:
            return choice.choices[0]
        return next(iter(self.kind)) if self.is_enum else self.kind(least.minimum) if least else self.kind()

    def check(self, value: object) -> None:
        if value is None and self.is_node:
            return
        allowed = (int, float) if self.kind is float else self.kinds
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)

    def is_in(self, node: object) -> bool:
        return any(node.GetParameter(stored) or stored in node.GetParameterNames() for stored in self._stored_names())

    def _stored_names(self) -> list[str]:
        return [f"{self.name}.{place}" for place in range(len(self.kinds))] if self.union else [self.name]

    def write(self, node: object, value: object) -> None:
        self.check(value)
        if not self.is_node:
            node.SetParameter(self.name, value.name if self.is_enum else str(float(value) if self.kind is float else value))
            return
        with slicer.util.NodeModify(node):
            for stored in self._stored_names():
                node.UnsetParameter(stored)
                node.RemoveNodeReferenceIDs(stored)
            place = next((i for i, kind in enumerate(self.kinds) if isinstance(value, kind)), 0)
            stored = self._stored_names()[place]
            node.SetParameter(stored, "True" if self.union and value is None else "")
            node.SetNodeReferenceID(stored, value.GetID() if value is not None else None)

    def read(self, node: object) -> object:
        if not self.is_in(node):  # a scene that was closed empties its parameter nodes
            self.write(node, self.default)
        if self.is_node:
            found = (node.GetNodeReference(stored) for stored in self._stored_names())
            return next((each for each in found if each is not None), None)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


class Connector:
    """A widget bound to a parameter. RuntimeError for a pair that Slicer cannot bind either."""

    def __init__(self, widget: object, parameter: Parameter) -> None:
        import ctk
        import qt

        self._widget, kind = widget, parameter.kind
        within, least, most = (parameter.note(each) for each in (WithinRange, Minimum, Maximum))
        if type(widget) is slicer.qMRMLNodeComboBox and parameter.is_node:
            widget.nodeTypes = [each().GetClassName() for each in parameter.kinds if each is not type(None)]
            self._signal, self.read, self.write = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        elif type(widget) is qt.QComboBox and (parameter.is_enum or parameter.note(Choice)):
            self._bind_choices(list(kind) if parameter.is_enum else parameter.note(Choice).choices, kind)
        elif type(widget) is qt.QCheckBox and kind is bool:
            self._bind_property(widget.stateChanged, "checked")
        elif type(widget) in (ctk.ctkSliderWidget, qt.QDoubleSpinBox) and kind is float:
            if within is None and type(widget) is ctk.ctkSliderWidget:
                raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float type is unbounded.")
            widget.minimum = least.minimum if least else float("-inf")
            widget.maximum = most.maximum if most else float("inf")
            self._bind_property(widget.valueChanged, "value")
        elif type(widget) in (qt.QSpinBox, qt.QSlider) and kind is int:
            if within is None and type(widget) is qt.QSlider:
                raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
            widget.setMinimum(least.minimum if least else -2**31)
            widget.setMaximum(most.maximum if most else 2**31 - 1)
            self._bind_property(widget.valueChanged, "value")
        elif type(widget) is ctk.ctkPathLineEdit and _is(kind, pathlib.PurePath):
            self._signal, self.read = widget.currentPathChanged, lambda: kind(widget.currentPath)
            self.write = lambda value: setattr(widget, "currentPath", str(value))
        elif type(widget) is qt.QLineEdit and kind is str:
            self._bind_property(widget.textChanged, "text")
        else:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'.")

    def _bind_property(self, signal: object, name: str) -> None:
        self._signal, self.read = signal, lambda: getattr(self._widget, name)
        self.write = lambda value: setattr(self._widget, name, value)

    def _bind_choices(self, choices: list, kind: type) -> None:
        self._widget.clear()
        for choice in choices:
            self._widget.addItem(getattr(kind, "label", lambda each: getattr(each, "name", str(each)))(choice))
        self._signal, self.read = self._widget.currentIndexChanged, lambda: choices[self._widget.currentIndex]
        self.write = lambda value: setattr(self._widget, "currentIndex", choices.index(value))

    def connect(self, callback) -> None:
        self._callback = lambda *values: callback()
        self._signal.connect(self._callback)

    def disconnect(self) -> None:
        self._signal.disconnect(self._callback)


class Wrapper:
    """What `@parameterNodeWrapper` makes of a class: attributes that read and write a parameter node."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode: object) -> None:
        self.parameterNode, self._bound, self._busy, self._tags = parameterNode, {}, False, 0
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def connectGui(self, gui: object) -> int:
        widgets = (each for each in vars(gui).values() if each.property(WIDGET_PROPERTY))
        return self.connectParametersToGui({each.property(WIDGET_PROPERTY): each for each in widgets})

    def connectParametersToGui(self, mapping: dict[str, object]) -> int:
        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
        connectors = {name: Connector(widget, self.allParameters[name]) for name, widget in mapping.items()}
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            connector.connect(lambda name=name, connector=connector: self._write_from(name, connector))
        self._tags += 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._write_to(connectors))
        self._bound[self._tags] = (connectors, observer)
        return self._tags

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._bound.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.disconnect()
        if observer is not None:
            self.RemoveObserver(observer)

    def _write_from(self, name: str, connector: Connector) -> None:
        if not self._busy:
            setattr(self, name, connector.read())

    def _write_to(self, connectors: dict[str, Connector]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            for name, connector in connectors.items():
                connector.write(getattr(self, name))
        finally:
            self._busy = False

    def getValue(self, name: str) -> object:
        return getattr(self, name)

    def setValue(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def default(self, name: str) -> Default:
        return Default(self.allParameters[name].default)

    def AddObserver(self, event: object, callback: object, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was_modifying: int) -> None:
        self.parameterNode.EndModify(was_modifying)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type) -> type:
    """Decorate a class of annotated names; what it makes takes the parameter node."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: Parameter(name, hint, cls) for name, hint in hints.items()}
    members = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__", *parameters)}
    members["allParameters"] = parameters
    for name, parameter in parameters.items():
        members[name] = property(lambda self, parameter=parameter: parameter.read(self.parameterNode),
                                 lambda self, value, parameter=parameter: parameter.write(self.parameterNode, value))
    return type(cls.__name__, (Wrapper,), members)


def make_module() -> types.ModuleType:
    """The module `slicer.parameterNodeWrapper`."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    public = (Default, Minimum, Maximum, WithinRange, Choice, parameterNodeWrapper)
    module.__dict__.update({each.__name__: each for each in public}, __all__=[each.__name__ for each in public])
    return module


def _is(kind: object, base: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)
