// SPDX-License-Identifier: Apache-2.0
// Views as values: h(tag, props, ...children) is a plain object; show(element, children) updates the DOM to it and changes only
// what differs, so that focus, selection and scroll positions stay while data comes in.
//
// Invariant: data becomes text nodes and attributes, never markup, and no link leads to a script. No other code
// escapes data or writes to the DOM.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'selected', 'open', 'className', 'htmlFor', 'scrollTop']);
const LINK = /^(#|\/|https?:\/\/)/;

const flat = list => list.flat(Infinity).map(c => (c === null || c === undefined || c === false ? '' : typeof c === 'object' ? c : String(c)));

// Props: `on...` are handlers, `key` tells siblings apart, `style` is an object of CSS properties; null and false are left out.
// value and checked are set when they change between two views, not when the user has changed them.
export const h = (tag, props, ...children) => ({ tag, props: props ?? {}, children: flat(children) });

function set(element, name, value) {
  const isGone = value === undefined || value === null || value === false;
  if (name === 'key') return;
  if (name.startsWith('on')) element[name] = isGone ? null : value;
  else if (name === 'style') for (const [property, text] of Object.entries(value ?? {})) element.style.setProperty(property, text);
  else if (PROPERTIES.has(name)) element[name] = isGone ? (typeof element[name] === 'boolean' ? false : '') : value;
  else if (name === 'href' && !isGone && !LINK.test(value)) element.removeAttribute(name);
  else if (isGone) element.removeAttribute(name);
  else element.setAttribute(name === 'class' ? 'class' : name, value === true ? '' : value);
}

function update(element, view) {
  const before = element.view?.props ?? {};
  const late = [];
  for (const name in before) if (!(name in view.props)) set(element, name, null);
  for (const name in view.props) {
    if (before[name] === view.props[name]) continue;
    if (name === 'value' || name === 'scrollTop') late.push(name); // after the options are there
    else set(element, name, view.props[name]);
  }
  element.view = view;
  show(element, view.children);
  for (const name of late) set(element, name, view.props[name]);
}

function create(view, isSvg) {
  if (typeof view === 'string') return document.createTextNode(view);
  const element = isSvg || view.tag === 'svg' ? document.createElementNS(SVG, view.tag) : document.createElement(view.tag);
  update(element, view);
  return element;
}

const keyOf = view => (typeof view === 'string' ? undefined : view.props.key);
const fits = (node, view) => node && (typeof view === 'string' ? node.nodeType === 3 : node.view?.tag === view.tag && keyOf(node.view) === keyOf(view));

export function show(parent, children) {
  const list = flat([children]);
  const keyed = new Map();
  const others = [];
  for (const node of parent.childNodes) {
    const key = node.view && keyOf(node.view);
    if (key === undefined) others.push(node);
    else keyed.set(key, node);
  }
  let cursor = parent.firstChild;
  let at = 0;
  const isSvg = parent.namespaceURI === SVG;
  const kept = new Set();
  for (const view of list) {
    const key = keyOf(view);
    let node = key === undefined ? others[at++] : keyed.get(key);
    if (!fits(node, view) || kept.has(node)) node = create(view, isSvg);
    else if (typeof view !== 'string') update(node, view);
    else if (node.data !== view) node.data = view;
    kept.add(node);
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
}
