import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { randomContent, upload } from './content.ts'
import { follow } from './follow.ts'
import { offer } from './invoke.ts'
import { effectOf, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

const system = useSystem()

interface Line {
  time: string
  event: string
  service: string
  request?: string
  record: string
  id: string
  stage: string
  from?: string
  afterSeconds?: number
  piece?: string
  aggregate?: string
  task?: string
}

const readLines = (): Line[] =>
  readFileSync(join(system.data, 'logs', 'services.log'), 'utf8')
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))

/** The transitions in lines that have a value in any field, in order, e.g. `storefront piece offered → submitted`. */
const find = (value: unknown): string[] =>
  readLines()
    .filter(line => line.event === 'stage entered' && Object.values(line).includes(`${value}`))
    .map(({ service, record, from, stage }) => `${service} ${record} ${from ? `${from} → ` : ''}${stage}`)

test('each transition of a piece on its way through the services is one log line, which its CIDs find', async () => {
  const content = await randomContent(60_000)
  await upload(system.local, content)
  const offered = await offer(system.at('storefront'), content)
  const { queued, success, dealt, accepted } = await follow(system, offered)
  expect(accepted.out.ok).toBeDefined()
  const accept = `${accepted.ran.link()}`
  const pieceAccept = `${effectOf(queued.fx.join).cid}`
  const aggregateAccept = `${effectOf(dealt.fx.join).cid}`

  const storefront = [
    'storefront piece offered',
    'storefront piece offered → submitted',
    'storefront piece submitted → queued',
    'storefront piece queued → aggregated',
    'storefront piece aggregated → accepted',
  ]
  const aggregator = ['aggregator piece pending', 'aggregator piece pending → included']
  const inOrder = (transitions: readonly string[], prefix: string) =>
    transitions.filter(transition => transition.startsWith(prefix))
  await vi.waitFor(() => expect(find(content.piece)).toHaveLength(7), PATIENCE)
  const ofPiece = find(content.piece)
  expect(inOrder(ofPiece, 'storefront')).toEqual(storefront)
  expect(inOrder(ofPiece, 'aggregator')).toEqual(aggregator)

  expect(find(accept), 'filecoin/accept').toEqual(storefront)
  const ofPieceAccept = find(pieceAccept)
  expect(inOrder(ofPieceAccept, 'aggregator'), 'piece/accept').toEqual(aggregator)
  expect(inOrder(ofPieceAccept, 'storefront'), 'piece/accept').toEqual(storefront.slice(2))

  const outcome = [
    'aggregator aggregate offered → accepted',
    'aggregator aggregate sealed → offered',
    'dealer aggregate offered',
    'dealer aggregate offered → accepted',
    'storefront aggregate offered → accepted',
  ]
  expect(find(aggregateAccept).toSorted(), 'aggregate/accept').toEqual(outcome)
  expect(find(success.aggregate).toSorted(), 'the aggregate').toEqual(
    [
      ...outcome,
      'aggregator aggregate sealed',
      'aggregator group collecting → sealing',
      'storefront aggregate offered',
      'storefront piece aggregated → accepted',
      'storefront piece queued → aggregated',
    ].toSorted(),
  )
  expect(
    readLines().some(
      ({ event, record, stage }) => event === 'stage entered' && `${record} ${stage}` === 'source written',
    ),
  ).toBe(true)
})

test('each log line of a service has its time, and each transition its run and the time in the stage before', async () => {
  await vi.waitFor(() => expect(readLines().some(({ from }) => from !== undefined)).toBe(true), PATIENCE)
  const lines = readLines()
  expect(lines.filter(({ time }) => new Date(time).toISOString() !== time)).toEqual([])
  const transitions = lines.filter(({ event }) => event === 'stage entered')
  for (const line of transitions) {
    expect(line).toMatchObject({ request: expect.stringMatching(/^[0-9a-f-]{36}$/), id: expect.any(String) })
    if (line.from !== undefined) expect(line.afterSeconds, JSON.stringify(line)).toBeGreaterThanOrEqual(0)
  }
})
