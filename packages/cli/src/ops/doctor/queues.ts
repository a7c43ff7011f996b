import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { Environment } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import pMap from 'p-map'
import { count } from '../../text.ts'
import { DeadLetterQueue } from '../dead-letter-queue.ts'
import { describeError } from '../describe-error.ts'
import { type Diagnosis, diagnose } from './diagnosis.ts'

/** Queues that are asked concurrently. */
const MAX_PARALLEL = 8

/** Checks that the queues of a service can be reached, and that their dead-letter queues are empty. */
export const checkQueues = async (
  { service, queues }: Resources,
  places: Environment,
  { client, system }: { client: Pick<SQSClient, 'send'>; system: string },
): Promise<Diagnosis[]> => {
  const { well, ill } = diagnose(service, 'queues')
  const names = Object.keys(queues)
  const found = await pMap(
    names,
    async (name): Promise<Diagnosis | undefined> => {
      const [work, dead] = [places[variable('queue', name)], places[variable('deadLetter', name)]]
      if (work === undefined || dead === undefined)
        return ill(
          `this system does not name the queue ${name}: it runs another version`,
          'Use the command of the deployed version, or deploy this one.',
        )
      try {
        // An attribute that says nothing: whether the queue answers.
        await client.send(new GetQueueAttributesCommand({ QueueUrl: work, AttributeNames: ['QueueArn'] }))
        const letters = await new DeadLetterQueue({ client, url: dead, work }).count()
        return letters === 0
          ? undefined
          : ill(
              `${name} has about ${count(letters)} dead ${letters === 1 ? 'letter' : 'letters'}`,
              `Show the reason with npm run ops -- dlq ${system} --service ${service} --queue ${name}`,
            )
      } catch (cause) {
        return ill(
          `${name} cannot be reached: ${describeError(cause).split('\n')[0]}`,
          'Check the permissions of this command, and that the queue exists.',
        )
      }
    },
    { concurrency: MAX_PARALLEL },
  )
  const defects = found.filter(diagnosis => diagnosis !== undefined)
  return defects.length > 0 ? defects : [well(`${names.length} can be reached, and have no dead letters`)]
}
