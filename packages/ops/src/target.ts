import { GetParameterCommand, ParameterNotFound, SSMClient } from '@aws-sdk/client-ssm'
import { readPlaces } from '@w3filecoin/local/identity'
import { isLocked } from '@w3filecoin/local/lock'
import { Trouble } from '@w3filecoin/local/trouble'
import type { Environment } from '@w3filecoin/runtime'
import { z } from 'zod'

/** Name of the app in `sst.config.ts`. */
const APP = 'w3filecoin'

/** The system that is operated on. */
export interface Target {
  /** What the AWS SDK is to be told beyond what it knows. */
  env: Record<string, string>
  /** The variables by which the functions of a service find its resources. */
  placesOf: (service: string) => Promise<Environment>
}

/** The system that runs on this machine with its data here. */
export const localTarget = (data: string): Target => {
  const { engines, resources } = readPlaces(data) ?? {}
  if (engines === undefined || resources === undefined || !isLocked(data))
    throw new Trouble(
      `No system runs on ${data}; start it with npm start, or name another with --data or --stage`,
    )
  return { env: engines, placesOf: async service => resources[service] ?? {} }
}

/** A deployed stage, in the account and region that the AWS SDK finds. */
export const stageTarget = (stage: string): Target => ({
  env: {},
  placesOf: async service => {
    const name = `/${APP}/${stage}/${service}`
    try {
      const { Parameter } = await new SSMClient({}).send(new GetParameterCommand({ Name: name }))
      return z.record(z.string(), z.string()).parse(JSON.parse(Parameter?.Value ?? ''))
    } catch (cause) {
      throw new Trouble(
        cause instanceof ParameterNotFound
          ? `There is no stage ${stage} in this account and region: nothing is at ${name} in the Parameter Store`
          : `The stage ${stage} can not be looked up: ${(cause as Error).message}`,
      )
    }
  },
})
