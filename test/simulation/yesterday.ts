import { readFileSync } from 'node:fs'
import { Choices } from '@w3filecoin/testing/deterministic'
import { plannedCourse } from './crash-points.ts'
import type { System } from './services.ts'
import { type Report, simulate } from './simulate.ts'
import type { Snapshot } from './snapshot.ts'

/**
 * Rows, blocks and messages that an earlier version of the code wrote on the planned journey, at times that show every stage
 * of every record. They are still in tables and queues when a later version is deployed.
 */
export interface Yesterday {
  snapshots: Snapshot[]
  /** By service and queue. */
  messages: Record<string, Record<string, object[]>>
}

/**
 * Reads a file of `test/fixtures/yesterday`. Bytes in it are `{"$bytes":"<base64>"}`.
 *
 * @param version e.g. `0.1.0`
 */
export const readYesterday = (version: string): Yesterday =>
  JSON.parse(
    readFileSync(new URL(`../fixtures/yesterday/${version}.json`, import.meta.url), 'utf8'),
    (_, value) =>
      typeof value?.$bytes === 'string' ? new Uint8Array(Buffer.from(value.$bytes, 'base64')) : value,
  )

/**
 * Continues the planned journey from a snapshot. Offers in dialects are not made again, but those in the tables are completed:
 * version 0.1.0 had no dialects.
 *
 * @param messages those that are still in the queues; default: all messages are lost
 */
export const continueJourney = async (
  resume: Snapshot,
  messages: Yesterday['messages'] = {},
): Promise<Report> => {
  const planned = plannedCourse()
  const offers = planned.scenario.offers.filter(({ dialect }) => dialect === undefined)
  const scenario = { ...planned.scenario, offers }
  const visit = (_: unknown, { services }: System) => {
    for (const [service, queues] of Object.entries(messages))
      for (const [queue, sent] of Object.entries(queues))
        for (const message of sent) services.get(service)?.queues[queue]?.deliver(message as never)
  }
  return (await simulate(1, new Choices(1), { ...planned, scenario, resume, visit })).report
}
