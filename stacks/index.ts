import { makeAggregator } from './aggregator.ts'
import { makeAlarms } from './alarms.ts'
import { makeDealTracker } from './deal-tracker.ts'
import { makeDealer } from './dealer.ts'
import { makeNetwork } from './network.ts'
import { stageNamed } from './stages.ts'
import { makeStorefront } from './storefront.ts'
import { tagServices } from './tags.ts'

/** Creates everything in a stage. SST prints the returned values as the outputs of the deploy. */
export const deploy = () => {
  tagServices()
  const network = makeNetwork(stageNamed($app.stage))
  const alarms = makeAlarms()
  makeStorefront(network, alarms)
  makeAggregator(network, alarms)
  makeDealer(network, alarms)
  makeDealTracker(network, alarms)

  const { stage: _, ...members } = network
  return {
    ...Object.fromEntries(
      Object.entries(members).flatMap(([name, { api, peer }]) => [
        [`${name}Url`, api.url],
        [`${name}Did`, peer.did],
      ]),
    ),
    alarmsTopic: alarms.topic.arn,
  }
}
