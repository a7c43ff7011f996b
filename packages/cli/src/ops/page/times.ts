import { bind, type Tables } from '@w3filecoin/aws'
import type { Service } from '../services.ts'
import { requireTables, type Target } from '../target.ts'

/** The time that pieces took for a part of their way, in milliseconds. */
export interface Times {
  from: string
  to: string
  pieces: number
  median: number
  p90: number
  p99: number
}

/** Pieces of the sample. A page of a scan has 1 MB, about 300 records. */
const SAMPLE = 1_000

const WAYS = [
  ['offered', 'submitted'],
  ['offered', 'aggregated'],
  ['aggregated', 'accepted'],
  ['offered', 'accepted'],
] as const

interface Piece {
  history: { stage: string; at: number }[]
}

/**
 * Reads how long a sample of pieces took, from the storefront's table `piece`. Its keys are hashes, so the first records of a scan
 * are a fair sample.
 */
export const readTimes = async ({
  target,
  tables,
  services,
}: {
  target: Target
  tables: Tables | undefined
  services: readonly Service[]
}): Promise<Times[]> => {
  const storefront = services.find(({ resources }) => resources.service === 'storefront')
  if (storefront === undefined) return []
  const places = await target.placesOf('storefront')
  requireTables('storefront', places, ['piece'])
  const aws = bind(storefront.resources, places, tables)
  const pieces: Piece[] = []
  for await (const rows of aws.scan('piece')) {
    pieces.push(...rows.map(row => storefront.tables.piece!.decode(row) as unknown as Piece))
    if (pieces.length >= SAMPLE) break
  }
  return WAYS.flatMap(([from, to]) => {
    const times = pieces.flatMap(piece => timeOf(piece, from, to) ?? []).toSorted((a, b) => a - b)
    if (times.length === 0) return []
    const [median, p90, p99] = [0.5, 0.9, 0.99].map(share => percentile(times, share)) as [
      number,
      number,
      number,
    ]
    return [{ from, to, pieces: times.length, median, p90, p99 }]
  })
}

/** The time between the first occurrence of a stage and the last one of another. */
const timeOf = ({ history }: Piece, from: string, to: string): number | undefined => {
  const start = history.find(({ stage }) => stage === from)?.at
  const end = history.findLast(({ stage }) => stage === to)?.at
  return start === undefined || end === undefined || end < start ? undefined : end - start
}

/** The least value that at least this share of the values does not exceed. */
export const percentile = (ascending: readonly number[], share: number): number =>
  ascending[Math.max(0, Math.ceil(share * ascending.length) - 1)] as number
