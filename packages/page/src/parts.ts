import { type DealSummary, describePlaceKey, type PlaceSummary } from '@w3filecoin/client'
import { element } from './element.ts'

/** Parts that several views have. */

/** Whether a claim was verified in this browser. The words say it too, not only the colour. */
export type Verdict = 'verified' | 'not verified' | 'waiting'

const MARKS: Record<Verdict, string> = { verified: '✓', 'not verified': '✗', waiting: '…' }

export const badge = (verdict: Verdict, text: string = verdict): HTMLElement =>
  element(
    'span',
    { class: `badge ${verdict.replace(' ', '-')}` },
    element('span', { 'aria-hidden': 'true' }, MARKS[verdict]),
    ` ${text}`,
  )

/** A CID or DID: shortened to the eye, whole for the clipboard and in the title. */
export const identifier = (text: string, href?: string): HTMLElement => {
  const short = text.length > 28 ? `${text.slice(0, 12)}…${text.slice(-10)}` : text
  const code = element('code', { title: text }, short)
  return element(
    'span',
    { class: 'identifier' },
    href === undefined ? code : element('a', { href }, code),
    element(
      'button',
      {
        type: 'button',
        class: 'copy',
        'aria-label': `Copy ${text}`,
        click: ({ currentTarget }) => copy(text, currentTarget as HTMLElement),
      },
      'Copy',
    ),
  )
}

const copy = async (text: string, button: HTMLElement) => {
  const done = await navigator.clipboard.writeText(text).then(
    () => 'Copied',
    () => 'Failed',
  )
  button.textContent = done
  setTimeout(() => button.replaceChildren('Copy'), 2_000)
}

/** A time in the visitor's zone and language. */
export const time = (iso: string): HTMLElement =>
  element(
    'time',
    { datetime: iso },
    new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' }),
  )

export const section = (title: string, ...children: (Node | string | undefined | false)[]): HTMLElement =>
  element('section', { class: 'card' }, element('h2', {}, title), ...children)

export const list = (items: readonly string[], name = ''): HTMLElement =>
  element('ul', { class: name }, ...items.map(item => element('li', {}, item)))

/** A table that scrolls where it is wider than the page. */
export const table = (
  heads: readonly string[],
  rows: readonly (Node | string)[][],
  name = heads.join(', '),
): HTMLElement =>
  element(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name },
    element(
      'table',
      {},
      element('thead', {}, element('tr', {}, ...heads.map(head => element('th', { scope: 'col' }, head)))),
      element(
        'tbody',
        {},
        ...rows.map(cells => element('tr', {}, ...cells.map(cell => element('td', {}, cell)))),
      ),
    ),
  )

/** The live deals of a piece, as the storefront's deal tracker reports them. */
export const dealsSection = (deals: readonly DealSummary[], storefront: string): HTMLElement =>
  section(
    'Deals',
    element('p', { class: 'hint' }, `As ${storefront} reports them now.`),
    table(
      ['Deal', 'Storage provider', 'Ends', 'Aggregate'],
      deals.map(({ aux, provider, expiration, aggregate }) => [
        `${aux.dataSource.dealID}`,
        provider,
        expiration ? time(expiration) : 'unknown',
        identifier(`${aggregate}`),
      ]),
      'Deals',
    ),
  )

/** The other places of a piece on chain, as the storefront's deal tracker reports them. */
export const placesSection = (places: readonly PlaceSummary[], storefront: string): HTMLElement =>
  section(
    'Places on chain',
    element(
      'p',
      { class: 'hint' },
      `Without a deal of the built-in market, as ${storefront} reports them now.`,
    ),
    table(
      ['Place', 'Storage provider', 'Status', 'Ends', 'Aggregate'],
      places.map(({ key, provider, status, faulty, expiration, ended, reason, aggregate }) => [
        describePlaceKey(key),
        provider,
        faulty ? `${status}, misses proofs` : reason ? `${status}: ${reason}` : status,
        ended || expiration ? time((ended ?? expiration)!) : 'no end is known',
        identifier(`${aggregate}`),
      ]),
      'Places on chain',
    ),
  )

/** An error as a notice. */
export const problem = (title: string, error: unknown): HTMLElement => {
  const { message, hint } = error as { message?: string; hint?: string }
  return element(
    'div',
    { class: 'problem', role: 'alert' },
    element('strong', {}, title),
    element('p', {}, `${message ?? error}`),
    hint !== undefined && element('p', { class: 'hint' }, hint),
  )
}
