import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import { answerCall, outputsOf } from './mocks.ts'
import type { Resource, Stack } from './stack.ts'

const require = createRequire(new URL('../../.sst/platform/package.json', import.meta.url))
const pulumi = require('@pulumi/pulumi')
const { MockMonitor } = require('@pulumi/pulumi/runtime/mocks')
const { deserializeProperties } = require('@pulumi/pulumi/runtime/rpc')
const pulumiSettings = require('@pulumi/pulumi/runtime/settings')

interface RegisterRequest {
  getType(): string
  getName(): string
  getCustom(): boolean
  getObject(): unknown
  getRetainondelete(): boolean
}

/**
 * Runs a program of Pulumi under its mocks, and returns each resource that it would register, and its outputs. `program` imports
 * the module of the program; its default export is the outputs.
 */
export const recordResources = async (
  app: string,
  stage: string,
  program: () => Promise<{ default: unknown }>,
): Promise<Pick<Stack, 'outputs' | 'resources'>> => {
  // The end of a physical name is random. Here it is constant, so that two runs yield equal resources.
  const { randomBytes } = crypto
  crypto.randomBytes = ((size: number) => (size === 8 ? Buffer.alloc(8) : randomBytes(size))) as never

  const resources: Resource[] = []
  const mocks = {
    newResource: ({
      id,
      name,
      type,
      inputs,
    }: {
      id?: string
      name: string
      type: string
      inputs: object
    }) => ({
      id: id || `${name}-id`,
      state: { ...inputs, ...outputsOf(type, name, inputs as Record<string, string>) },
    }),
    call: answerCall,
  }
  class Recorder extends (MockMonitor as new (
    mocks: object,
  ) => { registerResource(...args: unknown[]): unknown }) {
    registerResource(request: RegisterRequest, respond: unknown) {
      if (request.getCustom()) resources.push(readResource(request))
      return super.registerResource(request, respond)
    }
  }
  await pulumi.runtime.setMocks(mocks, app, stage, false, 'organization')
  pulumiSettings.setMockOptions(new Recorder(mocks), app, stage, false, 'organization')
  const outputs = await pulumi.runtime.runInPulumiStack(async () => (await program()).default)
  await pulumiSettings.waitForRPCs(true)
  const settled = await new Promise<object>(resolve => pulumi.output(outputs).apply(resolve))
  return { outputs: withoutSecrets(settled) as Stack['outputs'], resources }
}

const readResource = (request: RegisterRequest): Resource => ({
  type: request.getType(),
  name: request.getName(),
  inputs: withoutSecrets(deserializeProperties(request.getObject())) as Resource['inputs'],
  retainOnDelete: request.getRetainondelete(),
})

const SIGNATURE = '4dabf18193072939515e22adb298388d'

/** Returns a copy in which each value that Pulumi marked as secret is the value itself. */
const withoutSecrets = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value ?? null, (_key, part) => (part && SIGNATURE in Object(part) ? part.value : part)),
  )
