import type { Fetch } from '@w3filecoin/runtime'
import type { ContentSource } from './source.ts'

/**
 * Reads content from an HTTP gateway. Statuses 404 and 410 mean that the content does not exist; every other failure throws.
 *
 * @param template the address of the gateway, with `{cid}` in place of the CID
 * @example fromGateway('https://{cid}.ipfs.w3s.link/', fetch)
 */
export const fromGateway = (template: string, fetch: Fetch): ContentSource => {
  const request = async (content: string, init: RequestInit): Promise<Response | undefined> => {
    const response = await fetch(template.replace('{cid}', content), init)
    if (response.ok) return response
    await response.body?.cancel()
    if (response.status === 404 || response.status === 410) return undefined
    throw new Error(`The gateway answered ${init.method} of ${content} with status ${response.status}`)
  }
  return {
    has: async content => (await request(content, { method: 'HEAD' })) !== undefined,
    open: async (content, signal) => (await request(content, { method: 'GET', signal }))?.body ?? undefined,
  }
}
