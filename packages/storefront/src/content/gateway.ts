import type { Fetch } from '@w3filecoin/runtime'
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

/** Maximum time for the answer whether content exists. */
const HEAD_TIMEOUT_MS = 10_000

/**
 * Reads content from an HTTP gateway. Statuses 404 and 410 mean that the content does not exist; every other failure throws.
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
  const check = (url: URL): void => {
    if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:'))
      throw new Error(`${url} is not an https URL`)
    if (!allowed.some(host => url.host === host || url.host.endsWith(`.${host}`)))
      throw new Error(`${url} is neither at the host of the gateway nor at one of gatewayHosts`)
  }
  const request = async (content: string, init: RequestInit): Promise<Response | undefined> => {
    let url = new URL(template.replace('{cid}', content))
    for (let redirects = 0; ; redirects++) {
      check(url)
      const response = await fetch(url.href, { ...init, redirect: 'manual' })
      if (response.ok) return response
      await response.body?.cancel()
      const { status } = response
      if (status === 404 || status === 410) return undefined
      const location = response.headers.get('location')
      if (!REDIRECTS.includes(status) || location === null || redirects === MAX_REDIRECTS)
        throw new Error(`The gateway answered ${init.method} of ${content} with status ${status}`)
      url = new URL(location, url)
    }
  }
  return {
    has: async content => {
      const signal = AbortSignal.timeout(HEAD_TIMEOUT_MS)
      return (await request(content, { method: 'HEAD', signal })) !== undefined
    },
    open: async (content, signal) => (await request(content, { method: 'GET', signal }))?.body ?? undefined,
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
