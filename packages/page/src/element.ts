type Child = Node | string | undefined | false

/**
 * Creates an HTML element. Children are nodes or text; texts are never read as HTML.
 *
 * @param attributes `class` and others by their names; a function is a listener for the event of that name
 * @example element('button', { class: 'copy', click: () => copy(cid) }, 'Copy')
 */
export const element = <Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string | ((event: Event) => unknown)> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] => fill(document.createElement(name), attributes, children)

/** The same for SVG. */
export const svg = (
  name: keyof SVGElementTagNameMap,
  attributes: Record<string, string | number> = {},
  ...children: Child[]
): SVGElement =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', name) as SVGElement, attributes, children)

const fill = <E extends Element>(
  made: E,
  attributes: Record<string, string | number | ((event: Event) => unknown)>,
  children: Child[],
): E => {
  for (const [name, value] of Object.entries(attributes))
    if (typeof value === 'function') made.addEventListener(name, value)
    else made.setAttribute(name, `${value}`)
  made.append(...children.filter(child => child !== undefined && child !== false))
  return made
}
