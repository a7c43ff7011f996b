import { type AnyLink, type InclusionPath, inclusionPaths } from '@w3filecoin/client'
import { element, svg } from './element.ts'

type Inclusion = Parameters<typeof inclusionPaths>[0]['inclusion']

/** Distances in the drawing, in units of its view box. */
const STEP = { across: 14, up: 26 }
const MARGIN = 24

/** Draws the two Merkle paths of a verified inclusion proof, and lists their nodes. */
export const drawInclusion = (claim: { piece: AnyLink; inclusion: Inclusion }): HTMLElement => {
  const { subtree, index } = inclusionPaths(claim)
  return element(
    'div',
    { class: 'paths' },
    figureOf('The piece', 'piece', subtree),
    figureOf('Its entry in the index', 'entry', index),
    element(
      'details',
      {},
      element('summary', {}, 'The nodes in hexadecimal'),
      nodesOf('Path of the piece', subtree),
      nodesOf('Path of its entry in the index', index),
    ),
  )
}

const figureOf = (title: string, start: string, path: InclusionPath): HTMLElement =>
  element(
    'figure',
    {},
    draw(title, start, path),
    element(
      'figcaption',
      {},
      element('strong', {}, title),
      `: ${path.steps.length} hashes from level ${path.level} to the root of the aggregate.`,
    ),
  )

/** The path runs upwards. At a right node the parent is to the left, and the sibling beyond it. */
const draw = (title: string, start: string, { steps, root }: InclusionPath): SVGElement => {
  const points: { x: number; y: number }[] = [{ x: 0, y: 0 }]
  for (const [n, { isRight }] of steps.entries())
    points.push({ x: points[n]!.x + (isRight ? -STEP.across : STEP.across), y: -STEP.up * (n + 1) })
  const siblings = steps.map(({ isRight }, n) => ({
    x: points[n]!.x + 2 * (isRight ? -STEP.across : STEP.across),
    y: points[n]!.y,
  }))
  const xs = [...points, ...siblings].map(({ x }) => x)
  const left = Math.min(...xs) - MARGIN
  const width = Math.max(Math.max(...xs) + MARGIN - left, 160)
  const height = STEP.up * steps.length + 2 * MARGIN
  const top = points.at(-1)!

  return svg(
    'svg',
    {
      viewBox: `${left} ${-STEP.up * steps.length - MARGIN} ${width} ${height}`,
      role: 'img',
      'aria-label': `${title}: Merkle path of ${steps.length} steps, from ${hexOf(steps[0]?.node ?? root).slice(0, 8)} to the root ${hexOf(root).slice(0, 8)}`,
    },
    ...steps.flatMap((_, n) => [
      line(points[n]!, points[n + 1]!, 'path'),
      line(siblings[n]!, points[n + 1]!, 'side'),
    ]),
    ...steps.map(({ sibling, isZero }, n) =>
      svg(
        'rect',
        {
          x: siblings[n]!.x - 4,
          y: siblings[n]!.y - 4,
          width: 8,
          height: 8,
          class: isZero ? 'zero' : 'sibling',
        },
        svg('title', {}, `${isZero ? 'Zeros' : 'Sibling'} ${hexOf(sibling)}`),
      ),
    ),
    ...[...steps.map(({ node }) => node), root].map((node, n) =>
      svg(
        'circle',
        { cx: points[n]!.x, cy: points[n]!.y, r: n === 0 || n === steps.length ? 6 : 4, class: 'node' },
        svg('title', {}, hexOf(node)),
      ),
    ),
    label(points[0]!, start, 18),
    label(top, 'aggregate', -12),
  )
}

type Point = { x: number; y: number }

const line = (from: Point, to: Point, name: string) =>
  svg('line', { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: name })

const label = ({ x, y }: Point, text: string, below: number) =>
  svg('text', { x, y: y + below, 'text-anchor': 'middle' }, text)

const nodesOf = (caption: string, { level, steps, root }: InclusionPath): HTMLElement =>
  element(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    element(
      'table',
      {},
      element('caption', {}, caption),
      element(
        'tbody',
        {},
        ...steps.map(({ node, sibling, isRight }, n) =>
          row(`Level ${level + n}`, hexOf(node), `${isRight ? 'left' : 'right'} sibling ${hexOf(sibling)}`),
        ),
        row(`Level ${level + steps.length}`, hexOf(root), 'the root of the aggregate'),
      ),
    ),
  )

const row = (head: string, ...cells: string[]) =>
  element(
    'tr',
    {},
    element('th', { scope: 'row' }, head),
    ...cells.map(cell => element('td', {}, element('code', {}, cell))),
  )

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
