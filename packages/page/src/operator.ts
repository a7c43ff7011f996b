import { element } from './element.ts'
import { badge, identifier, problem, section, table, time } from './parts.ts'
import { STAGES } from './words.ts'

/** The parts of the answer of `GET /status` that are shown: see `PageStatus` in packages/cli/src/ops/page/serve.ts. */
interface PageStatus {
  at: number
  status: {
    attention: string[]
    stages: {
      service: string
      table: string
      stage: string
      records: number
      more: boolean
      oldest?: number
      why: string
    }[]
    groups: {
      storefront: string
      group: string
      pieces: number
      bytes: number
      capacity?: number
      oldest?: number
    }[]
    checks: {
      service: string
      name: string
      ok: boolean
      check: string
      setting?: string
      subject?: string
      problem?: string
      since: number
      checkedAt: number
    }[]
    peers: {
      service: string
      peers: {
        list: string
        did: string
        url?: string
        addedAt?: number
        piecesPerDay?: number
        piecesToday?: number
      }[]
      records: number
      more: boolean
    }[]
    sources: { source: string; at?: number; epoch?: number; problems: string[] }[]
    queues: {
      service: string
      queue: string
      visible: number
      inFlight: number
      delayed: number
      deadLetters: number
    }[]
  }
  times: { from: string; to: string; pieces: number; median: number; p90: number; p99: number }[]
}

const PAUSE_MS = 15_000
/** Groups that are shown: those with most bytes. */
const MAX_GROUPS = 50

const find = (id: string) => document.getElementById(id) as HTMLElement
const say = (text: string) => {
  if (find('status').textContent !== text) find('status').textContent = text
}

const read = async (): Promise<PageStatus> => {
  const response = await fetch('/status', { headers: { authorization: `Bearer ${location.hash.slice(1)}` } })
  const answer = await response.json().catch(() => ({}))
  if (response.status === 401) throw new NoKey(answer.message)
  if (!response.ok) throw new Error(answer.message ?? `The answer was ${response.status}`)
  return answer
}

/** The address lacks the key. */
class NoKey extends Error {
  readonly hint = 'Open the address that npm run ops -- page printed, with the part after #.'
}

const show = ({ at, status, times }: PageStatus): void => {
  const { attention, stages, groups, checks, peers, sources, queues } = status
  find('at').replaceChildren('Read ', time(new Date(at).toISOString()))
  const age = (since: number | undefined) => (since === undefined ? '–' : duration(at - since))
  const busy = queues.filter(
    ({ visible, inFlight, delayed, deadLetters }) => visible + inFlight + delayed + deadLetters > 0,
  )
  const checked = checks.filter(({ check }) => check === 'peer')
  const parts = [
    section(
      'Attention',
      attention.length === 0
        ? element('p', {}, badge('verified', 'All is well'))
        : element('ul', { class: 'attention' }, ...attention.map(line => element('li', {}, line))),
    ),
    stages.length > 0 &&
      section(
        'Unfinished work by stage',
        table(
          ['Service', 'Stage', 'Records', 'Oldest', 'Why they wait'],
          stages.map(({ service, table, stage, records, more, oldest, why }) => [
            service,
            `${table}: ${stage}`,
            `${more ? 'more than ' : ''}${records.toLocaleString()}`,
            age(oldest),
            why,
          ]),
        ),
      ),
    groups.length > 0 &&
      section(
        'Groups, and how full their next aggregate is',
        table(
          ['Group', 'Storefront', 'Pieces', 'Full', 'Oldest'],
          groups
            .slice(0, MAX_GROUPS)
            .map(({ group, storefront, pieces, bytes, capacity, oldest }) => [
              group,
              identifier(storefront),
              pieces.toLocaleString(),
              capacity === undefined ? '–' : fill(bytes / capacity, group),
              age(oldest),
            ]),
        ),
      ),
    times.length > 0 &&
      section(
        'Times of pieces',
        element('p', { class: 'hint' }, 'Of a sample of at most about 1,000 pieces.'),
        table(
          ['From', 'To', 'Median', '90 %', '99 %', 'Pieces'],
          times.map(({ from, to, pieces, median, p90, p99 }) => [
            wordOf(from),
            wordOf(to),
            duration(median),
            duration(p90),
            duration(p99),
            pieces.toLocaleString(),
          ]),
        ),
      ),
    sources.length > 0 &&
      section(
        'Sources of the deal tracker',
        table(
          ['Source', 'Epoch', 'Last good run', 'State'],
          sources.map(({ source, epoch, at: good, problems }) => [
            source,
            epoch === undefined ? '–' : `${epoch}`,
            good === undefined ? 'never' : `${age(good)} ago`,
            stateOf(problems.join(', ')),
          ]),
        ),
      ),
    checked.length > 0 &&
      section(
        'Peers in the configuration',
        table(
          ['Service', 'Setting', 'Peer', 'State', 'Since'],
          checked.map(({ service, setting = '', subject, ok, problem: reason = 'failed', since }) => [
            service,
            setting,
            subject === undefined ? '' : identifier(subject),
            stateOf(ok ? '' : reason),
            age(since),
          ]),
        ),
      ),
    ...peers.map(({ service, peers: listed, records, more }) =>
      section(
        `Peers in the table of the ${service}`,
        table(
          ['List', 'Peer', 'Address', 'Since', 'New pieces today (UTC)'],
          listed.map(({ list, did, url = '–', addedAt, piecesPerDay, piecesToday = 0 }) => [
            list,
            identifier(did),
            url,
            age(addedAt),
            piecesPerDay === undefined
              ? '–'
              : `${piecesToday.toLocaleString()} of ${piecesPerDay.toLocaleString()}`,
          ]),
        ),
        records > listed.length &&
          element(
            'p',
            { class: 'hint' },
            `And ${more ? 'more than ' : ''}${(records - listed.length).toLocaleString()} more that are not shown.`,
          ),
      ),
    ),
    section(
      'Queues',
      busy.length === 0
        ? element('p', {}, `All ${queues.length} queues are empty.`)
        : table(
            ['Queue', 'Visible', 'In flight', 'Delayed', 'Dead letters'],
            busy.map(({ service, queue, visible, inFlight, delayed, deadLetters }) => [
              `${service} ${queue}`,
              ...[visible, inFlight, delayed].map(count => count.toLocaleString()),
              deadLetters === 0 ? '0' : badge('not verified', deadLetters.toLocaleString()),
            ]),
          ),
    ),
  ]
  find('result').replaceChildren(...parts.filter(part => part !== false))
}

const stateOf = (problems: string) =>
  problems === '' ? badge('verified', 'ok') : badge('not verified', problems)

const wordOf = (stage: string) => (stage in STAGES ? STAGES[stage as keyof typeof STAGES] : stage)

const fill = (share: number, group: string) => {
  const percent = Math.min(100, Math.floor(share * 100))
  return element(
    'span',
    { class: 'fill' },
    element('meter', {
      min: '0',
      max: '100',
      value: `${percent}`,
      'aria-label': `Next aggregate of ${group}`,
    }),
    ` ${percent} %`,
  )
}

const UNITS: [name: Intl.RelativeTimeFormatUnit, ms: number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1_000],
]

/** A time span with one decimal and one unit. @example duration(5_400_000) // '1.5 hours' */
const duration = (ms: number): string => {
  const [unit, size] = UNITS.find(([, size]) => ms >= size) ?? ['second', 1_000]
  return new Intl.NumberFormat(undefined, {
    style: 'unit',
    unit,
    unitDisplay: 'long',
    maximumFractionDigits: 1,
  }).format(Math.max(0, ms) / size)
}

say('Reading…')
for (;;) {
  try {
    show(await read())
    say('')
  } catch (error) {
    say('')
    find('result').replaceChildren(problem('The state could not be read', error))
    // Another key arrives with another address.
    if (error instanceof NoKey)
      await new Promise(resolve => addEventListener('hashchange', resolve, { once: true }))
  }
  await new Promise(resolve => setTimeout(resolve, PAUSE_MS))
  if (document.hidden)
    await new Promise(resolve => document.addEventListener('visibilitychange', resolve, { once: true }))
}
