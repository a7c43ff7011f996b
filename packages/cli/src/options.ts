import { type ParseArgsConfig, parseArgs } from 'node:util'
import { UserError } from '@w3filecoin/runtime/user-error'

/** Options that npm has too: their values may come from npm's own configuration. */
const NPM_OPTIONS = new Set(['json', 'all'])

/** Parses the command line of an npm script, and rejects options that npm consumed and options with an empty value. */
export const parseOptions = <T extends ParseArgsConfig>(script: string, config: T) => {
  const options = Object.entries(config.options ?? {})
  // Without `--`, npm consumes the options and passes them on in the environment only.
  if (process.env.npm_lifecycle_event === script)
    for (const [name, { type }] of options) {
      if (NPM_OPTIONS.has(name)) continue
      const value = process.env[`npm_config_${name.replaceAll('-', '_')}`]
      if (type === 'string' ? value !== undefined : value === 'true')
        throw new UserError(
          `npm consumed --${name}. Put options behind --, as in npm run ${script} -- --${name}`,
        )
    }
  const parsed = parse(config)
  for (const [name, value] of Object.entries(parsed.values))
    if ([value].flat().includes('')) throw new UserError(`--${name} needs a value (see --help)`)
  return parsed
}

const parse = <T extends ParseArgsConfig>(config: T) => {
  try {
    return parseArgs(config)
  } catch (cause) {
    // Node's first sentence names the error; the following lines explain dashes.
    throw new UserError(`${(cause as Error).message.split(/\.\s/)[0]} (see --help)`)
  }
}
