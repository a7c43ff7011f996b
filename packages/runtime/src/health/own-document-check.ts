import type { Signer } from '@ucanto/interface'
import { documentUrl, readDocument } from '../ucan/did-web.ts'
import { type Check, failing, fine } from './check.ts'
import type { PeerCheckTools } from './peer-check.ts'
import { reasonOf } from './reason-of.ts'

/**
 * Returns the check that the host of a service's own `did:web` publishes the key that the service signs with. Peers that do
 * not list the keys of the service read them there. There is none for a `did:key`.
 */
export const ownDocumentChecks = (
  id: Pick<Signer, 'did' | 'toDIDKey'>,
  { service, didWeb, now }: Pick<PeerCheckTools, 'service' | 'didWeb' | 'now'>,
): Check[] => {
  const did = id.did()
  const url = documentUrl(did, didWeb)
  if (url === undefined) return []
  const key = id.toDIDKey()
  const run: Check['run'] = async () => {
    const advice = `Peers that do not list the keys of ${did} reject its signatures. Check self.did in the settings of the ${service}, and the domain`
    try {
      const keys = await readDocument(url, did, { ...didWeb, now })
      if (keys.error)
        return failing('DocumentInvalid', `${url} is not its DID document: ${keys.error.message}. ${advice}`)
      return keys.ok.includes(key)
        ? fine(`${url} has the key ${key}`)
        : failing(
            'KeyNotPublished',
            `${url} does not have the key ${key} that the ${service} signs with. ${advice}`,
          )
    } catch (cause) {
      return failing('DocumentUnreachable', `${url} cannot be read: ${reasonOf(cause)}. ${advice}`)
    }
  }
  return [{ name: `self ${did}`, check: 'self', subject: did, setting: 'self', run }]
}
