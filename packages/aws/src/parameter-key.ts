import { ConfigurationError, type Environment, environmentKey, type KeySource } from '@w3filecoin/runtime'

/**
 * The Parameter Store answers 40 requests per second for all functions of an account together, so many cold starts at once wait
 * for one another. The SDK waits up to 20 s between two attempts.
 */
const MAX_ATTEMPTS = 10

/** Returns the place that holds the private key: the parameter that the environment names, or else the environment itself. */
export const keySourceOf = (env: Environment): KeySource =>
  env.SERVICE_KEY_PARAMETER ? parameterKey(env.SERVICE_KEY_PARAMETER) : environmentKey(env)

/** The private key in a `SecureString` of the Parameter Store. */
export const parameterKey = (name: string): KeySource => {
  const source = `the parameter ${name}`
  return {
    name: source,
    read: async () => {
      // Not loaded on one machine, where the key is in the environment.
      const { GetParameterCommand, SSMClient } = await import('@aws-sdk/client-ssm')
      const client = new SSMClient({ maxAttempts: MAX_ATTEMPTS })
      try {
        const { Parameter } = await client.send(new GetParameterCommand({ Name: name, WithDecryption: true }))
        return Parameter?.Value
      } catch (cause) {
        throw new ConfigurationError([
          `${source}, which holds the private key of the service, cannot be read: ${describe(cause)}. Deploy the stage again, or allow the role of the function ssm:GetParameter on it, and kms:Decrypt on its key.`,
        ])
      } finally {
        client.destroy()
      }
    },
  }
}

const describe = (cause: unknown): string => {
  const { name, message } = cause as Error
  return message ? `${name}: ${message.replace(/\.$/, '')}` : name
}
