import { styleText } from 'node:util'
import { describePlace, toPlaceKey } from '@w3filecoin/client'
import stringWidth from 'string-width'
import {
  bytes,
  count,
  duration,
  fit,
  fitWords,
  left,
  right,
  shortCid,
  shortenPlace,
  table,
  wrap,
} from '../text.ts'
import { describeSkipped, type Skipped } from './content.ts'
import type { Stage, Trip } from './journey.ts'

/** Shows the system and the journey to the user. */
export interface Display {
  starting(data: string): void
  ready(news: Ready): void
  /** The journey begins with these files; the directory has other entries too. */
  found(directory: string, trips: readonly Trip[], skipped: readonly Skipped[]): void
  /** A file made progress or failed. */
  progress(trip: Trip): void
  finished(trips: readonly Trip[], results: Results): void
  stopping(): void
  /** Restores the terminal. */
  close(): void
}

/** Where the results of the journey are. */
export interface Results {
  /** Path of the file with the full CIDs. */
  details: string
  /** Path of the directory with the proofs. */
  proofs: string
  /** Whether the chain was asked for every place. */
  askedChain?: boolean
}

/** The running system. */
export interface Ready {
  /** By role. */
  services: Record<string, { url: string; did: string }>
  agent: string
  market: string
  data: string
  tookMs: number
}

export interface Output {
  write(text: string): unknown
  isTTY?: boolean | undefined
  columns?: number | undefined
  rows?: number | undefined
}

export const createDisplay = (output: Output, { json, dumb }: { json: boolean; dumb: boolean }): Display =>
  json ? new JsonDisplay(output) : output.isTTY && !dumb ? new LiveDisplay(output) : new PlainDisplay(output)

/**
 * Counts files. At the end of a journey, each file either is stored (`accepted`) or has `failed`. Files with a receipt of
 * `filecoin/offer` (`offered`) are in both counts.
 */
export const tally = (trips: readonly Trip[]) => ({
  files: trips.length,
  offered: trips.filter(({ accept }) => accept !== undefined).length,
  accepted: trips.filter(({ stage }) => stage === 'accepted').length,
  failed: trips.filter(({ failure }) => failure !== undefined).length,
  /** Files that had their last receipt before this offer, and files that were already on the way to it. */
  earlier: trips.filter(({ before }) => before === 'end').length,
  underWay: trips.filter(({ before }) => before === 'piece').length,
})

/** Returns a file's entry of `journey.json`. */
export const toEntry = ({ file, content, piece, tookMs, ...trip }: Trip) => ({
  file: file.name,
  bytes: file.size,
  stage: trip.stage,
  content: content && `${content}`,
  piece: piece && `${piece}`,
  submit: trip.submit,
  accept: trip.accept,
  aggregate: trip.aggregate,
  dealID: trip.place?.type === 'market' ? trip.place.dealID : undefined,
  place: trip.place && toPlaceKey(trip.place),
  proof: trip.proof,
  before: trip.before,
  milliseconds: tookMs === undefined ? undefined : Math.round(tookMs),
  failure: trip.failure,
})

/** Skipped entries in the event `found`. */
const MAX_SKIPPED = 100

/** Prints one JSON line per event. */
class JsonDisplay implements Display {
  readonly #output: Output
  readonly #printed = new Map<Trip, { event: string; at: number }>()

  constructor(output: Output) {
    this.#output = output
  }

  #event(event: string, fields: object): void {
    this.#output.write(`${JSON.stringify({ event, time: new Date().toISOString(), ...fields })}\n`)
  }

  starting(data: string): void {
    this.#event('starting', { data })
  }

  ready({ services, agent, market, data, tookMs }: Ready): void {
    const open = Object.entries(services).map(([role, { url, did }]) => [role, { url, did }])
    this.#event('ready', {
      services: Object.fromEntries(open),
      agent: { did: agent },
      market,
      data,
      milliseconds: Math.round(tookMs),
    })
  }

  found(directory: string, trips: readonly Trip[], skipped: readonly Skipped[]): void {
    this.#event('found', {
      directory,
      files: trips.length,
      bytes: sizeOf(trips),
      entriesSkipped: skipped.length,
      skipped: skipped.slice(0, MAX_SKIPPED),
    })
  }

  progress(trip: Trip): void {
    const event = trip.failure === undefined ? trip.stage : 'failed'
    const last = this.#printed.get(trip)
    const now = performance.now()
    if (last?.event === event && (event !== 'hashing' || now - last.at < 1000)) return
    this.#printed.set(trip, { event, at: now })
    this.#event(event, { ...toEntry(trip), ...(event === 'hashing' ? { hashed: trip.hashed } : {}) })
  }

  finished(trips: readonly Trip[], results: Results): void {
    this.#event('finished', { ...tally(trips), ...results })
  }

  stopping(): void {
    this.#event('stopping', {})
  }

  close(): void {}
}

const sizeOf = (trips: readonly Trip[]): number => trips.reduce((sum, { file }) => sum + file.size, 0)

/** The stages on display, in order. */
const STAGES = ['hashed', 'offered', 'submitted', 'aggregated', 'accepted'] as const

/** How many of these a file has completed. */
const COMPLETED: Record<Stage, number> = {
  found: 0,
  hashing: 0,
  stored: 1,
  offered: 2,
  submitted: 3,
  aggregated: 4,
  accepted: 5,
}

/** Rows of the last table; `journey.json` has all files. */
const MAX_ROWS = 200
const MAX_FAILURES = 10

type Style = 'bold' | 'dim' | 'green' | 'red' | 'cyan'

/** Prints plain lines with the counts of each stage, at most once a second. */
class PlainDisplay implements Display {
  protected readonly output: Output
  protected trips: readonly Trip[] = []
  protected since = 0
  #unreadable = 0
  readonly #printed = new Map<string, number>()
  #printedAt = 0

  constructor(output: Output) {
    this.output = output
  }

  protected line(text = ''): void {
    this.output.write(`${text}\n`)
  }

  /** Writes sentences, broken between words where the terminal ends. */
  protected sentences(text: string, format?: Style): void {
    for (const line of wrap(text, this.output.columns ?? Infinity))
      this.line(format === undefined ? line : this.style(format, line))
  }

  protected style(format: Style, text: string): string {
    return styleText(format, text, { stream: this.output as never })
  }

  starting(data: string): void {
    this.line(`Starting on ${data} …`)
  }

  ready({ services, agent, market, data, tookMs }: Ready): void {
    this.line(`${this.style('bold', 'W3 Filecoin is up on this machine')}, in ${duration(tookMs)}`)
    this.line()
    const rows = Object.entries(services).map(([role, { url, did }]) => [splitWords(role), url, did])
    const all = [...rows, ['storage providers', market, 'a stand-in'], ['agent', '', agent]]
    const widths = [0, 1].map(n => Math.max(...all.map(row => row[n]!.length)))
    const room = (this.output.columns ?? Infinity) - widths[0]! - widths[1]! - 6
    for (const [role, url, did] of all)
      this.line(
        `  ${left(role!, widths[0]!)}  ${left(url!, widths[1]!)}  ${this.style('dim', fit(did!, room))}`,
      )
    this.line()
    if (services.storefront)
      this.line(`  Open ${services.storefront.url}/ in a browser to look up, store and verify.`)
    const paths = [
      ['Addresses:', 'local.json'],
      ['Keys:', 'keys.json'],
      ['Logs:', 'logs/'],
    ]
    for (const [name, path] of paths) this.line(this.style('dim', `  ${left(name!, 11)}${data}/${path}`))
    this.line(this.style('dim', '  Ctrl-C stops.'))
    this.line()
  }

  found(directory: string, trips: readonly Trip[], skipped: readonly Skipped[]): void {
    this.trips = trips
    this.#unreadable = skipped.filter(({ reason }) => reason === 'unreadable').length
    this.since = performance.now()
    const files = `${count(trips.length)} ${trips.length === 1 ? 'file' : 'files'}`
    this.sentences(`${files}, ${bytes(sizeOf(trips))}, from ${directory}`)
    if (skipped.length > 0) this.sentences(fit(describeSkipped(skipped), Infinity), 'dim')
    this.line()
  }

  progress(trip: Trip): void {
    const complete = trip.failure === undefined && this.trips.every(({ stage }) => stage === trip.stage)
    if (complete || performance.now() - this.#printedAt > 1000) this.#printCounts()
  }

  #printCounts(): void {
    this.#printedAt = performance.now()
    const counts = [
      ...STAGES.map(
        (stage, n) => [stage, this.trips.filter(trip => COMPLETED[trip.stage] > n).length] as const,
      ),
      ['failed', tally(this.trips).failed] as const,
    ]
    for (const [label, now] of counts) {
      if (now === (this.#printed.get(label) ?? 0)) continue
      this.#printed.set(label, now)
      const elapsed = right(duration(performance.now() - this.since), 10)
      this.line(`${elapsed}  ${left(label, 10)}  ${count(now)} of ${count(this.trips.length)}`)
    }
  }

  finished(trips: readonly Trip[], results: Results): void {
    this.#printCounts()
    this.line()
    this.report(trips, results)
  }

  protected report(trips: readonly Trip[], { details, proofs, askedChain }: Results): void {
    const { files, accepted, failed, earlier, underWay } = tally(trips)
    // The other columns take 72.
    const name = Math.max(8, Math.min(MAX_NAME, (this.output.columns ?? Infinity) - 72))
    const rows = trips
      .slice(0, MAX_ROWS)
      .map(({ file, piece, aggregate, place, tookMs, failure, before }) => [
        fit(file.name, name),
        piece ? shortCid(`${piece}`) : '',
        aggregate ? shortCid(aggregate) : '',
        place ? shortenPlace(place) : '',
        failure !== undefined ? 'failed' : before === 'end' ? 'earlier' : duration(tookMs!),
      ])
    const [heads, ...lines] = table(['file', 'piece', 'aggregate', 'on chain', 'time'], rows)
    this.line(`  ${this.style('dim', heads!)}`)
    for (const line of lines) this.line(`  ${line}`)
    if (trips.length > MAX_ROWS) this.line(`  … and ${count(trips.length - MAX_ROWS)} more`)
    this.line()
    const failures = Map.groupBy(
      trips.filter(trip => trip.failure !== undefined),
      trip => trip.failure!,
    )
    for (const [failure, [first, ...others]] of [...failures].slice(0, MAX_FAILURES)) {
      const more = others.length > 0 ? ` and ${count(others.length)} more` : ''
      this.sentences(fit(`${first!.file.name}${more}: ${failure}`, Infinity), 'red')
    }
    if (failed > 0) this.line()
    if (accepted > 0) {
      this.sentences(
        `Every filecoin/accept receipt was verified: its signature, its task, the proof that the piece and its index entry are in the aggregate, and that ${askedChain ? 'the deal tracker and the chain have' : 'the deal tracker knows'} the aggregate at this place.`,
      )
    }
    if (earlier > 0)
      this.sentences(`${count(earlier)} of ${count(files)} were accepted earlier; offers are idempotent.`)
    if (underWay > 0)
      this.sentences(
        `${count(underWay)} of ${count(files)} were on their way already; offers are idempotent.`,
      )
    this.sentences(`Full CIDs: ${details}`)
    this.sentences(`Proofs: ${proofs}/`)
    const unreadable = this.#unreadable > 0 ? `; ${count(this.#unreadable)} could not be read` : ''
    this.sentences(
      `${count(files)} ${files === 1 ? 'file' : 'files'}: ${count(accepted)} accepted, ${count(failed)} failed${unreadable}`,
      failed > 0 || unreadable !== '' ? 'red' : 'green',
    )
  }

  stopping(): void {
    this.line('Stopping …')
  }

  close(): void {}
}

/** Splits a role into words: `dealTracker` becomes `deal tracker`. */
const splitWords = (role: string): string => role.replaceAll(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)

const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
/** Clears from the cursor to the end of the screen. */
const CLEAR = '\x1b[J'
const FRAME_MS = 100
/** Columns of a file name, and of a progress bar. */
const MAX_NAME = 32
const BAR = 20
/** Least columns of a file name where several files share a line, columns of all else about a file, and between files. */
const MIN_CELL_NAME = 16
const CELL_REST = 19
const GAP = 2
/** Failures that have a line with the reason, where the files have none. */
const MAX_REASONS = 3

/** A part of a line, and its style. */
type Span = readonly [text: string, style?: Style | undefined]
type Line = readonly Span[]

/** Draws the stage of every file in place, on a terminal. */
class LiveDisplay extends PlainDisplay {
  /** Columns of each line of the drawing. */
  #drawn: number[] = []
  /** Files that made progress, the last one at the end. */
  readonly #moved = new Set<Trip>()
  #timer: NodeJS.Timeout | undefined

  override found(directory: string, trips: readonly Trip[], skipped: readonly Skipped[]): void {
    super.found(directory, trips, skipped)
    this.output.write(HIDE_CURSOR)
    this.#draw()
    this.#timer = setInterval(() => this.#draw(), FRAME_MS)
  }

  override progress(trip: Trip): void {
    this.#moved.delete(trip)
    this.#moved.add(trip)
  }

  /** Replaces the drawing by the table. */
  override finished(trips: readonly Trip[], results: Results): void {
    this.output.write(this.#home() + CLEAR)
    this.#end()
    this.report(trips, results)
  }

  override stopping(): void {
    this.#end()
    super.stopping()
  }

  override close(): void {
    this.#end()
  }

  #end(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#drawn = []
    this.output.write(SHOW_CURSOR)
  }

  #draw(): void {
    const { columns = 80, rows = 24 } = this.output
    // The last column stays free: after a character there, terminals differ. The cursor takes the last row.
    const room = columns - 1
    const lines = this.#layout(room, rows - 1)
      .slice(0, Math.max(1, rows - 1))
      .map(line => cutLine(line, room))
    const text = lines.map(line => {
      const parts = line.map(([part, style]) => (style === undefined ? part : this.style(style, part)))
      return `${parts.join('')}\x1b[K\n`
    })
    this.output.write(`${this.#home()}${text.join('')}${CLEAR}`)
    this.#drawn = lines.map(widthOf)
  }

  /**
   * Moves the cursor to the first line of the drawing. In a terminal that became narrower, lines of the drawing take
   * several rows.
   */
  #home(): string {
    const { columns = 80 } = this.output
    const rows = this.#drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0)
    return rows > 0 ? `\x1b[${rows}A\r` : ''
  }

  /** Every file has a line if there are enough rows, else a part of a line; else only the files that move have one. */
  #layout(columns: number, rows: number): Line[] {
    const end: Line[] = [[], this.#elapsed()]
    const room = rows - end.length
    if (this.trips.length <= room) return [...this.#files(this.trips, columns), ...end]
    const perLine = Math.floor((columns + GAP) / (MIN_CELL_NAME + CELL_REST + GAP))
    const cellRows = perLine > 1 ? Math.ceil(this.trips.length / perLine) : Infinity
    if (cellRows <= room)
      return [...this.#cells(columns, perLine, cellRows), ...this.#reasons(room - cellRows), ...end]
    return [...this.#summary(columns, room), ...end]
  }

  #files(trips: readonly Trip[], columns: number): Line[] {
    const name = Math.max(8, Math.min(MAX_NAME, columns - 40))
    return trips.map(trip => this.#file(trip, name, columns))
  }

  #head({ file, stage, failure }: Trip, name: number): Line {
    const mark: Span = failure !== undefined ? ['✗', 'red'] : stage === 'accepted' ? ['✓', 'green'] : [' ']
    return [mark, [` ${left(file.name, name)} ${right(bytes(file.size), 8)}  `]]
  }

  #file(trip: Trip, name: number, columns: number): Line {
    const { stage, place, tookMs, before, failure } = trip
    const head = this.#head(trip, name)
    const room = columns - name - 13
    if (failure !== undefined) return [...head, [fitWords(failure, room), 'red']]
    if (stage === 'hashing') return [...head, ...bar(hashedShare(trip))]
    const words = {
      found: '',
      stored: 'stored',
      offered: 'offered',
      submitted: 'waits for an aggregate',
      aggregated: 'waits to be stored',
      accepted: `${place ? describePlace(place) : ''}, ${before === 'end' ? 'earlier' : duration(tookMs ?? 0)}`,
    }
    return [
      ...head,
      [dots(stage), 'cyan'],
      [fitWords(`  ${words[stage]}`, Math.max(0, room - STAGES.length)), 'dim'],
    ]
  }

  /** Lines with several files, in the order of a newspaper: down, then to the right. */
  #cells(columns: number, perLine: number, rows: number): Line[] {
    const width = Math.floor((columns + GAP) / perLine) - GAP
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: perLine }, (_, column) => this.trips[column * rows + row])
        .filter(trip => trip !== undefined)
        .flatMap((trip, n): Span[] => [
          ...(n > 0 ? [[' '.repeat(GAP)] as const] : []),
          ...this.#head(trip, width - CELL_REST),
          this.#state(trip),
        ]),
    )
  }

  /** The state of a file in six columns. */
  #state(trip: Trip): Span {
    if (trip.failure !== undefined) return ['failed', 'red']
    if (trip.stage === 'hashing') return [left(percent(hashedShare(trip)), 6), 'cyan']
    return [left(dots(trip.stage), 6), 'cyan']
  }

  /** The reasons of the last failures. */
  #reasons(max: number): Line[] {
    const failed = this.trips.filter(({ failure }) => failure !== undefined)
    return lastOf(failed, Math.min(max, MAX_REASONS)).map(({ file, failure }) => [
      [`  ${file.name}: ${failure}`, 'red'],
    ])
  }

  /** How many files have reached each stage, and the files that moved last. */
  #summary(columns: number, rows: number): Line[] {
    const total = this.trips.length
    const hashed = this.trips.reduce((sum, trip) => sum + trip.hashed, 0)
    const counts = STAGES.map((stage, n): Line => {
      const reached = this.trips.filter(trip => COMPLETED[trip.stage] > n).length
      const detail = stage === 'hashed' ? `  ${bytes(hashed)} of ${bytes(sizeOf(this.trips))}` : ''
      return [
        [`  ${left(stage, 10)}  `],
        ...bar(reached / total),
        [`  ${count(reached)} of ${count(total)}${detail}`],
      ]
    })
    const reasons = this.#reasons(MAX_REASONS)
    const room = Math.max(0, rows - counts.length - 1 - reasons.length)
    const moved = [...this.#moved].filter(({ failure }) => failure === undefined)
    const last = new Set(lastOf(moved, room))
    const moving = this.trips.filter(trip => last.has(trip))
    return [...counts, [], ...this.#files(moving, columns), ...reasons]
  }

  #elapsed(): Line {
    const { accepted, failed, files } = tally(this.trips)
    const failures = failed > 0 ? `, ${count(failed)} failed` : ''
    const seconds = Math.floor((performance.now() - this.since) / 1000)
    return [[`  ${count(accepted)} of ${count(files)} accepted${failures}, ${seconds} s`, 'dim']]
  }
}

const lastOf = <T>(list: readonly T[], n: number): T[] => (n > 0 ? list.slice(-n) : [])

const hashedShare = ({ file, hashed }: Trip): number => (file.size === 0 ? 1 : hashed / file.size)

const percent = (share: number): string => `${right(`${Math.floor(share * 100)}`, 3)} %`

const bar = (share: number): Line => {
  const full = Math.min(BAR, Math.floor(share * BAR))
  return [['━'.repeat(full), 'cyan'], ['─'.repeat(BAR - full), 'dim'], [` ${percent(share)}`]]
}

const dots = (stage: Stage): string => STAGES.map((_, n) => (n < COMPLETED[stage] ? '●' : '○')).join('')

const widthOf = (line: Line): number => line.reduce((sum, [text]) => sum + stringWidth(text), 0)

/** Cuts a line to a number of columns, between two words if possible. */
const cutLine = (line: Line, columns: number): Line => {
  let room = columns
  return line.map(([text, style]): Span => {
    const cut = room > 0 ? fitWords(text, room) : ''
    room -= stringWidth(cut)
    return [cut, style]
  })
}
