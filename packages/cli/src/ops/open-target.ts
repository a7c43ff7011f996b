import { resolve } from 'node:path'
import { localTarget, stageTarget, type Target } from './target.ts'

/** The options of a command that name the system. */
export interface TargetOptions {
  /** Data directory of a local system. */
  data?: string
  stage?: string
}

/** Returns the directory that the paths of a command are relative to: npm changes the working directory. */
export const directoryOf = (env: Record<string, string | undefined>): string =>
  env.npm_lifecycle_event === 'ops' ? (env.INIT_CWD ?? '.') : '.'

/**
 * Finds the system that a command works on, and has the AWS SDK use it.
 *
 * @param env the variables of this process, which the AWS SDK reads
 */
export const openTarget = (
  { data, stage }: TargetOptions,
  env: Record<string, string | undefined>,
): Target => {
  const target =
    stage === undefined
      ? localTarget(data === undefined ? resolve('.w3filecoin') : resolve(directoryOf(env), data))
      : stageTarget(stage)
  // For the local system, ignore the AWS configuration of this machine.
  if (stage === undefined) for (const name of Object.keys(env)) if (name.startsWith('AWS_')) delete env[name]
  Object.assign(env, target.env)
  return target
}
