import { styleText } from 'node:util'
import { bytes, count, duration, fit, left, right, shortCid, table } from '../text.ts'
import type { Stage, Trip } from './journey.ts'

/** Shows the system and the journey to the user. */
export interface Display {
  starting(data: string): void
  ready(news: Ready): void
  /** The journey begins with these files. */
  found(directory: string, trips: readonly Trip[]): void
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

/** Counts the files that the storefront accepted for aggregation (`offered`), that have a deal, and that failed. */
export const tally = (trips: readonly Trip[]) => ({
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
  dealID: trip.dealID,
  proof: trip.proof,
  before: trip.before,
  milliseconds: tookMs === undefined ? undefined : Math.round(tookMs),
  failure: trip.failure,
})

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

  found(directory: string, trips: readonly Trip[]): void {
    this.#event('found', { directory, files: trips.length, bytes: sizeOf(trips) })
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

/** Prints plain lines with the counts of each stage, at most once a second. */
class PlainDisplay implements Display {
  protected readonly output: Output
  protected trips: readonly Trip[] = []
  protected since = 0
  readonly #printed = new Map<string, number>()
  #printedAt = 0

  constructor(output: Output) {
    this.output = output
  }

  protected line(text = ''): void {
    this.output.write(`${text}\n`)
  }

  protected style(format: 'bold' | 'dim' | 'green' | 'red' | 'cyan', text: string): string {
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
    this.line(this.style('dim', `  Keys and addresses: ${data}/local.json   Logs: ${data}/logs/`))
    this.line(this.style('dim', '  Ctrl-C stops.'))
    this.line()
  }

  found(directory: string, trips: readonly Trip[]): void {
    this.trips = trips
    this.since = performance.now()
    const files = `${count(trips.length)} ${trips.length === 1 ? 'file' : 'files'}`
    this.line(`${files}, ${bytes(sizeOf(trips))}, from ${directory}`)
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

  protected report(trips: readonly Trip[], { details, proofs }: Results): void {
    const { offered, accepted, failed, earlier, underWay } = tally(trips)
    const rows = trips
      .slice(0, MAX_ROWS)
      .map(({ file, piece, aggregate, dealID, tookMs, failure, before }) => [
        fit(file.name, 32),
        piece ? shortCid(`${piece}`) : '',
        aggregate ? shortCid(aggregate) : '',
        `${dealID ?? ''}`,
        failure !== undefined ? 'failed' : before === 'end' ? 'earlier' : duration(tookMs!),
      ])
    const [heads, ...lines] = table(['file', 'piece', 'aggregate', 'deal', 'time'], rows)
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
      this.line(this.style('red', `  ${fit(first!.file.name, 32)}${more}: ${failure}`))
    }
    if (failed > 0) this.line()
    if (accepted > 0) {
      this.line('Every filecoin/accept receipt was verified: its signature, its task, the proof that the')
      this.line('piece and its index entry are in the aggregate, and that the deal tracker knows the deal.')
    }
    if (earlier > 0)
      this.line(`${count(earlier)} of ${count(offered)} were accepted earlier; offers are idempotent.`)
    if (underWay > 0)
      this.line(`${count(underWay)} of ${count(offered)} were on their way already; offers are idempotent.`)
    this.line(`Full CIDs: ${details}   Proofs: ${proofs}/`)
    this.line(
      this.style(
        failed > 0 ? 'red' : 'green',
        `${count(offered)} offered, ${count(accepted)} accepted, ${count(failed)} failed`,
      ),
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

/** Draws the stage of every file in place, on a terminal. */
class LiveDisplay extends PlainDisplay {
  #drawn = 0
  #timer: NodeJS.Timeout | undefined

  override found(directory: string, trips: readonly Trip[]): void {
    super.found(directory, trips)
    this.output.write(HIDE_CURSOR)
    this.#draw()
    this.#timer = setInterval(() => this.#draw(), FRAME_MS)
  }

  override progress(): void {}

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
    this.#drawn = 0
    this.output.write(SHOW_CURSOR)
  }

  #draw(): void {
    const { columns = 80, rows = 24 } = this.output
    const lines = this.trips.length + 4 <= rows ? this.#everyFile(columns) : this.#summary(columns)
    this.output.write(`${this.#home()}${lines.map(line => `${line}\x1b[K\n`).join('')}${CLEAR}`)
    this.#drawn = lines.length
  }

  /** Moves the cursor to the first line of the drawing. */
  #home(): string {
    return this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : ''
  }

  #everyFile(columns: number): string[] {
    const name = Math.max(8, Math.min(MAX_NAME, columns - 40))
    return [...this.trips.map(trip => this.#file(trip, name, columns)), '', this.#elapsed()]
  }

  #file(trip: Trip, name: number, columns: number): string {
    const { file, stage, dealID, tookMs, before, failure } = trip
    const ok = stage === 'accepted' ? this.style('green', '✓') : ' '
    const mark = failure === undefined ? ok : this.style('red', '✗')
    const head = `${mark} ${left(file.name, name)} ${right(bytes(file.size), 8)}  `
    const room = columns - name - 13
    if (failure !== undefined) return head + this.style('red', fit(failure, room))
    if (stage === 'hashing') return head + this.#bar(file.size === 0 ? 1 : trip.hashed / file.size)
    const dots = STAGES.map((_, n) => (n < COMPLETED[stage] ? '●' : '○')).join('')
    const words = {
      found: '',
      stored: 'stored',
      offered: 'offered',
      submitted: 'submitted, waits for an aggregate',
      aggregated: 'aggregated, waits for a deal',
      accepted: `deal ${dealID}, ${before === 'end' ? 'earlier' : duration(tookMs ?? 0)}`,
    }
    return head + this.style('cyan', dots) + this.style('dim', fit(`  ${words[stage]}`, room - STAGES.length))
  }

  /** Counts only: there are more files than the terminal has rows. */
  #summary(columns: number): string[] {
    const total = this.trips.length
    const hashed = this.trips.reduce((sum, trip) => sum + trip.hashed, 0)
    const size = sizeOf(this.trips)
    const counts = STAGES.map((stage, n) => {
      const reached = this.trips.filter(trip => COMPLETED[trip.stage] > n).length
      const detail = stage === 'hashed' ? `  ${bytes(hashed)} of ${bytes(size)}` : ''
      return `  ${left(stage, 10)}  ${this.#bar(total === 0 ? 1 : reached / total)}  ${count(reached)} of ${count(total)}${detail}`
    })
    const failed = this.trips.filter(({ failure }) => failure !== undefined)
    const hashing = this.trips
      .filter(({ stage, failure }) => stage === 'hashing' && failure === undefined)
      .slice(0, 2)
    return [
      ...counts,
      '',
      ...hashing.map(trip => `  ${this.style('dim', fit(`hashing ${trip.file.name}`, columns - 3))}`),
      ...failed
        .slice(-3)
        .map(trip => `  ${this.style('red', fit(`${trip.file.name}: ${trip.failure}`, columns - 3))}`),
      this.#elapsed(),
    ]
  }

  #bar(share: number): string {
    const full = Math.min(BAR, Math.floor(share * BAR))
    return `${this.style('cyan', '━'.repeat(full))}${this.style('dim', '─'.repeat(BAR - full))} ${right(`${Math.floor(share * 100)}`, 3)} %`
  }

  #elapsed(): string {
    const { accepted, failed } = tally(this.trips)
    const progress = `${count(accepted)} of ${count(this.trips.length)} accepted`
    const failures = failed > 0 ? `, ${count(failed)} failed` : ''
    return this.style(
      'dim',
      `  ${progress}${failures}, ${Math.floor((performance.now() - this.since) / 1000)} s`,
    )
  }
}
