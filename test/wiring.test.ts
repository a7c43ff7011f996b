import type * as aggregatorFunctions from '@w3filecoin/aggregator/functions'
import type { resources as aggregator } from '@w3filecoin/aggregator/resources'
import type { LambdaFunctions } from '@w3filecoin/aws'
import type * as dealTrackerFunctions from '@w3filecoin/deal-tracker/functions'
import type { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import type * as dealerFunctions from '@w3filecoin/dealer/functions'
import type { resources as dealer } from '@w3filecoin/dealer/resources'
import type * as storefrontFunctions from '@w3filecoin/storefront/functions'
import type { resources as storefront } from '@w3filecoin/storefront/resources'
import { expectTypeOf, it } from 'vitest'

// The compiler checks this: `npm run check` fails when a module lacks a function.
it('exports every function that the resources of a service describe', () => {
  expectTypeOf<typeof storefrontFunctions>().toExtend<LambdaFunctions<typeof storefront>>()
  expectTypeOf<typeof aggregatorFunctions>().toExtend<LambdaFunctions<typeof aggregator>>()
  expectTypeOf<typeof dealerFunctions>().toExtend<LambdaFunctions<typeof dealer>>()
  expectTypeOf<typeof dealTrackerFunctions>().toExtend<LambdaFunctions<typeof dealTracker>>()
})
