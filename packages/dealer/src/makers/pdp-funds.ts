import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { PdpFunds, PdpMakerConfig } from './pdp.ts'

const DAY_SECONDS = 24 * 60 * 60
const EPOCH_SECONDS = 30
/** Funds and the session key must last for so long: an operator needs time to renew them. */
const LEAST_SECONDS = 30 * DAY_SECONDS
/** A time that is further away is not a date: without payments, funds last for ever. */
const FAR_SECONDS = 100 * 365 * DAY_SECONDS

/**
 * Judges whether orders can be signed and paid in the next 30 days. The error has the name of the first problem, and the message of
 * each.
 *
 * @example judgeFunds(funds, config).ok.message
 * // 'The payer 0x1111… is funded until 2027-03-01. The wallet 0x2222… may sign for it until 2027-12-01'
 */
export const judgeFunds = (
  { epoch, timestampSeconds, fundedUntilEpoch, availableFunds, approval, sessionKey }: PdpFunds,
  { payer, service, chain }: Pick<PdpMakerConfig, 'payer' | 'service' | 'chain'>,
): Result<{ message: string }> => {
  const fundedSeconds = Number(fundedUntilEpoch - BigInt(epoch)) * EPOCH_SECONDS
  const expiries = [sessionKey.createDataSetUntilSeconds, sessionKey.addPiecesUntilSeconds].map(Number)
  const expiresAt = Math.min(...expiries)
  const keySeconds = expiresAt - timestampSeconds
  const endIn = (seconds: number) =>
    seconds > FAR_SECONDS
      ? 'without an end'
      : `until ${new Date((timestampSeconds + seconds) * 1000).toISOString().slice(0, 10)}`

  const facts = [
    `The payer ${payer} is funded ${endIn(fundedSeconds)}`,
    expiresAt === 0
      ? `The wallet ${sessionKey.address} may not sign for it`
      : `The wallet ${sessionKey.address} may sign for it ${endIn(keySeconds)}`,
  ]
  const login = `Have the payer log ${sessionKey.address} in at the registry of session keys of the chain ${chain}, for CreateDataSet and AddPieces`
  const problems: [name: string, advice: string][] = []
  if (expiresAt === 0) problems.push(['SessionKeyMissing', login])
  else if (keySeconds < 0) problems.push(['SessionKeyExpired', login])
  else if (keySeconds < LEAST_SECONDS)
    problems.push(['SessionKeyExpires', `It ends in ${days(keySeconds)}. ${login}`])
  if (!approval.isApproved)
    problems.push(['OperatorNotApproved', `Have the payer approve the service ${service} as operator`])
  else if (approval.rateUsage >= approval.rateAllowance || approval.lockupUsage >= approval.lockupAllowance)
    problems.push([
      'AllowanceUsed',
      `The allowance of the service ${service} is used up: have the payer raise it`,
    ])
  if (availableFunds <= 0n)
    problems.push(['NoFunds', 'No funds are free for further copies: deposit USDFC for the payer'])
  else if (fundedSeconds < LEAST_SECONDS)
    problems.push(['FundsLow', `The funds last for ${days(fundedSeconds)}: deposit USDFC for the payer`])

  const [first] = problems
  const message = [...facts, ...problems.map(([, advice]) => advice)].join('. ')
  return first ? { error: failure(first[0], message) satisfies Failure } : { ok: { message } }
}

const days = (seconds: number): string => `${Math.max(0, Math.floor(seconds / DAY_SECONDS))} days`
