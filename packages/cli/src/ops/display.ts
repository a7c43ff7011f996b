import { count, fit, bytes as formatBytes, table } from '../text.ts'
import type { DeadLetter } from './dead-letter-queue.ts'
import { describeError } from './describe-error.ts'
import type { QueueReport } from './dlq.ts'
import type { Dropped } from './drop.ts'
import type { FoundRecord, TableReport } from './reconcile.ts'
import type { SealRequest } from './seal.ts'

/** Columns of a line. A reason may be wider than a terminal, but a message body can have any length. */
const MAX_COLUMNS = 300

/** Prints the reports as text. */
export class Display {
  readonly #print: (text: string) => unknown

  constructor(print: (text: string) => unknown) {
    this.#print = print
  }

  queue(report: QueueReport): void {
    const { service, queue, letters, left, again, failed } = report
    if (letters.length === 0 && left === 0 && failed === undefined) return
    const some = letters.length === 0 && left > 0 ? `about ${letterCount(left)}` : letterCount(letters.length)
    this.#line(
      `${service} ${queue}: ${failed === undefined ? some : letters.length > 0 ? `${some}, then it failed` : 'failed'}`,
    )
    if (failed !== undefined) this.#line(`  ${describeError(failed).replaceAll(/\s+/g, ' ')}`)
    if (left > 0) this.#line(`  ${letters.length > 0 ? `About ${count(left)} more. ` : ''}${whyLeft(report)}`)
    if (again > 0) this.#line(`  ${failedAgain(again)}, and ${isOrAre(again)} here`)
    this.#rows(
      ['MESSAGE', 'SENT FIRST (UTC)', 'ATTEMPTS'],
      letters,
      ({ message, sentAt, postMortem }) => [
        message,
        time(sentAt) ?? '?',
        postMortem === undefined ? '?' : `${postMortem.attempts}`,
      ],
      letter => [
        formatReason(letter),
        ...(letter.postMortem?.at === undefined ? [] : [`at ${letter.postMortem.at}`]),
        letter.body,
      ],
    )
  }

  queues(reports: readonly QueueReport[], { send, limit }: { send: boolean; limit: number }): void {
    const sum = (of: (report: QueueReport) => number) => reports.reduce((sum, report) => sum + of(report), 0)
    const letters = sum(({ letters }) => letters.length)
    const left = sum(({ left }) => left)
    const again = sum(({ again }) => again)
    const failed = sum(({ failed }) => (failed === undefined ? 0 : 1))
    const queues = (n: number) => (n === 1 ? 'one queue' : `${n} queues`)
    const among = queues(reports.length - failed)
    const back = letters === 1 ? 'back to its queue' : 'back to their queues'
    const said: string[] = []
    if (letters + left === 0) said.push(`No dead letters in ${among}`)
    else if (send) {
      said.push(`${letterCount(letters)} sent ${back}`)
      if (left > 0) said.push(`about ${count(left)} ${isOrAre(left)} left`)
      if (again > 0) said.push(failedAgain(again))
    } else if (letters === 0)
      said.push(`About ${letterCount(left)} in ${among}, hidden at the moment`, 'try again in a minute')
    else if (left === 0)
      said.push(
        `${letterCount(letters)} in ${among}`,
        `--send sends ${letters === 1 ? 'it' : 'them'} ${back}`,
      )
    else
      said.push(
        `${letterCount(letters)} in ${among}, about ${count(left)} more`,
        `--send: up to ${count(limit)} a queue (--limit)`,
      )
    if (failed > 0) said.push(`${queues(failed)} failed`)
    this.#line(said.join('; '))
  }

  dropped({ service, queue, message, letters, copy }: Dropped): void {
    this.#line(
      `${service} ${queue}: ${letterCount(letters)} of the message ${message} dropped; the copy is ${copy}`,
    )
  }

  table({ service, table, found, more }: TableReport): void {
    if (found.length === 0) return
    this.#line(`${service} ${table}: ${recordCount(found.length)}${more ? ', and more' : ''}`)
    this.#rows(
      ['RECORD', 'STAGE'],
      found,
      ({ key, stage }) => [key, stage ?? '-'],
      record => [
        ...(record.valid ? [timesOf(record)] : []),
        `Next: ${record.next}`,
        ...messagesOf(record).map(([queue, message]) => `Message to ${queue}: ${JSON.stringify(message)}`),
      ],
    )
  }

  tables(reports: readonly TableReport[], { send, all }: { send: boolean; all: boolean }): void {
    const found = reports.flatMap(({ found }) => found)
    const valid = found.filter(({ valid }) => valid).length
    const invalid = found.length - valid
    const unfinished = reports.reduce((sum, { unfinished }) => sum + unfinished, 0)
    const isScanned = reports.every(({ isScanned }) => isScanned)
    // A table without an index is always scanned.
    const read = reports.reduce((sum, report) => sum + (report.isScanned === isScanned ? report.read : 0), 0)
    const among = isScanned
      ? `${recordCount(read)}, ${unfinished === 0 ? 'none' : count(unfinished)} unfinished`
      : `the index of the sweeps, ${recordCount(read)} read`
    const them = invalid > 0 ? 'the others' : valid === 1 ? 'it' : 'them'
    const [did, does] = all
      ? [send ? 'got messages' : 'shown', `sends messages for ${them}`]
      : [send ? 'got moving' : 'stalled', `gets ${them} moving`]
    const said = [
      ...(valid > 0 ? [`${recordCount(valid)} ${did}`] : []),
      ...(invalid > 0 ? [`${valid > 0 ? count(invalid) : recordCount(invalid)} invalid`] : []),
      ...(reports.some(({ more }) => more) ? ['and there are more (--limit)'] : []),
    ].join(', ')
    this.#line(
      found.length === 0
        ? `Nothing ${all ? 'to do' : 'is stalled'}: ${among}`
        : `${said}: ${among}${send || valid === 0 ? '' : `; --send ${does}`}`,
    )
    if (!isScanned)
      this.#line('A record that is missing from that index is not in this report: --scan reads whole tables')
  }

  seal({ group, storefront, pieces, bytes }: SealRequest): void {
    this.#line(
      `Group ${group} of ${storefront}: a seal of about ${count(pieces)} ${pieces === 1 ? 'piece' : 'pieces'}, ${formatBytes(bytes)}, is requested`,
    )
  }

  /** Prints aligned rows, each followed by lines of details. */
  #rows<T>(
    heads: readonly string[],
    items: readonly T[],
    row: (item: T) => string[],
    more: (item: T) => string[],
  ): void {
    if (items.length > 0) {
      const [head, ...rows] = table(heads, items.map(row))
      this.#line(`  ${head}`)
      for (const [n, item] of items.entries()) {
        this.#line(`  ${rows[n]}`)
        for (const line of more(item)) this.#line(`    ${line.replaceAll(/\s+/g, ' ')}`)
      }
    }
    this.#print('\n')
  }

  #line(text: string): void {
    this.#print(`${fit(text, MAX_COLUMNS)}\n`)
  }
}

/** Formats the reason of a dead letter as one line. */
export const formatReason = ({ postMortem }: DeadLetter): string =>
  postMortem === undefined
    ? 'The function ended before it could record a reason'
    : postMortem.reason.map(({ name, message }) => `${name}: ${message}`).join(' ← ')

/** Returns the JSON line of a letter. */
export const letterLine = (
  { service, queue }: QueueReport,
  { message, sentAt, postMortem, body }: DeadLetter,
  sent: boolean,
) => ({
  service,
  queue,
  message,
  sentAt: iso(sentAt),
  attempts: postMortem?.attempts,
  reason: postMortem?.reason,
  at: postMortem?.at,
  body,
  sent,
})

/** Returns the JSON line of a queue that failed. */
export const failureLine = ({ service, queue, failed }: QueueReport) => ({
  service,
  queue,
  failed: describeError(failed),
})

/** Returns the JSON line of a record. */
export const recordLine = (
  { service, table }: TableReport,
  { since, checkAt, ...record }: FoundRecord,
  send: boolean,
) => ({
  service,
  table,
  ...record,
  since: iso(since),
  checkAt: iso(checkAt),
  sent: send && record.valid,
})

const failedAgain = (n: number) => `${count(n)} of them failed again`
const isOrAre = (n: number) => (n === 1 ? 'is' : 'are')

/** Explains why letters were not read. */
const whyLeft = ({ ended, fifo }: QueueReport): string =>
  ended
    ? 'They were not read'
    : `Another process holds them${fifo ? ', or letters ahead of them' : ' at the moment'}`

/** Formats the time since when the record waits, and the time of its next check. */
const timesOf = ({ since, checkAt, stalled, wrongClock }: FoundRecord): string => {
  const due = wrongClock ? 'wrong clock: check' : stalled ? 'check was due' : 'check due'
  const check = checkAt === undefined ? 'no check scheduled' : `${due} ${time(checkAt)} UTC`
  return since === undefined
    ? `${check.charAt(0).toUpperCase()}${check.slice(1)}`
    : `Since ${time(since)} UTC, ${check}`
}

const messagesOf = ({ messages }: FoundRecord): [string, unknown][] =>
  Object.entries(messages).flatMap(([queue, some = []]) =>
    some.map((message): [string, unknown] => [queue, message]),
  )

const letterCount = (n: number) => `${count(n)} dead ${n === 1 ? 'letter' : 'letters'}`
const recordCount = (n: number) => `${count(n)} ${n === 1 ? 'record' : 'records'}`

/** Formats a time in milliseconds since 1970; `undefined` if the value is not a time. */
export const iso = (time: number | undefined): string | undefined =>
  time === undefined || Number.isNaN(new Date(time).getTime()) ? undefined : new Date(time).toISOString()

export const time = (time: number | undefined): string | undefined =>
  iso(time)?.slice(0, 19).replace('T', ' ')
