import { bytesOf } from '@w3filecoin/testing'
import { expect, it } from 'vitest'
import { GoodSignatures } from '../src/ucan/good-signatures.ts'

const [signature, payload] = [bytesOf('signature', 64), bytesOf('payload', 500)]

/** Returns whether a signature is verified, and not remembered. */
const isVerified = (
  known: GoodSignatures,
  key: string,
  signature: Uint8Array,
  payload: Uint8Array,
  isGood = true,
): boolean => {
  let verified = false
  const verify = () => {
    verified = true
    return isGood
  }
  expect(known.verifyOnce(key, signature, payload, verify)).toBe(isGood || !verified)
  return verified
}

it('verifies a good signature once', () => {
  const known = new GoodSignatures()
  expect(isVerified(known, 'did:key:a', signature, payload)).toBe(true)
  expect(isVerified(known, 'did:key:a', signature.slice(), payload.slice())).toBe(false)
})

it('verifies a bad signature each time, and accepts it once it is good', () => {
  const known = new GoodSignatures()
  for (const isGood of [false, false, true])
    expect(isVerified(known, 'did:key:a', signature, payload, isGood)).toBe(true)
})

it('verifies another key, signature or payload, and the same bytes with other bounds', () => {
  const known = new GoodSignatures()
  const changed = (bytes: Uint8Array, at: number) => bytes.with(at, bytes[at]! ^ 1)
  const parts: [string, Uint8Array, Uint8Array][] = [
    ['did:key:a', signature, payload],
    ['did:key:b', signature, payload],
    ['did:key:a', changed(signature, 63), payload],
    ['did:key:a', signature, changed(payload, 499)],
    ['did:key:a', signature, payload.subarray(1)],
    ['did:key:', Buffer.concat([Buffer.from('a'), signature]), payload],
    ['did:key:a', signature.subarray(0, 63), Buffer.concat([signature.subarray(63), payload])],
  ]
  for (const [key, signature, payload] of parts) expect(isVerified(known, key, signature, payload)).toBe(true)
})

it('remembers at most two generations, and keeps the signatures that are used', () => {
  const known = new GoodSignatures(10)
  const use = (n: number) => isVerified(known, `did:key:${n}`, signature, payload)
  for (let n = 1; n < 100; n++) {
    use(n)
    if (n > 1) expect(use(0)).toBe(false)
    else use(0)
  }
  expect([98, 97, 99].map(use)).toEqual([false, false, false])
  expect([1, 50, 70].map(use)).toEqual([true, true, true])
})
