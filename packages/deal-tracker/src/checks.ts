import { epochToMs } from '@w3filecoin/capabilities'
import {
  type Check,
  type Checking,
  type Finding,
  failing,
  fine,
  type HealthRecord,
  ownDocumentChecks,
  peerChecks,
} from '@w3filecoin/runtime'
import type { DealTrackerConfig } from './config.ts'
import { isComplete, type SourceRecord } from './domain/source.ts'
import { resources } from './resources.ts'
import type { Stores } from './stores.ts'

interface Checked extends Checking {
  config: Pick<DealTrackerConfig, 'clients' | 'sources' | 'maxAgeSeconds'>
  stores: Pick<Stores, 'source'>
}

/** A source that has no good run for so many intervals of the schedule `sync` is blind. */
const MAX_MISSED_RUNS = 4
const MAX_AGE_MS = MAX_MISSED_RUNS * resources.schedules.sync.everySeconds * 1000

/** The share of `maxAgeSeconds` at which the chain state of a source is too old: there is time left before it is refused. */
const STATE_AGE_SHARE = 0.5

/** Returns the checks of a deal tracker. `sync` records the results of its runs itself: see {@link runOf}. */
export const dealTrackerChecks = ({ config, id, stores, peer: open, ...others }: Checked): Check[] => {
  const { service } = resources
  const tools = { service, ...others }
  const none: Check = {
    name: 'sources',
    check: 'source',
    setting: 'sources',
    run: async () =>
      failing(
        'NoSource',
        `sources in the settings of the ${service} is empty: no deal can ever be found, so no aggregate is accepted, and none fails for want of a deal. List a source`,
      ),
  }
  const limits = { maxStateMs: config.maxAgeSeconds * 1000 * STATE_AGE_SHARE, now: others.now }
  return [
    ...(config.sources.length === 0 ? [none] : []),
    ...config.sources.map(
      ({ name }): Check => ({
        name: `source ${name}`,
        check: 'source',
        subject: name,
        setting: 'sources',
        run: async previous => judgeSource(name, await stores.source.get({ name }), previous, limits),
      }),
    ),
    ...config.clients.flatMap(client =>
      peerChecks({ config: client, peer: open(client), setting: 'clients' }, tools),
    ),
    ...ownDocumentChecks(id, tools),
  ]
}

/** The check whose finding is the result of the last run of `sync` of a source. */
export const runOf = (source: string): Omit<Check, 'run'> => ({
  name: `sync ${source}`,
  check: 'source',
  subject: source,
  setting: 'sources',
})

/** Judges the age of the last good report of a source. Its first run may still be ahead. */
const judgeSource = (
  name: string,
  record: SourceRecord | undefined,
  previous: HealthRecord | undefined,
  { maxStateMs, now }: { maxStateMs: number; now: () => number },
): Finding => {
  const where = `the source ${name} in the settings of the ${resources.service}`
  const { good } = record ?? {}
  if (good === undefined) {
    const waits = previous?.problem === 'NeverRead' ? now() - previous.since : 0
    const hasFailed = previous?.problem === 'NeverRead' && !previous.ok
    const message = `No run has read ${where} completely yet`
    return hasFailed || waits > MAX_AGE_MS
      ? failing('NeverRead', `${message}. See the log of its schedule sync`)
      : { ok: true, problem: 'NeverRead', message }
  }
  const ageMs = now() - good.at
  const stateMs = now() - epochToMs(good.epoch)
  const at = new Date(good.at).toISOString()
  if (ageMs > MAX_AGE_MS)
    return failing(
      'SourceBlind',
      `The last good run of ${where} was at ${at}, and one is due every ${resources.schedules.sync.everySeconds / 60} minutes: deals since then are not known`,
    )
  if (stateMs > maxStateMs)
    return failing(
      'SourceStandsStill',
      `The chain state of ${where} is ${Math.round(stateMs / 3_600_000)} hours old (epoch ${good.epoch}). At maxAgeSeconds its reports are refused`,
    )
  return fine(`Read at ${at}, epoch ${good.epoch}`)
}

/** Returns the finding of an accepted run. */
export const findingOf = (record: Pick<SourceRecord, 'name' | 'malformed' | 'refused' | 'deals'>): Finding =>
  isComplete(record)
    ? fine('The last run was complete')
    : failing(
        'SourceIncomplete',
        `The report of the source ${record.name} in the settings of the ${resources.service} is incomplete (${record.malformed} malformed records, ${record.refused ?? 0} beyond the greatest number): it does not show that a deal does not exist, so no aggregate fails`,
      )

/** Returns the finding of a run that failed, or whose report was refused. */
export const findingOfFailure = (source: string, { name, message }: Error): Finding =>
  failing(
    name === 'Error' || name === 'TypeError' ? 'SourceNotRead' : name,
    `The last run of the source ${source} in the settings of the ${resources.service} failed: ${message}`,
  )
