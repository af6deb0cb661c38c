/**
 * Draws a tree of HTML elements with React. Where `components` has one of an element's name, it is drawn instead and
 * given the node. Knows what Markdown makes, which is a small part of HTML.
 */
import type { Element, Properties, Root } from "hast";
import { type ComponentType, createElement, Fragment, type ReactNode } from "react";

/** Between the parts of a table React allows no white space. */
const TABLE_PARTS = new Set(["table", "thead", "tbody", "tr"]);

// biome-ignore lint/suspicious/noExplicitAny: each component knows the properties of its own element.
export type ElementComponents = Readonly<Record<string, ComponentType<any>>>;

export function drawElements(tree: Root, components: ElementComponents): ReactNode {
  return createElement(Fragment, null, ...drawChildren(tree, components));
}

function drawChildren(parent: Root | Element, components: ElementComponents): ReactNode[] {
  const isTable = parent.type === "element" && TABLE_PARTS.has(parent.tagName);
  const counts = new Map<string, number>();
  return parent.children.map((node) => {
    if (node.type === "text") return isTable && node.value.trim() === "" ? null : node.value;
    if (node.type !== "element") return null;
    // Numbered by name, so that what is before an element of another kind does not make it anew.
    const count = counts.get(node.tagName) ?? 0;
    counts.set(node.tagName, count + 1);
    return drawElement(node, `${node.tagName}-${count}`, components);
  });
}

function drawElement(node: Element, key: string, components: ElementComponents): ReactNode {
  const component = Object.hasOwn(components, node.tagName) ? components[node.tagName] : undefined;
  const props = { key, ...propsOf(node.properties), ...(component && { node }) };
  return createElement(component ?? node.tagName, props, ...drawChildren(node, components));
}

function propsOf({ align, ...properties }: Properties): Record<string, unknown> {
  const props: Record<string, unknown> = { ...properties };
  for (const [name, value] of Object.entries(properties)) {
    if (value === null) delete props[name];
    else if (Array.isArray(value)) props[name] = value.join(" ");
  }
  if (align != null) props.style = { textAlign: align };
  return props;
}
