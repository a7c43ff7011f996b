import { componentName } from './names.ts'
import type { ServiceName, Stage } from './stages.ts'

/** The name that a service has in DNS, where the stage has a domain. */
export const hostOf = (service: ServiceName, { domain }: Stage): string | undefined =>
  domain && `${service}.${domain}`

/**
 * The address of a service, without anything behind it yet. Web pages of any origin may call it, as SST has it:
 * who asks is told by a signature, never by a cookie.
 */
export const makeApi = (service: ServiceName, stage: Stage) => {
  const host = hostOf(service, stage)
  return new sst.aws.ApiGatewayV2(componentName(service), host === undefined ? {} : { domain: host })
}
