import type { Fetch } from '@w3filecoin/service'
import type { ContentSource } from './stores.ts'

/**
 * Reads content from an HTTP gateway.
 *
 * @param template the gateway's address with `{cid}` where the CID of the content goes
 */
export const fromGateway = (template: string, fetch: Fetch): ContentSource => {
  const ask = async (method: 'GET' | 'HEAD', content: string): Promise<Response | undefined> => {
    const response = await fetch(template.replace('{cid}', content), { method })
    if (response.ok) return response
    await response.body?.cancel()
    if (response.status === 404 || response.status === 410) return undefined
    throw new Error(`The gateway answered ${response.status} to the question for ${content}`)
  }
  return {
    has: async content => (await ask('HEAD', content)) !== undefined,
    open: async content => (await ask('GET', content))?.body ?? undefined,
  }
}
