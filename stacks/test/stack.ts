import { fork } from 'node:child_process'
import { createPrivateKey, createPublicKey, hash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import type { StageSettings } from '../stages.ts'

/** A stage to synthesize. */
export interface Request {
  stage: string
  settings: StageSettings
  secrets: Record<string, string>
  /** Changes to source files, which stay as they are on disk. */
  edits: Edit[]
}

/** Replaces a text that a file has exactly once. */
export interface Edit {
  /** Relative to the root of the repository. */
  file: string
  from: string
  to: string
}

/** Everything that a deploy of a stage would register. */
export interface Stack {
  app: {
    name: string
    stage: string
    removal: string
    protect?: boolean
    providers: Record<string, { defaultTags?: { tags: Record<string, string> } }>
  }
  /** The values that SST prints after a deploy. */
  outputs: Record<string, string>
  resources: Resource[]
}

export interface Resource {
  /** @example 'aws:sqs/queue:Queue' */
  type: string
  /** The name in Pulumi. The name of the resource on AWS is an input. */
  name: string
  // The inputs of the AWS provider have a type each. The rules read few properties of many types.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  inputs: Record<string, any>
  retainOnDelete: boolean
}

/** The greatest duration of one synthesis. It takes about 8 s of processor time. */
const TIMEOUT_MS = 240_000

const synthesizer = fileURLToPath(new URL('synthesize.ts', import.meta.url))

/** Returns everything that `sst deploy` would register. Rejects with the error of the stacks, if they have one. */
export const synthesize = (stage: string, settings: StageSettings, edits: Edit[] = []): Promise<Stack> => {
  const request: Request = { stage, settings, secrets: KEYS, edits }
  return new Promise((resolve, reject) => {
    const child = fork(synthesizer, [JSON.stringify(request)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    let output = ''
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', text => {
        output += text
      })
    const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
    child.on('message', (message: { stack: Stack } | { error: string }) =>
      'stack' in message ? resolve(message.stack) : reject(new Error(message.error)),
    )
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      reject(
        new Error(`The synthesis of ${stage} ended with ${signal ?? code}, without a result:\n${output}`),
      )
    })
  })
}

// An Ed25519 key in the two formats: its bytes begin with these, see secrets.ts.
const PKCS8 = '302e020100300506032b657004220420'
const MULTICODECS = { private: '8026', public: 'ed01' }

/** A private key that is always the same, because the `did:key` of a service is in the list of resources. */
const testKey = (name: string): string => {
  const seed = hash('sha256', name)
  const key = createPrivateKey({ key: Buffer.from(PKCS8 + seed, 'hex'), format: 'der', type: 'pkcs8' })
  const point = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex')
  return `M${Buffer.from(MULTICODECS.private + seed + MULTICODECS.public + point, 'hex').toString('base64')}`
}

/** The private keys of the services in a synthesized stage. */
export const KEYS = Object.fromEntries(
  ['StorefrontKey', 'AggregatorKey', 'DealerKey', 'DealTrackerKey'].map(name => [name, testKey(name)]),
)
