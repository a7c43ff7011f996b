import { UserError } from '@w3filecoin/service/user-error'
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

describe('dead letters, for people', () => {
  it('fit a terminal, with the line of code on a line of its own', () => {
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
    ['that others have', { left: 4 }, ['about 4 dead letters', '  Somebody else has them at the moment']],
    [
      'of which others have some',
      { letters: 1, left: 1 },
      ['1 dead letter', '  About 1 more. Somebody else has them at the moment'],
    ],
    [
      'of groups',
      { letters: 2, left: 4, fifo: true },
      ['2 dead letters', '  About 4 more. Somebody else has them at the moment, or they are behind such'],
    ],
    [
      'over the limit',
      { letters: 5, left: 7, ended: true },
      ['5 dead letters', '  About 7 more. They were not looked at'],
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
    [
      'of a queue that failed at once',
      { failed: new UserError('It is gone') },
      ['it failed', '  It is gone'],
    ],
  ])('%s: what is said of a queue is true', (_, report, [first, ...more]) => {
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
      'About 4 dead letters in one queue, hidden at the moment; look again in a minute',
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
  ])('%s: the last line is true', (_, reports, send, line) => {
    expect(printed(display => display.queues(reports.map(queue), { send, limit: 5 }))).toEqual([line])
  })
})

const record: FoundRecord = {
  key: 'bafkzcibcaapao57e5ewxgvoeqlzeclmgbzzgzh5ryxh2jhhxlxqtkwvrl5kvyaq',
  understood: true,
  stalled: true,
  stage: 'accepted',
  since: AT,
  lookAt: AT,
  next: 'it is to be told',
  messages: { include: [{ range: 1 }] },
}
const odd = { ...record, understood: false, since: undefined, lookAt: undefined, messages: {} }

const table = (found: FoundRecord[], rest: Partial<TableReport> = {}): TableReport => ({
  service: 'aggregator',
  table: 'aggregate',
  read: 3,
  unfinished: found.length,
  found,
  more: false,
  ...rest,
})

describe('records, for people', () => {
  it('fit a terminal, each with what is known', () => {
    const found = [
      record,
      { ...record, stalled: false },
      { ...record, since: undefined, lookAt: undefined },
      { ...odd, next: 'it can not be understood: it has no revision' },
    ]
    const lines = printed(display => display.table(table(found)))
    expect(lines).toEqual([
      'aggregator aggregate: 4 records',
      '  RECORD                                                            STAGE',
      `  ${record.key}  accepted`,
      '    Since 2026-01-01 00:00:00 UTC, was to be looked at 2026-01-01 00:00:00 UTC',
      '    Next: it is to be told',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Since 2026-01-01 00:00:00 UTC, to be looked at 2026-01-01 00:00:00 UTC',
      '    Next: it is to be told',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Nobody will look at it',
      '    Next: it is to be told',
      '    Message to include: {"range":1}',
      `  ${record.key}  accepted`,
      '    Next: it can not be understood: it has no revision',
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
    ['odd', table([odd]), {}, '1 record not understood: 3 records, 1 unfinished'],
    [
      'odd and sent',
      table([record, odd], { more: true }),
      { send: true },
      '1 record got moving, 1 not understood, and there are more (--limit): 3 records, 2 unfinished',
    ],
    [
      'odd, and others',
      table([record, odd]),
      {},
      '1 record stalled, 1 not understood: 3 records, 2 unfinished; --send gets the others moving',
    ],
    ['all, and none', table([]), { all: true }, 'Nothing is to be done: 3 records, none unfinished'],
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
  ])('%s: the last line is true', (_, report, { send = false, all = false }, line) => {
    expect(printed(display => display.tables([report], { send, all }))).toEqual([line])
  })
})
