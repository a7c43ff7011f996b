import { mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Local, startLocal } from '@w3filecoin/local'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findFiles } from '../../src/dev/content.ts'
import { Journey } from '../../src/dev/journey.ts'

/** Calls that a journey makes for a place, and an answer that denies the place. */
const WAYS = [
  {
    deals: 'pdp' as const,
    place: 'pdp',
    asked: ['eth_chainId', 'eth_getBlockByNumber', 'eth_call', 'eth_call'],
    no: { method: 'eth_call', result: `0x${'0'.repeat(64)}` },
    failure: /^The chain does not have bafkz\w+ as piece \d+ of PDP data set \d+ /,
  },
  {
    deals: 'curio' as const,
    place: 'sector',
    asked: [
      'Filecoin.StateNetworkName',
      'Filecoin.ChainGetFinalizedTipSet',
      'Filecoin.StateSectorGetInfo',
      'Filecoin.StateCall',
      'Filecoin.GetActorEventsRaw',
    ],
    // The status 0: the sector is dead.
    no: { method: 'Filecoin.StateCall', result: { MsgRct: { ExitCode: 0, Return: 'ggBCAwA=' } } },
    failure: /^The chain does not have bafkz\w+ as sector \d+ of f0100\d/,
  },
]

describe.each(WAYS)('a journey with --deals $deals', ({ deals, place, asked, no, failure }) => {
  const directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))
  let local: Local
  /** The methods that the journey called, and the answer to one of them instead of that of the node. */
  let calls: string[] = []
  let denied: typeof no | undefined
  let rpc: string
  const proxy = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { id, method } = JSON.parse(body)
    calls.push(method)
    if (denied && denied.method === method) {
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result: denied.result }))
      return
    }
    const answer = await fetch(local.market.rpc!, { method: 'POST', body })
    response.end(await answer.text())
  })

  beforeAll(async () => {
    local = await startLocal({ data: join(directory.path, 'data'), deals })
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    rpc = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    mkdirSync(join(directory.path, 'files'))
    writeFileSync(join(directory.path, 'files', 'file'), '7 bytes')
  }, 60_000)
  afterAll(async () => {
    proxy.close()
    await local?.stop()
    directory.remove()
  }, 60_000)

  const travel = async () => {
    const { files } = await findFiles(join(directory.path, 'files'))
    const journey = new Journey({
      files,
      proofs: join(directory.path, 'proofs'),
      local: { ...local, market: { ...local.market, rpc } },
      patienceMs: 50_000,
      signal: new AbortController().signal,
      onProgress: () => {},
    })
    calls = []
    await journey.travel()
    return journey.trips[0]!
  }

  it('asks the node of the chain about the place of a file, and believes only it', {
    timeout: 180_000,
  }, async () => {
    expect(await travel()).toMatchObject({ stage: 'accepted', place: { type: place } })
    expect(calls).toEqual(asked)
    denied = no
    expect((await travel()).failure).toMatch(failure)
  })
})
