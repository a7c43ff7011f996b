import { lookup } from 'node:dns/promises'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { Tables } from '@w3filecoin/aws'
import type { Clock, Environment } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { Context } from '../../context.ts'
import { EXIT_CODES } from '../../outcome.ts'
import { fit, left } from '../../text.ts'
import type { OpsOptions } from '../main.ts'
import type { Service } from '../services.ts'
import type { Target } from '../target.ts'
import { type About, type Address, checkAddress, readAddress, type Surroundings } from './address.ts'
import { type Diagnosis, diagnose } from './diagnosis.ts'
import { checkQueues } from './queues.ts'
import { showScheduledChecks } from './scheduled-checks.ts'

export interface DoctorOptions
  extends Pick<
    OpsOptions,
    'stage' | 'data' | 'service' | 'json' | 'canary' | 'key' | 'with' | 'delegation' | 'wait'
  > {
  target: Target
  services: readonly Service[]
  print: (text: string) => unknown
  now: Clock
}

/** Columns of the names of services and checks, and of a line. */
const SERVICE_COLUMNS = 12
const CHECK_COLUMNS = 10
const MAX_COLUMNS = 1_000

const STOREFRONT = 'storefront'

/** Checks a system, and prints a line for each check. Resolves with the exit code. */
export const doctor = async (options: DoctorOptions, context: Context): Promise<number> => {
  const { target, services, print, json } = options
  const { openTables } = await import('@w3filecoin/aws')
  const sqs = await import('@aws-sdk/client-sqs')
  const tools = { tables: await openTables(target.env), client: new sqs.SQSClient({}) }
  const surroundings = surroundingsOf(options, context)
  const diagnoses: Diagnosis[] = []
  const show = (some: readonly Diagnosis[]) => {
    diagnoses.push(...some)
    for (const each of some) print(json ? `${JSON.stringify(each)}\n` : linesOf(each))
  }

  const places = await readPlaces(services, target)
  let storefront: Visited | undefined
  // At the same time, because an unreachable service costs its whole timeout. Shown in their order.
  const visits = services.map(service => visit(service, places, { ...tools, surroundings }))
  for (const pending of visits) {
    const visited = await pending
    show(visited.diagnoses)
    if (visited.service === STOREFRONT) storefront = visited
  }
  if (options.canary) show([await runCanary(options, storefront, context)])

  const ill = diagnoses.filter(({ ok }) => !ok).length
  if (!json)
    print(
      ill === 0
        ? `\nAll is well: ${diagnoses.length} checks\n`
        : `\n${ill} of ${diagnoses.length} checks found something\n`,
    )
  return ill === 0 ? EXIT_CODES.done : EXIT_CODES.notYet
}

const surroundingsOf = ({ stage, data, now }: DoctorOptions, { fetch }: Context): Surroundings => ({
  fetch,
  lookup,
  now,
  system: stage === undefined ? (data === undefined ? '' : `--data ${data}`) : `--stage ${stage}`,
  logOf: (service, name) =>
    stage === undefined
      ? 'logs/services.log of the data directory'
      : `the log group /w3filecoin/${stage}/${service}/${name}`,
})

/** Returns the places of each service, or why they are not known. If none is known, that is an error of the command. */
const readPlaces = async (
  services: readonly Service[],
  target: Target,
): Promise<Map<string, Environment | UserError>> => {
  const places = new Map<string, Environment | UserError>()
  for (const { resources } of services) {
    const found = await target.placesOf(resources.service).catch(cause => {
      if (cause instanceof UserError) return cause
      throw cause
    })
    places.set(resources.service, found)
  }
  const [first] = places.values()
  if (first instanceof UserError && [...places.values()].every(found => found instanceof UserError))
    throw first
  return places
}

interface Visited {
  service: string
  diagnoses: Diagnosis[]
  places?: Environment
  address?: Address
  about?: About | undefined
}

const visit = async (
  { resources }: Service,
  known: Map<string, Environment | UserError>,
  {
    surroundings,
    ...tools
  }: {
    surroundings: Surroundings
    tables: Tables | undefined
    client: SQSClient
  },
): Promise<Visited> => {
  const { service } = resources
  const { well, ill } = diagnose(service, 'address')
  const places = known.get(service)!
  if (places instanceof UserError)
    return { service, diagnoses: [ill(places.message, 'Deploy the stage again.')] }
  const address = readAddress(places)
  const published =
    address === undefined
      ? ill(
          'the system does not publish the address of this service: it runs another version',
          'Deploy this version, or use the command of the deployed one.',
        )
      : well(`${address.url}, ${address.did}`)
  const [reached, queues, checks] = await Promise.all([
    address && checkAddress(service, address, surroundings),
    checkQueues(resources, places, { ...tools, ...surroundings }),
    showScheduledChecks(resources, places, { ...tools, ...surroundings }),
  ])
  const diagnoses = [published, ...(reached?.diagnoses ?? []), ...queues, ...checks]
  return { service, diagnoses, places, ...(address && { address }), about: reached?.about }
}

const runCanary = async (
  { target, key, with: space, delegation, wait = 60, now }: DoctorOptions,
  storefront: Visited | undefined,
  context: Context,
): Promise<Diagnosis> => {
  const { places, address, about } = storefront ?? {}
  if (places === undefined || address === undefined || about === undefined)
    return diagnose(STOREFRONT, 'canary').ill(
      'no piece was offered: the storefront was not reached under its DID',
      'Repair the findings above first. --service storefront includes the storefront.',
    )
  const { keyFileOf, readDelegations } = await import('../../user/connection.ts')
  const { sendCanary } = await import('./canary.ts')
  return sendCanary({
    address,
    about,
    key: keyFileOf({ ...(key !== undefined && { key }) }, context),
    with: space,
    proofs: await readDelegations(delegation, context),
    store: ({ content, blob }) => storeInBucket({ ...target.env, ...places }, `${content}`, blob),
    waitMs: wait * 1000,
    fetch: context.fetch,
    now,
  })
}

/** Stores content where the storefront reads it, with the operator's permissions. */
const storeInBucket = async (env: Environment, key: string, blob: Blob): Promise<void> => {
  const { bind } = await import('@w3filecoin/aws')
  const { resources } = await import('@w3filecoin/storefront/resources')
  const { PutObjectCommand } = await import('@aws-sdk/client-s3')
  const { client, bucket } = bind(resources, env).bucket('content')
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: await blob.bytes() }))
}

/** @example '✗ dealer       identity   https://… answers as did:key:…\n               → Every peer …\n' */
const linesOf = ({ ok, service, check, finding, advice }: Diagnosis): string => {
  // Names of scheduled checks are long, e.g. `peer dealTracker did:web:…`.
  const name = check.length > CHECK_COLUMNS ? `${check}:` : left(check, CHECK_COLUMNS)
  const lines = [
    `${ok ? '✓' : '✗'} ${left(service, SERVICE_COLUMNS)} ${name} ${finding}`,
    ...(advice === undefined ? [] : [`  ${left('', SERVICE_COLUMNS)} → ${advice}`]),
  ]
  return lines.map(line => `${fit(line.replaceAll(/\s*\n\s*/g, ' '), MAX_COLUMNS)}\n`).join('')
}
