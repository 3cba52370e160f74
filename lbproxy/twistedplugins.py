"""CONTROL. Plugins that ``twisted.plugin`` finds: objects in ``twisted/plugins/*.py``.

:mod:`lbproxy.registry` imports this module if a name is neither built in nor an entry point.
"""

from __future__ import annotations

from twisted.plugin import IPlugin, getPlugins
from zope.interface import Attribute, Interface, implementer

__all__ = ["IPluginClass", "PluginClass", "targets"]


class IPluginClass(Interface):
    """The interface of plugins in ``twisted/plugins``; see :class:`PluginClass`."""

    kind = Attribute("'balancer', 'filter' or 'probe'")
    name = Attribute("the word in the configuration")
    target = Attribute("'package.module:Class', imported when it is used")


@implementer(IPlugin, IPluginClass)
class PluginClass:
    """``mine = PluginClass("balancer", "mine", "mypackage.balance:Mine")`` in
    ``twisted/plugins/my_plugin.py``.
    """

    def __init__(self, kind: str, name: str, target: str) -> None:
        self.kind = kind
        self.name = name
        self.target = target


def targets(kind: str) -> dict[str, str]:
    """Return the name and the target of each plugin of one kind. Of two with one name the first
    counts.
    """
    found: dict[str, str] = {}
    for plugin in getPlugins(IPluginClass):
        if plugin.kind == kind:
            found.setdefault(plugin.name, plugin.target)
    return found
