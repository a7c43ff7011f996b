import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describePlaceKey, Proof, type Status, type Storefront, W3Error } from '@w3filecoin/client'
import { readCid } from '../cid-argument.ts'
import type { Context } from '../context.ts'
import type { Outcome } from '../outcome.ts'
import { table } from '../text.ts'
import { type ConnectionOptions, connectToStorefront } from './connection.ts'
import { PROOF_ENDING } from './files.ts'
import { Progress } from './progress.ts'
import { describeStage, STAGE_WORDS } from './stage-words.ts'

/** Pauses between two questions about a task whose piece is not known. */
const FIRST_PAUSE_MS = 500
const MAX_PAUSE_MS = 30_000

/** Says where a piece, a task or the piece of a proof is. With `watch`, it waits for the end. */
export const status = async (
  subject: string,
  { watch, ...options }: ConnectionOptions & { watch?: boolean },
  context: Context,
): Promise<Outcome> => {
  const named = await readSubject(subject, context.cwd)
  const w3 = await connectToStorefront(options, context)
  const found = watch ? await watchUntilEnd(w3, named, { subject, context }) : await w3.status(named)
  return outcomeOf(subject, found)
}

const readSubject = async (subject: string, cwd: string): Promise<Proof | string> => {
  const path = resolve(cwd, subject)
  if (subject.endsWith(PROOF_ENDING) || existsSync(path)) return Proof.read(path)
  return readCid(subject, 'Pass the CID of a piece or a task, or a file with a proof.')
}

const isFinal = ({ stage, error }: Status): boolean =>
  stage === 'accepted' || stage === 'failed' || error !== undefined

const watchUntilEnd = async (
  w3: Storefront,
  named: Proof | string,
  { subject, context: { stderr, env, signal } }: { subject: string; context: Context },
): Promise<Status> => {
  const progress = new Progress(stderr, { names: [subject], dumb: env.TERM === 'dumb' })
  try {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      const found = await w3.status(named, { signal })
      if (isFinal(found)) return found
      if (found.piece !== undefined && found.accept !== undefined) {
        const events = w3.watch(
          { piece: found.piece, accept: found.accept },
          { signal, onRetry: ({ reason }) => progress.update(subject, 'retry', reason) },
        )
        for await (const event of events) progress.update(subject, event.stage, describeStage(event))
        continue
      }
      progress.update(subject, found.stage, STAGE_WORDS[found.stage])
      await sleep(pauseMs, undefined, { signal })
    }
  } finally {
    progress.close()
  }
}

const outcomeOf = (
  subject: string,
  { aggregates, deals, places, piece, accept, ...found }: Status,
): Outcome => {
  const { stage, since, waitsFor, trouble, error } = found
  const result = {
    subject,
    stage,
    since,
    waitsFor,
    piece: piece && `${piece}`,
    task: accept,
    aggregates: aggregates.map(aggregate => `${aggregate}`),
    deals: deals.map(({ aggregate, aux, ...deal }) => ({
      deal: aux.dataSource.dealID,
      ...deal,
      aggregate: `${aggregate}`,
    })),
    places: places.map(({ aggregate, ...place }) => ({ ...place, aggregate: `${aggregate}` })),
    history: found.history,
    trouble,
    failure: error,
  }
  const rows = [
    ['stage', since ? `${STAGE_WORDS[stage]} (since ${since})` : STAGE_WORDS[stage]],
    ...(waitsFor ? [['waits for', waitsFor]] : []),
    ...(trouble ? [['trouble', trouble.message]] : []),
    ...(error ? [['failure', [error.name, error.message].filter(Boolean).join(': ')]] : []),
    ['piece', result.piece ?? 'not known'],
    ['task', accept ?? 'not known'],
    ...result.aggregates.map(aggregate => ['aggregate', aggregate]),
    ...result.deals.map(({ deal, status, provider, expiration }) => [
      'deal',
      `${deal ?? ''} with ${provider}, ${status} until ${expiration}`,
    ]),
    ...result.places.map(({ key, provider, ...place }) => [
      'on chain',
      `${describePlaceKey(key)} with ${provider}, ${describeState(place)}`,
    ]),
  ]
  const lines = table(['', ''], rows).slice(1)
  return { result, lines, error: errorOf(found) }
}

/** @example 'Active until 2028-05-14T20:30:00.000Z', 'Terminated since 2026-11-27T10:00:00.000Z: The sector was terminated' */
const describeState = ({
  status,
  faulty,
  expiration,
  ended,
  reason,
}: Pick<Status['places'][number], 'status' | 'faulty' | 'expiration' | 'ended' | 'reason'>): string => {
  if (ended) return `${status} since ${ended}${reason ? `: ${reason}` : ''}`
  return `${status}${faulty ? ', misses proofs' : ''}${expiration ? ` until ${expiration}` : ''}`
}

const errorOf = ({
  stage,
  waitsFor,
  error,
}: Pick<Status, 'stage' | 'waitsFor' | 'error'>): W3Error | undefined => {
  if (stage === 'failed' || error !== undefined) {
    const { name = 'Failed', message } = error ?? {}
    return new W3Error(name, message ?? `The workflow failed with ${name}`)
  }
  if (stage === 'accepted') return undefined
  return new W3Error('OutcomePending', waitsFor ?? `There is no outcome yet: the stage is ${stage}`)
}
