import { componentName } from './names.ts'
import type { ServiceName, Stage } from './stages.ts'

/** Returns the DNS name of a service; `undefined` if the stage has no domain. */
export const hostOf = (service: ServiceName, { domain }: Stage): string | undefined =>
  domain && `${service}.${domain}`

/**
 * Creates the API of a service, without routes. Web pages of any origin may call it, which is the default of SST and safe:
 * callers authenticate by signatures, never by cookies.
 */
export const makeApi = (service: ServiceName, stage: Stage) => {
  const host = hostOf(service, stage)
  return new sst.aws.ApiGatewayV2(componentName(service), host === undefined ? {} : { domain: host })
}
