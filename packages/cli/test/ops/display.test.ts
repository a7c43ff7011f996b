import { UserError } from '@w3filecoin/runtime/user-error'
import { describe, expect, it } from 'vitest'
import type { DeadLetter } from '../../src/ops/dead-letter-queue.ts'
import { Display } from '../../src/ops/display.ts'
import type { QueueReport } from '../../src/ops/dlq.ts'
import type { FoundRecord, TableReport } from '../../src/ops/reconcile.ts'

const AT = Date.UTC(2026, 0, 1)

const printed = (say: (display: Display) => void): string[] => {
  let text = ''
  say(
    new Display(some => {
      text += some
    }),
  )
  return text.split('\n').slice(0, -1)
}

const letter: DeadLetter = {
  message: '015dc8d0-65fb-466e-9b9f-7f4a2de3864e',
  id: 'x',
  body: '{"no":"message"}',
  sentAt: AT,
  postMortem: {
    service: 'storefront',
    queue: 'submit',
    message: 'x',
    attempts: 5,
    sentAt: AT,
    reason: [{ name: 'Error', message: 'The table is gone' }],
    at: 'decode (packages/storefront/src/consumers/submit.ts:79:27)',
  },
  receipt: 'x',
  group: undefined,
  received: {},
}

const queue = ({ letters = 0, ...rest }: Partial<Omit<QueueReport, 'letters'>> & { letters?: number }) => ({
  service: 'storefront',
  queue: 'submit',
  fifo: false,
  left: 0,
  ended: false,
  again: 0,
  ...rest,
  letters: Array<DeadLetter>(letters).fill(letter),
})

describe('dead letters as text', () => {
  it('fit a terminal, with the line of code on a separate line', () => {
    expect(printed(display => display.queue(queue({ letters: 1 })))).toEqual([
      'storefront submit: 1 dead letter',
      '  MESSAGE                               SENT FIRST (UTC)     ATTEMPTS',
      '  015dc8d0-65fb-466e-9b9f-7f4a2de3864e  2026-01-01 00:00:00  5',
      '    Error: The table is gone',
      '    at decode (packages/storefront/src/consumers/submit.ts:79:27)',
      '    {"no":"message"}',
      '',
    ])
  })

  it.each<[string, Parameters<typeof queue>[0], string[]]>([
    ['none', {}, []],
    ['hidden', { left: 4 }, ['about 4 dead letters', '  Another process holds them at the moment']],
    [
      'some of them hidden',
      { letters: 1, left: 1 },
      ['1 dead letter', '  About 1 more. Another process holds them at the moment'],
    ],
    [
      'hidden in a FIFO queue',
      { letters: 2, left: 4, fifo: true },
      ['2 dead letters', '  About 4 more. Another process holds them, or letters ahead of them'],
    ],
    [
      'over the limit',
      { letters: 5, left: 7, ended: true },
      ['5 dead letters', '  About 7 more. They were not read'],
    ],
    [
      'that failed again',
      { letters: 5, again: 1, ended: true },
      ['5 dead letters', '  1 of them failed again, and is here'],
    ],
    [
      'of a queue that failed',
      { letters: 2, failed: new UserError('It is gone') },
      ['2 dead letters, then it failed', '  It is gone'],
    ],
    ['of a queue that failed at once', { failed: new UserError('It is gone') }, ['failed', '  It is gone']],
  ])('%s: the lines of a queue match its report', (_, report, [first, ...more]) => {
    const lines = printed(display => display.queue(queue(report)))
    const expected = first === undefined ? [] : [`storefront submit: ${first}`, ...more]
    expect(lines.slice(0, expected.length || 1)).toEqual(expected)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80)
  })

  it.each<[string, Parameters<typeof queue>[0][], boolean, string]>([
    ['none', [{}, {}], false, 'No dead letters in 2 queues'],
    ['one', [{ letters: 1 }, {}], false, '1 dead letter in 2 queues; --send sends it back to its queue'],
    ['some', [{ letters: 3 }], false, '3 dead letters in one queue; --send sends them back to their queues'],
    [
      'hidden',
      [{ left: 4 }],
      false,
      'About 4 dead letters in one queue, hidden at the moment; try again in a minute',
    ],
    [
      'over the limit',
      [{ letters: 5, left: 7 }],
      false,
      '5 dead letters in one queue, about 7 more; --send: up to 5 a queue (--limit)',
    ],
    ['sent', [{ letters: 1, left: 1 }], true, '1 dead letter sent back to its queue; about 1 is left'],
    [
      'sent, and back',
      [{ letters: 4000, again: 10 }],
      true,
      '4,000 dead letters sent back to their queues; 10 of them failed again',
    ],
    ['none to send', [{}], true, 'No dead letters in one queue'],
    [
      'failed',
      [{ letters: 2, failed: new Error('x') }, {}],
      true,
      '2 dead letters sent back to their queues; one queue failed',
    ],
  ])('%s: the last line matches the reports', (_, reports, send, line) => {
    expect(printed(display => display.queues(reports.map(queue), { send, limit: 5 }))).toEqual([line])
  })
})

const record: FoundRecord = {
  key: 'bafkzcibcaapao57e5ewxgvoeqlzeclmgbzzgzh5ryxh2jhhxlxqtkwvrl5kvyaq',
  valid: true,
  stalled: true,
  stage: 'accepted',
  since: AT,
  checkAt: AT,
  next: 'its next message',
  messages: { include: [{ range: 1 }] },
}
const invalid = { ...record, valid: false, since: undefined, checkAt: undefined, messages: {} }

const table = (found: FoundRecord[], rest: Partial<TableReport> = {}): TableReport => ({
  service: 'aggregator',
  table: 'aggregate',
  isScanned: true,
  read: 3,
  unfinished: found.length,
  found,
  more: false,
  ...rest,
})

describe('records as text', () => {
  it('fit a terminal, each with its times, next step and messages', () => {
    const found = [
      record,
      { ...record, stalled: false },
      { ...record, wrongClock: true as const },
      { ...record, since: undefined, checkAt: undefined },
      { ...invalid, next: 'nothing is sent, because the record is invalid: it has no revision' },
    ]
    const lines = printed(display => display.table(table(found)))
    expect(lines).toEqual([
      'aggregator aggregate: 5 records',
      '  RECORD                                                            STAGE',
      `  ${record.key}  accepted`,
      '    Since 2026-01-01 00:00:00 UTC, check was due 2026-01-01 00:00:00 UTC',
      '    Next: its next message',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Since 2026-01-01 00:00:00 UTC, check due 2026-01-01 00:00:00 UTC',
      '    Next: its next message',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Since 2026-01-01 00:00:00 UTC, wrong clock: check 2026-01-01 00:00:00 UTC',
      '    Next: its next message',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    No check scheduled',
      '    Next: its next message',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Next: nothing is sent, because the record is invalid: it has no revision',
      '',
    ])
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80)
  })

  it.each<[string, TableReport, { send?: boolean; all?: boolean }, string]>([
    ['none', table([]), {}, 'Nothing is stalled: 3 records, none unfinished'],
    [
      'one of one',
      table([record], { read: 1 }),
      {},
      '1 record stalled: 1 record, 1 unfinished; --send gets it moving',
    ],
    ['sent', table([record, record]), { send: true }, '2 records got moving: 3 records, 2 unfinished'],
    ['invalid', table([invalid]), {}, '1 record invalid: 3 records, 1 unfinished'],
    [
      'invalid and sent',
      table([record, invalid], { more: true }),
      { send: true },
      '1 record got moving, 1 invalid, and there are more (--limit): 3 records, 2 unfinished',
    ],
    [
      'invalid and others',
      table([record, invalid]),
      {},
      '1 record stalled, 1 invalid: 3 records, 2 unfinished; --send gets the others moving',
    ],
    ['all, and none', table([]), { all: true }, 'Nothing to do: 3 records, none unfinished'],
    [
      'all',
      table([record, record]),
      { all: true },
      '2 records shown: 3 records, 2 unfinished; --send sends messages for them',
    ],
    [
      'all, sent',
      table([record]),
      { all: true, send: true },
      '1 record got messages: 3 records, 1 unfinished',
    ],
  ])('%s: the last line matches the reports', (_, report, { send = false, all = false }, line) => {
    expect(printed(display => display.tables([report], { send, all }))).toEqual([line])
  })

  it.each([
    [[], 'Nothing is stalled: the index of the sweeps, 3 records read'],
    [[record], '1 record stalled: the index of the sweeps, 3 records read; --send gets it moving'],
  ])('the last lines say what the index does not show', (found, line) => {
    const reports = [table(found, { isScanned: false }), table([], { read: 9 })]
    expect(printed(display => display.tables(reports, { send: false, all: false }))).toEqual([
      line,
      'A record that is missing from that index is not in this report: --scan reads whole tables',
    ])
  })
})
