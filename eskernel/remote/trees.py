"""Trees: nodes of a supervision tree as plain values, and back."""

from __future__ import annotations

from typing import Any

from eskernel.actors.tree import Node


def node_to_fields(node: Node) -> list[Any]:
    """Return a node and all below it as plain values; Pykka's references stay where they are."""
    below = [node_to_fields(child) for child in node.children]
    return [node.name, node.actor, node.alive, node.queued, node.restarts, below]


def fields_to_node(fields: list[Any]) -> Node:
    """Return the node, without a reference."""
    name, actor, alive, queued, restarts, below = fields
    return Node(name, actor, None, alive, queued, restarts, tuple(map(fields_to_node, below)))
