import { lookup as systemLookup } from 'node:dns'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { Readable } from 'node:stream'
import type { Fetch } from '@w3filecoin/runtime'

/** What the IANA registries of special addresses say that can not be reached globally, and what is out of use. */
const special4 = new BlockList()
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
  special4.addSubnet(address, Number(prefix), 'ipv4')
}

/** All but 2000::/3, and of that: protocol assignments with Teredo, 6to4, documentation. They may lead anywhere. */
const special6 = new BlockList()
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
  special6.addSubnet(address, Number(prefix), 'ipv6')
}

/** Whether it is an address of the internet at large. */
export const isPublicAddress = (address: string): boolean =>
  isIP(address) === 4 ? !special4.check(address, 'ipv4') : !special6.check(address, 'ipv6')

interface HostFetchOptions {
  allowPrivate: boolean
  lookup?: LookupFunction
}

/** Statuses of answers that have no body. */
const BODYLESS = [204, 205, 304]

/**
 * Gets what a host publishes, wherever its name may lead. Calls public addresses only, unless others are allowed: the
 * address that was looked at is the one that is called, each time anew. Follows no redirects.
 */
export const hostFetch = ({ allowPrivate, lookup = systemLookup }: HostFetchOptions): Fetch => {
  const refusal = (host: string) => new Error(`${host} has no public address`)
  const publicLookup: LookupFunction = (host, options, callback) =>
    lookup(host, options, (error, found, family) => {
      if (error) return callback(error, found, family)
      const addresses = typeof found === 'string' ? [found] : found.map(({ address }) => address)
      if (addresses.every(isPublicAddress)) callback(null, found, family)
      else callback(refusal(host), found, family)
    })

  return (url, { headers, signal } = {}) =>
    new Promise((resolve, reject) => {
      const { protocol, hostname } = new URL(url)
      // What is an address already, nobody looks up.
      const literal = hostname.replace(/^\[(.*)\]$/, '$1')
      if (!allowPrivate && isIP(literal) && !isPublicAddress(literal)) return reject(refusal(hostname))
      const request = (protocol === 'http:' ? requestHttp : requestHttps)(url, {
        // A connection that is kept would not be looked at again.
        agent: false,
        headers: Object.fromEntries(new Headers(headers)),
        lookup: allowPrivate ? lookup : publicLookup,
        ...(signal && { signal }),
      })
      request.on('error', reject)
      request.on('response', message => {
        const status = message.statusCode as number
        const bodyless = BODYLESS.includes(status)
        try {
          const headers = new Headers(message.headers as Record<string, string>)
          const body = bodyless ? null : (Readable.toWeb(message) as ReadableStream)
          resolve(new Response(body, { status, headers }))
          if (bodyless) message.destroy()
        } catch (cause) {
          // A status or a header that is none.
          message.destroy()
          reject(cause)
        }
      })
      request.end()
    })
}
