import { type ParseArgsConfig, parseArgs } from 'node:util'
import { UserError } from '@w3filecoin/service/user-error'

/** Options that npm has too: they may come from where it is configured. */
const OF_NPM = new Set(['json', 'all'])

/** What was typed behind the command, which is a script of npm; all that makes no sense to anybody is refused here. */
export const parseOptions = <T extends ParseArgsConfig>(script: string, config: T) => {
  const options = Object.entries(config.options ?? {})
  // Without `--`, npm takes options for its own and tells us by the environment only.
  if (process.env.npm_lifecycle_event === script)
    for (const [name, { type }] of options) {
      if (OF_NPM.has(name)) continue
      const value = process.env[`npm_config_${name.replaceAll('-', '_')}`]
      if (type === 'string' ? value !== undefined : value === 'true')
        throw new UserError(
          `npm took --${name} for itself; options go behind --, as in npm run ${script} -- --${name}`,
        )
    }
  const parsed = parse(config)
  for (const [name, value] of Object.entries(parsed.values))
    if ([value].flat().includes('')) throw new UserError(`--${name} takes a value, and here it is empty`)
  return parsed
}

const parse = <T extends ParseArgsConfig>(config: T) => {
  try {
    return parseArgs(config)
  } catch (cause) {
    // Behind its first sentence Node goes on about dashes, in lines.
    throw new UserError(`${(cause as Error).message.split(/\.\s/)[0]}; --help says what there is`)
  }
}
