import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { generateKey, readSigner } from '@w3filecoin/runtime'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { keySourceOf } from '../src/index.ts'

const NAME = '/w3filecoin-keys/test/storefront/z6Mk'
const KEY = await generateKey()
const VALUES: Record<string, string> = { [NAME]: KEY, '/text': 'no key', '/empty': '' }

/** Stands in for the Parameter Store. */
const requests: { target: unknown; body: { Name: string } }[] = []
const server = createServer(async (request, response) => {
  const body = JSON.parse(await text(request))
  requests.push({ target: request.headers['x-amz-target'], body })
  const answer = (status: number, value: object) =>
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(value))
  if (body.Name === '/denied')
    answer(400, { __type: 'AccessDeniedException', message: 'The role may not read it' })
  else if (VALUES[body.Name] === undefined) answer(400, { __type: 'ParameterNotFound' })
  else answer(200, { Parameter: { Name: body.Name, Value: VALUES[body.Name], Type: 'SecureString' } })
})

beforeAll(async () => {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  vi.stubEnv('AWS_ENDPOINT_URL_SSM', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  vi.stubEnv('AWS_REGION', 'us-east-1')
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'local')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'local')
})
afterAll(() => {
  vi.unstubAllEnvs()
  server.close()
})

const signerIn = (SERVICE_KEY_PARAMETER: string) => readSigner(keySourceOf({ SERVICE_KEY_PARAMETER }))

it('the key is read decrypted from the parameter that the environment names, with one call', async () => {
  requests.length = 0
  const signer = await signerIn(NAME)
  expect(signer.did()).toBe((await readSigner(keySourceOf({ SERVICE_KEY: KEY }))).did())
  expect(requests).toEqual([{ target: 'AmazonSSM.GetParameter', body: { Name: NAME, WithDecryption: true } }])
})

it('the key is that of the environment if it names no parameter', async () => {
  requests.length = 0
  await readSigner(keySourceOf({ SERVICE_KEY: KEY }))
  expect(requests).toEqual([])
})

it.each([
  [
    '/missing',
    'the parameter /missing, which holds the private key of the service, cannot be read: ParameterNotFound',
  ],
  [
    '/denied',
    'the parameter /denied, which holds the private key of the service, cannot be read: AccessDeniedException: The role may not read it. Deploy the stage again, or allow the role of the function ssm:GetParameter on it, and kms:Decrypt on its key.',
  ],
  ['/empty', 'the parameter /empty is missing: set it to the private key of the service'],
  ['/text', 'the parameter /text is not a private key: expected an Ed25519 key'],
])('the error for the parameter %s names it, and not its value', async (name, message) => {
  const error = await signerIn(name).catch(cause => cause)
  expect(error).toMatchObject({ name: 'ConfigurationError' })
  expect(error.message).toContain(message)
  expect(error.message).not.toContain('no key')
})
