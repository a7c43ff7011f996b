import type { DID, Signer } from '@ucanto/interface'
import { z } from 'zod'
import { parseSigner } from './ucan/principal.ts'

const did = z.custom<DID>(
  value => typeof value === 'string' && /^did:[a-z0-9]+:\S+$/.test(value),
  'expected a DID',
)
const didKey = z.custom<`did:key:${string}`>(
  value => typeof value === 'string' && value.startsWith('did:key:'),
  'expected a did:key',
)

/** Another service or principal; see `PeerConfig`. */
export const peerSchema = z.strictObject({
  did,
  url: z.url().optional(),
  keys: z.array(didKey).min(1).optional(),
})

/** A peer that this service calls. */
export const servicePeerSchema = peerSchema.required({ url: true })

const seconds = z.number().positive()

/** What the configuration of every service may say. */
export const commonSchema = {
  /** The service itself, where it acts under a `did:web`: its DID, and all keys that signed for it. */
  self: peerSchema.optional(),
  /** How hosts are asked for the keys of a `did:web` that is named without `keys`. */
  didWeb: z
    .strictObject({
      /** Whether such a host may have a private address. One on this machine is then asked over plain HTTP. */
      allowPrivate: z.boolean().default(false),
    })
    .prefault({}),
  timing: z
    .strictObject({
      /** Seconds until unfinished work is sent again. */
      retrySeconds: seconds.default(60),
      /** Seconds until another service is asked for what it should have told. */
      pollSeconds: seconds.default(900),
    })
    .prefault({}),
}

export interface Environment {
  [name: string]: string | undefined
  /** The private key, as `@ucanto/principal` formats it. */
  SERVICE_KEY?: string
  /** The configuration, as JSON. */
  CONFIG?: string
}

/** Reads and checks the configuration of a service; throws what is wrong with it. */
export const readConfig = <S extends z.ZodType>(schema: S, { CONFIG }: Environment): z.infer<S> => {
  if (!CONFIG) throw new Error('The environment must hold CONFIG, the configuration of the service as JSON')
  const parsed = schema.safeParse(JSON.parse(CONFIG))
  if (!parsed.success) throw new Error(`CONFIG is not right:\n${z.prettifyError(parsed.error)}`)
  return parsed.data
}

/** The principal that the service acts as. */
export const readSigner = ({ SERVICE_KEY }: Environment, did?: DID): Signer => {
  if (!SERVICE_KEY) throw new Error('The environment must hold SERVICE_KEY, the private key of the service')
  return parseSigner(SERVICE_KEY, did)
}

/** The intervals of the configuration as the clock counts them. */
export const toTiming = ({ timing: { retrySeconds, pollSeconds } }: CommonConfig) => ({
  retryMs: retrySeconds * 1000,
  pollMs: pollSeconds * 1000,
})

const common = z.object(commonSchema)
export type CommonConfig = z.infer<typeof common>
