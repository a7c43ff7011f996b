import { openTables } from '@w3filecoin/aws'
import type { Clock, Stored } from '@w3filecoin/runtime'
import { findByPiece } from '@w3filecoin/storefront'
import { readCid } from '../cid-argument.ts'
import type { Context } from '../context.ts'
import { CommandError, type Outcome } from '../outcome.ts'
import { describeError, isEnvironmental } from './describe-error.ts'
import { openTarget, type TargetOptions } from './open-target.ts'
import { linesOf, resultOf } from './trace/display.ts'
import { type Found, find } from './trace/find.ts'
import { openServices, type Services } from './trace/services.ts'
import { type Story, traceAggregate, traceWorkflow } from './trace/story.ts'

interface TraceOptions extends TargetOptions {
  limit: number
  scan?: boolean
  segments: number
}

/** Returns everything that the four services store about a piece, a content, a task or an aggregate. */
export const trace = async (cid: string, options: TraceOptions, { env, now }: Context): Promise<Outcome> => {
  const subject = readCid(cid, 'Pass the CID of a piece, a content, a task or an aggregate.')
  const target = openTarget(options, env)
  try {
    const services = await openServices(target, await openTables(target.env), now)
    return await traceSubject(services, subject, options, now)
  } catch (cause) {
    if (cause instanceof CommandError || !isEnvironmental(cause)) throw cause
    throw new CommandError('Failed', describeError(cause))
  }
}

const traceSubject = async (
  services: Services,
  subject: string,
  { limit, scan = false, segments }: TraceOptions,
  now: Clock,
): Promise<Outcome> => {
  const found = await find(services, subject, { limit, segments: scan ? segments : undefined })
  const readAt = now()
  const { stories, more } = await tell(services, found, { limit, now: readAt })
  const { receipt, searched } = found
  // Of a task, only the workflow that promised it is of interest.
  const own = stories.filter(({ tasks }) => tasks.some(({ task }) => task === subject))
  const told = { subject, stories: own.length > 0 ? own : stories, receipt, more }
  if (told.stories.length > 0 || receipt) return { result: resultOf(told), lines: linesOf(told, readAt) }
  const place = 'Check the CID, and the system: --stage or --data.'
  const index = 'The aggregator has no index of pieces and promised tasks: --scan reads whole tables.'
  throw new CommandError(
    'NotFound',
    `No service has a record of ${subject}. Searched:\n${searched.map(place => `  ${place}`).join('\n')}`,
    { hint: scan ? place : `${place} ${index}` },
  )
}

/** Follows each of the found records. The limit is one of workflows. */
const tell = async (
  services: Services,
  { workflows, offered, aggregates, more }: Found,
  { limit, now }: { limit: number; now: number },
): Promise<{ stories: Story[]; more: boolean }> => {
  const stories: Story[] = []
  for (const aggregate of aggregates.values()) stories.push(await traceAggregate(services, aggregate, now))
  const pieces: Story[] = []
  const isKnown = (id: string) => pieces.some(({ keys }) => keys.includes(id))
  const add = async (workflow: Stored<object> & { id: string }) => {
    if (!isKnown(workflow.id)) pieces.push(await traceWorkflow(services, { workflow } as never, now))
  }
  for (const record of [...workflows.values()].slice(0, limit)) await add(record)
  for (const record of offered.values()) {
    if (pieces.length >= limit) break
    if (isKnown(record.id)) continue
    const { records: known } = await findByPiece(services.storefront, { piece: record.piece }, limit)
    for (const workflow of known) {
      if (isKnown(record.id) || workflow.group !== record.group) continue
      const story = await traceWorkflow(services, { workflow }, now)
      if (story.keys.includes(record.id)) pieces.push(story)
    }
    if (!isKnown(record.id)) pieces.push(await traceWorkflow(services, { offered: record }, now))
  }
  return {
    stories: [...stories, ...pieces],
    more: more || workflows.size > limit || [...offered.keys()].some(id => !isKnown(id)),
  }
}
