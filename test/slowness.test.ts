import { pbkdf2Sync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { closeConnections, send } from './fuzz/send.ts'
import { findSlowness } from './fuzz/slowness.ts'

/** Lower than the limits of the fuzzer, so that the test is fast. */
const limits = { floorMs: 100, ratio: 5 }
const STALL_MS = 300

/** Takes about half a second; it is an amount of work, so it takes longer on a busy machine. */
const blowUp = () => pbkdf2Sync('password', 'salt', 2_500_000, 32, 'sha256')

let url: string
/** Makes every answer slow, as on a busy machine. */
let busy = false
/** Number of requests to `/once`. The first one is slow. */
let stalls = 0

/** A service with an algorithmic blow-up behind `/blow-up`, which blocks the event loop. */
const server = createServer(async (request, response) => {
  if (request.url === '/blow-up') blowUp()
  if (request.url === '/once' && stalls++ === 0) await sleep(STALL_MS)
  if (busy) await sleep(STALL_MS)
  response.end()
})

beforeAll(async () => {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await measure('/')
})

afterAll(() => {
  closeConnections()
  server.close()
})

const measure = async (path: string): Promise<number> =>
  (await send(url, { to: 'storefront', method: 'GET', path, headers: {}, hopeless: false })).tookMs

const find = (path: string) =>
  findSlowness({ sendSuspect: () => measure(path), sendHonest: () => measure('/'), limits })

test('a message with an algorithmic blow-up is a finding', async () => {
  expect(await find('/blow-up')).toMatch(
    /^took at least \d+ ms in each of 3 tries, an honest message \d+ ms$/,
  )
})

test('a message that is slow only because the machine is busy is not a finding', async () => {
  busy = true
  expect(await find('/')).toBeUndefined()
  busy = false
})

test('a message that was slow once is not a finding', async () => {
  expect(await find('/once')).toBeUndefined()
  expect(stalls).toBe(2)
})

test.each([
  ['a blow-up on an idle machine', 8_000, 20, /^took at least 8000 ms .* honest message 20 ms$/],
  ['a blow-up on a machine that is ten times slower', 80_000, 200, /^took/],
  ['a large message on a machine that is thirty times slower', 3_000, 600, undefined],
  ['many times an honest message, but below the floor', 1_900, 5, undefined],
])('%s: %i ms beside %i ms', async (_, suspectMs, honestMs, found) => {
  const finding = await findSlowness({ sendSuspect: async () => suspectMs, sendHonest: async () => honestMs })
  if (found) expect(finding).toMatch(found)
  else expect(finding).toBeUndefined()
})
