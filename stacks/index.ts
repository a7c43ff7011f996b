import { makeAggregator } from './aggregator.ts'
import { makeAlarms } from './alarms.ts'
import { makeDashboard } from './dashboard.ts'
import { makeDealTracker } from './deal-tracker.ts'
import { makeDealer } from './dealer.ts'
import { makeNetwork } from './network.ts'
import { stageNamed, warningsAbout } from './stages.ts'
import { makeStorefront } from './storefront.ts'
import { tagServices } from './tags.ts'

/** Creates everything in a stage. SST prints the returned values as the outputs of the deploy. */
export const deploy = () => {
  tagServices()
  const stage = stageNamed($app.stage)
  const network = makeNetwork(stage)
  const services = [
    makeStorefront(network),
    makeAggregator(network),
    makeDealer(network),
    makeDealTracker(network),
  ]
  const { topic, alarms } = makeAlarms(stage, services)
  const dashboard = makeDashboard(services, alarms)
  const warnings = warningsAbout(stage)
  for (const warning of warnings) $util.log.warn(warning)

  const { stage: _, ...members } = network
  return {
    ...Object.fromEntries(
      Object.entries(members).flatMap(([name, { api, peer }]) => [
        [`${name}Url`, api.url],
        [`${name}Did`, peer.did],
      ]),
    ),
    alarmsTopic: topic.arn,
    dashboard: dashboard.dashboardName,
    ...(warnings.length === 0 ? {} : { warning: warnings.join('\n') }),
  }
}
