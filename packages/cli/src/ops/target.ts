import { GetParameterCommand, ParameterNotFound, SSMClient } from '@aws-sdk/client-ssm'
import type { Environment } from '@w3filecoin/runtime'
import { variable } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import * as z from 'zod'
import { readRunningSystem } from './data-directory.ts'

/** The app's name in `sst.config.ts`. */
const APP = 'w3filecoin'

/** The system that the command works on. */
export interface Target {
  /** Environment variables for the AWS SDK and for `openTables`, in addition to those of this process. */
  env: Record<string, string>
  /**
   * Returns the environment variables that name a service's tables, queues and buckets, and its address: `SERVICE_URL`,
   * `SERVICE_DID` and `SERVICE_KEYS`, the `did:key`s that sign for it, with spaces between them.
   */
  placesOf: (service: string) => Promise<Environment>
}

/**
 * Requires that a system names some tables of a service.
 *
 * @param places the variables that {@link Target.placesOf} returned
 * @throws UserError if one is missing
 */
export const requireTables = (service: string, places: Environment, tables: readonly string[]): void => {
  const missing = tables.find(table => places[variable('table', table)] === undefined)
  if (missing !== undefined)
    throw new UserError(
      `The system does not name the table ${missing} of ${service}: it runs another version. Use npm run ops of that version.`,
    )
}

/** The local system that runs on a data directory. */
export const localTarget = (data: string): Target => {
  const system = readRunningSystem(data)
  if (system === undefined)
    throw new UserError(
      `No system is running on ${data}. Start it with npm start, or pass --data or --stage.`,
    )
  const addressOf = (service: string) => {
    const role = service.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
    const { did, url } = addressSchema.parse(system[role] ?? {})
    return did && url ? { SERVICE_URL: url, SERVICE_DID: did, SERVICE_KEYS: did } : {}
  }
  return {
    env: system.engines,
    placesOf: async service => ({ ...system.resources[service], ...addressOf(service) }),
  }
}

/** A service in `local.json`. It signs with the key of its `did:key`. */
const addressSchema = z.object({ did: z.string().optional(), url: z.string().optional() })

/** A deployed stage, in the account and region that the AWS SDK finds. */
export const stageTarget = (stage: string): Target => ({
  env: {},
  placesOf: async service => {
    const name = `/${APP}/${stage}/${service}`
    try {
      const { Parameter } = await new SSMClient({}).send(new GetParameterCommand({ Name: name }))
      return z.record(z.string(), z.string()).parse(JSON.parse(Parameter?.Value ?? ''))
    } catch (cause) {
      throw new UserError(
        cause instanceof ParameterNotFound
          ? `Stage ${stage} does not exist in this account and region: the Parameter Store has no ${name}. Check --stage, AWS_PROFILE and AWS_REGION.`
          : `Cannot look up stage ${stage}: ${(cause as Error).message}. Check --stage, AWS_PROFILE and AWS_REGION.`,
      )
    }
  },
})
