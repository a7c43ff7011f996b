/**
 * The result of one check.
 *
 * @example { ok: false, service: 'dealer', check: 'identity', finding: 'https://dealer.w3.example answers as did:key:z6Mk…',
 * advice: 'Check that …' }
 */
export interface Diagnosis {
  ok: boolean
  service: string
  check: string
  finding: string
  /** What to do, if it is not ok. */
  advice?: string
}

/** Returns functions that make the diagnoses of one check. */
export const diagnose = (service: string, check: string) => ({
  well: (finding: string): Diagnosis => ({ ok: true, service, check, finding }),
  ill: (finding: string, advice: string): Diagnosis => ({ ok: false, service, check, finding, advice }),
})
