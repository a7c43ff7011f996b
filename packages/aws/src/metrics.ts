import { MetricUnit, Metrics as Powertools } from '@aws-lambda-powertools/metrics'
import type { Metrics } from '@w3filecoin/runtime'

/** Collects metrics during a run, and writes them at its end. */
export interface CollectedMetrics {
  metrics: Metrics
  /** Writes the collected values to standard output, in CloudWatch's embedded metric format. */
  flush: () => void
}

/**
 * Opens the metrics of a service, in the namespace `w3filecoin/STAGE`. Values of one run with equal dimensions are one line.
 *
 * @param options.stage the deploy stage; `undefined` outside of AWS, where nothing is written
 * @example {"_aws":{"Timestamp":1733306400000,"CloudWatchMetrics":[{"Namespace":"w3filecoin/production",
 * "Dimensions":[["service","record","stage"]],"Metrics":[{"Name":"StageSeconds","Unit":"Seconds"}]}]},
 * "service":"aggregator","record":"piece","stage":"pending","StageSeconds":[59.2,58.9]}
 */
export const openMetrics = ({
  service,
  stage,
}: {
  service: string
  stage: string | undefined
}): CollectedMetrics => {
  if (stage === undefined) return { metrics: () => {}, flush: () => {} }
  /** One for each set of dimensions: an instance writes all its values with the same ones. */
  const collected = new Map<string, Powertools>()
  return {
    metrics: (values, dimensions = {}) => {
      const key = JSON.stringify(Object.entries(dimensions).sort())
      let metrics = collected.get(key)
      if (metrics === undefined) {
        metrics = new Powertools({
          namespace: `w3filecoin/${stage}`,
          serviceName: service,
          defaultDimensions: dimensions,
        })
        collected.set(key, metrics)
      }
      for (const [name, value] of Object.entries(values))
        metrics.addMetric(name, name.endsWith('Seconds') ? MetricUnit.Seconds : MetricUnit.Count, value)
    },
    flush: () => {
      for (const metrics of collected.values()) if (metrics.hasStoredMetrics()) metrics.publishStoredMetrics()
    },
  }
}
