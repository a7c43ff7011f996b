import type { Fetch } from '@w3filecoin/runtime'
import type { ContentSource } from './stores.ts'

/**
 * Reads content from an HTTP gateway.
 *
 * @param template the gateway's address with `{cid}` where the CID of the content goes
 */
export const fromGateway = (template: string, fetch: Fetch): ContentSource => {
  const ask = async (content: string, init: RequestInit): Promise<Response | undefined> => {
    const response = await fetch(template.replace('{cid}', content), init)
    if (response.ok) return response
    await response.body?.cancel()
    if (response.status === 404 || response.status === 410) return undefined
    throw new Error(`The gateway answered ${response.status} to the question for ${content}`)
  }
  return {
    has: async content => (await ask(content, { method: 'HEAD' })) !== undefined,
    open: async (content, signal) => (await ask(content, { method: 'GET', signal }))?.body ?? undefined,
  }
}
