import { describe, expect, it } from 'vitest'
import { linesOf, resultOf } from '../../src/ops/trace/display.ts'
import type { OpenWork, Step, Story } from '../../src/ops/trace/story.ts'

const NOW = Date.UTC(2026, 0, 2)
const MINUTE = 60_000
const TASK = `bafyrei${'a'.repeat(52)}`
const PIECE = `bafkzcib${'b'.repeat(56)}`
const DID = `did:key:z6Mk${'c'.repeat(44)}`

const story = (more: Partial<Story> = {}): Story => ({
  piece: PIECE,
  content: `bafkrei${'d'.repeat(52)}`,
  group: 'free',
  space: DID,
  stage: 'submitted',
  since: NOW - 4 * MINUTE,
  aggregates: [],
  steps: [],
  open: [],
  tasks: [],
  keys: [],
  ...more,
})
const work = (more: Partial<OpenWork> = {}): OpenWork => ({
  service: 'storefront',
  table: 'piece',
  key: 'kD3wbPzc',
  stage: 'submitted',
  since: NOW - 4 * MINUTE,
  next: 'the aggregator must accept it',
  trouble: undefined,
  checkAt: NOW + MINUTE,
  isOverdue: false,
  ...more,
})
const printed = (stories: Story[], more = false) =>
  linesOf({ subject: PIECE, stories, receipt: undefined, more }, NOW)
const openLines = (open: OpenWork) => {
  const lines = printed([story({ open: [open] })])
  return lines.slice(lines.indexOf('NOT FINISHED') + 1, lines.indexOf('IN FULL') - 1)
}
const receipt = (more: object): Step => ({
  kind: 'receipt',
  name: 'piece/accept 2',
  at: NOW,
  service: 'aggregator',
  task: TASK,
  ability: 'piece/accept',
  issuer: DID,
  error: undefined,
  forks: 0,
  join: undefined,
  ...more,
})
const stepLines = (step: Step) => {
  const lines = printed([story({ steps: [step] })])
  const from = lines.findIndex(line => line.startsWith('UTC'))
  return lines.slice(from + 1, lines.indexOf('IN FULL') - 1)
}

describe('unfinished work', () => {
  it('has what is next, why not yet, how often, and when it is tried again', () => {
    const trouble = { message: `${DID} cannot be reached`, at: NOW - MINUTE, times: 3 }
    expect(openLines(work({ trouble }))).toEqual([
      '  storefront piece, submitted since 2026-01-01 23:56:00 (4 min 0 s)',
      '    next        the aggregator must accept it',
      '    why not yet did:key:z6Mkcccc… cannot be reached (3 times, last 2026-01-01',
      '                23:59:00 UTC)',
      '    tried again 2026-01-02 00:01:00 UTC, in 1 min 0 s',
      '    record      kD3wbPzc',
    ])
    expect(printed([story({ open: [work({ trouble })] })])[2]).toMatch(
      /^ {2}next {8}the aggregator must accept it \(storefront\); tried again in 1 min/,
    )
  })

  it.each<[string, Partial<OpenWork>, string]>([
    [
      'is overdue',
      { checkAt: NOW - 5 * MINUTE, isOverdue: true },
      'it was due 2026-01-01 23:55:00 UTC, 5 min 0 s',
    ],
    ['has no next check', { checkAt: undefined }, 'never: no check is scheduled. w3fil ops reconcile'],
    ['is due now', { checkAt: NOW - 1 }, '2026-01-01 23:59:59 UTC, now'],
  ])('that %s says so', (_, more, expected) => {
    expect(openLines(work(more)).find(line => line.includes('tried again'))).toContain(expected)
  })

  it('names the record that the others wait for at the top', () => {
    const open = [
      work(),
      work({ service: 'dealer', table: 'aggregate', aggregate: 2, next: 'a deal', note: 'n' }),
    ]
    const lines = printed([story({ open })])
    expect(lines[2]).toMatch(/^ {2}next {8}a deal \(dealer\)/)
    expect(lines).toContain('  dealer aggregate 2, submitted since 2026-01-01 23:56:00 (4 min 0 s)')
  })
})

describe('a step', () => {
  it.each<[string, Step, string[]]>([
    [
      'a receipt with effects',
      receipt({ join: { task: TASK, ability: 'aggregate/offer' }, forks: 2 }),
      [
        '2026-01-02 00:00:00  aggregator    receipt piece/accept 2: ok → aggregate/offer,',
        '                                   2 forks',
      ],
    ],
    [
      'a failure, whose CIDs are shortened',
      receipt({ error: { name: 'InvalidPiece', message: `${PIECE} is wrong` } }),
      [
        '2026-01-02 00:00:00  aggregator    receipt piece/accept 2: InvalidPiece:',
        '                                   bafkzci…bbbbbbbbbb is wrong',
      ],
    ],
    [
      'a receipt that is too large',
      receipt({ unreadBytes: 20_000_000 }),
      [
        '2026-01-02 00:00:00  aggregator    receipt piece/accept 2: 20000000 bytes, too',
        '                                   large to read here',
      ],
    ],
    [
      'a deal',
      {
        kind: 'deal',
        at: NOW,
        service: 'deal-tracker',
        deal: '7',
        provider: 'f01',
        status: 'Active',
        source: 'chain',
        aggregate: 1,
      },
      [
        '2026-01-02 00:00:00  deal-tracker  deal 7 of aggregate 1 seen at f01: Active',
        '                                   (source chain)',
      ],
    ],
    [
      'a stage',
      {
        kind: 'stage',
        at: NOW,
        service: 'storefront',
        record: 'piece',
        key: 'k',
        stage: 'aggregated',
        aggregate: 1,
        lastedMs: 3 * 86_400_000,
      },
      ['2026-01-02 00:00:00  storefront    piece aggregated (aggregate 1): for 3 d 0 h'],
    ],
  ])('is %s', (_, step, lines) => {
    expect(stepLines(step)).toEqual(lines)
  })
})

describe('the answer', () => {
  it('has one part for each workflow, within 80 columns', () => {
    const trouble = { message: `${DID}: ${PIECE} `.repeat(9), times: 1 }
    const one = story({
      reason: { name: 'InvalidContentPiece', message: `${PIECE} is wrong` },
      nonce: 'n',
      aggregates: [{ aggregate: PIECE, nonce: undefined, group: 'free', stage: 'accepted', deal: '5' }],
      steps: [receipt({})],
      tasks: [{ name: 'aggregate/accept 2', task: TASK }],
      open: [work({ trouble })],
    })
    const lines = printed([one, story()], true)
    expect(lines[0]).toBe('Workflow 1 of 2 or more: submitted with deal 5')
    expect(lines).toContain('Workflow 2 of 2 or more: submitted')
    expect(lines.at(-1)).toBe('There are more workflows: raise --limit')
    expect(lines).toContain(`  aggregate/accept 2 ${TASK}`)
    expect(lines).toContain(`  aggregator         ${DID}`)
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80)
  })

  it('is the receipt alone if no workflow belongs to it', () => {
    const alone = receipt({ name: 'deal/info', at: NOW }) as never
    const told = { subject: TASK, stories: [], receipt: alone, more: false }
    expect(linesOf(told, NOW)).toEqual([
      'The task has a receipt, but no workflow or aggregate belongs to it',
      '2026-01-02 00:00:00  aggregator    receipt deal/info: ok',
      `  task        ${TASK}`,
      `  issuer      ${DID}`,
    ])
    expect(resultOf(told)).toMatchObject({ receipt: { at: '2026-01-02T00:00:00.000Z' }, stories: [] })
  })

  it('has its times in ISO 8601 as JSON, and none where there is none', () => {
    const trouble = { message: 'm', at: Number.NaN, times: 1 }
    const told = {
      subject: PIECE,
      stories: [story({ open: [work({ trouble })] })],
      receipt: undefined,
      more: false,
    }
    expect(JSON.parse(JSON.stringify(resultOf(told))).stories[0]).toMatchObject({
      kind: 'workflow',
      since: '2026-01-01T23:56:00.000Z',
      open: [{ checkAt: '2026-01-02T00:01:00.000Z', trouble: { message: 'm', times: 1 } }],
    })
  })
})

describe('the orders and places of an aggregate', () => {
  it('name the copy, the target and the reason of an end', () => {
    const order = {
      kind: 'stage',
      at: NOW,
      service: 'dealer',
      record: 'order',
      key: 'kD3wbPzc 00/0000',
    } as const
    const text = (step: Step) =>
      stepLines(step)
        .map(line => line.slice(35))
        .join(' ')
    expect(
      text({ ...order, stage: 'storing', aggregate: 1, copy: 0, target: 'pdp-3', lastedMs: MINUTE }),
    ).toBe('copy 0 at pdp-3 storing (aggregate 1): for 1 min 0 s')
    const note = 'CopyEnded: The place sector:f01000/7 is terminated'
    expect(text({ ...order, stage: 'ended', aggregate: 2, copy: 1, target: 'curio-1', note })).toBe(
      `copy 1 at curio-1 ended (aggregate 2): ${note}`,
    )
    const place = {
      kind: 'deal',
      at: NOW,
      service: 'deal-tracker',
      deal: 'sector:f01000/7',
      provider: 'f01000',
      status: 'Terminated',
      source: 'sectors',
      aggregate: 1,
    } as const
    expect(text({ ...place, isEnd: true, reason: 'The sector was terminated' })).toBe(
      'sector 7 of f01000 of aggregate 1 terminated: The sector was terminated (source sectors)',
    )
    expect(text({ ...place, status: 'Expired', isEnd: true })).toBe(
      'sector 7 of f01000 of aggregate 1 expired (source sectors)',
    )
  })
})
