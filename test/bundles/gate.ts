import { createServer, type IncomingMessage, request as requestHttp, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { Statement } from './deployment.ts'

/** The services of AWS that the functions call. */
export const SERVICES = ['dynamodb', 'sqs', 's3', 'ssm'] as const
type Service = (typeof SERVICES)[number]

/** A call of AWS, as IAM sees it. */
interface Access {
  /** @example 'dynamodb:GetItem' */
  action: string
  /** ARN. */
  resource: string
}

/** A call of a function, and how often it was made. */
export interface Call extends Access {
  caller: string
  times: number
}

/**
 * IAM in front of the engines. It knows the calling function by the access key id of the request, and passes on only those calls
 * that the function's policy allows. Other calls are answered with AccessDenied.
 */
export interface Gate {
  /** The address of each service. */
  urls: Record<Service, string>
  allowed: Call[]
  denied: Call[]
  stop(): void
}

interface GateOptions {
  engines: Record<Service, string>
  /** The statements of each caller, by access key id. */
  policies: ReadonlyMap<string, readonly Statement[]>
}

export const openGate = async ({ engines, policies }: GateOptions): Promise<Gate> => {
  const allowed = new Map<string, Call>()
  const denied = new Map<string, Call>()

  /** Whether the caller may make the call. Records it. */
  const check = (caller: string, access: Access): boolean => {
    const allows = policies.get(caller)?.some(statement => matches(statement, access)) === true
    const calls = allows ? allowed : denied
    const resource = withoutKey(access)
    const name = `${caller} ${access.action} ${resource}`
    const call = calls.get(name) ?? { caller, action: access.action, resource, times: 0 }
    call.times++
    calls.set(name, call)
    return allows
  }

  const answer = async (service: Service, request: IncomingMessage, response: ServerResponse) => {
    const body = await buffer(request)
    const caller = callerOf(request)
    const refused = accessesOf(service, request, body).find(access => !check(caller, access))
    if (refused !== undefined) return refuse(service, response, caller, refused)
    const { method, headers, url } = request
    // A connection for each request: an engine closes idle ones, perhaps just when the next request is sent.
    const options = { method: method!, headers, agent: false }
    const passed = requestHttp(engines[service] + url, options, answered => {
      // S3 reports that an object does not exist only to those who may list the bucket.
      if (service === 's3' && answered.statusCode === 404 && ['GET', 'HEAD'].includes(method!)) {
        const listing = { action: 's3:ListBucket', resource: arnOfBucket(request) }
        if (!check(caller, listing)) return refuse(service, response, caller, listing)
      }
      response.writeHead(answered.statusCode!, answered.headers)
      answered.pipe(response)
    })
    passed.on('error', () => response.destroy())
    passed.end(body)
  }

  const servers = SERVICES.map(service =>
    createServer({ keepAliveTimeout: 0 }, (request, response) => {
      answer(service, request, response).catch(() => response.destroy())
    }).listen(0, '127.0.0.1'),
  )
  await Promise.all(servers.map(server => new Promise(resolve => server.once('listening', resolve))))
  const urls = SERVICES.map((service, n) => [
    service,
    `http://127.0.0.1:${(servers[n]!.address() as AddressInfo).port}`,
  ])
  return {
    urls: Object.fromEntries(urls),
    get allowed() {
      return [...allowed.values()]
    },
    get denied() {
      return [...denied.values()]
    },
    stop: () => {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}

const matches = ({ actions, resources }: Statement, { action, resource }: Access): boolean =>
  actions.some(pattern => fits(pattern, action)) && resources.some(pattern => fits(pattern, resource))

const fits = (pattern: string, text: string): boolean =>
  new RegExp(`^${pattern.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`, 's').test(text)

/** Returns the access key id in the signature of a request: in its header, or in a presigned URL. */
const callerOf = ({ headers, url = '' }: IncomingMessage): string =>
  /Credential=([^/]+)\//.exec(headers.authorization ?? decodeURIComponent(url))?.[1] ?? 'without credentials'

/** The region and the account of a synthesized stage, see stacks/test/mocks.ts. */
const arn = (service: string, resource: string) => `arn:aws:${service}:us-east-1:123456789012:${resource}`

const accessesOf = (service: Service, request: IncomingMessage, body: Buffer): Access[] => {
  if (service === 's3') return [accessOfObject(request)]
  const operation = String(request.headers['x-amz-target']).split('.').pop()!
  const input = JSON.parse(body.toString())
  if (service === 'sqs')
    return [
      // The permission to send, delete or change messages includes batches.
      {
        action: `sqs:${operation.replace(/Batch$/, '')}`,
        resource: arn('sqs', String(input.QueueUrl).split('/').pop()!),
      },
    ]
  if (service === 'ssm')
    return [{ action: `ssm:${operation}`, resource: arn('ssm', `parameter${input.Name}`) }]
  const action = `dynamodb:${operation}`
  const table = (name: string) => arn('dynamodb', `table/${name}`)
  // The items of a batch. A transaction needs the permission for each of its operations, and has none: it has no table here.
  if (input.RequestItems !== undefined)
    return Object.keys(input.RequestItems).map(name => ({ action, resource: table(name) }))
  const index = input.IndexName === undefined ? '' : `/index/${input.IndexName}`
  return [{ action, resource: `${table(input.TableName)}${index}` }]
}

const OBJECT_ACTIONS: Record<string, string> = {
  GET: 's3:GetObject',
  HEAD: 's3:GetObject',
  PUT: 's3:PutObject',
  DELETE: 's3:DeleteObject',
  // Begins and completes an upload in parts.
  POST: 's3:PutObject',
}

const actionOnObject = ({ method, url }: IncomingMessage): string =>
  method === 'DELETE' && url?.includes('uploadId=')
    ? 's3:AbortMultipartUpload'
    : (OBJECT_ACTIONS[method!] ?? `s3:${method}`)

const accessOfObject = (request: IncomingMessage): Access => {
  const [, bucket, ...key] = new URL(request.url!, 'http://localhost').pathname.split('/')
  return key.join('/') === ''
    ? {
        action: request.method === 'GET' ? 's3:ListBucket' : `s3:${request.method}`,
        resource: `arn:aws:s3:::${bucket}`,
      }
    : {
        action: actionOnObject(request),
        resource: `arn:aws:s3:::${bucket}/${decodeURIComponent(key.join('/'))}`,
      }
}

const arnOfBucket = (request: IncomingMessage): string =>
  accessOfObject(request).resource.replace(/\/.*/s, '')

/** The objects of a bucket count as one resource. */
const withoutKey = ({ resource }: Access): string =>
  resource.startsWith('arn:aws:s3:') ? resource.replace(/\/.*/s, '/*') : resource

const refuse = (
  service: Service,
  response: ServerResponse,
  caller: string,
  { action, resource }: Access,
): void => {
  const message = `${caller} is not authorized to perform ${action} on ${resource}`
  if (service === 's3')
    response
      .writeHead(403, { 'content-type': 'application/xml' })
      .end(`<Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`)
  else
    response
      .writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
      .end(JSON.stringify({ __type: 'com.amazon.coral.service#AccessDeniedException', message }))
}
