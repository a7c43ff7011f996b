import { type QueueSpec, type ScheduleSpec, visibilityTimeout } from '@w3filecoin/runtime/resources'

export type Alarms = ReturnType<typeof makeAlarms>

/** Creates alarms that notify one SNS topic. Subscribe to the topic to receive them. */
export const makeAlarms = () => {
  const topic = new sst.aws.SnsTopic('Alarms')

  const alarm = (
    name: string,
    args: Omit<aws.cloudwatch.MetricAlarmArgs, 'evaluationPeriods' | 'comparisonOperator'>,
  ) => {
    new aws.cloudwatch.MetricAlarm(name, {
      name: `${$app.name}-${$app.stage}-${name}`,
      comparisonOperator: 'GreaterThanThreshold',
      evaluationPeriods: 1,
      period: 300,
      threshold: 0,
      treatMissingData: 'notBreaching',
      alarmActions: [topic.arn],
      okActions: [topic.arn],
      ...args,
    })
  }

  return {
    topic,

    queue(name: string, spec: QueueSpec, { queue, dlq }: { queue: sst.aws.Queue; dlq: sst.aws.Queue }) {
      alarm(`${name}DeadLetters`, {
        alarmDescription: `Messages of ${name} are in the dead-letter queue, after ${spec.attempts} failed attempts`,
        namespace: 'AWS/SQS',
        metricName: 'ApproximateNumberOfMessagesVisible',
        dimensions: { QueueName: dlq.nodes.queue.name },
        statistic: 'Maximum',
      })
      alarm(`${name}Late`, {
        alarmDescription: `Messages of ${name} wait too long: they are not consumed, or fail repeatedly`,
        namespace: 'AWS/SQS',
        metricName: 'ApproximateAgeOfOldestMessage',
        dimensions: { QueueName: queue.nodes.queue.name },
        statistic: 'Maximum',
        // Twice the time for which a failed run hides a message.
        threshold: Math.max(3600, 2 * visibilityTimeout(spec)),
      })
    },

    consumer(name: string, run: sst.aws.Function) {
      alarm(`${name}Errors`, {
        alarmDescription: `Runs of ${name} crashed, or exceeded their time or memory`,
        namespace: 'AWS/Lambda',
        metricName: 'Errors',
        dimensions: { FunctionName: run.name },
        statistic: 'Sum',
      })
    },

    schedule(name: string, spec: ScheduleSpec, run: sst.aws.Function) {
      alarm(`${name}Errors`, {
        alarmDescription: `Runs of ${name} failed or did not start`,
        namespace: 'AWS/Lambda',
        metricName: 'Errors',
        dimensions: { FunctionName: run.name },
        statistic: 'Sum',
        period: Math.max(300, 2 * spec.everySeconds),
        treatMissingData: 'breaching',
      })
    },

    api(name: string, { nodes }: sst.aws.ApiGatewayV2) {
      alarm(`${name}Errors`, {
        alarmDescription: `Requests to ${name} were answered with 5xx`,
        namespace: 'AWS/ApiGateway',
        metricName: '5xx',
        dimensions: { ApiId: nodes.api.id },
        statistic: 'Sum',
      })
    },
  }
}
