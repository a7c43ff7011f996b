/// <reference path="./.sst/platform/config.d.ts" />

/**
 * The SST app. SST refuses top-level imports here, so `run` imports the stacks. The version of the AWS provider must be
 * the one that the installed version of SST pins: change both together.
 */
export default $config({
  app(input) {
    const production = input.stage === 'production'
    return {
      name: 'w3filecoin',
      home: 'aws',
      removal: production ? 'retain' : 'remove',
      protect: production,
      // For the bill. Resources of a service have the tag `service` too, see stacks/tags.ts.
      providers: {
        aws: { version: '7.20.0', defaultTags: { tags: { app: 'w3filecoin', stage: input.stage } } },
      },
    }
  },
  async run() {
    const { execFileSync } = await import('node:child_process')
    execFileSync('npm', ['run', '--silent', 'build:page'], { stdio: 'inherit' })
    const { deploy } = await import('./stacks/index.ts')
    return deploy()
  },
})
