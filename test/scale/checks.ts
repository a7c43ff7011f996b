import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import { callInFreshProcess } from '../../bench/measure.ts'
import type { FullIndexWork } from './full-index.ts'
import type { Journey } from './journey.ts'
import { describeWork, findFailures, MEGABYTE } from './report.ts'
import type { WholeOptions, WholeWork } from './whole.ts'
import { describeWhole, findWholeFailures } from './whole-report.ts'

type Print = (line: string) => void

const count = (n: number): string => n.toLocaleString('en')
const moduleOf = (file: string): string => new URL(file, import.meta.url).href

/** Runs the whole journey of pieces, and returns the aims that it missed. Each measurement has a fresh process. */
export const checkJourney = async (pieces: number, rate: number, print: Print): Promise<string[]> => {
  const journey = await callInFreshProcess<Journey>(moduleOf('journey.ts'), 'runJourney', pieces, rate)
  print(`${count(pieces)} pieces of one agent, from filecoin/offer to filecoin/accept:`)
  print(`  stages: ${JSON.stringify(journey.stages)}; ${count(journey.receipts)} receipts of filecoin/accept`)
  for (const line of describeWork(journey)) print(line)
  const memory = await checkMemory(
    `the deal function of the aggregator and the API of the dealer together, which check ${count(pieces)} pieces`,
    Math.min(aggregator.queues.deal.run.memory, dealer.api.memory),
    await callInFreshProcess<number | undefined>(moduleOf('deal.ts'), 'measureOffer', pieces),
    print,
  )
  return [
    ...findFailures(journey),
    ...memory,
    ...differs('pieces were accepted', journey.stages.accepted ?? 0, pieces),
    ...differs('pieces have the receipt of filecoin/accept', journey.receipts, pieces),
  ]
}

/** Seals a full index and issues the receipts of its pieces, and returns the aims that this missed. */
export const checkIndex = async (pieces: number, rate: number, print: Print): Promise<string[]> => {
  const work = await callInFreshProcess<FullIndexWork>(moduleOf('full-index.ts'), 'fillIndex', pieces, rate)
  print(
    `An aggregate of 32 GiB with ${count(pieces)} pieces of 64 and 128 KiB, from its seal to piece/accept:`,
  )
  print(`  ${count(work.receipts)} receipts of piece/accept; ${count(work.pending)} rows left in the list`)
  for (const line of describeWork(work)) print(line)
  const memory = await checkMemory(
    `the seal function, which seals ${count(pieces)} pieces`,
    aggregator.queues.seal.run.memory,
    await callInFreshProcess<number | undefined>(moduleOf('full-index.ts'), 'measureSeal', pieces),
    print,
  )
  return [
    ...findFailures(work),
    ...memory,
    ...differs('pieces have the receipt of piece/accept', work.receipts, pieces),
    ...differs('pieces are included', work.included, pieces),
    ...differs('rows are left in the list of the group', work.pending, 0),
  ]
}

/** Takes contents to whole copies of their aggregate on the engines of this machine, and returns the aims that this missed. */
export const checkWhole = async (options: WholeOptions, print: Print): Promise<string[]> => {
  const work = await callInFreshProcess<WholeWork>(moduleOf('whole.ts'), 'storeWhole', options)
  for (const line of describeWhole(options, work)) print(line)
  return findWholeFailures(options, work)
}

const differs = (text: string, seen: number, expected: number): string[] =>
  seen === expected ? [] : [`${count(seen)} ${text}, not ${count(expected)}`]

const checkMemory = async (
  name: string,
  limitMegabytes: number,
  bytes: number | undefined,
  print: Print,
): Promise<string[]> => {
  if (bytes === undefined) {
    print(`  memory of ${name}: not measured, because only Linux reports it`)
    return []
  }
  const megabytes = Math.ceil(bytes / MEGABYTE)
  print(`  memory of ${name}: ${count(megabytes)} MB of ${count(limitMegabytes)}`)
  return megabytes <= limitMegabytes
    ? []
    : [`${name}: ${megabytes} MB of memory, and the limit is ${limitMegabytes}`]
}
