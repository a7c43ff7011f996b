import { expect, test } from 'vitest'
import * as z from 'zod'
import { randomContent } from './content.ts'
import { startTwoWorkflows } from './follow.ts'
import { useSystem } from './system.ts'

const system = useSystem()
const { at } = system
const SERVICES = ['storefront', 'aggregator', 'dealer', 'dealTracker']

interface Schema {
  properties?: Record<string, Schema>
  anyOf?: Schema[]
  items?: Schema
}
interface Operation {
  parameters?: { name: string; in: string }[]
  requestBody?: { content: Content }
  responses: Record<string, { headers?: object; content?: Content }>
}
type Content = Record<string, { schema: Schema }>
interface Description {
  openapi: string
  paths: Record<string, Record<string, Operation>>
}

const describeService = async (role: string) =>
  (await (await fetch(`${at(role).url}/openapi.json`)).json()) as Description

const CLOSED = { additionalProperties: false }
/** Adds to every object that it has only described fields, so that a field without a description fails. */
const close = (schema: Schema): Schema => ({
  ...schema,
  ...(schema.properties && !('additionalProperties' in schema) && CLOSED),
  ...(schema.properties && {
    properties: Object.fromEntries(
      Object.entries(schema.properties).map(([name, property]) => [name, close(property)]),
    ),
  }),
  ...(schema.anyOf && { anyOf: schema.anyOf.map(close) }),
  ...(schema.items && { items: close(schema.items) }),
})

/** Checks an answer in JSON against the description that the service serves. */
const check = async (role: string, path: string, url: string, init: RequestInit = {}) => {
  const response = await fetch(`${at(role).url}${url}`, {
    ...init,
    headers: { accept: 'application/json', 'content-type': 'application/json' },
  })
  const answer = (await response.json()) as { receipts?: unknown; task?: string }
  const operation = (await describeService(role)).paths[path]![(init.method ?? 'GET').toLowerCase()]!
  const described = operation.responses[response.status]
  expect(described, `${path} ${response.status}`).toBeDefined()
  const schema = close(described!.content!['application/json']!.schema)
  const parsed = z.fromJSONSchema(schema as never).safeParse(answer)
  expect(parsed.error, `${path} ${response.status}: ${JSON.stringify(answer)}`).toBeUndefined()
  for (const header of Object.keys(described!.headers ?? {}))
    if (response.status === 404 && 'task' in answer) expect(response.headers.get(header)).not.toBeNull()
  return { status: response.status, schema, answer }
}

test.each(SERVICES)(
  'R1: GET /openapi.json describes the JSON routes, and their real answers: %s',
  async role => {
    const { openapi, paths } = await describeService(role)
    expect(openapi).toBe('3.1.0')
    for (const [path, operations] of Object.entries(paths))
      for (const { parameters = [] } of Object.values(operations))
        expect(parameters.flatMap(parameter => (parameter.in === 'path' ? parameter.name : []))).toEqual(
          [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
        )
    await check(role, '/', '/')
    await check(role, '/.well-known/did.json', '/.well-known/did.json')
    const { piece } = await randomContent(100)
    expect((await check(role, '/receipt/{task}', '/receipt/nothing')).status).toBe(400)
    expect((await check(role, '/receipt/{task}', `/receipt/${piece}`)).status).toBe(404)
    const refused = await check(role, '/receipts', '/receipts', { method: 'POST', body: '{}' })
    expect(refused.status).toBe(400)
  },
)

test('R1: the description holds for receipts, and for the progress of tasks', async () => {
  const { accept, promised } = await startTwoWorkflows(system)
  expect((await check('storefront', '/receipt/{task}', `/receipt/${accept}`)).status).toBe(200)
  expect((await check('storefront', '/receipt/{task}', `/receipt/${promised}`)).status).toBe(404)
  const body = JSON.stringify({ tasks: [accept, promised, 'nothing'] })
  const { status, schema, answer } = await check('storefront', '/receipts', '/receipts', {
    method: 'POST',
    body,
  })
  expect(status).toBe(200)
  // The test would see a field that the description lacks, and a field of another type.
  const [receipt] = answer.receipts as [object]
  for (const wrong of [
    { ...receipt, more: 1 },
    { ...receipt, fork: 'none' },
    { name: 'Other', task: accept },
  ])
    expect(z.fromJSONSchema(schema as never).safeParse({ receipts: [wrong] }).success).toBe(false)
})

test('R1: the storefront describes the routes of storage providers, if it has them', async () => {
  const { paths } = await describeService('storefront')
  for (const path of ['/piece/{piece}', '/piece/{permit}/{piece}']) {
    const { get } = paths[path]!
    const url = path.replace('{permit}', 'permit').replace('{piece}', 'nothing')
    const { status } = await fetch(`${at('storefront').url}${url}`)
    expect(get!.responses[status], `${path} ${status}`).toBeDefined()
  }
  expect(Object.keys((await describeService('dealer')).paths)).not.toContain('/piece/{piece}')
})
