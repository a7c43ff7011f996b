import { lookup as systemLookup } from 'node:dns'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { Readable } from 'node:stream'
import type { Fetch } from '@w3filecoin/runtime'

/** IPv4 addresses that are not globally reachable (IANA special-purpose registry), and multicast and reserved addresses. */
const SPECIAL_IPV4 = new BlockList()
for (const subnet of [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
]) {
  const [address, prefix] = subnet.split('/') as [string, string]
  SPECIAL_IPV4.addSubnet(address, Number(prefix), 'ipv4')
}

/**
 * IPv6 addresses outside of 2000::/3, and inside of it: protocol assignments (with Teredo), documentation and 6to4. Teredo
 * and 6to4 may route to any IPv4 address.
 */
const SPECIAL_IPV6 = new BlockList()
for (const subnet of [
  '::/3',
  '4000::/2',
  '8000::/1',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
]) {
  const [address, prefix] = subnet.split('/') as [string, string]
  SPECIAL_IPV6.addSubnet(address, Number(prefix), 'ipv6')
}

/**
 * Whether an IP address is on the public internet.
 *
 * @example isPublicAddress('1.1.1.1') // true
 * @example isPublicAddress('169.254.169.254') // false
 */
export const isPublicAddress = (address: string): boolean =>
  isIP(address) === 4 ? !SPECIAL_IPV4.check(address, 'ipv4') : !SPECIAL_IPV6.check(address, 'ipv6')

interface HostFetchOptions {
  /** Whether to call addresses that are not public too. */
  allowPrivate: boolean
  /** Resolves host names. The default is that of the system. */
  lookup?: LookupFunction
}

const METHODS = ['GET', 'HEAD', 'POST']

/** HTTP statuses of responses without a body. */
const BODYLESS_STATUSES = [204, 205, 304]

/**
 * Creates a `fetch` for untrusted host names. Unless `allowPrivate` is set, it calls only public addresses: it resolves the
 * name for each request, checks all of its addresses, and connects to one of them, so that the name cannot resolve
 * differently after the check. It sends GET, HEAD and POST requests, the latter with bytes or text, and does not follow
 * redirects.
 */
export const hostFetch = ({ allowPrivate, lookup = systemLookup }: HostFetchOptions): Fetch => {
  const refuse = (host: string) => new Error(`${host} has no public address`)
  const publicLookup: LookupFunction = (host, options, callback) =>
    lookup(host, options, (error, found, family) => {
      if (error) return callback(error, found, family)
      const addresses = typeof found === 'string' ? [found] : found.map(({ address }) => address)
      if (addresses.every(isPublicAddress)) callback(null, found, family)
      else callback(refuse(host), found, family)
    })

  return (url, { method = 'GET', headers, body, signal } = {}) =>
    new Promise((resolve, reject) => {
      if (!METHODS.includes(method))
        return reject(new TypeError(`${method} is not one of ${METHODS.join(', ')}`))
      const { protocol, hostname } = new URL(url)
      // `lookup` is not called for IP literals, so check them here.
      const literal = hostname.replace(/^\[(.*)\]$/, '$1')
      if (!allowPrivate && isIP(literal) && !isPublicAddress(literal)) return reject(refuse(hostname))
      const request = (protocol === 'http:' ? requestHttp : requestHttps)(url, {
        // Do not keep connections alive: a reused connection would skip the check.
        agent: false,
        method,
        headers: Object.fromEntries(new Headers(headers)),
        lookup: allowPrivate ? lookup : publicLookup,
        ...(signal && { signal }),
      })
      request.on('error', reject)
      request.on('response', message => {
        const status = message.statusCode as number
        const bodyless = method === 'HEAD' || BODYLESS_STATUSES.includes(status)
        try {
          const headers = new Headers(message.headers as Record<string, string>)
          const body = bodyless ? null : (Readable.toWeb(message) as ReadableStream)
          resolve(new Response(body, { status, headers }))
          if (bodyless) message.destroy()
        } catch (cause) {
          // The status or a header is invalid.
          message.destroy()
          reject(cause)
        }
      })
      request.end(body as Uint8Array | string | undefined)
    })
}
