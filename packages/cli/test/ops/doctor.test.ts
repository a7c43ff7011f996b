import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs'
import { resources } from '@w3filecoin/dealer/resources'
import { variable } from '@w3filecoin/runtime/resources'
import { describe, expect, it } from 'vitest'
import { type Address, checkAddress, readAddress } from '../../src/ops/doctor/address.ts'
import { checkQueues } from '../../src/ops/doctor/queues.ts'
import { showScheduledChecks } from '../../src/ops/doctor/scheduled-checks.ts'

const NOW = Date.parse('2026-11-26T18:00:00Z')
const address: Address = {
  url: 'https://dealer.w3.test',
  did: 'did:web:dealer.w3.test',
  keys: ['did:key:z6MkNow', 'did:key:z6MkFormer'],
}
const logOf = (service: string, name: string) => `the log group /w3filecoin/trial/${service}/${name}`

const about = { name: 'dealer', did: address.did, version: '0.1.0' }
const document = {
  id: address.did,
  verificationMethod: [{ publicKeyMultibase: 'z6MkNow' }, { publicKeyMultibase: 'z6MkFormer' }],
}

/** Checks the address of a dealer that answers so. */
const check = async (
  answers: { root?: unknown; document?: unknown; status?: number; date?: string | null; cause?: object },
  lookup = async () => [{ address: '192.0.2.7', family: 4 }],
) => {
  const { root = about, document: keys = document, status = 200, cause } = answers
  const { date = 'Thu, 26 Nov 2026 18:00:00 GMT' } = answers
  const fetch = async (url: string | URL | Request) => {
    if (cause) throw new TypeError('fetch failed', { cause: Object.assign(new Error('refused'), cause) })
    const isDocument = `${url}`.endsWith('/.well-known/did.json')
    const headers = { 'content-type': 'application/json', ...(date !== null && { date }) }
    const body = isDocument ? keys : root
    return new Response(typeof body === 'string' ? body : JSON.stringify(body), { status, headers })
  }
  const surroundings = { fetch: fetch as never, lookup, now: () => NOW, system: '--stage trial', logOf }
  return checkAddress('dealer', address, surroundings)
}
const defectsOf = async (...args: Parameters<typeof check>) =>
  (await check(...args)).diagnoses.filter(({ ok }) => !ok)

describe('the address of a service', () => {
  it('is read from what a deploy publishes', () => {
    expect(
      readAddress({
        SERVICE_URL: address.url,
        SERVICE_DID: address.did,
        SERVICE_KEYS: address.keys.join(' '),
      }),
    ).toEqual(address)
    expect(readAddress({ TABLE_PIECE: 'piece' })).toBeUndefined()
  })

  it('is well if the service answers under its DID, with its keys and the time', async () => {
    const { diagnoses, about: found } = await check({})
    expect(diagnoses.map(({ ok, check }) => [check, ok])).toEqual(
      ['name', 'answer', 'identity', 'keys', 'clock'].map(name => [name, true]),
    )
    expect(diagnoses[0]!.finding).toBe('dealer.w3.test resolves to 192.0.2.7')
    expect(diagnoses[1]!.finding).toBe(
      'https://dealer.w3.test answers with a valid certificate in 0 ms, version 0.1.0',
    )
    expect(diagnoses[3]!.finding).toBe('https://dealer.w3.test/.well-known/did.json has its 2 keys')
    expect(found).toMatchObject(about)
  })

  it.each([
    ['a name that does not resolve', {}, 'name', /does not resolve: getaddrinfo ENOTFOUND/, /Route 53/],
    [
      'no server',
      { cause: { code: 'ECONNREFUSED' } },
      'answer',
      /cannot be reached: refused/,
      /dealer\/api$/,
    ],
    [
      'another certificate',
      { cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' } },
      'answer',
      /cannot be/,
      /Certificate Manager/,
    ],
    [
      'an expired certificate',
      { cause: { code: 'CERT_HAS_EXPIRED' } },
      'answer',
      /cannot be/,
      /Certificate Manager/,
    ],
    [
      'a failing function',
      { status: 503, root: 'x'.repeat(900) },
      'answer',
      /answers 503: x{200}$/,
      /dealer\/api$/,
    ],
    ['another server', { root: '<html>' }, 'answer', /does not answer as a service/, /Another server/],
    [
      'another DID',
      { root: { ...about, did: 'did:key:z6MkX' } },
      'identity',
      /answers as did:key:z6MkX, but .* has published did:web:dealer/,
      /formerKeys|`domain`/,
    ],
    [
      'another service',
      { root: { ...about, name: 'storefront' } },
      'identity',
      /is the storefront .*, not the dealer/,
      /another service/,
    ],
    [
      'the document of another DID',
      { document: { ...document, id: 'did:web:x.test' } },
      'keys',
      /describes did:web:x\.test, not did:web:dealer/,
      /formerKeys/,
    ],
    [
      'a document without a key',
      { document: { ...document, verificationMethod: [{ publicKeyMultibase: 'z6MkNow' }] } },
      'keys',
      /lacks did:key:z6MkFormer$/,
      /formerKeys/,
    ],
    ['no document', { document: 'Not found' }, 'keys', /without a DID document/, /leads to the service/],
    [
      'a clock that is behind',
      { date: 'Thu, 26 Nov 2026 17:50:00 GMT' },
      'clock',
      /^it is 9 min 59 s behind/,
      /this machine first/,
    ],
    [
      'a clock that is ahead',
      { date: 'Thu, 26 Nov 2026 18:10:00 GMT' },
      'clock',
      /^it is 10 min 0 s ahead of/,
      /this machine first/,
    ],
    ['an answer without a date', { date: null }, 'clock', /no date/, /which server/],
  ])('is ill with %s', async (title, answers, name, finding, advice) => {
    const unknown = async () => {
      throw Object.assign(new Error('getaddrinfo ENOTFOUND dealer.w3.test'), { code: 'ENOTFOUND' })
    }
    const defects = await defectsOf(
      answers as never,
      title.includes('resolve') ? (unknown as never) : undefined,
    )
    expect(defects).toEqual([
      {
        ok: false,
        service: 'dealer',
        check: name,
        finding: expect.stringMatching(finding),
        advice: expect.stringMatching(advice),
      },
    ])
  })
})

describe('the queues of a service', () => {
  const names = Object.keys(resources.queues)
  const places = Object.fromEntries(
    names.flatMap(name => [
      [variable('queue', name), `https://sqs/${name}`],
      [variable('deadLetter', name), `https://sqs/${name}-dead`],
    ]),
  )
  /** Asks queues with these dead letters; `-1`: the queue does not answer. */
  const ask = (letters: Record<string, number>, known: Record<string, string> = places) =>
    checkQueues(resources, known, {
      system: '--stage trial',
      client: {
        send: async (command: GetQueueAttributesCommand) => {
          expect(command).toBeInstanceOf(GetQueueAttributesCommand)
          const name = command.input.QueueUrl!.replace('https://sqs/', '')
          const n = letters[name] ?? 0
          if (n < 0)
            throw Object.assign(new Error('The queue does not exist.'), { $metadata: {}, name: 'Gone' })
          return { Attributes: { ApproximateNumberOfMessages: `${n}` } }
        },
      } as never,
    })

  it('are well in one line if all answer and none has dead letters', async () => {
    expect(await ask({})).toEqual([
      { ok: true, service: 'dealer', check: 'queues', finding: '7 can be reached, and have no dead letters' },
    ])
  })

  it('are ill by name', async () => {
    const { QUEUE_RETRY: _, ...others } = places
    expect(await ask({ 'track-dead': 2, 'conclude-dead': 1, report: -1 }, others)).toEqual([
      expect.objectContaining({
        ok: false,
        finding: 'track has about 2 dead letters',
        advice: 'Show the reason with npm run ops -- dlq --stage trial --service dealer --queue track',
      }),
      expect.objectContaining({
        ok: false,
        finding: 'report cannot be reached: Gone: The queue does not exist.',
      }),
      expect.objectContaining({
        ok: false,
        finding: expect.stringContaining('does not name the queue retry'),
      }),
      expect.objectContaining({ ok: false, finding: 'conclude has about 1 dead letter' }),
    ])
  })
})

describe('the checks that a service runs on schedule', () => {
  const show = (rows: object[] | undefined | Error) =>
    showScheduledChecks(resources, rows ? { TABLE_HEALTH: 'health' } : {}, {
      now: () => NOW,
      logOf,
      tables: {
        open: () => ({
          list: async () => {
            if (rows instanceof Error) throw rows
            return { items: rows ?? [] }
          },
        }),
      } as never,
    })
  const row = {
    service: 'dealer',
    name: 'hasher',
    ok: true,
    since: NOW - 9e6,
    checkedAt: NOW - 60_000,
    message: 'Native',
  }

  it('are shown with their messages', async () => {
    const failed = {
      ...row,
      name: 'peer aggregator did:web:a.test',
      ok: false,
      message: 'It cannot be reached',
    }
    expect(await show([failed, row])).toEqual([
      { ok: true, service: 'dealer', check: 'hasher', finding: 'Native' },
      {
        ok: false,
        service: 'dealer',
        check: failed.name,
        finding: 'It cannot be reached, since 2026-11-26T15:30:00.000Z',
        advice: expect.stringContaining('/w3filecoin/trial/dealer/check'),
      },
    ])
  })

  it.each([
    ['a version that runs none', undefined, true, /^no checks recorded yet: this version/],
    ['no results', [], false, /^no checks recorded yet$/],
    [
      'results from before three runs',
      [{ ...row, checkedAt: NOW - 901_000 }],
      false,
      /^1 of 1 checks ran last at 2026-11-26T17:44:59/,
    ],
    ['rows that are invalid', [{ name: 'x' }], false, /^the table health cannot be read/],
    ['a table that cannot be read', new Error('AccessDenied'), false, /AccessDenied/],
  ])('are judged with %s', async (_, rows, ok, finding) => {
    const [first] = await show(rows)
    expect(first).toMatchObject({
      ok,
      service: 'dealer',
      check: 'checks',
      finding: expect.stringMatching(finding),
    })
  })
})
