import { componentName } from './names.ts'
import type { ServiceName, Stage } from './stages.ts'

/** Returns the DNS name of a service; `undefined` if the stage has no domain. */
export const hostOf = (service: ServiceName, { domain }: Stage): string | undefined =>
  domain && `${service}.${domain}`

/**
 * Creates the API of a service, without routes. Its function answers preflight requests and sends the CORS headers, locally
 * and on AWS. With CORS of its own, API Gateway would ignore these headers.
 */
export const makeApi = (service: ServiceName, stage: Stage) => {
  const host = hostOf(service, stage)
  return new sst.aws.ApiGatewayV2(componentName(service), {
    cors: false,
    ...(host === undefined ? {} : { domain: host }),
    transform: {
      // Beside a domain, the address that AWS assigns would be a second one, under which the service has no DID.
      api: { disableExecuteApiEndpoint: host !== undefined },
      // These limits hold for each route. `routeSettings` would need the routes to exist before the stage.
      stage: {
        defaultRouteSettings: {
          throttlingRateLimit: stage.throttling.perSecond,
          throttlingBurstLimit: stage.throttling.burst,
        },
      },
    },
  })
}
