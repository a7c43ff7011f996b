import { describe, expect, it } from 'vitest'
import type { PdpFunds } from '../src/makers/pdp.ts'
import { judgeFunds } from '../src/makers/pdp-funds.ts'

const DAY = 86_400
const NOW = Date.UTC(2027, 0, 1) / 1000
const EPOCH = 1_000
const KEY = `0x${'22'.repeat(20)}`
const config = { payer: `0x${'11'.repeat(20)}`, service: `0x${'33'.repeat(20)}`, chain: 314 }

const inDays = (days: number) => BigInt(EPOCH + days * 2_880)
const approval: PdpFunds['approval'] = {
  isApproved: true,
  rateAllowance: 10n,
  rateUsage: 1n,
  lockupAllowance: 10n,
  lockupUsage: 1n,
}
const keyFor = (createDays: number, addDays = createDays): PdpFunds['sessionKey'] => ({
  address: KEY,
  createDataSetUntilSeconds: BigInt(NOW + createDays * DAY),
  addPiecesUntilSeconds: BigInt(NOW + addDays * DAY),
})
const judge = (fields: Partial<PdpFunds> = {}) =>
  judgeFunds(
    {
      epoch: EPOCH,
      timestampSeconds: NOW,
      fundedUntilEpoch: inDays(90),
      funds: 100n,
      availableFunds: 50n,
      ratePerEpoch: 1n,
      approval,
      sessionKey: keyFor(60),
      ...fields,
    },
    config,
  )

describe('the funds of a payer', () => {
  it('are fine if they and the session key last for 30 days', () => {
    expect(judge().ok?.message).toBe(
      `The payer ${config.payer} is funded until 2027-04-01. The wallet ${KEY} may sign for it until 2027-03-02`,
    )
    expect(judge({ fundedUntilEpoch: inDays(30), sessionKey: keyFor(30) }).error).toBeUndefined()
  })

  it('have no end without payments', () => {
    for (const fundedUntilEpoch of [2n ** 256n - 1n, BigInt(Number.MAX_SAFE_INTEGER)])
      expect(judge({ fundedUntilEpoch }).ok?.message).toContain('is funded without an end')
  })

  it.each([
    ['SessionKeyMissing', { sessionKey: { ...keyFor(60), createDataSetUntilSeconds: 0n } }, `log ${KEY} in`],
    ['SessionKeyExpired', { sessionKey: keyFor(60, -1) }, `log ${KEY} in`],
    ['SessionKeyExpires', { sessionKey: keyFor(29, 60) }, 'It ends in 29 days'],
    ['OperatorNotApproved', { approval: { ...approval, isApproved: false } }, config.service],
    ['AllowanceUsed', { approval: { ...approval, rateUsage: 10n } }, 'raise it'],
    ['AllowanceUsed', { approval: { ...approval, lockupUsage: 11n } }, 'raise it'],
    ['NoFunds', { availableFunds: 0n, fundedUntilEpoch: 2n ** 256n - 1n }, 'deposit USDFC'],
    ['FundsLow', { fundedUntilEpoch: inDays(29) }, 'last for 29 days'],
    ['FundsLow', { fundedUntilEpoch: 0n }, 'last for 0 days'],
  ] as [string, Partial<PdpFunds>, string][])('are a problem: %s', (name, fields, advice) => {
    const { error } = judge(fields)
    expect(error?.name).toBe(name)
    expect(error?.message).toContain(advice)
  })

  it('have one message with all problems', () => {
    const { error } = judge({ sessionKey: keyFor(3), fundedUntilEpoch: inDays(2) })
    expect(error?.name).toBe('SessionKeyExpires')
    expect(error?.message).toMatch(/It ends in 3 days.*The funds last for 2 days/)
  })
})
