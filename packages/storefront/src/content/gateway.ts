import { type Fetch, loggedUrl } from '@w3filecoin/runtime'
import type { ContentSource } from './source.ts'

interface GatewayOptions {
  /** Must not follow redirects. Decides which addresses may be called. */
  fetch: Fetch
  /** Hosts that the gateway may redirect to, with their subdomains, beside the host of the template. */
  hosts?: readonly string[]
  /** Whether plain HTTP is allowed. */
  allowPrivate?: boolean
}

const REDIRECTS = [301, 302, 303, 307, 308]
const MAX_REDIRECTS = 3

/** Statuses of content that does not exist. */
const MISSING = [404, 410]

/** Maximum time for the answer whether content exists. */
const EXISTS_TIMEOUT_MS = 10_000

/** A source may refuse HEAD, but serve GET, e.g. S3 behind a redirect whose signature is for GET. */
const HEAD_REFUSED = [403, 405, 501]
/** Asks for one byte. A source that ignores it sends everything: the body is not read. */
const ONE_BYTE = { range: 'bytes=0-0' }
/** Empty content has no first byte, but exists. */
const RANGE_NOT_SATISFIABLE = 416
/** S3 answers GET of a missing object with it, unless the reader may list the bucket. */
const FORBIDDEN = 403

/**
 * Reads content from an HTTP gateway. Statuses 404 and 410 mean that the content does not exist; every other failure throws.
 * If the gateway refuses HEAD, a GET of one byte shows whether content exists. Then 403 counts as missing: the storefront
 * could not read the content either.
 *
 * It follows up to three redirects, each only to the gateway's own host or a listed one, because the content of a redirect is
 * chosen by others.
 *
 * @param template the address of the gateway, with `{cid}` in place of the CID
 * @example fromGateway('https://{cid}.ipfs.w3s.link/', { fetch, hosts: ['ipfs.dweb.link'] })
 */
export const fromGateway = (
  template: string,
  { fetch, hosts = [], allowPrivate = false }: GatewayOptions,
): ContentSource => {
  const allowed = [hostOf(template), ...hosts]
  const addressOf = (content: string): URL => new URL(template.replace('{cid}', content))
  const check = (url: URL): void => {
    if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:'))
      throw new Error(`${url} is not an https URL`)
    if (!allowed.some(host => url.host === host || url.host.endsWith(`.${host}`)))
      throw new Error(`${url} is neither at the host of the gateway nor at one of gatewayHosts`)
  }
  /** Returns the response after redirects, whatever its status. */
  const request = async (content: string, init: RequestInit): Promise<Response> => {
    let url = addressOf(content)
    for (let redirects = 0; ; redirects++) {
      check(url)
      const { href } = url
      const response = await fetch(href, { ...init, redirect: 'manual' }).catch((cause: unknown) => {
        throw new Error(`${loggedUrl(href)} cannot be reached`, { cause })
      })
      const location = response.headers.get('location')
      if (!REDIRECTS.includes(response.status) || location === null || redirects === MAX_REDIRECTS)
        return response
      await response.body?.cancel()
      url = new URL(location, url)
    }
  }
  const requestStatus = async (content: string, init: RequestInit): Promise<number> => {
    const { body, status } = await request(content, init)
    await body?.cancel()
    return status
  }
  /** Returns whether a status means that content exists. Throws if it means neither. */
  const exists = (content: string, { method }: RequestInit, status: number): boolean => {
    if (status >= 200 && status < 300) return true
    if (MISSING.includes(status)) return false
    throw new Error(
      `The gateway answered ${method} of ${content} with status ${status}: ${loggedUrl(addressOf(content).href)}`,
    )
  }
  return {
    has: async content => {
      const signal = AbortSignal.timeout(EXISTS_TIMEOUT_MS)
      const head = { method: 'HEAD', signal }
      const status = await requestStatus(content, head)
      if (!HEAD_REFUSED.includes(status)) return exists(content, head, status)
      const get = { method: 'GET', headers: ONE_BYTE, signal }
      const again = await requestStatus(content, get)
      return again === RANGE_NOT_SATISFIABLE || (again !== FORBIDDEN && exists(content, get, again))
    },
    open: async (content, signal) => {
      const init = { method: 'GET', signal }
      const { body, ok, status } = await request(content, init)
      if (!ok) await body?.cancel()
      return exists(content, init, status) ? (body ?? undefined) : undefined
    },
    locate: async content => addressOf(content).href,
  }
}

/**
 * Returns the host of a gateway, with the port if there is one; of a host that begins with the CID, the part that follows.
 *
 * @example hostOf('https://{cid}.ipfs.w3s.link/') // 'ipfs.w3s.link'
 * @example hostOf('https://gateway.example.com/ipfs/{cid}') // 'gateway.example.com'
 */
const hostOf = (template: string): string => {
  const [, beforePath = ''] = /^https?:\/\/([^/]*)/.exec(template) ?? []
  const { host } = new URL(template.replace('{cid}', 'cid'))
  return beforePath.includes('{cid}') ? host.slice(host.indexOf('.') + 1) : host
}
