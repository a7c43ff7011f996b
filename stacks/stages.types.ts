import type { StageSettings } from './stages.ts'

// Tests of the types in stages.ts, which `npm run typecheck` runs: an unused `@ts-expect-error` is an error.

export const everyService: StageSettings = {
  domain: 'w3.example',
  throttling: { perSecond: 500, burst: 1000 },
  reservedConcurrency: { storefront: { api: 50, submit: 50 }, 'deal-tracker': { sync: 2 } },
  dealMaking: ['arn:aws:iam::123456789012:role/deals'],
  alarmAddresses: ['ops@example.com'],
  alarms: { dealSeconds: 86_400 },
  storefront: { gateway: 'https://gateway.example/{cid}', missingContent: 'refuse', contentWaitSeconds: 60 },
  aggregator: {
    storefronts: [{ did: 'did:web:other.example', url: 'https://other.example' }],
    limits: { maxWaitSeconds: 60 },
    groups: { free: { paddedBytes: 2 ** 30 } },
    timing: { retrySeconds: 10 },
  },
  dealer: { dealWaitSeconds: 60, didWeb: { allowPrivate: true } },
  dealTracker: { maxAgeSeconds: 60, maxLossShare: 0.5, sources: [] },
}

export const typos: StageSettings[] = [
  // @ts-expect-error: the setting is `gateway`
  { storefront: { gatway: 'https://gateway.example/{cid}' } },
  // @ts-expect-error: the value must be `wait` or `refuse`
  { storefront: { missingContent: 'reject' } },
  // @ts-expect-error: the setting is `minPaddedBytes`
  { aggregator: { groups: { free: { minPadded: 1 } } } },
  // @ts-expect-error: the value must be a number of seconds
  { dealer: { timing: { pollSeconds: '15 minutes' } } },
  // @ts-expect-error: the storefront has no function `submission`
  { reservedConcurrency: { storefront: { submission: 50 } } },
  // @ts-expect-error: an address has an @
  { alarmAddresses: ['ops.example.com'] },
  // @ts-expect-error: the limit is `dealSeconds`
  { alarms: { dealDays: 7 } },
  // @ts-expect-error: the service is `dealTracker`
  { tracker: { maxAgeSeconds: 60 } },
]

export const filledInByTheStacks: StageSettings[] = [
  // @ts-expect-error: the stacks fill in the service itself
  { dealer: { self: { did: 'did:web:dealer.example' } } },
  // @ts-expect-error: the stacks fill in the peers of the stage
  { storefront: { dealer: { did: 'did:web:dealer.example' } } },
  // @ts-expect-error: the name of the stage says whether it is production
  { dealTracker: { production: false } },
]
